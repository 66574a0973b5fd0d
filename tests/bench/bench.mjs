// bench.mjs: `make bench`. Runs the measuring programs of this folder, each in a process of its own, prints one table (ours, the
// limit beside it, the aim) and writes everything to build/bench.json. A benchmark asserts nothing: the machine is noisy.
import { readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { groupRows } from './group-rows.mjs';
import { ROOT, measure, median, output } from './support.mjs';

const COLD_RUNS = 9;
const SUITES = { f00e: 61454, 3: 3 };

/** @typedef {{ what: string, value: number, unit: string, beside?: string, aim?: string }} Row */
/** @type {Row[]} */
const rows = [];
/** @type {Record<string, unknown>} */
const raw = {};

/** @param {string} what @param {number} value @param {string} unit @param {string} [beside] @param {string} [aim] */
function row(what, value, unit, beside, aim) {
  rows.push({ what, value, unit, ...(beside === undefined ? {} : { beside }), ...(aim === undefined ? {} : { aim }) });
}

const round = (/** @type {number} */ v) => (v >= 100 ? Math.round(v).toLocaleString('en-US') : v.toPrecision(3));

function sizes() {
  const wasm = readFileSync(`${ROOT}build/sotto.wasm`);
  row('wasm, raw', wasm.length / 1000, 'kB');
  row('wasm, gzip', gzipSync(wasm, { level: 9 }).length / 1000, 'kB', 'core-crypto 2,842; matrix 2,108', '<= 420');
  row('wasm, brotli', brotliCompressSync(wasm).length / 1000, 'kB');
}

/** @param {string} what @param {string} [suite] */
async function cold(what, suite = '') {
  const runs = [];
  for (let i = 0; i < COLD_RUNS; i++) runs.push(await measure('cold.mjs', what, ...(suite === '' ? [] : [suite])));
  raw[`cold ${what} ${suite}`.trim()] = runs;
  return median(runs.map((/** @type {{ total: number, queued: number }} */ r) => r.total - r.queued));
}

async function coldStarts() {
  const peers = 'olm 27, matrix 63, ts-mls 99, core-crypto 173';
  row('Node: module to first key', await cold('keys', String(SUITES.f00e)), 'ms', peers, '<= 30');
  row('Node: the same, store in memory', await cold('keys-memory', String(SUITES.f00e)), 'ms', 'none of the peers has a store', '<= 45');
  row('Node: the same, encrypted store on disk', await cold('keys-disk', String(SUITES.f00e)), 'ms', '', '<= 45');
  row('Node: a clinic and its account, in memory', await cold('clinic'), 'ms');
}

/** Lines of main.c and rates.mjs: a name, then figures. @param {string} text */
function table(text) {
  /** @type {Map<string, number>} */
  const medians = new Map();
  for (const line of text.trim().split('\n')) {
    const [name = '', ...values] = line.split('\t');
    medians.set(name, median(values.map(Number)));
  }
  return medians;
}

/** @param {string} where @param {Map<string, number>} medians */
function rates(where, medians) {
  raw[`rates ${where}`] = Object.fromEntries(medians);
  for (const [name, ns] of medians) {
    if (name.startsWith('of ')) continue;
    const limit = medians.get(`of limit ${name}`);
    const whole = medians.get(`of whole ${name}`);
    const beside = limit === undefined ? undefined : `${limit.toFixed(2)} of libsodium's signature${whole === undefined ? '' : `, ${whole.toFixed(2)} of all its work`}`;
    const aim = where !== 'wasm' || limit === undefined || !name.endsWith(' 1000') ? undefined : name.includes('store') ? '>= 0.40' : '>= 0.80';
    row(`${where}: ${name}`, 1e9 / ns, '/s', beside, aim);
  }
}

async function client() {
  for (const where of ['memory', 'disk']) {
    const e = await measure('exchange.mjs', where);
    raw[`exchange ${where}`] = e;
    row(`message.send of 1 kB, store ${where === 'disk' ? 'on disk' : 'in memory'}`, e.send.cpu, 'us of processor', `${round(e.send.wall)} us on the clock`);
    row('  all that the sender does for it', e.sender.cpu, 'us of processor');
    row('  all that the receiver does', e.receiver.cpu, 'us of processor');
    if (where === 'disk') continue;
    row('wasm memory of a patient after 200 messages', e.memory.patient / 1e6, 'MB', `${round(e.memory.start / 1e6)} at the start`);
    row('Node with both clients, at most', e.memory.node / 1e6, 'MB');
    row('relay', e.memory.relay / 1e6, 'MB', `${round(e.memory.relayPeak / 1e6)} at most`);
  }
  const relay = await measure('relay.mjs');
  raw.relay = relay;
  for (const [senders, rate] of Object.entries(relay)) row(`relay: durable messages, ${senders} sender${senders === '1' ? '' : 's'}`, Number(rate), '/s');
}

async function chromium() {
  const { cold: starts, page } = await measure('browser.mjs');
  raw.chromium = { starts, page };
  row('Chromium: new Worker to first key', median(starts.map((/** @type {{ page: number }} */ s) => s.page)), 'ms');
  if (page === null) return;
  const bytes = page.parts.reduce((/** @type {number} */ sum, /** @type {{ body: number }} */ p) => sum + p.body, 0);
  row("the patient's first load, as Chromium got it", bytes / 1000, 'kB', `${page.parts.length} requests`, '<= 450');
  row('the same, until she is asked who she is', page.ms, 'ms');
}

/** @type {import('./group-rows.mjs').GroupRow[]} */
let groupTable = [];

/** @param {Map<string, number>} medians libsodium's in wasm */
async function groups(medians) {
  const wasm = await measure('groups.mjs', 'wasm');
  const native = await measure('groups.mjs', 'native');
  const peer = await measure('ts-mls.mjs');
  raw.groups = { wasm, native, 'ts-mls': peer };
  groupTable = groupRows(medians, wasm, native, peer);
}

/** The second column stands to the right, as numbers do. @param {string[][]} lines */
function printColumns(lines) {
  const widths = [0, 1, 2, 3, 4].map((i) => Math.max(...lines.map((c) => (c[i] ?? '').length)));
  for (const c of lines) console.log(c.map((text, i) => (i === 1 ? text.padStart(widths[i] ?? 0) : text.padEnd(widths[i] ?? 0))).join('  ').trimEnd());
}

function print() {
  const cells = rows.map((r) => [r.what, `${round(r.value)} ${r.unit}`, r.aim ?? '', r.beside ?? '']);
  printColumns([['what', 'ours', 'aim', 'beside it'], ...cells]);
  console.log('\nGroups. "just added": no parent has a key yet; else all have. libsodium: the public-key operations of that work, in wasm.');
  const or = (/** @type {number | null | undefined} */ v) => (v === null || v === undefined ? '-' : round(v));
  printColumns([
    ['suite, members, what', 'wasm', 'aim', 'libsodium', 'native', 'ts-mls 1.6.4'],
    ...groupTable.map((r) => [
      r.what,
      `${or(r.wasm)} ${r.unit}`,
      r.aim ?? '',
      r.limit === undefined || r.wasm === null ? '' : `${round(r.limit)} (${(r.limit / r.wasm).toFixed(2)})`,
      or(r.native),
      or(r.peer),
    ]),
  ]);
}

sizes();
await coldStarts();
rates('native', table(await output(`${ROOT}build/tests/bench`, [])));
const wasmMedians = table(await output(process.execPath, [`${ROOT}tests/bench/rates.mjs`]));
rates('wasm', wasmMedians);
await groups(wasmMedians);
await client();
await chromium();
print();
writeFileSync(`${ROOT}build/bench.json`, `${JSON.stringify({ node: process.version, rows, groups: groupTable, raw }, null, 1)}\n`);
