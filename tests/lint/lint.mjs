// lint.mjs: what the compiler does not check. Writes TAP; tests/run.mjs counts it.
//
// The directions of DESIGN §4: base <- wire <- crypto <- mls <- client <- practice <- command; client, practice and command
// may use store; store knows base (and wire's bytes are none of its business). SQLite only in store; cJSON in command, and in client/relay_json.c, which reads what
// a relay answers.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkSql } from './sql.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What each folder of core/ may include besides itself and core/host.h. */
const MAY_INCLUDE = {
  base: [],
  wire: ['base'],
  crypto: ['base', 'wire'],
  mls: ['base', 'wire', 'crypto'],
  store: ['base'],
  client: ['base', 'wire', 'crypto', 'mls', 'store'],
  practice: ['base', 'wire', 'crypto', 'mls', 'store', 'client'],
  command: ['base', 'wire', 'crypto', 'mls', 'store', 'client', 'practice'],
};

/** Third-party headers and the one folder of core/ that may include each. */
/** @type {{ header: RegExp, folder: string, also?: string }[]} */
const ONLY_IN = [
  { header: /^sqlite3/, folder: 'store' },
  { header: /^cJSON/, folder: 'command', also: 'core/client/relay_json.c' },
  { header: /^sodium/, folder: 'crypto' },
];

/** base/ may use libsodium's memory functions (wipe, constant-time compare): they are why secret.h can keep its word. */
const SODIUM_TOO = ['base'];

/** Ways to make markup or code from strings: none passes our CSP and Trusted Types, so none may be written. */
const FORBIDDEN_IN_WEB = [
  /\.innerHTML\b/,
  /\.outerHTML\b/,
  /\binsertAdjacentHTML\b/,
  /\bdocument\.write\b/,
  /\beval\s*\(/,
  /\bnew\s+Function\s*\(/,
  /\bunsafe(HTML|SVG|Static)\b/,
  /\bsrcdoc\b/,
];
const FORBIDDEN_IN_HTML = [/\son[a-z]+\s*=/i, /\sstyle\s*=/i, /<style\b/i, /<script\b(?![^>]*\bsrc=)/i, /javascript:/i];

const files = git('ls-files', '--cached', '--others', '--exclude-standard', '-z').split('\0').filter(Boolean);

/** @param {string[]} args */
function git(...args) {
  const { status, stdout, stderr } = spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(`${root}/${file}`, 'utf8');
  } catch {
    return ''; // deleted since it was listed
  }
}

/** @param {string} file */
const lines = (file) => read(file).split('\n').map((text, i) => ({ text, at: `${file}:${i + 1}` }));

/** @returns {string[]} */
function layering() {
  const problems = [];
  for (const file of files.filter((f) => /^core\/[a-z]+\/.*\.[ch]$/.test(f))) {
    const folder = /** @type {string} */ (file.split('/')[1]);
    if (folder === 'include') continue;
    const allowed = MAY_INCLUDE[/** @type {keyof typeof MAY_INCLUDE} */ (folder)];
    if (allowed === undefined) {
      problems.push(`${file}: core/${folder} is no layer; core/ has ${Object.keys(MAY_INCLUDE).join(', ')}`);
      continue;
    }
    for (const { text, at } of lines(file)) {
      const include = /^\s*#\s*include\s+["<]([^">]+)[">]/.exec(text)?.[1];
      if (include === undefined) continue;
      for (const { header, folder: owner, also } of ONLY_IN) {
        const alsoHere = owner === 'crypto' && SODIUM_TOO.includes(folder);
        if (header.test(include) && folder !== owner && file !== also && !alsoHere) problems.push(`${at}: ${include} belongs to core/${owner} only`);
      }
      const target = include.includes('/') ? /** @type {string} */ (include.split('/')[0]) : folder;
      if (target in MAY_INCLUDE && target !== folder && !(/** @type {string[]} */ (allowed).includes(target))) {
        problems.push(`${at}: core/${folder} may not know core/${target}`);
      }
    }
  }
  return problems;
}

/** The relay links no code that could open a message. @returns {string[]} */
function relayKnowsNoKeys() {
  const allowed = /^(base\/|wire\/|crypto\/(signature|sha256)\.h$|client\/(audit_log|certificate)\.h$|mls\/types\.h$)/;
  const problems = [];
  for (const file of files.filter((f) => /^server\/.*\.[ch]$/.test(f))) {
    for (const { text, at } of lines(file)) {
      const include = /^\s*#\s*include\s+"([^"]+)"/.exec(text)?.[1];
      const folder = include?.split('/')[0] ?? '';
      if (include !== undefined && folder in MAY_INCLUDE && !allowed.test(include)) {
        problems.push(`${at}: the relay may not use ${include}`);
      }
    }
  }
  return problems;
}

/** Every header opens by saying its name and what it is for. @returns {string[]} */
function headersSayWhatTheyAreFor() {
  return files
    .filter((f) => /^(core|server)\/.*\.h$/.test(f))
    .filter((f) => !read(f).startsWith(`/* ${basename(f)}: `))
    .map((f) => `${f}:1: should begin with "/* ${basename(f)}: " and what it is for`);
}

/** The tests that tests/README.md points to are there. @returns {string[]} */
function namedTestsExist() {
  return [...read('tests/README.md').matchAll(/\| `([^`]+)` \| `([^`]+)` \|$/gm)].flatMap(([, file = '', name = '']) => {
    const path = `tests/${file}`;
    if (!files.includes(path)) return [`tests/README.md: no ${path}`];
    return read(path).includes(name) ? [] : [`tests/README.md: ${path} has no test '${name}'`];
  });
}

/** @returns {string[]} */
function noCodeFromStrings() {
  const problems = [];
  for (const file of files.filter((f) => /^(web|glue)\/.*\.(mjs|js|html)$/.test(f) && dirname(f) !== 'web/node_modules')) {
    const patterns = file.endsWith('.html') ? [...FORBIDDEN_IN_WEB, ...FORBIDDEN_IN_HTML] : FORBIDDEN_IN_WEB;
    for (const { text, at } of lines(file)) {
      for (const pattern of patterns) if (pattern.test(text)) problems.push(`${at}: ${pattern.source} may not be used`);
    }
  }
  return problems;
}

/** The relay's statements stay in one clinic's shard. @returns {string[]} */
function statementsNameTheirClinic() {
  const sources = files.filter((f) => /^server\/[^/]+\.c$/.test(f)).map((f) => [basename(f), read(f)]);
  return checkSql(Object.fromEntries(sources));
}

/** Nothing in the repository says where it was made. @returns {string[]} */
function noTraceOfThisMachine() {
  const problems = [];
  if (/"resolved":/.test(read('package-lock.json'))) {
    problems.push('package-lock.json: records download addresses; make it with the .npmrc that is here');
  }
  const here = root.replace(/\/$/, '');
  // A checkout in "/" or in a word that stands in any text would find itself everywhere.
  if (here.split('/').length > 2) {
    for (const file of files) {
      if (read(file).includes(`${here}/`)) problems.push(`${file}: names this checkout's own path`);
    }
  }
  return problems;
}

/** @returns {string[] | string} */
function formatting() {
  if (spawnSync('clang-format', ['--version']).error !== undefined) return 'no clang-format here';
  const sources = files.filter((f) => /^(core|server|tests|emscripten)\/.*\.[ch]$/.test(f) && read(f) !== '');
  const { status, stderr } = spawnSync('clang-format', ['--dry-run', '-Werror', ...sources], { cwd: root, encoding: 'utf8' });
  if (status === 0) return [];
  const wrong = new Set(stderr.split('\n').flatMap((line) => /^([^:]+\.[ch]):\d+/.exec(line)?.[1] ?? []));
  return [...wrong].map((file) => `${file}: not formatted; run make format`);
}

/** @returns {string[]} */
function types() {
  const { status, stdout } = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '--project', 'tsconfig.json'], {
    cwd: root,
    encoding: 'utf8',
  });
  return status === 0 ? [] : stdout.trim().split('\n');
}

/** @type {[string, () => string[] | string][]} a string is why a check was skipped */
const checks = [
  ['core/ includes in one direction', layering],
  ['the relay knows no keys', relayKnowsNoKeys],
  ['statements name their clinic', statementsNameTheirClinic],
  ['headers say what they are for', headersSayWhatTheyAreFor],
  ['tests that the README names are there', namedTestsExist],
  ['C sources are formatted', formatting],
  ['types hold (tsc --checkJs)', types],
  ['no code or markup from strings', noCodeFromStrings],
  ['no trace of this machine', noTraceOfThisMachine],
];

let failed = false;
console.log(`TAP version 13\n1..${checks.length}`);
checks.forEach(([name, check], i) => {
  const problems = check();
  if (typeof problems === 'string') {
    console.log(`ok ${i + 1} - ${name} # SKIP ${problems}`);
    return;
  }
  console.log(`${problems.length === 0 ? 'ok' : 'not ok'} ${i + 1} - ${name}`);
  if (problems.length > 0) {
    failed = true;
    console.log(['  ---', ...problems.map((problem) => `  ${problem}`), '  ...'].join('\n'));
  }
});
process.exitCode = failed ? 1 : 0;
