// run.mjs [--vectors DIR] [--jobs N] SUITE…: runs the named suites and closes with the one line that counts: `N passed, N failed,
// N skipped`. Exit status 1 when anything failed.
//
// N programs run at a time, of one suite or of two neighbours; each has its own folders, databases and ports (SOTTO_TEST_SLOT). What they
// say is shown in their order, one after the other: of the first that has not ended, each test as it ends; of the others, when it is their turn.
//
// Every suite is a list of programs that write TAP (cmocka, node --test and our own scripts all can), read here in one way:
//   - A test that has subtests is counted through them, and for itself only if it failed while they did not.
//   - A program that dies, exits non-zero without a failed test, ends before its plan, or runs over its time, is a failure.
//   - So is a program, or a suite, in which nothing ran: a suite that lost its files must not look well.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const MINUTES = 60_000;
/** As many as the Makefile takes cores for by default. */
const JOBS_DEFAULT = 2;
/** Tests have ports for so many at a time: SLOTS in tests/node/support/relay.mjs. */
const JOBS_MAX = 8;

/**
 * @typedef {object} Program
 * @property {string} name what failures are listed under
 * @property {string[]} command
 * @property {Record<string, string>} [env]
 * @property {number} [timeout] milliseconds; 10 minutes by default
 * @property {boolean} [browser] it starts one, which takes a small machine's cores and memory: never two of them at a time
 */

/** @typedef {{ passed: number, failed: string[], skipped: number }} Tally */

/**
 * @param {string} folder relative to the checkout
 * @param {RegExp} pattern
 */
function filesIn(folder, pattern) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path)
    .filter((name) => pattern.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/**
 * @param {string} bin where the Makefile put the programs
 * @param {string} prefix
 * @returns {Program[]}
 */
function unitPrograms(bin, prefix) {
  return filesIn('tests/unit', /_test\.c$/).map((source) => {
    const name = basename(source, '_test.c');
    // Its tries are forks, each of which gets the tables of all pages: of freed memory too, of which ASan keeps 256 MB back by default.
    const forks = name === 'client_fault' ? ':quarantine_size_mb=16' : '';
    return {
      name: `${prefix} ${name}`,
      command: [join(bin, name)],
      env: { CMOCKA_MESSAGE_OUTPUT: 'TAP', ASAN_OPTIONS: `detect_leaks=1${forks}`, UBSAN_OPTIONS: 'print_stacktrace=1' },
    };
  });
}

/** Of each fuzzer, how many of its kept inputs are also run changed a little: about a second's worth. @type {Record<string, number>} */
const ROUNDS = { command: 200, group: 150, inbox: 30, record: 500, relay_calls: 300, relay_front: 300, relay_parts: 100_000, wire: 200_000 };

/** @returns {Program[]} */
function replayPrograms() {
  return filesIn('tests/fuzz', /_fuzz\.c$/).map((source) => {
    const name = basename(source, '_fuzz.c');
    return {
      name: `replay ${name}`,
      command: [`build/asan/bin/replay_${name}`, `tests/fuzz/corpus/${name}`, String(ROUNDS[name] ?? 100)],
      env: { ASAN_OPTIONS: 'detect_leaks=1', UBSAN_OPTIONS: 'print_stacktrace=1' },
    };
  });
}

/**
 * @param {string} folder
 * @returns {Program[]}
 */
function nodePrograms(folder) {
  return filesIn(folder, /\.test\.mjs$/).map((file) => ({
    name: file,
    command: [process.execPath, '--test', '--test-reporter=tap', file],
    timeout: 15 * MINUTES,
  }));
}

/** The relay's tests that say nothing of races: what they count or stop is not the relay's threads. */
const NO_RACES = /relay-(blobs|kills|package|sandbox|schema)\.test/; // memory, which ThreadSanitizer takes itself; processes; no sandbox

/**
 * Tests of the relay, on one that ThreadSanitizer watches.
 * @param {RegExp} names
 * @param {Partial<Program> & { only?: string }} [more] `only`: a pattern of the tests' names
 * @returns {Program[]}
 */
function tsanPrograms(names, { only, env, ...more } = {}) {
  return nodePrograms('tests/node')
    .filter(({ name }) => names.test(name) && !NO_RACES.test(name))
    .map(({ name, command, timeout }) => ({
      name: `tsan ${name}${env === undefined ? '' : ' on PostgreSQL'}`,
      command: only === undefined ? command : [...command.slice(0, -1), `--test-name-pattern=${only}`, ...command.slice(-1)],
      env: { SOTTO_RELAY: 'tests/tsan/relay', ...env },
      timeout,
      ...more,
    }));
}

/** @type {Record<string, (options: { vectors: string }) => Program[]>} */
const suites = {
  lint: () => [{ name: 'lint', command: [process.execPath, 'tests/lint/lint.mjs'] }],
  unit: () => unitPrograms('build/tests', 'unit'),
  asan: () => [...unitPrograms('build/asan/bin', 'asan'), ...replayPrograms()],
  ctcheck: () =>
    ['ctcheck', 'ctcheck-clang'].map((name) => ({
      name,
      command: [process.execPath, 'tests/ctcheck/run.mjs', join('build/tests', name)],
    })),
  vectors: ({ vectors }) => [{ name: 'vectors', command: [process.execPath, 'tests/vectors/run.mjs', vectors] }],
  interop: () => nodePrograms('tests/interop'),
  node: () => nodePrograms('tests/node'),
  // The relay's own tests again, over the other database.
  postgres: () =>
    nodePrograms('tests/node')
      .filter(({ name }) => /relay-/.test(name) && !/relay-(http|ops|package)\.test/.test(name)) // these are not about what is stored
      .map((program) => ({ ...program, name: `${program.name} on PostgreSQL`, env: { SOTTO_DATABASE: 'postgres' } })),
  // Each thread at work once; the long form is below.
  races: () => [...tsanPrograms(/relay-(durability|overload|threads)\.test/), ...tsanPrograms(/relay-push\.test/, { only: 'a push has a token' })],
  tsan: () => [
    ...tsanPrograms(/relay-/),
    ...tsanPrograms(/relay-(calls|durability|push|shared|threads)\.test/, { env: { SOTTO_DATABASE: 'postgres' } }),
  ],
  // The long form: ROUNDS and SEED come from the environment.
  kills: () =>
    ['SQLite', 'PostgreSQL'].map((database) => ({
      name: `kills on ${database}`,
      command: [process.execPath, '--test', '--test-reporter=tap', 'tests/node/relay-kills.test.mjs'],
      env: { SOTTO_DATABASE: database === 'SQLite' ? '' : 'postgres' },
      timeout: 180 * MINUTES,
    })),
  conformance: () => nodePrograms('tests/conformance'),
  e2e: () => nodePrograms('tests/e2e').map((program) => ({ ...program, browser: true })),
};

/**
 * Counts what one program writes. TAP of any depth: `ok 1 - name # SKIP why`, four spaces further in for subtests.
 */
class TapReader {
  passed = 0;
  skipped = 0;
  /** @type {string[]} */
  failed = [];
  /** Results and plans at the outermost level: a program that dies early has planned more than it did. */
  results = 0;
  planned = 0;
  /** Depth of the last result; -1 before the first. */
  #last = -1;
  /** Failures counted so far at each depth's subtests. @type {number[]} */
  #failuresBelow = [];
  #inDetails = false;
  #showDetails = false;

  /**
   * @param {string} program
   * @param {(line: string) => void} show
   */
  constructor(program, show) {
    this.program = program;
    this.show = show;
  }

  /** @param {string} line */
  read(line) {
    const indent = line.length - line.trimStart().length;
    const depth = Math.floor(indent / 4);
    const text = line.trimStart();
    if (this.#inDetails) {
      if (text === '...') this.#inDetails = false;
      else if (this.#showDetails) this.show(line);
      return;
    }
    if (text === '---') {
      this.#inDetails = true;
      return;
    }
    const result = /^(not )?ok\b(?:\s+\d+)?(?:\s*-)?\s*(.*)$/.exec(text);
    if (result !== null) {
      this.#result(result[1] === undefined, result[2] ?? '', depth);
      return;
    }
    const plan = /^1\.\.(\d+)/.exec(text);
    if (plan !== null) {
      if (depth === 0) this.planned += Number(plan[1]);
      return;
    }
    // node's own totals would be taken for ours; the rest of its frame says nothing.
    if (/^# (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) \d/.test(text)) return;
    if (/^TAP version|^# Subtest:/.test(text) || text === '') return;
    this.show(line);
  }

  /**
   * @param {boolean} ok
   * @param {string} rest
   * @param {number} depth
   */
  #result(ok, rest, depth) {
    const directive = /\s*#\s*(SKIP|TODO)\b\s*(.*)$/i.exec(rest);
    const name = (directive === null ? rest : rest.slice(0, directive.index) || (directive[2] ?? '')).trim();
    const isParent = this.#last > depth;
    const failuresBelow = isParent ? (this.#failuresBelow[depth + 1] ?? 0) : 0;
    this.#last = depth;
    this.#failuresBelow.length = Math.max(this.#failuresBelow.length, depth + 1);
    this.#failuresBelow[depth + 1] = 0;
    if (depth === 0) this.results += 1;
    this.#showDetails = false;

    if (/^test name does not match pattern/.test(directive?.[2] ?? '')) return; // not asked for: neither run nor skipped
    if (directive !== null) {
      // cmocka 1.1.5 says "not ok … # SKIP" where 1.1.7 says "ok": a skip is a skip.
      if (!isParent) this.skipped += 1;
      this.show(`${'  '.repeat(depth)}skip  ${name}${directive[2] ? ` (${directive[2]})` : ''}`);
    } else if (ok) {
      if (!isParent) this.passed += 1;
      this.show(`${'  '.repeat(depth)}ok    ${name}`);
    } else {
      this.#showDetails = true;
      if (failuresBelow === 0) this.failed.push(`${this.program}: ${name}`);
      this.#failuresBelow[depth] = (this.#failuresBelow[depth] ?? 0) + 1;
      this.show(`${'  '.repeat(depth)}FAIL  ${name}`);
    }
  }
}

/**
 * @param {Program} program
 * @param {number} slot no other program runs in it meanwhile
 * @param {(line: string) => void} say
 * @returns {Promise<Tally>}
 */
async function run({ name, command, env = {}, timeout = 10 * MINUTES }, slot, say) {
  say(`\n== ${name}`);
  const show = (/** @type {string} */ line) => say(`   ${line}`);
  const reader = new TapReader(name, show);
  const [file, ...args] = command;
  const path = file === process.execPath ? file : join(root, /** @type {string} */ (file));
  if (!existsSync(path)) {
    show(`no ${relative(root, path)}: it was not built`);
    return { passed: 0, failed: [`${name}: was not built`], skipped: 0 };
  }
  // NODE_TEST_CONTEXT would make a test run within a test report to its parent instead of to us.
  const { NODE_TEST_CONTEXT: _context, ...inherited } = process.env;
  const child = spawn(path, args, {
    cwd: root,
    env: { ...inherited, SOTTO_TEST_SLOT: String(slot), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, timeout);
  const drained = Promise.all(
    [child.stdout, child.stderr].map((stream) => {
      const lines = createInterface({ input: stream });
      lines.on('line', (line) => (stream === child.stdout ? reader.read(line) : show(line)));
      return new Promise((resolve) => lines.once('close', resolve));
    }),
  );
  /** @type {{ code: number | null, signal: string | null }} */
  const end = await new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: error.message }));
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  clearTimeout(timer);
  // A test's own child that outlives it may keep the pipes open; what is in them by now is all that is waited for.
  await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, 2000))]);
  for (const stream of [child.stdout, child.stderr]) stream.destroy();

  const { passed, failed, skipped } = reader;
  const complain = (/** @type {string} */ what) => {
    show(`FAIL  ${what}`);
    failed.push(`${name}: ${what}`);
  };
  if (timedOut) complain(`did not end within ${timeout / MINUTES} minutes`);
  else if (end.code === null) complain(`was ended by ${end.signal}`);
  else if (end.code !== 0 && failed.length === 0) complain(`exited with ${end.code}`);
  else if (reader.results < reader.planned) complain(`ended after ${reader.results} of ${reader.planned} tests`);
  else if (passed + failed.length + skipped === 0) complain('ran no test');
  return { passed, failed, skipped };
}

const names = process.argv.slice(2);
/** @param {string} option @param {string} otherwise */
function optionOf(option, otherwise) {
  const at = names.indexOf(option);
  return at < 0 ? otherwise : (names.splice(at, 2)[1] ?? otherwise);
}
const vectors = optionOf('--vectors', '../shared/vectors');
const jobs = Math.min(JOBS_MAX, Number(optionOf('--jobs', String(JOBS_DEFAULT))));
if (names.length === 0 || !(jobs >= 1)) throw new Error(`usage: run.mjs [--vectors DIR] [--jobs N] SUITE…, of ${Object.keys(suites).join(', ')}`);


/** @typedef {{ program: Program, suite: string, lines: string[], began: number, ended: number, tally: Tally }} Task */

/** @type {Task[]} */
const tasks = [];
/** @type {Tally} */
const total = { passed: 0, failed: [], skipped: 0 };
for (const suite of names) {
  const programs = suites[suite]?.({ vectors });
  if (programs === undefined) throw new Error(`no suite '${suite}': there are ${Object.keys(suites).join(', ')}`);
  if (programs.length === 0) total.failed.push(`${suite}: the suite has no tests`);
  for (const program of programs) tasks.push({ program, suite, lines: [], began: 0, ended: 0, tally: { passed: 0, failed: [], skipped: 0 } });
}

/** The first task not yet shown to its end: its lines are shown as they come. */
let shown = 0;

/** @param {string} suite */
function closeSuite(suite) {
  const own = tasks.filter((task) => task.suite === suite), sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { passed, failed, skipped } of own.map((task) => task.tally)) {
    sum.passed += passed;
    sum.failed += failed.length;
    sum.skipped += skipped;
    total.failed.push(...failed);
  }
  total.passed += sum.passed;
  total.skipped += sum.skipped;
  const seconds = (/** @type {number} */ ms) => `${(ms / 1000).toFixed(1)} s`;
  const took = Math.max(...own.map((task) => task.ended)) - Math.min(...own.map((task) => task.began));
  const [longest] = own.sort((a, b) => b.ended - b.began - (a.ended - a.began));
  console.log(`\n-- suite ${suite}: ok ${sum.passed}, not ok ${sum.failed}, skip ${sum.skipped} in ${seconds(took)}`
    + (longest === undefined || own.length === 1 ? '' : `; the longest was ${longest.program.name}, ${seconds(longest.ended - longest.began)}`));
}

/** Shows what waited for its turn. */
function show() {
  for (let task; (task = tasks[shown]); shown++) {
    for (const line of task.lines.splice(0)) console.log(line);
    if (task.ended === 0) return;
    if (tasks[shown + 1]?.suite !== task.suite) closeSuite(task.suite);
  }
}

/** The first task that may begin; programs with a browser may only be left when one of them runs, whose slot then takes them. */
function nextTask() {
  const browses = tasks.some(({ program, began, ended }) => program.browser && began > 0 && ended === 0);
  return tasks.find(({ program, began }) => began === 0 && !(browses && program.browser));
}

/** @param {number} slot */
async function work(slot) {
  for (let task; (task = nextTask()); ) {
    const { program, lines } = task;
    task.began = performance.now();
    task.tally = await run(program, slot, (line) => {
      lines.push(line);
      show();
    });
    task.ended = performance.now();
    show();
  }
}
await Promise.all(Array.from({ length: jobs }, (_, slot) => work(slot)));

if (total.failed.length > 0) {
  console.log('\nFailed:');
  for (const failure of total.failed) console.log(`  ${failure}`);
}
console.log(`\n${total.passed} passed, ${total.failed.length} failed, ${total.skipped} skipped`);
// exit, not exitCode: a pipe that a stray grandchild holds open must not keep the run from ending.
process.exit(total.failed.length > 0 ? 1 : 0);
