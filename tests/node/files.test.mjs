// The file back ends that run in Node: node:fs with its lock, and memory. Those of browsers: tests/e2e/files.test.mjs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openFiles as openAnywhere } from '../../glue/files.mjs';
import { openMemoryFiles } from '../../glue/files-memory.mjs';
import { openFiles } from '../../glue/files-node.mjs';
import { checkContract, checkLog } from '../e2e/support/files-contract.mjs';

const CHILD = fileURLToPath(new URL('support/files-child.mjs', import.meta.url));

/** @param {import('node:test').TestContext} t @returns {string} */
function tempFolder(t) {
  const folder = fs.mkdtempSync(join(tmpdir(), 'sotto-files-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** @param {string} folder @param {string} task */
function child(folder, task) {
  const process_ = spawn(process.execPath, [CHILD, folder, task], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  process_.stdout.on('data', (data) => (output += data));
  /** @type {Promise<number | null>} */
  const ended = new Promise((resolve) => process_.on('close', resolve));
  return { process: process_, ended, lines: () => output.split('\n').slice(0, -1) };
}

/** @param {() => boolean} condition */
async function until(condition) {
  for (let i = 0; i < 500; i += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail('waited in vain');
}

test('files in memory keep the contract', async () => {
  await checkContract(() => openMemoryFiles(), false);
});

test('files in a folder keep the contract', async (t) => {
  const folder = join(tempFolder(t), 'account');
  await checkContract(() => openFiles(folder), true);
});

test('folder and files are the owner’s alone', async (t) => {
  const folder = join(tempFolder(t), 'clinic', 'desk');
  const files = await openFiles(folder);
  files.close(files.open('account.key', 1));
  assert.equal(fs.statSync(folder).mode & 0o777, 0o700);
  assert.equal(fs.statSync(join(folder, 'account.key')).mode & 0o777, 0o600);
  assert.equal(files.kind, 'node');
  assert.equal(files.persistent, true);
  await files.close();
  assert.deepEqual(fs.readdirSync(folder), ['account.key']);
});

test('destroy deletes the account and nothing else', async (t) => {
  const folder = tempFolder(t);
  fs.writeFileSync(join(folder, 'notes.txt'), 'mine');
  const files = await openFiles(folder);
  files.close(files.open('account.db', 1));
  await files.destroy();
  assert.deepEqual(fs.readdirSync(folder), ['notes.txt']);
});

test('a folder that cannot be had is refused in plain words', async (t) => {
  const folder = tempFolder(t);
  fs.writeFileSync(join(folder, 'file'), '');
  await assert.rejects(openFiles(join(folder, 'file')), { code: 'store', message: /cannot be used/ });
  await assert.rejects(openFiles(''), { code: 'store' });
});

test('a second owner is refused, in this process and in another, until the first has closed', async (t) => {
  const folder = tempFolder(t);
  const files = await openFiles(folder);
  await assert.rejects(openFiles(folder), { code: 'store_busy', message: /in use by another process/ });
  await files.close();
  await files.close();
  const other = child(folder, 'append');
  await until(() => other.lines().length > 2);
  await assert.rejects(openFiles(folder), { code: 'store_busy' });
  // Also while it does not run: it would go on writing afterwards.
  other.process.kill('SIGSTOP');
  await assert.rejects(openFiles(folder), { code: 'store_busy' });
  other.process.kill('SIGKILL');
  await other.ended;
  await (await openFiles(folder)).close();
  assert.deepEqual(fs.readdirSync(folder).filter((name) => name.startsWith('.')), []);
});

test('a long path can be locked', async (t) => {
  const folder = join(tempFolder(t), 'a'.repeat(120));
  const files = await openFiles(folder);
  await assert.rejects(openFiles(folder), { code: 'store_busy' });
  await files.close();
  await (await openFiles(folder)).close();
  assert.deepEqual(fs.readdirSync(folder), []);
});

test('sockets of killed owners are removed, those of living ones are not', async (t) => {
  const folder = tempFolder(t);
  const living = net.createServer().listen(join(folder, '.lock-0123456789ab'));
  await new Promise((resolve) => living.on('listening', resolve));
  fs.writeFileSync(join(folder, '.lock-not'), '');
  await assert.rejects(openFiles(folder), { code: 'store_busy' });
  await new Promise((resolve) => living.close(resolve));
  const files = await openFiles(folder);
  assert.ok(fs.existsSync(join(folder, '.lock-not')));
  await files.close();
});

test('there is never more than one owner', { timeout: 120_000 }, async (t) => {
  const folder = tempFolder(t);
  const children = Array.from({ length: 4 }, () => child(folder, 'count'));
  assert.deepEqual(await Promise.all(children.map((c) => c.ended)), [0, 0, 0, 0]);
  assert.equal(fs.readFileSync(join(folder, 'account.key')).readUint32BE(0), 80);
});

test('kill -9 at any moment loses nothing that was reported', { timeout: 120_000 }, async (t) => {
  const folder = tempFolder(t);
  let reported = 0;
  for (let round = 0; round < 12; round += 1) {
    const writer = child(folder, 'append');
    await until(() => writer.lines().length > 0);
    await new Promise((resolve) => setTimeout(resolve, 15 + ((round * 37) % 60)));
    writer.process.kill('SIGKILL');
    await writer.ended;
    const lines = writer.lines();
    if (lines.length > 1) reported = Number(lines[lines.length - 1]) + 1;
    const files = await openFiles(folder);
    checkLog(files, reported);
    await files.close();
  }
  assert.ok(reported > 12, `${reported} records`);
});

test('where there is neither OPFS nor IndexedDB, files are in memory and say why', async () => {
  const files = await openAnywhere('account');
  assert.equal(files.kind, 'memory');
  assert.equal(files.persistent, false);
  assert.match(files.refused.join(' '), /opfs/);
  assert.match(files.refused.join(' '), /indexeddb/);
  await files.close();
  assert.deepEqual((await openAnywhere('account', { prefer: 'memory' })).refused, []);
});
