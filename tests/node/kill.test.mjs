// kill -9 between any two steps: of the client that sends, of the client that receives, of the relay. After each kill the
// survivor's stores are opened again. In the end no message that was reported is missing and none is there twice.
//
// By default each loop takes a sample of the steps; SOTTO_LONG=1 takes every one.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PIN, people } from './support/clinic.mjs';
import { notBuilt, startRelay } from './support/relay.mjs';

const skip = notBuilt();
const long = process.env.SOTTO_LONG === '1';
const MEMBER = fileURLToPath(new URL('./support/member.mjs', import.meta.url));
/** A step that no run reaches. */
const NEVER = 1e9;

/**
 * Runs member.mjs to its end or its death.
 * @param {Record<string, unknown>} task
 */
function member(task) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MEMBER, JSON.stringify({ pin: PIN, ...task })], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (part) => (out += part));
    child.stderr.on('data', (part) => (err += part));
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const lines = out.split('\n').filter((line) => line !== '').map((line) => /** @type {[string, string, string]} */ (line.split('\t')));
      const killed = signal === 'SIGKILL';
      if (!killed && code !== 0) reject(new Error(`member ended with ${code ?? signal}:\n${err}\n${out}`));
      else resolve({ killed, lines });
    });
  }).then((result) => /** @type {{ killed: boolean, lines: [string, string, string][] }} */ (result));
}

/**
 * Steps to kill at: all of them, or some eight spread over them.
 * @param {number} steps
 */
function stepsOf(steps) {
  const stride = long ? 1 : Math.max(1, Math.floor(steps / 8));
  return Array.from({ length: Math.ceil(steps / stride) }, (_, i) => 1 + i * stride);
}

/** @param {string[]} texts @param {Iterable<string>} expected @param {string} where */
function onceEach(texts, expected, where) {
  const counts = new Map();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  for (const [text, n] of counts) assert.equal(n, 1, `${JSON.stringify(text)} is ${n} times at ${where}`);
  for (const text of expected) assert.ok(counts.has(text), `${JSON.stringify(text)} is missing at ${where}`);
}

test('a client killed between the steps of sending', { skip }, async (t) => {
  const relay = await startRelay(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const patient = await all.patient(founder, 'Maria Lopez');
  const { conversation } = await patient.conversation();
  const at = (await founder.conversation('Maria Lopez')).conversation;
  await patient.sotto.caughtUp();
  await patient.close();

  const task = { store: patient.store, task: 'send', conversation };
  const rehearsal = await member({ ...task, texts: ['rehearsal 1', 'rehearsal 2'], killAt: NEVER });
  const steps = Number(rehearsal.lines.at(-1)?.[1]);
  assert.ok(steps > 10, `${steps} steps`);
  /** Reported as kept. @type {Set<string>} */
  const queued = new Set(['rehearsal 1', 'rehearsal 2']);
  /** Reported as sent. @type {Set<string>} */
  const sent = new Set();
  let kills = 0;
  for (const killAt of stepsOf(steps)) {
    const { killed, lines } = await member({ ...task, texts: [`kill ${killAt} a`, `kill ${killAt} b`], killAt });
    if (killed) kills += 1;
    for (const [word, , text] of lines) {
      if (word === 'queued' && text !== undefined) queued.add(text);
      if ((word === 'sent' || word === 'delivered' || word === 'read') && text !== undefined) sent.add(text);
    }
  }
  t.diagnostic(`${kills} kills over ${steps} steps; ${queued.size} reported as kept`);
  assert.ok(kills > 0);
  await patient.open();
  assert.deepEqual(await patient.sotto.settled({ timeout: 60_000 }), []);
  await patient.sotto.caughtUp();
  await founder.sotto.caughtUp();
  onceEach(await patient.texts(conversation), queued, "the patient's");
  const arrived = await founder.sotto.when(async () => {
    const texts = await founder.texts(at);
    return texts.length >= queued.size ? texts : undefined;
  });
  onceEach(arrived, [...queued, ...sent], "the clinic's");
  assert.deepEqual([...arrived].sort(), (await patient.texts(conversation)).sort(), 'both show the same');
});

test('a client killed between the steps of receiving', { skip }, async (t) => {
  const relay = await startRelay(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const patient = await all.patient(founder, 'Maria Lopez');
  const { conversation } = await patient.conversation();
  const at = (await founder.conversation('Maria Lopez')).conversation;
  await founder.send(at, 'before');
  await patient.received(conversation, 'before');
  await patient.sotto.caughtUp();
  await patient.close();

  const task = { store: patient.store, task: 'receive' };
  /** @type {string[]} */
  const texts = ['before'];
  const send = async (/** @type {string} */ text) => {
    const id = await founder.send(at, text);
    await founder.sotto.reached(id, 'sent');
    texts.push(text);
  };
  await send('rehearsal');
  const steps = Number((await member({ ...task, killAt: NEVER })).lines.at(-1)?.[1]);
  let kills = 0;
  for (const killAt of stepsOf(steps)) {
    await send(`while killed at ${killAt}`);
    if ((await member({ ...task, killAt })).killed) kills += 1;
  }
  t.diagnostic(`${kills} kills over ${steps} steps`);
  assert.ok(kills > 0);
  await patient.open();
  await patient.received(conversation, /** @type {string} */ (texts.at(-1)));
  onceEach(await patient.texts(conversation), texts, "the patient's");
  assert.deepEqual(await patient.texts(conversation), texts, 'in the order of sending');
  // And what was lost on the way of its receipts does not stop them from flowing.
  const id = await founder.send(at, 'after');
  assert.equal((await founder.sotto.reached(id, 'delivered')).state, 'delivered');
});

test('a relay killed while messages go both ways', { skip }, async (t) => {
  const relay = await startRelay(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const patient = await all.patient(founder, 'Maria Lopez');
  const { conversation } = await patient.conversation();
  const at = (await founder.conversation('Maria Lopez')).conversation;
  /** @type {string[]} */
  const fromPatient = [];
  /** @type {string[]} */
  const fromClinic = [];
  const rounds = long ? 40 : 6;
  for (let round = 1; round <= rounds; round += 1) {
    const writing = (async () => {
      for (let n = 1; n <= 5; n += 1) {
        const [p, c] = [`patient ${round}.${n}`, `clinic ${round}.${n}`];
        await Promise.all([patient.send(conversation, p), founder.send(at, c)]);
        fromPatient.push(p);
        fromClinic.push(c);
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 120));
    await relay.stop('SIGKILL');
    await writing;
    await relay.start();
    await Promise.all([patient, founder].map((party) => party.sotto.call('network', { online: true })));
  }
  for (const party of [patient, founder]) assert.deepEqual(await party.sotto.settled({ timeout: 60_000 }), []);
  await founder.received(at, /** @type {string} */ (fromPatient.at(-1)));
  await patient.received(conversation, /** @type {string} */ (fromClinic.at(-1)));
  const everything = [...fromPatient, ...fromClinic];
  for (const [party, id, where] of /** @type {const} */ ([[patient, conversation, "the patient's"], [founder, at, "the clinic's"]])) {
    onceEach(await party.texts(id), everything, where);
    const texts = await party.texts(id);
    assert.deepEqual(texts.filter((x) => x.startsWith('patient')), fromPatient, `the patient's in order at ${where}`);
    assert.deepEqual(texts.filter((x) => x.startsWith('clinic')), fromClinic, `the clinic's in order at ${where}`);
  }
});
