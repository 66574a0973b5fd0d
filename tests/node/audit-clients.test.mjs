// The audit log as clients check it, over the real relay: an honest one is never an alarm; and whatever is done to it, in the
// database or by showing people different logs (support/hostile-proxy.mjs, with the relay's own key), is told by name.
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { eventually, people } from './support/clinic.mjs';
import { HostileProxy, json, problem } from './support/hostile-proxy.mjs';
import { notBuilt, startRelay } from './support/relay.mjs';

const skip = notBuilt();
const CHECKPOINT = /^\/v1\/audit\/checkpoint$/;
const ENTRIES = /^\/v1\/audit$/;
const DESCRIPTION = /^\/\.well-known\/sotto$/;
const PATIENT_TEXT = 'The clinic\'s access log was changed. Tell the clinic.';
const STAFF_TEXT = 'The clinic\'s access log was changed. The proof is kept.';
const SENT_UNTIL_TOLD = 12; // texts; one of 16 contents is followed by a checkpoint

/** @typedef {import('./support/clinic.mjs').Party} Party */
/** @typedef {{ number: number, hash: string, at: number, clinic: string, signature: string }} Checkpoint */

/** Runs SQL in the relay's database, and gives its rows. @param {{ data: string }} relay @param {string} sql */
function sqlite(relay, sql) {
  const { status, stdout, stderr, error } = spawnSync('sqlite3', ['-bail', '-cmd', '.timeout 5000', join(relay.data, 'relay.db')], { input: sql, encoding: 'utf8' });
  if (status !== 0) throw new Error(`sqlite3 failed: ${error?.message ?? stderr}`);
  return stdout.trim();
}

/** The next checkpoint is due, as far as the relay can tell. @param {{ data: string }} relay */
const later = (relay) => sqlite(relay, 'UPDATE audit_heads SET signed_at = signed_at - 61000;');

/** As the relay itself would sign it: whoever has the database can. @param {{ data: string }} relay @param {Checkpoint} p @returns {Checkpoint} */
function signed(relay, p) {
  const seed = Buffer.from(sqlite(relay, 'SELECT hex(seed) FROM audit_key;'), 'hex');
  const key = createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8' });
  const u64 = (/** @type {number} */ v) => {
    const b = Buffer.alloc(8);
    b.writeBigUInt64BE(BigInt(v));
    return b;
  };
  const content = Buffer.concat([Buffer.from('Sotto checkpoint 1'), Buffer.from(p.clinic, 'base64url'), u64(p.number), Buffer.from(p.hash, 'base64url'), u64(p.at)]);
  return { ...p, signature: sign(null, content, key).toString('base64url') };
}

/** A checkpoint as the core gives it. @param {string} encoded @returns {Checkpoint} */
function decoded(encoded) {
  const b = Buffer.from(encoded, 'base64url');
  assert.equal(b.length, 128);
  const part = (/** @type {number} */ from, /** @type {number} */ to) => b.subarray(from, to).toString('base64url');
  return { clinic: part(0, 16), number: Number(b.readBigUInt64BE(16)), hash: part(24, 56), at: Number(b.readBigUInt64BE(56)), signature: part(64, 128) };
}

/** @param {Party} party */
async function checked(party) {
  const done = party.sotto.until((e) => e.event === 'audit' && e.code === 'checked');
  await party.sotto.call('audit.check');
  await done;
  return party.sotto.call('audit.status');
}

/** All pages of a walk. @param {Party} party @param {string} [after] */
async function walked(party, after) {
  const entries = [];
  await party.sotto.call('audit.walk', after === undefined ? {} : { after });
  for (;;) {
    const page = await party.sotto.call('audit.page');
    entries.push(...page.entries);
    if (page.state === 'done' || page.state === 'failed') return { ...page, entries };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Faults that stand, and the notices told of, once each. @param {Party} party */
async function faults(party) {
  const { alarms } = await party.sotto.call('audit.status');
  const { kind } = await party.sotto.call('me');
  const code = kind === 'patient' ? 'audit_changed' : 'audit_fault';
  const told = (await party.sotto.call('notice.list')).filter((n) => n.code.startsWith('audit_'));
  assert.equal(told.length, alarms.length, 'each is told once');
  for (const notice of told) assert.deepEqual([notice.code, notice.text, notice.conversation], [code, kind === 'patient' ? PATIENT_TEXT : STAFF_TEXT, null]);
  return alarms.map(({ fault }) => fault);
}

/** @param {{ after: (fn: () => Promise<void>) => void }} t */
async function stage(t) {
  const relay = await startRelay(t);
  const proxy = await HostileProxy.start(t, relay);
  const all = await people(t);
  const founder = await all.founder(proxy.origin);
  const patient = await all.patient(founder, 'Maria Lopez');
  const [atFounder, atPatient] = [await founder.conversation('Maria Lopez'), await patient.conversation()].map((c) => /** @type {{ conversation: string }} */ (c).conversation);
  assert.ok(atFounder !== undefined && atPatient !== undefined);
  let texts = 0;
  const s = {
    relay,
    proxy,
    founder,
    patient,
    atFounder,
    atPatient,
    async device(/** @type {Party} */ party) {
      return (await party.sotto.call('me')).device;
    },
    /** Messages pass, both ways. */
    async works() {
      const text = `text ${++texts}`;
      await founder.send(atFounder, text);
      await patient.received(atPatient, text);
      await patient.send(atPatient, `answer ${texts}`);
      await founder.received(atFounder, `answer ${texts}`);
    },
    /** What the relay says is the newest, asked by whom it is shown to. @param {Party} party */
    async newest(party) {
      const { checkpoint } = await checked(party);
      return decoded(checkpoint);
    },
  };
  await s.works();
  return s;
}

describe('clients and the audit log', { skip, concurrency: 2 }, () => {
  test('an honest log is never an alarm, over restarts of the relay and the client, and is walked to its end', async (t) => {
    const s = await stage(t);
    const first = await s.newest(s.founder);
    for (let round = 0; round < 3; round++) {
      await s.works();
      later(s.relay);
      await Promise.all([checked(s.founder), checked(s.patient)]);
      if (round === 0) {
        await s.relay.stop('SIGKILL');
        await s.relay.start();
      }
      if (round === 1) await Promise.all([s.founder.reopen(), s.patient.reopen()]);
      await s.works();
    }
    const { number } = await s.newest(s.founder);
    assert.ok(number > first.number);
    assert.deepEqual([await faults(s.founder), await faults(s.patient)], [[], []]);
    const walk = await walked(s.founder);
    assert.deepEqual([walk.state, walk.number, walk.target], ['done', number, number]);
    assert.deepEqual(walk.entries.map((e) => e.number), Array.from({ length: number }, (_, i) => i + 1));
    const founder = await s.device(s.founder);
    const message = walk.entries.find((e) => e.call === 8);
    assert.ok(message !== undefined && message.status === 200 && message.who === 'device' && Buffer.from(message.network, 'base64url').equals(Buffer.from([127, 0, 0])));
    assert.equal(walk.entries[0]?.who, 'clinic');
    assert.ok(walk.entries.some((e) => e.id === founder));
    // What a walk has seen is not read again.
    later(s.relay);
    const more = await walked(s.founder);
    assert.equal(more.state, 'done');
    assert.equal(more.entries[0]?.number, number + 1);
    await assert.rejects(s.patient.sotto.call('audit.walk'), { code: 'sender' });
    assert.deepEqual(await faults(s.founder), []);
  });

  test('what is done to the entries in the database, a walk names', async (t) => {
    const s = await stage(t);
    later(s.relay);
    const newest = await s.newest(s.founder);
    assert.ok(newest.number > 8);
    const restore = sqlite(s.relay, 'SELECT number, hex(entry) FROM audit_entries WHERE number IN (5, 6);').split('\n').map((row) => row.split('|'));
    /** @type {[string, string][]} */
    const ways = [
      ['deletion', 'DELETE FROM audit_entries WHERE number = 5;'],
      ['edit', "UPDATE audit_entries SET entry = substr(entry, 1, 12) || x'0000' || substr(entry, 15) WHERE number = 5;"],
      ['reorder', 'UPDATE audit_entries SET number = 1000000 WHERE number = 5; UPDATE audit_entries SET number = 5 WHERE number = 6; UPDATE audit_entries SET number = 6 WHERE number = 1000000;'],
    ];
    for (const [fault, sql] of ways) {
      sqlite(s.relay, sql);
      const walk = await walked(s.founder, '0');
      assert.deepEqual([walk.state, walk.reason], ['failed', fault]);
      assert.equal((await faults(s.founder))[0], fault);
      const [alarm] = (await s.founder.sotto.call('audit.status')).alarms;
      assert.equal(alarm?.number, 5);
      assert.ok(decoded(alarm?.kept ?? '').number >= newest.number);
      sqlite(s.relay, restore.map(([n, bytes]) => `INSERT OR REPLACE INTO audit_entries (clinic, number, entry) SELECT clinic, ${n}, x'${bytes}' FROM audit_heads;`).join('\n'));
    }
    assert.equal((await walked(s.founder, '0')).state, 'done');
    await s.works();
  });

  test('a log that is cut off with its checkpoints: told to staff and patients, and kept over a restart', async (t) => {
    const s = await stage(t);
    const early = await s.newest(s.founder);
    await s.works();
    later(s.relay);
    const newest = await s.newest(s.founder);
    assert.ok(newest.number > early.number);
    assert.equal((await s.newest(s.patient)).number, newest.number);
    // As from an older copy of the database, or by one who wants something forgotten.
    sqlite(
      s.relay,
      `DELETE FROM audit_entries WHERE number > ${early.number}; DELETE FROM audit_checkpoints WHERE number > ${early.number};
       UPDATE audit_heads SET number = ${early.number}, hash = x'${Buffer.from(early.hash, 'base64url').toString('hex')}', signed_number = ${early.number}, signed_at = ${Date.now()};`,
    );
    for (const party of [s.founder, s.patient]) {
      await checked(party);
      await checked(party);
      assert.deepEqual(await faults(party), ['truncation']);
      await party.reopen();
      const { alarms } = await checked(party);
      assert.deepEqual(alarms.map(({ fault, kept }) => [fault, decoded(kept)]), [['truncation', newest]]);
      assert.equal(decoded(alarms[0]?.other ?? '').number, early.number);
    }
    await s.works();
  });

  test('a log that is made anew behind the checkpoints that were seen', async (t) => {
    const s = await stage(t);
    const early = await s.newest(s.founder);
    await s.works();
    later(s.relay);
    const anew = signed(s.relay, { ...early, hash: randomBytes(32).toString('base64url') });
    s.proxy.when({ path: CHECKPOINT }, async ({ query }, forward) => (query === `?number=${early.number}` ? json(anew) : forward()));
    await checked(s.founder);
    assert.deepEqual(await faults(s.founder), ['rewrite']);
    const [alarm] = (await s.founder.sotto.call('audit.status')).alarms;
    assert.deepEqual([decoded(alarm?.kept ?? ''), decoded(alarm?.other ?? '')], [early, anew]);
    await s.works();
  });

  test('another key, a forged checkpoint, and no log any more', async (t) => {
    const s = await stage(t);
    const { key } = await checked(s.patient);
    const other = randomBytes(32).toString('base64url');
    const asked = async (/** @type {import('./support/hostile-proxy.mjs').Rule} */ rule, /** @type {RegExp} */ path) => {
      const off = s.proxy.when({ path }, rule);
      await checked(s.patient);
      off();
      return faults(s.patient);
    };
    const changed = (/** @type {object} */ change) => async (/** @type {unknown} */ _, /** @type {() => Promise<import('./support/hostile-proxy.mjs').Answer>} */ forward) => json({ ...JSON.parse((await forward()).body.toString()), ...change });
    assert.deepEqual(await asked(changed({ audit_key: other }), DESCRIPTION), ['key_change']);
    const status = await s.patient.sotto.call('audit.status');
    assert.deepEqual([status.key, status.alarms[0]?.kept, status.alarms[0]?.other], [key, key, other], 'an alarm, and never an update');
    assert.deepEqual(await asked(changed({ hash: other }), CHECKPOINT), ['forgery', 'key_change']);
    assert.deepEqual(await asked(changed({ features: [], audit_key: undefined }), DESCRIPTION), ['withdrawal', 'forgery', 'key_change']);
    assert.deepEqual(await asked((_, forward) => forward(), CHECKPOINT), ['withdrawal', 'forgery', 'key_change'], 'all stand, and none is told again');
    await s.works();
  });

  test('two members are shown different logs: found by what they tell each other', async (t) => {
    const s = await stage(t);
    await Promise.all([checked(s.founder), checked(s.patient)]);
    const patient = await s.device(s.patient);
    await s.works();
    later(s.relay);
    // The patient is shown another history from here on, each checkpoint well signed; each sees a log without a fault.
    /** @type {Map<number, Checkpoint>} */
    const shown = new Map();
    s.proxy.when({ path: CHECKPOINT, device: patient }, async ({ query }, forward) => {
      const number = Number(new URLSearchParams(query).get('number') ?? 0);
      const made = shown.get(number);
      if (made !== undefined) return json(made);
      const answer = await forward();
      if (number !== 0 || answer.status !== 200) return answer;
      const real = JSON.parse(answer.body.toString());
      const forked = shown.get(real.number) ?? signed(s.relay, { ...real, hash: randomBytes(32).toString('base64url') });
      shown.set(real.number, forked);
      return json(forked);
    });
    await Promise.all([checked(s.founder), checked(s.patient)]);
    await Promise.all([checked(s.founder), checked(s.patient)]);
    const [toFounder, toPatient] = await Promise.all([s.newest(s.founder), s.newest(s.patient)]);
    assert.equal(toFounder.number, toPatient.number);
    assert.notEqual(toFounder.hash, toPatient.hash);
    assert.deepEqual([await faults(s.founder), await faults(s.patient)], [[], []], 'nobody can see it alone');
    for (let i = 0; i < SENT_UNTIL_TOLD; i++) await s.works();
    for (const party of [s.founder, s.patient]) await eventually(async () => (await party.sotto.call('audit.status')).alarms.length > 0, 'the fork is told of');
    assert.deepEqual([await faults(s.founder), await faults(s.patient)], [['fork'], ['fork']]);
    const [alarm] = (await s.founder.sotto.call('audit.status')).alarms;
    assert.equal(alarm?.device, patient);
    assert.deepEqual([decoded(alarm?.kept ?? ''), decoded(alarm?.other ?? '')], [toPatient, toFounder], 'both are the proof');
    await s.works();
  });

  test('a relay that has no such log is used as before', async (t) => {
    const relay = await startRelay(t);
    const proxy = await HostileProxy.start(t, relay);
    proxy.when({ path: DESCRIPTION }, async (_, forward) => {
      const { features, audit_key: _key, ...rest } = JSON.parse((await forward()).body.toString());
      return json({ ...rest, features: features.filter((/** @type {string} */ f) => f !== 'audit') });
    });
    for (const path of [CHECKPOINT, ENTRIES]) proxy.when({ path }, () => problem(404, 'not-found'));
    const all = await people(t);
    const founder = await all.founder(proxy.origin);
    const status = await checked(founder);
    assert.deepEqual([status.offered, status.key, status.checkpoint, status.alarms], [false, '', '', []]);
    assert.equal(proxy.seen({ path: CHECKPOINT }).length, 0, 'it is not asked for what it does not have');
    const walk = await walked(founder);
    assert.deepEqual([walk.state, walk.target, walk.entries], ['done', 0, []]);
    await all.patient(founder, 'Jo Park');
    const at = /** @type {{ conversation: string }} */ (await founder.conversation('Jo Park')).conversation;
    for (let i = 0; i < SENT_UNTIL_TOLD; i++) await founder.send(at, `text ${i}`);
    await founder.sotto.settled();
    await founder.reopen();
    await checked(founder);
    assert.deepEqual(await faults(founder), []);
  });
});
