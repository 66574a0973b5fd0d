// groups.mjs WHERE: the work of groups (groups.h) at each size, in wasm or natively, as JSON: for each suite and size the
// medians in milliseconds of processor time, and bytes. What grows with the group is done once; commits and their
// processing several times.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ROOT, fillingOrder, loadBench, median } from './support.mjs';

const SUITES = [0xf00e, 3];
const SIZES = [2, 8, 32, 128, 512, 1000];
const COMMITS = 15;
// enums of groups.h
const FIRST = 0;
const LAST = 1;
const Bytes = { keyPackage: 0, welcome: 1, commit: 2 };
const Step = { fill: 0, oneByOne: 1, join: 2, commit: 3, process: 4, reload: 5 };
const Figure = { arena: 0, records: 1, pages: 2 };

/**
 * @typedef {object} Devices the functions of groups.h over both devices
 * @property {(device: number, suite: number, members: number, stored: number) => Promise<unknown>} begin
 * @property {(device: number) => Promise<unknown>} end
 * @property {(device: number, step: number) => Promise<number>} run gives milliseconds
 * @property {(leaf: number) => Promise<unknown>} act
 * @property {(device: number, what: number) => Promise<number>} pass to the other device; gives its size
 * @property {(device: number, figure: number) => Promise<number>} figure
 * @property {(device: number) => number} memory of an instance; 0 natively
 */

/** @param {number} failed @param {string} what */
function must(failed, what) {
  if (failed !== 0) throw new Error(`${what} failed (${failed})`);
}

/** @returns {Promise<Devices>} */
async function wasmDevices() {
  const module = await WebAssembly.compile(readFileSync(`${ROOT}build/tests/bench.wasm`));
  /** @type {import('./support.mjs').Bench[]} */
  let instances = [];
  return {
    async begin(device, suite, members, stored) {
      instances[device] = await loadBench(module);
      must(instances[device].groups_begin(device, suite, members, stored), 'groups_begin');
    },
    end: async (device) => delete instances[device],
    async run(device, step) {
      const before = process.cpuUsage();
      const failed = instances[device].groups_run(device, step);
      const { user, system } = process.cpuUsage(before);
      must(failed, `step ${step}`);
      return (user + system) / 1000;
    },
    act: async (leaf) => must(instances[FIRST].groups_act(leaf), 'groups_act'),
    async pass(device, what) {
      const from = instances[device];
      const to = instances[1 - device];
      const n = from.groups_out_size(device, what);
      const room = to.groups_in(1 - device, what, n);
      new Uint8Array(to.memory.buffer).set(new Uint8Array(from.memory.buffer, from.groups_out(device, what), n), room);
      return n;
    },
    figure: async (device, figure) => instances[device].groups_figure(device, figure),
    memory: (device) => instances[device].memory.buffer.byteLength,
  };
}

/** @returns {Promise<Devices & { close(): void }>} */
async function nativeDevices() {
  const child = spawn(`${ROOT}build/tests/groups`, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (/** @type {(string | number)[]} */ ...words) => {
    child.stdin.write(`${words.join(' ')}\n`);
    const { value, done } = await answers.next();
    if (done) throw new Error(`build/tests/groups ended at: ${words.join(' ')}`);
    return Number(value);
  };
  return {
    begin: (device, suite, members, stored) => ask('begin', device, suite, members, stored),
    end: (device) => ask('end', device),
    run: async (device, step) => (await ask('run', device, step)) / 1e6,
    act: (leaf) => ask('act', leaf, 0),
    pass: (device, what) => ask('pass', device, what),
    figure: (device, figure) => ask('figure', device, figure),
    memory: () => 0,
    close: () => child.stdin.end(),
  };
}

/**
 * One device commits and the other processes, several times.
 * @param {Devices} d
 * @param {number} from
 * @param {number} count
 * @param {boolean} [reload] the processing device has just opened its group from its records
 */
async function commits(d, from, count, reload = false) {
  const made = [];
  const processed = [];
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    made.push(await d.run(from, Step.commit));
    bytes = await d.pass(from, Bytes.commit);
    const opened = reload ? await d.run(1 - from, Step.reload) : 0;
    processed.push(opened + (await d.run(1 - from, Step.process)));
  }
  return { commit: median(made), process: median(processed), bytes };
}

/** @param {Devices} d @param {number} suite @param {number} members */
async function begin(d, suite, members, stored = 0) {
  await d.begin(FIRST, suite, members, 0);
  await d.begin(LAST, suite, members, stored);
  return d.pass(LAST, Bytes.keyPackage);
}

/** @param {Devices} d */
async function end(d) {
  await d.end(FIRST);
  await d.end(LAST);
}

/** Every other member commits, so that no parent is blank. @param {Devices} d @param {number} members */
async function fillParents(d, members) {
  for (const leaf of [...fillingOrder(members).filter((l) => l < members - 1), 0]) {
    await d.act(leaf);
    await commits(d, FIRST, 1);
  }
}

/** @param {Devices} d @param {number} suite @param {number} members */
async function inMemory(d, suite, members) {
  const keyPackage = await begin(d, suite, members);
  const fill = await d.run(FIRST, Step.fill);
  const welcome = await d.pass(FIRST, Bytes.welcome);
  const join = await d.run(LAST, Step.join);
  const added = await commits(d, FIRST, 3);
  await fillParents(d, members);
  const full = await commits(d, FIRST, COMMITS);
  await commits(d, LAST, 1);
  const memory = d.memory(LAST);
  const oneByOne = members <= 512 || suite === 3 ? await d.run(FIRST, Step.oneByOne) : null;
  await end(d);
  return { fill, join, oneByOne, added, full, bytes: { keyPackage, welcome }, memory };
}

/** The last member keeps its group in a store. @param {Devices} d @param {number} suite @param {number} members */
async function inStore(d, suite, members) {
  await begin(d, suite, members, 1);
  await d.run(FIRST, Step.fill);
  await d.pass(FIRST, Bytes.welcome);
  const join = await d.run(LAST, Step.join);
  await fillParents(d, members);
  const open = await commits(d, FIRST, COMMITS);
  const reopened = await commits(d, FIRST, 5, true);
  const own = await commits(d, LAST, 5);
  const figures = { records: await d.figure(LAST, Figure.records), pages: await d.figure(LAST, Figure.pages), arena: await d.figure(LAST, Figure.arena) };
  const memory = d.memory(LAST);
  await end(d);
  return { join, commit: own.commit, process: open.process, processReopened: reopened.process, ...figures, memory };
}

const native = process.argv[2] === 'native';
const devices = native ? await nativeDevices() : await wasmDevices();
const sizes = process.argv[3] === undefined ? SIZES : process.argv[3].split(',').map(Number);
// The first runs bring the code to the optimizing compiler; a small group is enough for that.
if (!native) for (const suite of SUITES) await inStore(devices, suite, 32);
/** @type {Record<string, unknown>} */
const results = {};
for (const suite of SUITES) {
  for (const size of sizes) results[`${suite === 3 ? '0003' : 'f00e'} ${size}`] = { memory: await inMemory(devices, suite, size), store: await inStore(devices, suite, size) };
}
if ('close' in devices) devices.close();
console.log(JSON.stringify(results));
