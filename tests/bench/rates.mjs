// rates.mjs: runs the list of bench.c in wasm. Writes one line a measure, as main.c does natively: its name, then nanoseconds
// of processor time an operation for each round. Processor time, because another program may have the processor meanwhile.
import { readFileSync } from 'node:fs';
import { ROOT, loadBench } from './support.mjs';

const ROUNDS = 15;
const ROUND_MS = 15;

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
/** @param {number} i nanoseconds an operation */
const cost = (i) => (run(i, counts[i]) / counts[i]) * 1e6;
const limits = names.map((_, i) => [bench.bench_limit(i, 0), bench.bench_limit(i, 1)]);
/** @type {number[][]} */
const results = names.map(() => []);
/** @type {number[][][]} */
const parts = names.map(() => [[], []]);
for (let round = 0; round < ROUNDS; round++) {
  names.forEach((_, i) => {
    const bounds = limits[i].map((limit) => (limit >= 0 ? cost(limit) : 0));
    const own = cost(i);
    results[i].push(own);
    bounds.forEach((bound, whole) => parts[i][whole].push(bound / own));
  });
}
names.forEach((name, i) => {
  console.log([name, ...results[i].map((ns) => ns.toFixed(1))].join('\t'));
  limits[i].forEach((limit, whole) => {
    if (limit >= 0) console.log([`of ${whole ? 'whole' : 'limit'} ${name}`, ...parts[i][whole].map((part) => part.toFixed(3))].join('\t'));
  });
});
