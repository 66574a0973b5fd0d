// What users of other messaging programs lost, over the real core and relay, where no other test shows it: tests/README.md has
// the whole list. Each test names where it was found.
import assert from 'node:assert/strict';
import { cp, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { BIRTH_DATE, PIN, eventually, people } from './support/clinic.mjs';
import { notBuilt, startRelay } from './support/relay.mjs';

const skip = notBuilt();

/** Every file of a store with its bytes; its lock is a socket. @param {string} folder */
async function bytesOf(folder) {
  /** @type {Record<string, string>} */
  const all = {};
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name);
    if ((await stat(path)).isFile()) all[name] = (await readFile(path)).toString('base64');
  }
  return all;
}

// element-web #9862, #27450, matrix-react-sdk #2841: keys gone, data still there, or the reverse, and the program went on as if
// nothing were amiss. element-ios #2361: it made a new identity over the lost one, and peers broke. wire-webapp #22550: it
// deleted the key store because it had failed to start.
test('an account that lost a part is said to be damaged, kept as it is, and never made anew', { skip }, async (t) => {
  const relay = await startRelay(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const patient = await all.patient(founder, 'Maria Lopez');
  await patient.conversation();
  await patient.sotto.settled();
  await patient.close();
  const whole = `${patient.store}.whole`;
  await cp(patient.store, whole, { recursive: true, filter: async (path) => !(await stat(path)).isSocket() });
  const names = Object.keys(await bytesOf(whole));
  const key = names.find((name) => name.endsWith('.key'));
  const db = names.find((name) => name.endsWith('.db'));
  assert.ok(key !== undefined && db !== undefined, String(names));
  /** @type {Record<string, (folder: string) => Promise<unknown>>} */
  const losses = {
    'the key file is gone': (folder) => rm(join(folder, key)),
    'the key file is empty': (folder) => truncate(join(folder, key), 0),
    'the key file is noise': (folder) => writeFile(join(folder, key), Buffer.alloc(512, 7)),
    'the database is gone': (folder) => rm(join(folder, db)),
    'the database is empty': (folder) => truncate(join(folder, db), 0),
    'the database is noise': (folder) => writeFile(join(folder, db), Buffer.alloc(8192, 7)),
    'the database is another account’s': async (folder) => {
      const [others] = (await readdir(founder.store)).filter((name) => name.endsWith('.db'));
      await cp(join(founder.store, String(others)), join(folder, db));
    },
  };
  const { link } = await founder.invite({ enrols: 'patient', name: 'Maria Lopez', check: 'birth_date', factor: BIRTH_DATE });
  for (const [what, lose] of Object.entries(losses)) {
    await rm(patient.store, { recursive: true, force: true });
    await cp(whole, patient.store, { recursive: true });
    await lose(patient.store);
    const before = await bytesOf(patient.store);
    const opened = await patient.open({ pin: PIN }).catch((/** @type {any} */ error) => error);
    if (!(opened instanceof Error)) {
      const { state } = await patient.sotto.call('account.status');
      assert.ok(state === 'damaged' || state === 'locked', `${what}: ${state}`);
      await assert.rejects(patient.sotto.call('account.unlock', { pin: PIN }), { class: 'store' }, what);
      await assert.rejects(patient.sotto.call('clinic.create', { relay: relay.origin, clinic_name: 'Other', name: 'Other', kind: 'agent', pin: PIN }), Error, what);
      await assert.rejects(patient.sotto.acceptInvitation(link, { factor: BIRTH_DATE, pin: PIN }), Error, what);
    } else {
      assert.equal(/** @type {any} */ (opened).class, 'store', `${what}: ${opened}`);
    }
    await patient.close();
    const after = await bytesOf(patient.store);
    if (what.startsWith('the database')) delete after[key], delete before[key]; // the tries with the PIN are counted there
    assert.deepEqual(after, before, what);
  }
  await rm(patient.store, { recursive: true });
  await cp(whole, patient.store, { recursive: true });
  await patient.open();
  assert.equal((await patient.conversation()).state, 'active');
});

// openemr #8674, medplum #6127: a count kept beside the messages drifted from them. Ours is counted from them, whatever happens.
test('the unread count is that of the messages not seen, over restarts, bursts and repeats', { skip }, async (t) => {
  const relay = await startRelay(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const nurse = await all.staff(founder, 'Nina Nurse');
  const patient = await all.patient(founder, 'Maria Lopez');
  const { conversation: atPatient } = await patient.conversation();
  const { conversation: atNurse } = await nurse.conversation('Maria Lopez');
  const counted = async () => {
    const unseen = (await nurse.messages(atNurse)).filter((m) => m.kind === 'text' && m.state === 'received');
    const { unread } = await nurse.sotto.call('conversation.get', { conversation: atNurse });
    assert.equal(unread, unseen.length);
    assert.equal((await nurse.sotto.call('conversation.list')).find((c) => c.conversation === atNurse)?.unread, unread);
    return unread;
  };
  const burst = async (/** @type {string} */ mark, /** @type {number} */ n) => {
    for (let i = 0; i < n; i += 1) await patient.send(atPatient, `${mark} ${i}`);
  };
  const last = (/** @type {string} */ text) => nurse.received(atNurse, text);
  await burst('first', 5);
  await last('first 4');
  assert.equal(await counted(), 5);
  const middle = await last('first 2');
  await nurse.sotto.call('conversation.read', { conversation: atNurse, order: middle.order });
  assert.equal(await counted(), 2);
  await nurse.sotto.call('conversation.read', { conversation: atNurse, order: middle.order }); // again
  assert.equal(await counted(), 2);
  await nurse.close();
  await burst('while away', 3);
  await patient.sotto.settled();
  await nurse.open();
  await last('while away 2');
  assert.equal(await counted(), 5);
  await nurse.send(atNurse, 'an own message counts for nothing');
  await nurse.sotto.settled();
  assert.equal(await counted(), 5);
  await nurse.sotto.call('conversation.read', { conversation: atNurse, order: (await last('while away 2')).order });
  assert.equal(await counted(), 0);
  await nurse.reopen();
  assert.equal(await counted(), 0);
});

// chatwoot #1976: a cookie was set and the server called before anybody had touched the widget. Opening a store asks nobody and
// writes nothing; only a command does.
test('nothing is stored and nobody is asked before somebody asks for something', { skip }, async (t) => {
  const all = await people(t);
  const asked = t.mock.method(globalThis, 'fetch');
  const someone = await all.someone('someone');
  assert.equal((await someone.sotto.call('account.status')).state, 'none');
  await someone.sotto.call('manifest');
  assert.deepEqual(await bytesOf(someone.store), {});
  assert.equal(asked.mock.callCount(), 0);
  const relay = await startRelay(t);
  await someone.sotto.call('clinic.create', { relay: relay.origin, clinic_name: 'Sunrise Clinic', name: 'Clinic agent', kind: 'agent', pin: PIN });
  await eventually(() => asked.mock.callCount() > 0, 'asked'); // so that it would have been seen
  assert.notDeepEqual(await bytesOf(someone.store), {});
});
