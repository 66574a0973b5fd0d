// support.mjs: what the measuring programs of this folder share: statistics, the benchmark's wasm module, child processes.
import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** @param {number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The even leaves of a group, in the order in which their commits leave no parent blank with the fewest encryptions: each
 * halves the largest subtree that nobody has committed in.
 * @param {number} members
 */
export function fillingOrder(members) {
  const leaves = [0];
  let width = 1;
  while (width < members) width *= 2;
  for (let step = width / 2; step > 1; step /= 2) leaves.push(...leaves.map((leaf) => leaf + step));
  return leaves.filter((leaf) => leaf < members);
}

/**
 * @typedef {object} Bench exports of build/tests/bench.wasm (bench.h); pointers are i32
 * @property {WebAssembly.Memory} memory
 * @property {() => void} _initialize
 * @property {() => number} bench_start
 * @property {() => number} bench_count
 * @property {(measure: number) => number} bench_name
 * @property {(measure: number, whole: number) => number} bench_limit
 * @property {(measure: number) => number} bench_most
 * @property {(measure: number, count: number) => number} bench_prepare
 * @property {(measure: number, count: number) => number} bench_run
 * @property {(suite: number) => number} bench_first_key
 * @property {(suite: number, onDisk: number) => number} bench_first_key_stored
 * @property {(device: number, suite: number, members: number, stored: number) => number} groups_begin (groups.h)
 * @property {(device: number, step: number) => number} groups_run
 * @property {(leaf: number) => number} groups_act
 * @property {(device: number, what: number, n: number) => number} groups_in
 * @property {(device: number, what: number) => number} groups_out
 * @property {(device: number, what: number) => number} groups_out_size
 * @property {(device: number, figure: number) => number} groups_figure
 */

/**
 * The imports of core/host.h. Without `files` every file operation fails.
 * @param {() => WebAssembly.Memory} memory
 * @param {import('../../glue/core.mjs').Files} [files]
 * @returns {WebAssembly.Imports}
 */
function hostImports(memory, files) {
  const view = (/** @type {number} */ p, /** @type {number} */ n) => new Uint8Array(memory().buffer, p >>> 0, n >>> 0);
  const text = (/** @type {number} */ p, /** @type {number} */ n) => new TextDecoder().decode(view(p, n));
  const denied = () => -5;
  return {
    sotto: {
      random: (/** @type {number} */ p, /** @type {number} */ n) => void randomFillSync(view(p, n)),
      now: () => Date.now(),
      log: (/** @type {number} */ level, /** @type {number} */ p, /** @type {number} */ n) => {
        if (level >= 2) console.error(text(p, n));
      },
      file_open: files === undefined ? denied : (/** @type {number} */ p, /** @type {number} */ n, /** @type {number} */ flags) => files.open(text(p, n), flags),
      file_close: files === undefined ? denied : (/** @type {number} */ fd) => files.close(fd),
      file_read:
        files === undefined
          ? denied
          : (/** @type {number} */ fd, /** @type {number} */ p, /** @type {number} */ n, /** @type {number} */ at) => files.read(fd, view(p, n), at),
      file_write:
        files === undefined
          ? denied
          : (/** @type {number} */ fd, /** @type {number} */ p, /** @type {number} */ n, /** @type {number} */ at) => files.write(fd, view(p, n), at),
      file_truncate: files === undefined ? denied : (/** @type {number} */ fd, /** @type {number} */ size) => files.truncate(fd, size),
      file_sync: files === undefined ? denied : (/** @type {number} */ fd) => files.sync(fd),
      file_size: files === undefined ? denied : (/** @type {number} */ fd) => files.size(fd),
      file_delete: files === undefined ? denied : (/** @type {number} */ p, /** @type {number} */ n) => files.delete(text(p, n)),
      file_exists: files === undefined ? denied : (/** @type {number} */ p, /** @type {number} */ n) => files.access(text(p, n)),
    },
  };
}

/**
 * @param {BufferSource | WebAssembly.Module} code
 * @param {import('../../glue/core.mjs').Files} [files]
 * @returns {Promise<Bench>}
 */
export async function loadBench(code, files) {
  /** @type {Bench} */
  let exports;
  const imports = hostImports(() => exports.memory, files);
  const module = code instanceof WebAssembly.Module ? code : await WebAssembly.compile(code);
  const instance = await WebAssembly.instantiate(module, imports);
  exports = /** @type {Bench} */ (/** @type {unknown} */ (instance.exports));
  exports._initialize();
  return exports;
}

/**
 * Runs a program to its end and gives what it wrote.
 * @param {string} file
 * @param {string[]} args
 * @returns {Promise<string>}
 */
export function output(file, args) {
  const child = spawn(file, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (part) => (text += part));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => (code === 0 ? resolve(text) : reject(new Error(`${file} ${args[0] ?? ''} ended with ${signal ?? code}`))));
  });
}

/**
 * Runs one of this folder's programs in a Node process of its own; it writes JSON.
 * @param {string} program
 * @param {string[]} args
 * @returns {Promise<any>}
 */
export async function measure(program, ...args) {
  return JSON.parse(await output(process.execPath, [fileURLToPath(new URL(program, import.meta.url)), ...args]));
}
