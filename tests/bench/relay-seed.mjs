// relay-seed.mjs: a relay's database with as many stored messages as one likes, put there by SQL while no relay serves it.
import { spawnSync } from 'node:child_process';

/** So many bytes has a body: what is measured is the size of indices, and ten million of 1 KB would be ten minutes of writing. */
export const SEEDED_SIZE = 128;
const AT_ONCE = 1_000_000;
const OTHER_CLINICS = 1000, OTHER_DEVICES = 1000;

/**
 * Undelivered messages, each with its event, two deliveries, its remembered id and its audit entry: half of them of other devices in the
 * database's first clinic, half in other clinics.
 * @param {string} file @param {number} count
 */
export function seed(file, count) {
  const other = (/** @type {string} */ word, /** @type {string} */ n, /** @type {number} */ of) => `CAST(printf('${word}%0${16 - word.length}d', (${n}) % ${of}) AS BLOB)`;
  const parts = [];
  for (let from = 0; from < count; from += AT_ONCE) {
    const n = Math.min(AT_ONCE, count - from), half = n >> 1;
    parts.push(`BEGIN;
CREATE TEMP TABLE numbers AS WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE i + 1 < ${n}) SELECT i FROM r;
CREATE TEMP TABLE messages AS SELECT i,
  CASE WHEN i < ${half} THEN own.clinic ELSE ${other('clinic', 'i', OTHER_CLINICS)} END AS clinic,
  CASE WHEN i < ${half} THEN own.seq + 1 + i ELSE ${from} + i + 1 END AS seq,
  CASE WHEN i < ${half} THEN own.number + 1 + i ELSE ${from} + i + 1 END AS number
  FROM numbers, (SELECT c.clinic, c.seq, h.number FROM clinics c JOIN audit_heads h ON h.clinic = c.clinic ORDER BY c.created, c.clinic LIMIT 1) own;
INSERT INTO events (clinic, seq, waiting, kind, at, group_id, sender, ref, number, data)
  SELECT clinic, seq, 2, 1, unixepoch() * 1000, randomblob(32), ${other('device', 'i', OTHER_DEVICES)}, randomblob(16), NULL, randomblob(${SEEDED_SIZE})
  FROM messages ORDER BY clinic, seq;
INSERT INTO deliveries (clinic, device, seq) SELECT clinic, ${other('device', 'i', OTHER_DEVICES)} AS device, seq FROM messages
  UNION ALL SELECT clinic, ${other('reader', 'i / 7', OTHER_DEVICES)} AS device, seq FROM messages ORDER BY 1, 2, 3;
INSERT INTO sent (clinic, device, message_id, digest, seq, at)
  SELECT clinic, ${other('device', 'i', OTHER_DEVICES)} AS device, randomblob(16) AS id, randomblob(32), seq, unixepoch() * 1000 FROM messages ORDER BY 1, 2, 3;
INSERT INTO audit_entries (clinic, number, entry) SELECT clinic, number, randomblob(150) FROM messages ORDER BY 1, 2;
UPDATE clinics SET seq = seq + ${half} WHERE clinic = (SELECT clinic FROM clinics ORDER BY created, clinic LIMIT 1);
UPDATE audit_heads SET number = number + ${half} WHERE clinic = (SELECT clinic FROM clinics ORDER BY created, clinic LIMIT 1);
DROP TABLE messages; DROP TABLE numbers;
COMMIT;`);
  }
  const sql = `PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY;\n${parts.join('\n')}\nPRAGMA wal_checkpoint(TRUNCATE);\n`;
  const { status, stderr } = spawnSync('sqlite3', ['-bail', file], { input: sql, encoding: 'utf8' });
  if (status !== 0) throw new Error(`seeding ${file}: ${stderr}`);
}
