// The suite against the servers that there are: sotto-relay on SQLite and on PostgreSQL, the minimal one, and the minimal one made
// wrong in one way after the other, which the check that names that fault must see. Before that, the contract itself.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Postgres, absent } from '../node/support/postgres.mjs';
import { CONTRACT_FILE, Contract } from './contract.mjs';
import { FAULTS, minimalServer } from './minimal-server.mjs';
import { report as tableOf } from './report.mjs';
import { runSuite } from './suite.mjs';

const RELAY = process.env['SOTTO_RELAY'] ?? fileURLToPath(new URL('../../build/sotto-relay', import.meta.url));
const NO_RATES = { 'rate-device': 0, 'rate-address': 0, 'rate-enrol': 0, 'rate-invite': 0, 'rate-clinic': 0 };
/** These the whole suite is run against; the others the check that names them, to keep the time short. */
const WHOLE = ['reorder', 'lose', 'repeat', 'accept-stale-epoch', 'accept-bad-signature'];

/** @typedef {import('node:test').TestContext} TestContext */

const onSqlite = () => ['--data', mkdtempSync(join(tmpdir(), 'sotto-conformance-'))];

/** @param {TestContext} t @param {Record<string, string | number>} options @param {string[]} [where] @returns {Promise<{ url: string, stop: () => Promise<unknown> }>} */
function startRelay(t, options, where = onSqlite()) {
  const args = ['serve', ...where, '--port', '0', ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])];
  const child = spawn(RELAY, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
  const stop = () => (child.kill('SIGTERM'), ended);
  t.after(async () => {
    assert.equal(await stop(), 0, log);
    if (where[0] === '--data') rmSync(/** @type {string} */ (where[1]), { recursive: true, force: true });
  });
  let log = '';
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`the relay ended: ${log}`)));
    child.stderr.on('data', (part) => {
      log += part;
      const port = /event=listening port=(\d+)/.exec(log)?.[1];
      if (port !== undefined) resolve({ url: `http://127.0.0.1:${port}`, stop });
    });
  });
}

/** @param {TestContext} t @param {string} [fault] @returns {Promise<string>} */
async function startMinimal(t, fault) {
  const server = minimalServer({ fault });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  t.after(() => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))));
  return `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`;
}

/** Each check as a test of its own. @param {TestContext} t @param {import('./suite.mjs').Report} report */
async function show(t, report) {
  for (const line of tableOf(report).split('\n')) if (line !== '') t.diagnostic(line);
  for (const { group, name, state, why } of report.results) {
    await t.test(`${group}: ${name}`, (own) => {
      if (state === 'skipped') own.skip(why);
      else assert.equal(state, 'passed', why);
    });
  }
}

test('openapi.yaml is OpenAPI 3.1, and each of its schemas is one', async () => {
  const { valid, errors } = await new Validator().validate(fileURLToPath(CONTRACT_FILE));
  assert.ok(valid, JSON.stringify(errors));
  const contract = new Contract();
  for (const pointer of contract.schemas()) assert.doesNotThrow(() => contract.validator(pointer), pointer);
  const ids = contract.operations.map((o) => o.id);
  assert.equal(new Set(ids).size, ids.length);
});

test('PROTOCOL.md and openapi.yaml name the same calls and problems', () => {
  const contract = new Contract();
  const page = readFileSync(new URL('../../server/PROTOCOL.md', import.meta.url), 'utf8');
  const calls = [...page.matchAll(/\*\*`(GET|PUT|POST|DELETE) ([^`?]+)[^`]*`\*\*/g)].map(([, method, path]) => `${method} ${path?.replace(/\{[a-z]+\}/g, '{}')}`);
  const operations = Object.entries(contract.document.paths).flatMap(([path, item]) =>
    Object.keys(item).filter((m) => ['get', 'put', 'post', 'delete'].includes(m)).map((m) => `${m.toUpperCase()} ${path.replace(/\{[a-z]+\}/g, '{}')}`));
  assert.deepEqual(calls.sort(), operations.sort());
  const table = [...page.matchAll(/^\| `([a-z-]+)` \| (\d{3}) \|/gm)].map(([, name, status]) => `${name} ${status}`);
  const problems = Object.entries(contract.document.components.schemas)
    .filter(([name]) => name.startsWith('problem.'))
    .map(([name, schema]) => `${name.slice('problem.'.length)} ${schema.properties.status.const}`);
  assert.deepEqual(table.sort(), problems.sort());
});

test('sotto-relay on SQLite', { skip: existsSync(RELAY) ? false : 'build/sotto-relay not built' }, async (t) => {
  const { url } = await startRelay(t, { ...NO_RATES, 'push-contact': 'mailto:operator@relay.example', origin: 'https://console.example' });
  await show(t, await runSuite(url));
});

/** The whole suite on a PostgreSQL of its own. @param {TestContext} t @param {(server: Postgres, database: string) => void} [before] @param {(server: Postgres, database: string) => void} [after] */
async function onPostgres(t, before = () => {}, after = () => {}) {
  let server;
  try {
    server = await Postgres.start();
  } catch (error) {
    return t.skip(`PostgreSQL does not start here: ${/** @type {Error} */ (error).message}`);
  }
  try {
    const database = server.database();
    before(server, database);
    const { url, stop } = await startRelay(t, NO_RATES, ['--db', database]);
    const report = await runSuite(url);
    await stop();
    after(server, database);
    await show(t, report);
  } finally {
    await server.stop();
  }
}
const NEEDS_POSTGRES = { skip: existsSync(RELAY) ? absent() ?? false : 'build/sotto-relay not built' };

test('sotto-relay on PostgreSQL', NEEDS_POSTGRES, (t) => onPostgres(t));

// As Citus and YugabyteDB, PostgreSQL takes only keys that hold what a table is split by; what tests/lint/sql.mjs reads out of the
// statements is seen to run here.
test('sotto-relay on PostgreSQL, each table split by clinic', NEEDS_POSTGRES, (t) =>
  onPostgres(
    t,
    (server, database) => {
      assert.equal(spawnSync(RELAY, ['init', '--db', database]).status, 0);
      server.query(database, `DO $$ DECLARE t text; c text; BEGIN
        FOR t, c IN SELECT table_name, CASE table_name WHEN 'directory' THEN 'name' ELSE 'clinic' END FROM information_schema.columns
            WHERE table_schema = 'public' AND column_name = 'clinic' LOOP
          EXECUTE format('ALTER TABLE %I RENAME TO whole', t);
          EXECUTE format('CREATE TABLE %I (LIKE whole INCLUDING ALL) PARTITION BY HASH (%I)', t, c);
          FOR i IN 0..3 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 4, REMAINDER %s)', t || '_' || i, t, i);
          END LOOP;
          DROP TABLE whole;
        END LOOP; END $$`);
    },
    (server, database) => {
      for (const table of ['clinics', 'directory', 'devices', 'audit_entries']) {
        const parts = [0, 1, 2, 3].filter((i) => !/^ +0$/m.test(server.query(database, `SELECT COUNT(*) FROM ${table}_${i}`)));
        assert.ok(parts.length >= 2, `all of ${table} is in one part`);
      }
      const { status, stderr } = spawnSync(RELAY, ['doctor', '--db', database], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      assert.equal(spawnSync(RELAY, ['audit', 'verify', '--db', database]).status, 0);
    },
  ));

test('sotto-relay, closed to new clinics', { skip: existsSync(RELAY) ? false : 'build/sotto-relay not built' }, async (t) => {
  const where = onSqlite();
  const clinicSeed = randomBytes(32);
  const open = await startRelay(t, NO_RATES, where);
  await runSuite(open.url, { clinicSeed, only: /^$/ });
  await open.stop();
  const { url } = await startRelay(t, { ...NO_RATES, clinics: 'closed' }, where);
  const report = await runSuite(url, { clinicSeed, only: /^(server|roster|inbox):/ });
  await show(t, report);
  assert.ok(report.results.some((r) => r.name === 'closed to new clinics, it says so' && r.state === 'passed'));
});

test('sotto-relay with rates', { skip: existsSync(RELAY) ? false : 'build/sotto-relay not built' }, async (t) => {
  const { url } = await startRelay(t, { 'rate-enrol': 40 });
  const report = await runSuite(url, { only: /^rates:/ });
  await show(t, report);
  assert.ok(report.results.every((r) => r.state === 'passed'), 'its rate was not met');
});

test('the minimal server', async (t) => {
  await show(t, await runSuite(await startMinimal(t)));
});

test('the minimal server, broken on purpose', { concurrency: 2 }, async (t) => {
  await Promise.all(
    Object.entries(FAULTS).map(([fault, named]) =>
      t.test(`${fault} is seen by "${named}"`, async (own) => {
        // The contract's own check needs exchanges to look at.
        const only = named.startsWith('contract:') ? /^groups:/ : new RegExp(`^${named.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
        const { results } = await runSuite(await startMinimal(own, fault), WHOLE.includes(fault) ? {} : { only });
        const failed = results.filter((r) => r.state === 'failed').map((r) => `${r.group}: ${r.name}`);
        assert.ok(failed.includes(named), `failed instead: ${failed.join(', ') || 'nothing'}`);
      }),
    ),
  );
});
