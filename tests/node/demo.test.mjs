// What `make run` starts: links that work, a second start in seconds, a clean stop, plain words when it cannot run.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PIN, people } from './support/clinic.mjs';
import { freePort, notBuilt, tempFolder } from './support/relay.mjs';

const skip = notBuilt() || (existsSync(new URL('../../build/web/index.html', import.meta.url)) ? false : 'build/web not built');
const DEMO = fileURLToPath(new URL('../../glue/demo.mjs', import.meta.url));

/** @param {number} port @param {string} data */
function start(port, data) {
  const child = spawn(process.execPath, [DEMO, '--port', String(port), '--data', data]);
  let [out, err] = ['', ''];
  child.stdout.on('data', (part) => (out += part));
  child.stderr.on('data', (part) => (err += part));
  const ended = new Promise((resolve) => child.once('close', resolve));
  return {
    child,
    ended,
    get err() {
      return err;
    },
    /** @param {string} label */
    async line(label) {
      for (let i = 0; i < 3000 && child.exitCode === null; i += 1) {
        const found = new RegExp(`^${label}: (.*)$`, 'm').exec(out)?.[1];
        if (found !== undefined) return found;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      return assert.fail(`no line "${label}" in:\n${out}\n${err}`);
    },
  };
}

/** Every browser knows localhost; Node asks the system, which may know it as ::1 first or, if minimal, not at all. @param {string} link */
const byAddress = (link) => link.replace('//localhost:', '//127.0.0.1:');

test('the demo gives links that work, twice, and stops when told to', { skip }, async (t) => {
  const folder = await tempFolder('demo');
  t.after(folder.remove);
  const data = join(folder.path, 'data');
  const port = await freePort();
  const all = await people(t);
  const first = start(port, data);
  t.after(async () => void first.child.kill('SIGTERM'));
  const [staffLink, patientLink] = [await first.line('staff'), await first.line('patient')];
  assert.match(staffLink, new RegExp(`^http://localhost:${port}/staff/#`));
  assert.match(patientLink, new RegExp(`^http://localhost:${port}/#`));
  assert.equal(await first.line('date of birth of the demo patient'), '1956-04-12');
  assert.equal((await stat(join(data, 'clinic.pin'))).mode & 0o777, 0o600);
  assert.match(await readFile(join(data, 'clinic.pin'), 'utf8'), /^\d{12}\n$/);

  const desk = await all.someone('desk');
  const patient = await all.someone('patient');
  await desk.sotto.acceptInvitation(byAddress(staffLink), { pin: PIN });
  await patient.sotto.acceptInvitation(byAddress(patientLink), { factor: '1956-04-12', pin: PIN });
  const { conversation } = await patient.conversation();
  await patient.send(conversation, 'Hello?');
  // The agent, which runs in the demo, brings the front desk in.
  const at = await desk.conversation('Maria Lopez');
  await desk.received(at.conversation, 'Hello?');
  await desk.send(at.conversation, 'Good morning!');
  await patient.received(conversation, 'Good morning!');

  first.child.kill('SIGINT');
  assert.equal(await first.ended, 0, first.err);
  const begun = Date.now();
  const second = start(port, data);
  t.after(async () => void second.child.kill('SIGTERM'));
  const other = await second.line('patient');
  t.diagnostic(`the second start took ${Date.now() - begun} ms`);
  assert.notEqual(other, patientLink);
  for (const party of [desk, patient]) await party.reopen();
  await patient.send(conversation, 'still here');
  await desk.received(at.conversation, 'still here');
  second.child.kill('SIGTERM');
  assert.equal(await second.ended, 0, second.err);
});

test('a port in use is said in plain words', { skip }, async (t) => {
  const folder = await tempFolder('demo');
  t.after(folder.remove);
  const server = createServer().listen(0, '127.0.0.1');
  t.after(async () => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const demo = start(address !== null && typeof address === 'object' ? address.port : 0, join(folder.path, 'data'));
  assert.equal(await demo.ended, 1);
  assert.match(demo.err, /in use/);
});
