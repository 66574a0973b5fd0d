// relay-seed.mjs: a relay's database with as many stored messages as one likes, put there by SQL while no relay serves it.
import { spawnSync } from 'node:child_process';

/** So many bytes has a body: what is measured is the size of indices, and ten million of 1 KB would be ten minutes of writing. */
export const SEEDED_SIZE = 128;
const AT_ONCE = 1_000_000;
const OTHER_CLINICS = 1000, OTHER_DEVICES = 1000;

/** A name of 16 bytes for each of so many. @typedef {(name: string, n: string, of: number) => string} Names */
/** What the two databases say differently. @typedef {{ names: Names, numbers: (n: number) => string, random: (bytes: number) => string, now: string, before: string, after: string }} Dialect */

/** No journal: what a crash leaves of it is thrown away. @type {Dialect} */
const SQLITE = {
  names: (name, n, of) => `CAST(printf('${name}%0${16 - name.length}d', (${n}) % ${of}) AS BLOB)`,
  numbers: (n) => `WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE i + 1 < ${n}) SELECT i FROM r`,
  random: (bytes) => `randomblob(${bytes})`,
  now: 'unixepoch() * 1000',
  before: 'PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY;',
  after: 'PRAGMA journal_mode = WAL;',
};

/** @type {Dialect} */
const POSTGRES = {
  names: (name, n, of) => `convert_to('${name}' || lpad(((${n}) % ${of})::text, ${16 - name.length}, '0'), 'UTF8')`,
  numbers: (n) => `SELECT generate_series(0, ${n - 1}) AS i`,
  // What is an id or a digest is random; a body is a constant, which takes no time and is not compressed below 2 KB.
  random: (bytes) => (bytes > 32 ? `decode(repeat('5a', ${bytes}), 'hex')` : Array(bytes / 16).fill('uuid_send(gen_random_uuid())').join(' || ')),
  now: '(extract(epoch FROM now()) * 1000)::bigint',
  before: "SET client_min_messages = error; SET synchronous_commit = off; SET work_mem = '256MB'; SET temp_buffers = '256MB';",
  after: 'VACUUM ANALYZE; CHECKPOINT;', // what the server would else do by itself while it is measured
};

/**
 * Undelivered messages, each with its event, two deliveries, its remembered id and its audit entry: half of them of other devices in the
 * database's first clinic, half in other clinics. Rows are inserted in the order of their keys.
 * @param {string} database a file of SQLite's, or postgres://… @param {number} count
 */
export function seed(database, count) {
  const postgres = database.startsWith('postgres:');
  const { names, numbers, random, now, before, after } = postgres ? POSTGRES : SQLITE;
  const first = 'clinic = (SELECT clinic FROM clinics ORDER BY created, clinic LIMIT 1)';
  const parts = [];
  for (let from = 0; from < count; from += AT_ONCE) {
    const n = Math.min(AT_ONCE, count - from), half = n >> 1;
    parts.push(`BEGIN;
CREATE TEMP TABLE numbers AS ${numbers(n)};
CREATE TEMP TABLE messages AS SELECT i,
  CASE WHEN i < ${half} THEN own.clinic ELSE ${names('clinic', 'i', OTHER_CLINICS)} END AS clinic,
  CASE WHEN i < ${half} THEN own.seq + 1 + i ELSE ${from} + i + 1 END AS seq,
  CASE WHEN i < ${half} THEN own.number + 1 + i ELSE ${from} + i + 1 END AS number
  FROM numbers, (SELECT c.clinic, c.seq, h.number FROM clinics c JOIN audit_heads h ON h.clinic = c.clinic ORDER BY c.created, c.clinic LIMIT 1) own;
INSERT INTO events (clinic, seq, waiting, kind, at, group_id, sender, ref, data)
  SELECT clinic, seq, 2, 1, ${now}, ${random(32)}, ${names('device', 'i', OTHER_DEVICES)}, ${random(16)}, ${random(SEEDED_SIZE)}
  FROM messages ORDER BY clinic, seq;
INSERT INTO deliveries (clinic, device, seq) SELECT clinic, ${names('device', 'i', OTHER_DEVICES)} AS device, seq FROM messages
  UNION ALL SELECT clinic, ${names('reader', 'i / 7', OTHER_DEVICES)} AS device, seq FROM messages ORDER BY 1, 2, 3;
INSERT INTO sent (clinic, device, message_id, digest, seq, at)
  SELECT clinic, ${names('device', 'i', OTHER_DEVICES)} AS device, ${random(16)} AS id, ${random(32)}, seq, ${now} FROM messages ORDER BY 1, 2, 3;
INSERT INTO audit_entries (clinic, number, entry) SELECT clinic, number, ${random(144)} FROM messages ORDER BY 1, 2;
UPDATE clinics SET seq = seq + ${half} WHERE ${first};
UPDATE audit_heads SET number = number + ${half} WHERE ${first};
DROP TABLE messages; DROP TABLE numbers;
COMMIT;`);
  }
  const [program, args] = postgres ? ['psql', ['-q', '-v', 'ON_ERROR_STOP=1', '-d', database]] : ['sqlite3', ['-bail', database]];
  const { status, stderr, error } = spawnSync(program, args, { input: `${before}\n${parts.join('\n')}\n${after}\n`, encoding: 'utf8' });
  if (status !== 0) throw new Error(`seeding ${database}: ${error?.message ?? stderr}`);
}
