// Promise 1 of the design: the relay, and whoever runs or breaks into it, sees no text, no name, no birth date, no PIN, no link.
// A clinic lives a little, with words that stand nowhere else; then every byte that the relay was sent, answered, stored and
// logged is searched for them, in every form in which they could hide; and so is every byte of the accounts' stores.
import assert from 'node:assert/strict';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { people } from './support/clinic.mjs';
import { HostileProxy } from './support/hostile-proxy.mjs';
import { notBuilt, startRelay } from './support/relay.mjs';

const skip = notBuilt();

const PATIENT = 'Xochitl Quetzalcanary';
const NURSE = 'Bartholomew Vogelkanarie';
const AGENT = 'Kanarienvogel Agentur';
const CLINIC = 'Zwitscherklinik Waldrand';
const QUESTION = 'my canary pancreas sings at dawn — größer';
const ANSWER = 'two yellow feathers after every meal';
const WRONG_DATE = '1957-12-25';
const PINS = { agent: '83561947', nurse: '60492857', patient: '71938264' };

/** What must stand nowhere. Birth dates in the forms in which people write them and programs keep them. */
const CANARIES = [
  ...[PATIENT, NURSE, AGENT, CLINIC].flatMap((name) => [name, ...name.split(' ')]),
  ...[QUESTION, ANSWER].flatMap((text) => [text, ...text.split(' ').filter((word) => word.length >= 7)]),
  ...['1956-11-23', '11/23/1956', '23.11.1956', '23/11/1956', '11-23-1956', '19561123', '11231956', '23111956', 'November 23, 1956', '23 November 1956', 'Nov 23, 1956', '1956/11/23'],
  ...[WRONG_DATE, '12/25/1957', '12251957'],
  ...Object.values(PINS),
];

/**
 * The forms in which bytes could stand in other bytes. Base64 is cut at each of its three alignments, and so that no character
 * depends on what stands beside.
 * @param {Buffer} bytes
 * @returns {Buffer[]}
 */
function forms(bytes) {
  const all = [bytes];
  const hex = bytes.toString('hex');
  const spaced = /** @type {string[]} */ (hex.match(/../g));
  all.push(Buffer.from(hex), Buffer.from(hex.toUpperCase()));
  all.push(Buffer.from(spaced.map((h) => `%${h}`).join('')), Buffer.from(spaced.map((h) => `%${h.toUpperCase()}`).join('')));
  all.push(Buffer.from(spaced.map((h) => `\\x${h}`).join('')));
  for (let before = 0; before < 3; before += 1) {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]);
    const from = before === 0 ? 0 : before + 1;
    const to = Math.floor((padded.length * 8) / 6);
    for (const kind of /** @type {const} */ (['base64', 'base64url'])) all.push(Buffer.from(padded.toString(kind).slice(from, to)));
  }
  return all;
}

/** @param {string} text */
function formsOfText(text) {
  const json = JSON.stringify(text).slice(1, -1);
  const escaped = [...text].map((c) => (c > '~' ? c.split('').map((u) => `\\u${u.charCodeAt(0).toString(16).padStart(4, '0')}`).join('') : c)).join('');
  const texts = new Set([text, text.toLowerCase(), text.toUpperCase(), json, escaped, encodeURIComponent(text), encodeURIComponent(text).replaceAll('%20', '+')]);
  const be = Buffer.from(text, 'utf16le').swap16();
  return [...[...texts].flatMap((t) => forms(Buffer.from(t))), ...forms(Buffer.from(text, 'utf16le')), ...forms(be), ...forms(Buffer.from(text, 'latin1'))];
}

/** @param {Map<string, Buffer[]>} canaries @param {{ where: string, bytes: Buffer }[]} haystack @returns {string[]} what was found, and where */
function search(canaries, haystack) {
  /** @type {string[]} */
  const found = [];
  for (const { where, bytes } of haystack) {
    for (const [name, needles] of canaries) {
      if (needles.some((needle) => bytes.includes(needle))) found.push(`${name} in ${where}`);
    }
  }
  return found;
}

/** Every file of a folder. @param {string} folder */
async function filesOf(folder) {
  const all = [];
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if ((await stat(path)).isFile()) all.push({ where: path, bytes: await readFile(path) });
  }
  return all;
}

/** All that went through a proxy, both ways. @param {HostileProxy} proxy */
function traffic(proxy) {
  return proxy.exchanges.flatMap((e, i) => {
    const where = `${i}: ${e.method} ${e.path}`;
    return [
      { where: `the request ${where}`, bytes: Buffer.concat([Buffer.from(`${e.method} ${e.path}${e.query}\n${JSON.stringify(e.headers)}\n`), e.body]) },
      { where: `the answer to ${where}`, bytes: Buffer.concat([Buffer.from(JSON.stringify(e.answer?.headers ?? {})), e.answer?.body ?? Buffer.alloc(0)]) },
    ];
  });
}

test('the search finds what is there, in every form', () => {
  const canaries = new Map(CANARIES.map((text) => [text, formsOfText(text)]));
  for (const text of CANARIES) {
    for (const before of ['', 'a', 'ab', 'abc']) {
      const plain = Buffer.from(`${before}${text}${before}`);
      for (const hidden of [
        plain,
        Buffer.from(plain.toString('base64')),
        Buffer.from(plain.toString('base64url')),
        Buffer.from(plain.toString('hex')),
        Buffer.from(plain.toString('utf8'), 'utf16le'),
        Buffer.from(Buffer.from(plain.toString('utf8'), 'utf16le').toString('base64')),
        Buffer.from(encodeURIComponent(plain.toString('utf8'))),
        Buffer.from([...plain].map((b) => `%${b.toString(16)}`).join('')),
        Buffer.from(JSON.stringify({ plain: plain.toString('utf8').toUpperCase() })),
      ]) {
        const found = search(new Map([[text, canaries.get(text) ?? []]]), [{ where: 'here', bytes: Buffer.concat([Buffer.alloc(50), hidden, Buffer.alloc(50)]) }]);
        assert.equal(found.length, 1, `${text} as ${hidden.toString('latin1').slice(0, 80)}`);
      }
    }
  }
  assert.deepEqual(search(canaries, [{ where: 'here', bytes: Buffer.from('nothing that anybody wrote 1956-11-24') }]), []);
});

test('nobody but those who talk reads what was said', { skip }, async (t) => {
  const relay = await startRelay(t);
  const proxy = await HostileProxy.start(t, relay);
  const all = await people(t);
  const [founder, nurse, patient, stranger] = await Promise.all(['founder', 'nurse', 'patient', 'stranger'].map((name) => all.someone(name)));
  assert.ok(founder && nurse && patient && stranger);
  await founder.sotto.call('clinic.create', { relay: proxy.origin, clinic_name: CLINIC, name: AGENT, kind: 'agent', pin: PINS.agent });
  const toNurse = await founder.invite({ enrols: 'staff', name: NURSE, check: 'none' });
  await nurse.sotto.acceptInvitation(toNurse.link, { pin: PINS.nurse, name: NURSE });
  const toPatient = await founder.invite({ enrols: 'patient', name: PATIENT, check: 'birth_date', factor: '11/23/1956' });
  await assert.rejects(patient.sotto.acceptInvitation(toPatient.link, { factor: WRONG_DATE, pin: PINS.patient }), { attempts_left: 4 });
  await patient.sotto.acceptInvitation(toPatient.link, { factor: '23 November 1956', pin: PINS.patient });
  const withCode = await founder.invite({ enrols: 'patient', name: 'Nobody', check: 'code' });
  assert.ok(withCode.code !== null);

  const { conversation: atPatient } = await patient.conversation();
  const question = await patient.send(atPatient, QUESTION);
  const { conversation: atNurse } = await nurse.conversation(PATIENT);
  const asked = await nurse.received(atNurse, QUESTION);
  await nurse.sotto.call('conversation.read', { conversation: atNurse, order: asked.order });
  await nurse.send(atNurse, ANSWER);
  await patient.received(atPatient, ANSWER);
  assert.equal((await patient.sotto.reached(question, 'read')).state, 'read');
  // One more of the staff, who is added and gets names and history.
  const toDoctor = await founder.invite({ enrols: 'staff', name: NURSE, check: 'none' });
  await stranger.sotto.acceptInvitation(toDoctor.link, { name: NURSE });
  await stranger.received((await stranger.conversation(PATIENT)).conversation, QUESTION);
  await Promise.all([founder, nurse, patient].map((party) => party.sotto.caughtUp()));

  const canaries = new Map(CANARIES.map((text) => [text, formsOfText(text)]));
  for (const [name, { link }] of Object.entries({ nurse: toNurse, patient: toPatient, code: withCode, doctor: toDoctor })) {
    const [seed = '', fingerprint = ''] = (link.split('#i=')[1] ?? '').split('.');
    assert.ok(seed.length >= 22 && fingerprint.length >= 22, link);
    canaries.set(`the seed of the link to the ${name}`, [...forms(Buffer.from(seed, 'base64url')), ...forms(Buffer.from(seed))]);
  }
  // A short code could stand among random bytes by chance; 8 digits in one of these forms do not.
  if (withCode.code.length >= 8) canaries.set('the code', formsOfText(withCode.code));

  // While it runs (the write-ahead log with it), and after it stopped.
  const running = await filesOf(relay.data);
  const sent = traffic(proxy);
  const open = (await Promise.all([founder, nurse, patient].map((party) => filesOf(party.store)))).flat();
  for (const party of [founder, nurse, patient, stranger]) await party.close();
  await relay.stop();
  const stopped = await filesOf(relay.data);
  const closed = (await Promise.all([founder, nurse, patient].map((party) => filesOf(party.store)))).flat();
  const log = [{ where: 'the relay’s log', bytes: Buffer.from(relay.log) }];

  const total = [...running, ...sent].reduce((sum, { bytes }) => sum + bytes.length, 0);
  assert.ok(running.length >= 2 && sent.length > 60 && relay.log.length > 0, 'there is something to search');
  assert.ok(total > 200_000, `${total} bytes`);
  // The search sees what it is given: the ciphertext of the question is in the traffic, and in plain it would be found there.
  const post = proxy.seen({ method: 'POST', path: /\/messages$/ })[0];
  assert.ok(post !== undefined);
  assert.equal(search(canaries, [{ where: 'here', bytes: Buffer.concat([post.body, Buffer.from(Buffer.from(`{"a":"${ANSWER}"}`).toString('base64url'))]) }]).length > 0, true);

  assert.deepEqual(search(canaries, [...running, ...stopped]), [], 'in what the relay stored');
  assert.deepEqual(search(canaries, log), [], 'in what the relay logged');
  assert.deepEqual(search(canaries, sent), [], 'in what went through the wire');
  assert.deepEqual(search(canaries, [...open, ...closed]), [], 'in the stores of those who talk');
});
