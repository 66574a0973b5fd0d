// run.mjs [DIR | --dir DIR] [--native] [--wasm]: checks every vector file under DIR natively and in wasm (both unless one is
// named), and writes TAP. Where the folder is absent it says so and counts each build as skipped.
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const native = join(root, 'build/tests/vectors');
const wasm = join(root, 'build/tests/vectors.wasm');

let count = 0;
let failed = false;

/**
 * Numbers the lines that the checker gives, and says which build they are of.
 * @param {string} build
 * @param {string} lines
 */
function report(build, lines) {
  for (const line of lines.split('\n')) {
    const result = /^(not ok|ok) - (.*)$/.exec(line);
    if (result === null) continue;
    if (result[1] === 'not ok') failed = true;
    console.log(`${result[1]} ${++count} - ${build} ${result[2]}`);
  }
}

/** @param {string[]} files */
function checkNative(files) {
  for (const file of files) {
    const { stdout, status, signal } = spawnSync(native, [file], { encoding: 'utf8', maxBuffer: 1 << 28 });
    report('native', stdout);
    if (signal !== null || status === null || status > 1) {
      report('native', `not ok - ${basename(file)}: the checker ended with ${signal ?? status}`);
    }
  }
}

/** A fresh module for each file, so that a trap ends that file alone. */
async function load() {
  /** @type {any} */
  let exports;
  const imports = {
    random: (/** @type {number} */ pointer, /** @type {number} */ size) => {
      randomFillSync(new Uint8Array(exports.memory.buffer, pointer, size));
    },
    now: () => Date.now(),
    log: (/** @type {number} */ _level, /** @type {number} */ pointer, /** @type {number} */ size) => {
      console.error(Buffer.from(exports.memory.buffer, pointer, size).toString());
    },
  };
  const module = await WebAssembly.compile(readFileSync(wasm));
  /** @type {Record<string, Record<string, unknown>>} */
  const all = { sotto: imports };
  // What the vectors never reach (files) is there by name and must not be called.
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    all[from] ??= {};
    all[from][name] ??= () => {
      throw new Error(`${from}.${name} was called`);
    };
  }
  ({ exports } = await WebAssembly.instantiate(module, /** @type {any} */ (all)));
  exports._initialize?.();
  return exports;
}

/** @param {string[]} files */
async function checkWasm(files) {
  for (const file of files) {
    try {
      const exports = await load();
      const put = (/** @type {Uint8Array} */ bytes) => {
        const pointer = exports.vectors_alloc(bytes.length + 1);
        new Uint8Array(exports.memory.buffer).set(bytes, pointer);
        return pointer;
      };
      const name = Buffer.from(basename(file));
      const json = readFileSync(file);
      const at = exports.vectors_run(put(name), name.length, put(json), json.length);
      const memory = Buffer.from(exports.memory.buffer);
      report('wasm', memory.subarray(at, memory.indexOf(0, at)).toString());
    } catch (error) {
      report('wasm', `not ok - ${basename(file)}: ${error instanceof Error ? error.message : error}`);
    }
  }
}

/**
 * @param {string} folder
 * @returns {string[]}
 */
function jsonFiles(folder) {
  return readdirSync(folder)
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      if (statSync(path).isDirectory()) return jsonFiles(path);
      return name.endsWith('.json') ? [path] : [];
    });
}

const args = process.argv.slice(2);
const only = args.filter((arg) => arg === '--native' || arg === '--wasm');
const named = args.filter((arg) => !arg.startsWith('--'));
const folder = resolve(named[0] ?? '../shared/vectors');
const builds = only.length > 0 ? only : ['--native', '--wasm'];

if (!existsSync(folder)) {
  for (const build of builds) {
    console.log(`ok ${++count} - ${build.slice(2)} vectors # SKIP there is no folder ${folder}: name one with VECTORS=dir`);
  }
} else {
  const files = jsonFiles(folder);
  if (files.length === 0) report('all', `not ok - no .json file under ${relative('.', folder)}`);
  if (builds.includes('--native')) checkNative(files);
  if (builds.includes('--wasm')) await checkWasm(files);
}
console.log(`1..${count}`);
process.exitCode = failed ? 1 : 0;
