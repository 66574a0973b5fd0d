// `sotto` from the shell: a clinic, a nurse and a patient, each command a process of its own.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort, notBuilt, startRelay, tempFolder } from './support/relay.mjs';

const skip = notBuilt();
const CLI = fileURLToPath(new URL('../../glue/cli.mjs', import.meta.url));
const PIN = '314159';

/**
 * @param {string[]} args
 * @param {{ input?: string, env?: Record<string, string> }} [how]
 * @returns {Promise<{ status: number | null, out: string, err: string, json: any[] }>}
 */
function sotto(args, { input = '', env = {} } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env, ...env } });
    let [out, err] = ['', ''];
    child.stdout.on('data', (part) => (out += part));
    child.stderr.on('data', (part) => (err += part));
    child.once('error', reject);
    child.once('close', (status) => {
      const json = args.includes('--json') ? out.split('\n').filter(Boolean).map((line) => JSON.parse(line)) : [];
      resolve({ status, out, err, json });
    });
    child.stdin.end(input);
  });
}

test('wrong usage is status 2, says what is wrong, and makes nothing', { skip }, async (t) => {
  const folder = await tempFolder('cli');
  t.after(folder.remove);
  const store = join(folder.path, 'x');
  for (const [args, words] of /** @type {[string[], RegExp][]} */ ([
    [[], /Usage/],
    [['dance'], /dance/],
    [['send', 'x'], /--conversation|--store/],
    [['send', '--store', store, '--conversation', '1'], /text/],
    [['invite', '--store', store, '--patient', 'Jo'], /--birth-date/],
    [['invite', '--store', store, '--patient', 'Jo', '--staff', 'Al', '--link-only'], /one of/],
    [['invite', '--store', store, '--patient', '--link-only'], /--name/],
    [['list', '--store', store, '--sideways'], /sideways/],
    [['list', '--store', store, '--timeout', 'soon', '--pin', PIN], /timeout/],
    [['clinic', 'create', '--store', store, '--relay', 'nowhere', '--clinic-name', 'C', '--name', 'N', '--pin', PIN], /relay/],
    [['status', '--store', store, '--pin-env', 'SOTTO_NO_SUCH'], /SOTTO_NO_SUCH/],
    [['list', '--store', store, 'surplus', '--pin', PIN], /surplus/],
  ])) {
    const { status, out, err } = await sotto(args);
    assert.equal(status, 2, `${args.join(' ')}: ${err}`);
    assert.match(out + err, words);
  }
  assert.equal((await sotto(['help'])).status, 0);
  assert.match((await sotto(['help'])).out, /clinic create/);
});

test('a store without an account, and a relay that is not there', { skip }, async (t) => {
  const folder = await tempFolder('cli');
  t.after(folder.remove);
  const store = join(folder.path, 'x');
  const none = await sotto(['list', '--store', store, '--pin', PIN, '--json']);
  assert.equal(none.status, 3);
  assert.equal(JSON.parse(none.err).error.code, 'none');
  assert.deepEqual((await sotto(['status', '--store', store, '--json'])).json[0].state, 'none');
  const relay = `http://127.0.0.1:${await freePort()}`;
  const created = await sotto(['clinic', 'create', '--store', store, '--relay', relay, '--clinic-name', 'C', '--name', 'N', '--pin', PIN, '--timeout', '1', '--json']);
  assert.equal(created.status, 4);
  assert.equal(created.json[0].online, false);
  assert.equal((await sotto(['status', '--store', store, '--json'])).json[0].state, 'locked');
});

test('clinic create, invite, accept, send, list, follow, withdraw', { skip }, async (t) => {
  const relay = await startRelay(t);
  const folder = await tempFolder('cli');
  t.after(folder.remove);
  const env = { SOTTO_TEST_PIN: PIN };
  const as = (/** @type {string} */ name) => ['--store', join(folder.path, name), '--pin-env', 'SOTTO_TEST_PIN', '--json'];
  const run = (/** @type {string[]} */ args, /** @type {string} */ input = '') => sotto(args, { env, input });
  const ok = async (/** @type {string[]} */ args, /** @type {string} */ input = '') => {
    const result = await run(args, input);
    assert.equal(result.status, 0, `${args.join(' ')}\n${result.err}${result.out}`);
    assert.ok(!`${result.out}${result.err}`.includes(PIN), 'the PIN was shown');
    return result.json;
  };

  const [me] = await ok(['clinic', 'create', '--relay', `${relay.origin}/`, '--clinic-name', 'Sunrise Clinic', '--name', 'Agent', '--agent', ...as('clinic')]);
  assert.deepEqual([me.kind, me.founder, me.relay, me.online], ['agent', true, relay.origin, true]);
  assert.equal((await run(['clinic', 'create', '--relay', relay.origin, '--clinic-name', 'X', '--name', 'Y', ...as('clinic')])).status, 3);

  const [invited] = await ok(['invite', '--patient', 'Maria Lopez', '--birth-date', '1956-04-12', '--days', '3', ...as('clinic')]);
  assert.match(invited.link, new RegExp(`^${relay.origin}/#`));
  assert.equal(invited.check, 'birth_date');
  const wrong = await run(['accept', invited.link, '--factor', '1956-04-13', ...as('patient')]);
  assert.equal(wrong.status, 5);
  assert.equal(JSON.parse(wrong.err).error.attempts_left, 4);
  const [patient] = await ok(['accept', invited.link, '--factor', '1956-04-12', ...as('patient')]);
  assert.deepEqual([patient.kind, patient.clinic_name], ['patient', 'Sunrise Clinic']);
  const again = await run(['accept', invited.link, '--factor', '1956-04-12', ...as('another')]);
  assert.equal(again.status, 5);
  assert.equal(JSON.parse(again.err).error.code, 'invitation_used');
  assert.equal((await run(['accept', `${invited.link.slice(0, -2)}`, ...as('another')])).status, 5);

  const [{ conversation }] = await ok(['list', ...as('patient')]);
  const [sent] = await ok(['send', '--conversation', conversation, 'May I come on Friday?', ...as('patient')]);
  assert.ok(['sent', 'delivered', 'read'].includes(sent.state));
  await ok(['send', '--conversation', conversation, '-', ...as('patient')], 'from\nstdin\n');
  const [there] = await ok(['list', ...as('clinic')]);
  assert.deepEqual([there.title, there.unread], ['Maria Lopez', 2]);
  const messages = await ok(['list', '--conversation', there.conversation, ...as('clinic')]);
  assert.deepEqual(messages.filter((m) => m.kind === 'text').map((m) => m.text), ['May I come on Friday?', 'from\nstdin']);

  const [staff] = await ok(['invite', '--staff', '--name', 'Nina Nurse', '--code', ...as('clinic')]);
  assert.match(staff.link, new RegExp(`^${relay.origin}/staff/#`));
  assert.equal(typeof staff.code, 'string');
  const [nurse] = await ok(['accept', staff.link, '--factor', staff.code, '--name', 'Nina Nurse', ...as('nurse')]);
  assert.deepEqual([nurse.kind, nurse.name], ['staff', 'Nina Nurse']);

  const follower = spawn(process.execPath, [CLI, 'follow', '--read', '--conversation', conversation, ...as('patient')], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: follower.stdout })[Symbol.asyncIterator]();
  const next = async (/** @type {(value: any) => unknown} */ accept) => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) return assert.fail('follow ended');
      const parsed = JSON.parse(value);
      if (accept(parsed)) return parsed;
    }
  };
  await next((line) => line.connection === 'online');
  await ok(['send', '--conversation', there.conversation, 'Yes, at 9:40.', ...as('clinic')]);
  const followed = await next((line) => line.text === 'Yes, at 9:40.');
  assert.equal(followed.sender.name, 'Agent');
  assert.equal((await run(['list', ...as('patient')])).status, 3, 'one process a store');
  follower.kill('SIGINT');
  assert.equal(await new Promise((resolve) => follower.once('close', resolve)), 0);

  const [open] = await ok(['invite', '--patient', 'Jo Park', '--code', '4711', ...as('clinic')]);
  await ok(['withdraw', open.invitation, ...as('clinic')]);
  const states = Object.fromEntries((await ok(['invitations', ...as('clinic')])).map((i) => [i.name, i.state]));
  assert.deepEqual(states, { 'Jo Park': 'withdrawn', 'Nina Nurse': 'used', 'Maria Lopez': 'used' });
  assert.equal((await run(['accept', open.link, '--factor', '4711', ...as('late')])).status, 5);

  const [state] = await ok(['status', ...as('patient')]);
  assert.deepEqual([state.state, state.online, state.name], ['open', true, 'Maria Lopez']);
  const bad = await sotto(['list', '--store', join(folder.path, 'patient'), '--pin', '000000']);
  assert.equal(bad.status, 3);
  assert.ok(!bad.err.includes('000000'));

  await relay.stop();
  const kept = await run(['send', '--conversation', conversation, 'later', '--timeout', '1', ...as('patient')]);
  assert.equal(kept.status, 4);
  assert.equal(kept.json[0].state, 'sending');
  const offline = await ok(['list', '--conversation', conversation, '--offline', ...as('patient')]);
  assert.equal(offline.at(-1).text, 'later');
  await relay.start();
  await ok(['list', ...as('patient')]);
  const [arrived] = await ok(['list', ...as('clinic')]);
  assert.equal(arrived.last.text, 'later');
});
