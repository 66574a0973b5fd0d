// sql.mjs: is the relay's SQL valid for tables that are distributed by clinic (Citus, YugabyteDB: server/PROTOCOL.md, "Scale")? Each
// statement must say which clinic's shard it is for, and each key must hold the clinic.

/** Distributed by something else than the clinic, or not at all. */
const OTHERS = /** @type {Record<string, string>} */ ({
  directory: 'name', // distributed by name: it leads to the clinic
  audit_key: '', // one row, copied to every node
  push_key: '', // likewise
  schema_version: '',
  pg_settings: '',
});

/** Statements that ask all shards, and why they may. A line that no statement needs any more is told. */
const EXCEPTIONS = [
  { file: 'restored.c', sql: /^SELECT clinic, seq FROM clinics WHERE clinic > /, why: 'goes through all clinics, once, before the database is served' },
  { file: 'tidy.c', sql: /ORDER BY \w+(, \w+)* LIMIT \$\d$/, why: 'the slow round: a page of each shard every ten seconds' },
  { file: 'retention.c', sql: /^SELECT \w\.clinic, \w\.\w+, p\.days/, why: 'the slow round' },
  { file: 'calls_schedule.c', sql: /^SELECT clinic FROM scheduled WHERE deliver_at <= \$1/, why: 'what is due, wherever: once a second, by an index of each shard (scheduled_by_time)' },
  { file: 'schema.c', sql: /^(INSERT INTO (clinic_use|blob_shares) SELECT |UPDATE clinic_use SET stored = stored \+ 256 )/, why: 'a migration counts once what is there' },
  { file: 'schema.c', sql: /^SELECT .* ORDER BY \w+/, why: 'doctor reads everything' },
  { file: 'backup.c', sql: /^SELECT count/, why: 'SQLite only: is it a copy of ours' },
  { file: 'doctor.c', sql: /./, why: 'doctor reads everything' },
  { file: 'audit_verify.c', sql: /^SELECT (DISTINCT )?clinic/, why: 'audit verify goes through all clinics' },
];

const WORDS = new Set(['where', 'set', 'on', 'left', 'right', 'inner', 'outer', 'cross', 'join', 'order', 'group', 'limit', 'values', 'returning', 'using', 'for', 'as', 'select', 'union']);

/** The SQL in a C source: string literals that stand next to each other are one, also by way of a macro. @param {string} source */
export function statementsOf(source) {
  const text = source.replace(/\/\*[^]*?\*\//g, ' ');
  const literal = '"(?:[^"\\\\\\n]|\\\\.)*"';
  /** @type {Record<string, string>} */
  const macros = {};
  for (const [, name, value] of text.matchAll(new RegExp(`#define\\s+([A-Z_0-9]+)\\s+((?:${literal}|\\s|\\\\\\n)+)\\n`, 'g'))) macros[name ?? ''] = joined(value ?? '', macros);
  const names = Object.keys(macros).join('|') || '\\b\\B';
  const runs = text.replace(/\\\n/g, ' ').matchAll(new RegExp(`(?:${literal}|\\b(?:${names})\\b)(?:\\s*(?:${literal}|\\b(?:${names})\\b))*`, 'g'));
  return [...runs].map(([run]) => joined(run, macros)).filter((sql) => /^\s*(SELECT\s+(?!1$)|INSERT INTO|UPDATE \w+ SET|DELETE FROM|WITH)\b/.test(sql));
}

/** @param {string} run @param {Record<string, string>} macros */
const joined = (run, macros) => [...run.matchAll(/"((?:[^"\\\n]|\\.)*)"|([A-Z_0-9]+)/g)].map(([, text, name]) => text ?? macros[name ?? ''] ?? '').join('');

/** Which of a statement's tables are not held to one clinic. @param {string} sql @param {Set<string>} tables @param {Set<string>} [outer] names of tables around it that are */
export function unbound(sql, tables, outer = new Set()) {
  /** @type {string[]} */
  const inner = [];
  let rest = sql;
  // From the inside out: a query in parentheses is looked at by itself, with what stands around it known.
  for (const query = /\(\s*((?:SELECT|INSERT|UPDATE|DELETE)\b(?:[^()]|\((?!\s*(?:SELECT|INSERT|UPDATE|DELETE)\b)(?:[^()]|\([^()]*\))*\))*)\)/; ;) {
    const found = query.exec(rest);
    if (found === null) break;
    inner.push(found[1] ?? '');
    rest = rest.replace(found[0], `@${inner.length - 1}`);
  }
  /** @param {string} text @param {Set<string>} around @returns {string[]} */
  const look = (text, around) => {
    const scope = [...text.matchAll(/\b(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)(?:\s+(?:AS\s+)?(\w+))?/g)].map(([, table = '', alias = '']) => ({ table, name: WORDS.has(alias.toLowerCase()) || alias === '' ? table : alias }));
    const own = scope.filter(({ table }) => tables.has(table));
    const bound = new Set(around);
    const only = own.length === 1 ? own[0]?.name : undefined;
    // New rows bring their clinic themselves; out of a query, it must be the query's.
    const insert = /^\s*INSERT INTO (\w+)\s*\(clinic\b[^)]*\)\s*(?:VALUES\b|SELECT\s+(?:\$\d+|(?:\w+\.)?clinic)\b)/.exec(text);
    if (insert !== null) bound.add(insert[1] ?? '');
    const names = /(?:\b(\w+)\.)?\bclinic\s*=\s*(?:(\$\d+)|(?:(\w+)\.)?clinic\b)/g;
    const pairs = [...text.matchAll(names)].map(([, left, value, right]) => ({ left: left ?? only ?? own.find(({ name }) => !bound.has(name))?.name ?? '', value, right: right ?? only ?? '' }));
    for (let more = true; more;) {
      more = false;
      for (const { left, value, right } of pairs) {
        for (const [a, b] of [[left, right], [right, left]]) {
          if (!bound.has(a ?? '') && ((value !== undefined && a === left) || (value === undefined && bound.has(b ?? '')))) more = bound.add(a ?? '').size > 0;
        }
      }
    }
    const missing = own.filter(({ name }) => !bound.has(name)).map(({ table }) => table);
    for (const [, index] of text.matchAll(/@(\d+)/g)) missing.push(...look(inner[Number(index)] ?? '', bound));
    return missing;
  };
  return look(rest, outer);
}

/**
 * What is wrong, one a line.
 * @param {Record<string, string>} sources by file name, of server/
 * @returns {string[]}
 */
export function checkSql(sources) {
  const problems = [];
  const schema = [...(sources['schema.c'] ?? '').replace(/"\s*"/g, '').matchAll(/"(CREATE (?:UNIQUE )?(?:TABLE|INDEX) [^"]*)"/g)].map(([, sql]) => sql ?? '');
  const tables = new Set();
  for (const sql of schema) {
    const table = /^CREATE TABLE (\w+) /.exec(sql)?.[1];
    if (table !== undefined && !(table in OTHERS)) tables.add(table);
    const key = OTHERS[table ?? ''] ?? 'clinic';
    if (table !== undefined && key !== '' && !new RegExp(`PRIMARY KEY \\(${key}[,)]`).test(sql)) problems.push(`schema.c: the key of ${table} does not begin with ${key}`);
    if (/^CREATE UNIQUE/.test(sql) && !/\(clinic[,)]/.test(sql)) problems.push(`schema.c: a unique index must hold the clinic: ${sql}`);
    if (/REFERENCES|UNIQUE \(/.test(sql)) problems.push(`schema.c: ${table} refers to others, which may be on another node`);
  }
  const used = new Set();
  for (const [file, source] of Object.entries(sources)) {
    for (const sql of statementsOf(source)) {
      const missing = unbound(sql, tables);
      const exception = EXCEPTIONS.find((e) => e.file === file && e.sql.test(sql));
      if (missing.length > 0 && exception === undefined) problems.push(`${file}: ${[...new Set(missing)].join(', ')} of which clinic? ${sql}`);
      if (missing.length > 0 && exception !== undefined) used.add(exception);
      if (/\bUPDATE \w+ SET\b[^]*\bclinic = \$\d[^]*WHERE/.test(sql.replace(/WHERE[^]*/, ''))) problems.push(`${file}: a row does not change its clinic: ${sql}`);
      const conflict = /ON CONFLICT \((\w+)/.exec(sql)?.[1];
      if (conflict !== undefined && conflict !== 'clinic') problems.push(`${file}: a conflict is one within a clinic: ${sql}`);
    }
  }
  for (const e of EXCEPTIONS) if (!used.has(e)) problems.push(`sql.mjs: no statement of ${e.file} needs the exception ${e.sql} any more`);
  return problems;
}
