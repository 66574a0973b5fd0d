// Key life (RFC 9420 §9.2): what was used up is nowhere. A clinic talks, over the real relay, with a build of the module
// that tells of each secret when it is made (tests/wasm/key_life.c). Then the whole linear memory of each module, at every
// offset, and every page of each database, the free ones and those in the WAL too, as the cipher gives them, are searched
// for all of them. Only what the store holds as live may be found; which kinds that may be is listed by name. (While an account is
// open its WAL has older pages; it is gone when the account was closed, which is when the disk is searched.)
import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Sotto } from '../../glue/node.mjs';
import { BIRTH_DATE, PIN, eventually } from './support/clinic.mjs';
import { notBuilt, startRelay, tempFolder } from './support/relay.mjs';

const WASM = new URL('../../build/tests/key_life.wasm', import.meta.url);
const PAGE = 4096;
const RESERVED = 32; // nonce and tag at the end of each page

/** A module that was started, the secrets that it made (by their bytes), and what is live in its store. */
class Watched {
  /** @type {Map<string, { label: string, bytes: Buffer }>} */
  secrets = new Map();
  /** @type {Buffer[]} */
  live = [];
  /** @type {any} */
  exports;
  handle = 0;

  /** @param {string} label @param {Buffer} bytes */
  learn(label, bytes) {
    if (bytes.length >= 12 && bytes.some((b) => b !== 0)) this.secrets.set(bytes.toString('latin1'), { label, bytes });
  }

  get memory() {
    return Buffer.from(this.exports.memory.buffer);
  }

  /** Splits the secrets: those that stand in the store's live rows, and all others. */
  sort() {
    this.live = [];
    this.exports.key_life_live(this.handle);
    const rows = search(Buffer.concat(this.live), this.secrets.values());
    const gone = [...this.secrets.values()].filter((s) => !rows.has(s));
    return { live: [...rows.keys()], gone };
  }
}

/** @type {Watched[]} */
const modules = [];
const instantiate = WebAssembly.instantiate;

/** Every module that is started from here on is watched. */
function watch() {
  // @ts-expect-error the loader uses this form alone
  WebAssembly.instantiate = async (/** @type {WebAssembly.Module} */ module, /** @type {any} */ imports) => {
    const watched = new Watched();
    const copy = (/** @type {number} */ p, /** @type {number} */ n) => Buffer.from(watched.memory.subarray(p >>> 0, (p >>> 0) + n));
    const instance = await instantiate(module, {
      sotto: {
        ...imports.sotto,
        test_secret: (/** @type {number} */ l, /** @type {number} */ ln, /** @type {number} */ p, /** @type {number} */ n) => watched.learn(copy(l, ln).toString(), copy(p, n)),
        test_live: (/** @type {number} */ p, /** @type {number} */ n) => void watched.live.push(copy(p, n)),
      },
    });
    watched.exports = instance.exports;
    modules.push(watched);
    const open = (/** @type {number} */ p, /** @type {number} */ n) => (watched.handle = watched.exports.sotto_open(p, n));
    return { exports: { ...watched.exports, sotto_open: open } };
  };
}

/**
 * Where the secrets stand in the bytes: secret -> first offset. Every offset is looked at.
 * @param {Buffer} bytes
 * @param {Iterable<{ label: string, bytes: Buffer }>} secrets
 */
function search(bytes, secrets) {
  const marks = new Uint8Array(1 << 24);
  /** @type {Map<number, { label: string, bytes: Buffer }[]>} */
  const by = new Map();
  for (const s of secrets) {
    const first = s.bytes.readUInt32LE(0);
    marks[first & 0xffffff] = 1;
    by.set(first, [...(by.get(first) ?? []), s]);
  }
  /** @type {Map<{ label: string, bytes: Buffer }, number>} */
  const found = new Map();
  for (let at = 0; at + 12 <= bytes.length; at += 1) {
    if (marks[/** @type {number} */ (bytes[at]) | (/** @type {number} */ (bytes[at + 1]) << 8) | (/** @type {number} */ (bytes[at + 2]) << 16)] === 0) continue;
    for (const s of by.get(bytes.readUInt32LE(at)) ?? []) {
      if (!found.has(s) && bytes.compare(s.bytes, 0, s.bytes.length, at, at + s.bytes.length) === 0) found.set(s, at);
    }
  }
  return found;
}

/** One page as SQLite3MultipleCiphers' ChaCha20 gives it. @param {Buffer} key @param {Buffer} page @param {number} number */
function decrypted(key, page, number) {
  const nonce = page.subarray(PAGE - RESERVED, PAGE - RESERVED + 16);
  const chacha = (/** @type {Buffer} */ k, /** @type {number} */ counter, /** @type {Buffer} */ data) => {
    const start = Buffer.alloc(16);
    start.writeUInt32LE(counter >>> 0, 0);
    nonce.copy(start, 4, 0, 12);
    return createDecipheriv('chacha20', k, start).update(data);
  };
  const counter = (nonce.readUInt32LE(12) ^ number) >>> 0;
  const oneTime = chacha(key, counter, Buffer.alloc(64)).subarray(32);
  const from = number === 1 ? 24 : 0;
  return Buffer.concat([page.subarray(0, from), chacha(oneTime, counter + 1, page.subarray(from, PAGE - RESERVED))]);
}

/** All pages of a database file, and all frames of its WAL, in the clear. @param {string} folder @param {Buffer} key */
async function pages(folder, key) {
  const all = { database: /** @type {Buffer[]} */ ([]), wal: /** @type {Buffer[]} */ ([]), raw: Buffer.alloc(0) };
  for (const name of await readdir(folder)) {
    const bytes = await readFile(join(folder, name));
    all.raw = Buffer.concat([all.raw, bytes]);
    if (name.endsWith('.db')) {
      for (let at = 0; at + PAGE <= bytes.length; at += PAGE) all.database.push(decrypted(key, bytes.subarray(at, at + PAGE), at / PAGE + 1));
    } else if (name.endsWith('.db-wal')) {
      for (let at = 32; at + 24 + PAGE <= bytes.length; at += 24 + PAGE) all.wal.push(decrypted(key, bytes.subarray(at + 24, at + 24 + PAGE), bytes.readUInt32BE(at)));
    }
  }
  return { database: Buffer.concat(all.database), wal: Buffer.concat(all.wal), raw: all.raw };
}

/** @param {Iterable<{ label: string }>} secrets */
function labels(secrets) {
  /** @type {Record<string, number>} */
  const count = {};
  for (const s of secrets) count[s.label] = (count[s.label] ?? 0) + 1;
  return JSON.stringify(count);
}

/** What may be live at all once nothing is skipped and no commit is out (core/mls/README.md). All else is used up when its command ends:
 * message keys and nonces, joiner, epoch, welcome, commit and path secrets, HPKE's and the KEM's. */
const MAY_LIVE = new Set(['tree', 'handshake', 'application', 'ratchet secret', 'sender data', 'exporter', 'external', 'confirm', 'membership', 'resumption', 'authentication', 'init', 'private key', 'derived private key']);

test('used keys are neither in memory nor on disk', { skip: notBuilt() ?? false }, async (t) => {
  const folder = await tempFolder('key-life');
  const relay = await startRelay(t);
  watch();
  /** @type {Sotto[]} */
  const all = [];
  t.after(async () => {
    WebAssembly.instantiate = instantiate;
    for (const sotto of all) await sotto.close().catch(() => {});
    await folder.remove();
  });
  const open = async (/** @type {string} */ name) => {
    const sotto = await Sotto.open({ store: join(folder.path, name), wasm: WASM });
    all.push(sotto);
    return sotto;
  };
  const names = ['clinic', 'nurse', 'patient', 'doctor'];

  // A conversation of three, messages both ways, a member who joins later, more messages.
  const clinic = await open('clinic');
  await clinic.call('clinic.create', { relay: relay.origin, clinic_name: 'Sunrise', name: 'Agent', kind: 'agent', pin: PIN });
  await clinic.caughtUp();
  const invite = async (/** @type {any} */ args) => {
    const made = await clinic.call('invitation.create', args);
    await clinic.when(async () => (await clinic.call('invitation.list')).find((i) => i.invitation === made.invitation)?.state !== 'sending');
    return made.link;
  };
  const nurse = await open('nurse');
  await nurse.acceptInvitation(await invite({ enrols: 'staff', name: 'Kim', check: 'none' }), { pin: PIN, name: 'Kim' });
  await clinic.caughtUp();
  const patient = await open('patient');
  await patient.acceptInvitation(await invite({ enrols: 'patient', name: 'Ada', check: 'birth_date', factor: BIRTH_DATE }), { factor: BIRTH_DATE, pin: PIN });
  const conversation = async (/** @type {Sotto} */ sotto, /** @type {number} */ members) =>
    (await sotto.when(async () => (await sotto.call('conversation.list')).find((c) => c.state === 'active' && c.members.length === members))).conversation;
  const say = async (/** @type {Sotto[]} */ to, /** @type {Sotto} */ from, /** @type {string} */ text, members = 3) => {
    await from.call('message.send', { conversation: await conversation(from, members), text });
    for (const other of to) {
      const c = await conversation(other, members);
      await other.when(async () => (await other.call('message.list', { conversation: c })).some((m) => m.text === text));
    }
  };
  await say([clinic, nurse], patient, 'first');
  for (let i = 0; i < 5; i += 1) await say([patient, nurse], clinic, `answer ${i}`);
  const doctor = await open('doctor');
  await doctor.acceptInvitation(await invite({ enrols: 'staff', name: 'Park', check: 'none' }), { pin: PIN, name: 'Park' });
  await say([clinic, nurse, patient], doctor, 'joined', 4);
  for (let i = 0; i < 5; i += 1) await say([clinic, nurse, doctor], patient, `more ${i}`, 4);
  await eventually(async () => (await patient.call('message.list', { conversation: await conversation(patient, 4) })).every((m) => m.state !== 'sending'), 'all sent');
  for (const sotto of all) await sotto.caughtUp();
  assert.equal(modules.length, names.length);

  let searched = 0;
  let keys = 0;
  /** @type {string[]} */
  const problems = [];
  for (const [i, module] of modules.entries()) {
    const name = names[i];
    const { live, gone } = module.sort();
    const wrong = live.filter((s) => !MAY_LIVE.has(s.label) && s.label !== 'store key');
    if (wrong.length > 0) problems.push(`${name}: the store still holds ${labels(wrong)}`);
    // Open: memory holds what is live and nothing else. The store's key is in the cipher's state as long as it is open.
    const used = gone.filter((s) => s.label !== 'store key');
    const inMemory = search(module.memory, module.secrets.values());
    const bad = used.filter((s) => inMemory.has(s));
    searched += module.memory.length;
    keys += used.length;
    t.diagnostic(`${name}: ${module.memory.length} bytes, ${module.secrets.size} secrets made, ${live.length} live: ${labels(live)}`);
    if (bad.length > 0) problems.push(`${name}: ${bad.length} used secrets in memory: ${labels(bad)} at ${bad.slice(0, 8).map((s) => `${s.label} 0x${/** @type {number} */ (inMemory.get(s)).toString(16)}`)}`);
    assert.ok(inMemory.size > 0, 'live secrets are found, else the search is blind');
    module.exports.key_life_plant();
    const planted = [...module.secrets.values()].filter((s) => s.label === 'planted');
    assert.equal(search(module.memory, planted).size, 1, 'the planted one is found');
  }
  const kept = modules.map((module) => module.sort());
  for (const sotto of all) await sotto.close();
  for (const [i, module] of modules.entries()) {
    const name = /** @type {string} */ (names[i]);
    const secrets = [...module.secrets.values()].filter((s) => s.label !== 'planted');
    // Closed: memory holds nothing at all.
    const left = search(module.memory, secrets);
    searched += module.memory.length;
    if (left.size > 0) problems.push(`${name}: after closing, in memory: ${labels(left.keys())} at ${[...left].slice(0, 8).map(([s, at]) => `${s.label} 0x${at.toString(16)}`)}`);
    const storeKey = secrets.find((s) => s.label === 'store key');
    assert.ok(storeKey);
    const { database, wal, raw } = await pages(join(folder.path, name), storeKey.bytes);
    assert.ok(database.length > 0 && wal.length === 0);
    searched += database.length + raw.length;
    assert.equal(search(raw, secrets).size, 0, 'nothing stands in the files as they are');
    const onDisk = search(database, secrets);
    const { live, gone } = /** @type {{ live: any[], gone: any[] }} */ (kept[i]);
    assert.deepEqual(live.filter((s) => !onDisk.has(s)), [], 'live secrets are found, else the pages were not decrypted');
    const rest = gone.filter((s) => onDisk.has(s));
    t.diagnostic(`${name}: ${database.length} bytes of pages, ${onDisk.size} of ${live.length} live secrets found`);
    if (rest.length > 0) problems.push(`${name}: used secrets on disk: ${labels(rest)}`);
  }
  t.diagnostic(`${searched} bytes searched for ${keys} used secrets`);
  assert.deepEqual(problems, []);
});
