// rates.mjs: runs the list of bench.c in wasm. Writes one line a measure, as main.c does natively: its name, then nanoseconds
// of processor time an operation for each round. Processor time, because another program may have the processor meanwhile.
import { readFileSync } from 'node:fs';
import { ROOT, loadBench } from './support.mjs';

const ROUNDS = 7;
const ROUND_MS = 30;

const bench = await loadBench(readFileSync(`${ROOT}build/tests/bench.wasm`));

/** @param {number} pointer */
function text(pointer) {
  const bytes = new Uint8Array(bench.memory.buffer);
  return Buffer.from(bytes.subarray(pointer, bytes.indexOf(0, pointer))).toString();
}

/** @param {number} failed @param {string} what */
function must(failed, what) {
  if (failed !== 0) throw new Error(`${what} failed (${failed})`);
}

/** @param {number} i @param {number} count */
function run(i, count) {
  must(bench.bench_prepare(i, count), `preparing ${names[i]}`);
  const before = process.cpuUsage();
  const failed = bench.bench_run(i, count);
  const { user, system } = process.cpuUsage(before);
  must(failed, names[i]);
  return (user + system) / 1000;
}

must(bench.bench_start(), 'bench_start');
const names = Array.from({ length: bench.bench_count() }, (_, i) => text(bench.bench_name(i)));

// The first runs also bring the code from the first compiler's to the optimizing one's.
const counts = names.map((_, i) => {
  let count = 1;
  while (run(i, count) < ROUND_MS / 2 && count < bench.bench_most(i)) count *= 2;
  return Math.min(count, bench.bench_most(i));
});
/** @type {number[][]} */
const results = names.map(() => []);
// Round by round, so that what slows the machine for a while slows all alike.
for (let round = 0; round < ROUNDS; round++) {
  counts.forEach((count, i) => results[i].push((run(i, count) / count) * 1e6));
}
for (const [i, name] of names.entries()) console.log([name, ...results[i].map((ns) => ns.toFixed(1))].join('\t'));
