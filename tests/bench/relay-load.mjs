// relay-load.mjs: `make bench-relay`. The relay under load beside NATS JetStream, Mosquitto and bare inserts, in the same run, on the same
// work: one message of 1 KB is stored for one reader, who reads and acknowledges. All take turns, round by round, so that each
// stands beside the others under the same load of the machine; those whose turn it is not stand still, and what they wrote is on the disk
// before. Medians are shown. Prints tables and writes build/bench-relay.json. A
// benchmark asserts nothing; that every accepted message arrived is checked, for else it would not have been that work.
// LONG=1: up to 10^7 stored messages (17 GB on the disk in all) instead of 10^6. ONLY=part,… of send, growth, relays, waiting, overload.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Postgres, absent } from '../node/support/postgres.mjs';
import { freePort } from '../node/support/relay.mjs';
import { RelayProcess } from '../node/support/relay-client.mjs';
import { startMosquitto, startNats } from './relay-peers.mjs';
import { SEEDED_SIZE, seed } from './relay-seed.mjs';
import { ROOT, median, output } from './support.mjs';

const LOAD = join(ROOT, 'build/tests/relay_load');
const ROUNDS = 3;
const SECONDS = 1.5; // of one measurement
const LIMIT_SECONDS = 0.7;
const SIZE = 1024;
const SENDERS = [1, 32, 256];
const MOST = 60_000; // messages signed ahead: 100 MB
const LIMITS = ['prlimit', '--nofile=20000:20000']; // a relay with so many connections, and its load, are started under
const SPREAD = [96, 288]; // senders, over one, two and three relays
const WAITERS = 10_000;
const OPEN = 12_000; // connections of an open loop: a request that is due finds a free one as long as answers take below half a second
const LATE_MS = 100; // so late has a request begun that the load was another one
const INSISTING = 3000; // connections that ask again as soon as they are refused
const PHASES = [
  { what: 'half of that, 3 s', part: 0.5, seconds: 3, aim: '' },
  { what: 'twice that, 6 s', part: 2, seconds: 6, aim: 'bounded' },
  { what: 'half again, its first second', part: 0.5, seconds: 1, aim: 'no more refused' },
  { what: 'half again, 3 s more', part: 0.5, seconds: 3, aim: 'as before' },
];
const LONG = process.env.LONG === '1';
const ONLY = process.env.ONLY?.split(',');
const FOLDER = mkdtempSync(join(tmpdir(), 'sotto-bench-relay-'));

/** @typedef {{ rate: number, p50: number, p99: number, max: number, cpu_us: number, load_us: number, accepted: number, refused: number, batch: number }} Measured */
/** `still`: those of its processes that stand still when it is not its turn. @typedef {{ name: string, protocol: string, ports: number[], pids: () => number[], still: () => number[], devices?: string, metrics?: number, readers?: number }} Server */

/** @type {Record<string, any>} */
const raw = {};
/** @type {(() => unknown)[]} */
const ends = [];

/** @param {string} command @param {Record<string, string | number>} options @returns {string[]} */
const args = (command, options) => [command, ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])];
/** @param {string} command @param {Record<string, string | number>} options @returns {Promise<any>} */
const load = async (command, options) => JSON.parse(await output(String(LIMITS[0]), [...LIMITS.slice(1), LOAD, ...args(command, options)]));

/** Numbers of a relay's metrics, by name. @param {number} port @returns {Promise<Record<string, number>>} */
async function metrics(port) {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Object.fromEntries([...text.matchAll(/^(\w+) ([\d.]+)$/gm)].map(([, name, value]) => [name, Number(value)]));
}

/** Seconds of processor time (fields 14 and 15, in hundredths everywhere on Linux). @param {number} pid */
function processor(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
/** @param {number} pid */
const memory = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

// ---- servers

/** @param {string[]} database @returns {Promise<RelayProcess & { metrics: number }>} */
async function relay(database) {
  const port = await freePort();
  const process = Object.assign(new RelayProcess(), { metrics: port });
  process.folder = mkdtempSync(join(FOLDER, 'relay-'));
  process.database = database.length > 0 ? database : ['--data', process.folder];
  process.options = { 'rate-device': 0, 'rate-address': 0, 'rate-enrol': 0, 'rate-invite': 0, 'rate-clinic': 0, 'quota-stored': 0, 'connections-address': 0, metrics: port };
  await process.launch(0, LIMITS);
  ends.push(() => process.child.kill('SIGKILL'));
  return process;
}

/** @param {string} name @param {any[]} relays @param {() => number[]} more @param {{ clinics?: number, senders?: number, waiters?: number }} what @returns {Promise<Server>} */
async function setUp(name, relays, more, { clinics = 1, senders = 256, waiters = 0 } = {}) {
  const devices = join(FOLDER, `${name.replace(/\W+/g, '-')}.devices`);
  await load('setup', { port: relays[0].port, devices, clinics, senders, waiters });
  const pids = () => relays.map((r) => r.child.pid);
  // One on PostgreSQL goes on: each of the two would take the other for lost.
  const still = () => (more().length === 0 ? pids() : []);
  return { name, protocol: 'relay', ports: relays.map((r) => r.port), pids: () => [...pids(), ...more()], still, devices, metrics: relays[0].metrics, readers: clinics };
}

/** The server's own process and those it has made. @param {Postgres} postgres */
function postgresPids(postgres) {
  const { stdout } = spawnSync('pgrep', ['-P', String(postmaster(postgres))], { encoding: 'utf8' });
  return [postmaster(postgres), ...stdout.trim().split('\n').map(Number)];
}
/** @param {Postgres} postgres */
const postmaster = (postgres) => Number(readFileSync(join(postgres.data, 'postmaster.pid'), 'utf8').split('\n')[0]);

// ---- one measurement

/** What was written before is on the disk: the kernel would put it there during the next measurement, and in front of its flushes. */
const settle = () => spawnSync('sync');

/** @param {Server[]} servers @param {'SIGSTOP' | 'SIGCONT'} signal */
const signalAll = (servers, signal) => servers.forEach((s) => s.still().forEach((pid) => process.kill(pid, signal)));

/** @param {Server} server @param {number} senders @param {number} count @param {number} seconds @returns {Promise<Measured>} */
async function send(server, senders, count, seconds) {
  settle();
  const before = server.metrics === undefined ? {} : await metrics(server.metrics);
  const r = await load('send', {
    protocol: server.protocol,
    port: server.ports.join(','),
    senders,
    count: Math.max(senders, Math.min(MOST, Math.ceil(count))),
    seconds,
    size: SIZE,
    pids: server.pids().join(','),
    readers: server.readers ?? 1,
    ...(server.devices === undefined ? {} : { devices: server.devices }),
  });
  const after = server.metrics === undefined ? {} : await metrics(server.metrics);
  const { accepted, refused } = r.phases[0];
  if (!r.all_read) throw new Error(`${server.name}: of ${accepted.count} accepted messages ${r.read} were read`);
  const batches = (after.sotto_batch_requests_count ?? 0) - (before.sotto_batch_requests_count ?? 0);
  return {
    rate: accepted.count / r.wall_s,
    p50: accepted.p50_ms,
    p99: accepted.p99_ms,
    max: accepted.max_ms,
    cpu_us: (r.servers_cpu_s * 1e6) / accepted.count,
    load_us: (r.own_cpu_s * 1e6) / accepted.count,
    accepted: accepted.count,
    refused: refused.count,
    batch: batches > 0 ? accepted.count / batches : 0, // messages of a transaction; the reader's requests are in it too
  };
}

/** How many messages a measurement needs: by a short one. @param {Server} server @param {number} senders */
const calibrate = async (server, senders) => (await send(server, senders, MOST / 8, 0.3)).rate * SECONDS * 1.5;

/** Medians of each figure. @param {Measured[]} rounds @returns {Measured} */
const medians = (rounds) => /** @type {any} */ (Object.fromEntries(Object.keys(rounds[0] ?? {}).map((key) => [key, median(rounds.map((r) => /** @type {any} */ (r)[key]))])));

/** Rounds of all, in turn. @param {Server[]} servers @param {number} senders @param {(server: Server, measured: Measured) => Promise<void>} [beside] */
async function takeTurns(servers, senders, beside) {
  /** @type {Map<string, Measured[]>} */
  const rounds = new Map(servers.map((s) => [s.name, []]));
  /** @type {Map<string, number>} */
  const counts = new Map();
  signalAll(servers, 'SIGSTOP');
  for (let i = -1; i < ROUNDS; i++) {
    for (const s of i % 2 === 0 ? servers : [...servers].reverse()) {
      signalAll([s], 'SIGCONT');
      const measured = i < 0 ? undefined : await send(s, senders, counts.get(s.name) ?? 0, SECONDS);
      if (measured === undefined) counts.set(s.name, await calibrate(s, senders));
      signalAll([s], 'SIGSTOP');
      if (measured === undefined) continue;
      rounds.get(s.name)?.push(measured);
      await beside?.(s, measured);
    }
  }
  signalAll(servers, 'SIGCONT');
  return rounds;
}

// ---- tables

const figure = (/** @type {number} */ v) => (v >= 100 ? Math.round(v).toLocaleString('en-US') : v >= 10 ? v.toFixed(1) : v.toFixed(2));
/** @param {string[][]} rows the first is the head */
function table(rows) {
  const widths = (rows[0] ?? []).map((_, k) => Math.max(...rows.map((r) => [...(r[k] ?? '')].length)));
  const lines = rows.map((r) => r.map((cell, k) => (k === 0 ? cell.padEnd(widths[k] ?? 0) : cell.padStart(widths[k] ?? 0))).join('  ').trimEnd());
  console.log([lines[0], '-'.repeat(Math.max(...lines.map((l) => l.length))), ...lines.slice(1), ''].join('\n'));
}
/** @param {string} text */
const heading = (text) => console.log(`## ${text}\n`);

// ---- the parts

const OURS = 'relay, SQLite', OURS_PG = 'relay, PostgreSQL', NATS = 'NATS JetStream, each write synchronous', NATS_DEFAULT = 'NATS JetStream, default';
const MQTT = 'Mosquitto QoS 1, saved on each change', MQTT_DEFAULT = 'Mosquitto QoS 1, default';
const LIMIT_NAMES = {
  bare: (/** @type {string} */ of) => `bare ${of === OURS ? 'SQLite' : 'PostgreSQL'} inserts`,
  verified: (/** @type {string} */ of) => `bare ${of === OURS ? 'SQLite' : 'PostgreSQL'} inserts, one Ed25519 verification each`,
};
const GUARANTEE = {
  [OURS]: 'on disk when answered',
  [OURS_PG]: 'on disk when answered',
  [NATS]: 'on disk when answered',
  [NATS_DEFAULT]: 'to the kernel when answered; flushed every 2 min',
  [MQTT]: 'in memory when answered; snapshot flushed right after',
  [MQTT_DEFAULT]: 'in memory when answered; snapshot every 30 min',
  limit: 'on disk, nothing else done',
};

async function sending() {
  const postgres = absent() === undefined ? await Postgres.start() : undefined;
  const sqlite = await relay([]);
  const servers = [await setUp(OURS, [sqlite], () => [])];
  let database = '';
  if (postgres !== undefined) {
    ends.push(() => postgres.stop());
    database = postgres.database();
    servers.push(await setUp(OURS_PG, [await relay(['--db', database])], () => postgresPids(postgres)));
  }
  for (const [name, starter] of /** @type {[string, () => Promise<any>][]} */ ([
    [NATS, () => startNats(true)],
    [NATS_DEFAULT, () => startNats(false)],
    [MQTT, () => startMosquitto(true)],
    [MQTT_DEFAULT, () => startMosquitto(false)],
  ])) {
    try {
      const peer = await starter();
      ends.push(() => peer.stop());
      servers.push({ name, protocol: peer.protocol, ports: [peer.port], pids: () => peer.pids(), still: () => peer.pids() });
    } catch (error) {
      console.log(`without ${name}: ${error instanceof Error ? error.message : error}\n`);
    }
  }
  const verify = median((await Promise.all([1, 2, 3].map(() => load('limit', { verify: 1 })))).map((r) => r.rate));
  raw.send = { verify };
  const limits = new Map([
    [OURS, `sqlite:${join(FOLDER, 'limit.db')}`],
    [OURS_PG, postgres === undefined ? '' : postgres.database()],
  ]);
  /** @typedef {{ measured: Measured, rounds: Measured[], bare: number[], verified: number[] }} Cell */
  /** @type {Map<string, Cell>[]} */
  const columns = [];
  for (const senders of SENDERS) {
    /** Of each relay, round by round. @type {Record<'bare' | 'verified', Map<string, number[]>>} */
    const found = { bare: new Map(), verified: new Map() };
    // The limits of a round come right after it, with the batches that the relay had in it.
    const rounds = await takeTurns(servers, senders, async (server, measured) => {
      const database = limits.get(server.name);
      if (database === undefined) return;
      const batch = Math.max(1, Math.round(measured.batch));
      for (const [name, list] of Object.entries(found)) {
        const what = { database, batch, size: SIZE, verify: name === 'verified' ? 1 : 0 };
        settle();
        const guess = await load('limit', { ...what, count: batch * 20 });
        const { rate } = await load('limit', { ...what, count: Math.ceil((guess.rate * LIMIT_SECONDS) / batch) * batch });
        list.set(server.name, [...(list.get(server.name) ?? []), rate]);
      }
    });
    columns.push(new Map([...rounds].map(([name, list]) => [name, { measured: medians(list), rounds: list, bare: found.bare.get(name) ?? [], verified: found.verified.get(name) ?? [] }])));
    raw.send[senders] = { rounds: Object.fromEntries(rounds), bare: Object.fromEntries(found.bare), verified: Object.fromEntries(found.verified) };
  }
  heading(`Accepted messages a second (${SIZE} bytes, one reader); latency p50 / p99 in ms; processor time a message in µs, of the server + of the load`);
  const head = ['', ...SENDERS.flatMap((n) => [`${n} sender${n > 1 ? 's' : ''}`, 'p50 / p99', 'µs']), 'an answer means'];
  /** @param {string} name */
  const row = (name) => [
    name,
    ...columns.flatMap((column) => {
      const m = column.get(name)?.measured;
      return m === undefined ? ['-', '-', '-'] : [figure(m.rate), `${figure(m.p50)} / ${figure(m.p99)}`, `${figure(m.cpu_us)} + ${figure(m.load_us)}`];
    }),
    GUARANTEE[/** @type {keyof typeof GUARANTEE} */ (name)] ?? '',
  ];
  /** @param {string} name @param {'bare' | 'verified'} limit */
  const limitRow = (name, limit) => [
    `limit: ${LIMIT_NAMES[limit](name)}`,
    ...columns.flatMap((c) => [figure(median(c.get(name)?.[limit] ?? [])), `batches of ${Math.max(1, Math.round(c.get(name)?.measured.batch ?? 0))}`, '']),
    GUARANTEE.limit,
  ];
  const ours = servers.filter((s) => s.protocol === 'relay').map((s) => s.name);
  table([head, ...servers.map((s) => row(s.name)), ...ours.flatMap((name) => [limitRow(name, 'bare'), limitRow(name, 'verified')])]);
  heading('Ratios');
  /** Of each round, since both had the same machine in it. @param {string} of @param {string} to */
  const ratio = (of, to) => columns.map((c) => figure(median((c.get(of)?.rounds ?? []).map((m, i) => m.rate / (c.get(to)?.rounds[i]?.rate ?? NaN)))));
  /** @param {string} name @param {'bare' | 'verified'} limit */
  const limitRatio = (name, limit) => [
    `${name} / ${LIMIT_NAMES[limit](name)}`,
    ...columns.map((c) => figure(median((c.get(name)?.rounds ?? []).map((m, i) => m.rate / (c.get(name)?.[limit][i] ?? NaN))))),
    '>= 0.70',
  ];
  const names = (/** @type {string} */ of) => servers.filter((s) => s.protocol !== 'relay' && s.name !== of).map((s) => s.name);
  table([
    ['ours / theirs', ...SENDERS.map((n) => `${n} sender${n > 1 ? 's' : ''}`), 'aim'],
    ...ours.flatMap((name) => [limitRatio(name, 'bare'), limitRatio(name, 'verified')]),
    ...ours.flatMap((name) => names(name).map((peer) => [`${name} / ${peer}`, ...ratio(name, peer), peer === NATS ? '> 1, equally durable' : peer === MQTT ? '> 1, theirs less durable' : '(less durable)'])),
  ]);
  console.log(`Each request to the relay is signed: one core verifies ${figure(verify)} Ed25519 signatures a second, ${figure(1e6 / verify)} µs each.\n`);
}

/** The cost of a message with ever more stored ones. @param {'SQLite' | 'PostgreSQL'} kind @param {Postgres} [postgres] */
async function grow(kind, postgres) {
  const sizes = [1e4, 1e5, 1e6, ...(LONG ? [1e7] : [])], senders = 32;
  const servers = [];
  for (const size of sizes) {
    const database = postgres?.database();
    const r = await relay(database === undefined ? [] : ['--db', database]);
    const server = await setUp(`10^${Math.log10(size)} stored`, [r], () => (postgres === undefined ? [] : postgresPids(postgres)), { senders });
    await r.kill('SIGTERM');
    const from = performance.now();
    seed(database ?? join(r.folder, 'relay.db'), size);
    raw[`seconds to seed ${size} in ${kind}`] = (performance.now() - from) / 1000;
    await r.launch(r.port, LIMITS);
    const bytes = postgres === undefined || database === undefined ? statSync(join(r.folder, 'relay.db')).size : Number(/^ +(\d+)$/m.exec(postgres.query(database, 'SELECT pg_database_size(current_database())'))?.[1]);
    servers.push({ server, bytes });
  }
  const rounds = await takeTurns(servers.map((s) => s.server), senders);
  raw[`growth, ${kind}`] = Object.fromEntries(rounds);
  heading(`Cost of a message as stored messages grow (${kind}, ${senders} senders; those stored have bodies of ${SEEDED_SIZE} bytes)`);
  const first = medians(rounds.get(servers[0]?.server.name ?? '') ?? []);
  table([
    ['', 'messages/s', 'p50 / p99 ms', 'µs of processor', 'of the first', 'database', 'aim'],
    ...servers.map(({ server, bytes }) => {
      const m = medians(rounds.get(server.name) ?? []);
      return [server.name, figure(m.rate), `${figure(m.p50)} / ${figure(m.p99)}`, figure(m.cpu_us), figure(m.cpu_us / first.cpu_us), `${figure(bytes / 1e6)} MB`, 'flat: 1.0'];
    }),
  ]);
}

async function growth() {
  await grow('SQLite');
  for (const end of ends.splice(0).reverse()) await end();
  if (absent() !== undefined) return console.log('without growth in PostgreSQL: none is installed\n');
  const postgres = await Postgres.start();
  ends.push(() => postgres.stop());
  await grow('PostgreSQL', postgres);
}

async function several() {
  if (absent() !== undefined) return console.log('without several relays: no PostgreSQL is installed\n');
  const postgres = await Postgres.start();
  ends.push(() => postgres.stop());
  const database = postgres.database(), relays = [];
  for (let i = 0; i < 3; i++) relays.push(await relay(['--db', database]));
  const clinics = 12, most = Math.max(...SPREAD);
  const servers = [];
  for (let n = 1; n <= 3; n++) servers.push(await setUp(`${n} relay${n > 1 ? 's' : ''}`, relays.slice(0, n), () => postgresPids(postgres), { clinics, senders: most }));
  const columns = [];
  for (const senders of SPREAD) columns.push(await takeTurns(servers, senders));
  raw.relays = Object.fromEntries(SPREAD.map((n, i) => [n, Object.fromEntries(columns[i] ?? [])]));
  heading(`Relays on one PostgreSQL (senders of ${clinics} clinics, spread over the relays; relays, database and load share the machine's processors)`);
  table([
    ['', ...SPREAD.flatMap((n) => [`${n} senders: messages/s`, 'of one', 'p50 / p99 ms', 'µs of processor', 'refused'])],
    ...servers.map((s) => [
      s.name,
      ...columns.flatMap((rounds) => {
        const m = medians(rounds.get(s.name) ?? []), first = medians(rounds.get('1 relay') ?? []);
        return [figure(m.rate), figure(m.rate / first.rate), `${figure(m.p50)} / ${figure(m.p99)}`, figure(m.cpu_us), figure(m.refused)];
      }),
    ]),
  ]);
}

/** @param {any} r @param {Server} server @param {boolean} stream */
async function waitOnce(r, server, stream) {
  const pid = Number(r.child.pid), before = memory(pid);
  const child = spawn(LOAD, args('wait', { port: r.port, devices: String(server.devices), ...(stream ? { stream: 1 } : {}) }), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await lines.next();
  const until = Date.now() + 20_000;
  while (((await metrics(r.metrics)).sotto_waiting ?? 0) < WAITERS && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 100));
  const waiting = (await metrics(r.metrics)).sotto_waiting ?? 0;
  if (waiting < WAITERS) throw new Error(`only ${waiting} devices wait`);
  const during = memory(pid);
  // The relay's work while so many wait, for others.
  const busy = await send(server, 32, MOST / 8, 1);
  const spent = processor(pid);
  child.stdin.write('go\n');
  const { value } = await lines.next();
  const cpu_us = ((processor(pid) - spent) * 1e6) / WAITERS;
  await ended;
  if (value === undefined) throw new Error('the waiting devices did not all hear of their message');
  return { ...JSON.parse(value), waiting, before, during, busy, cpu_us };
}

/** @param {any} r */
async function again(r) {
  await r.kill('SIGTERM');
  await r.launch(r.port, LIMITS);
}

async function waiting() {
  const r = await relay([]);
  const server = await setUp('waiting', [r], () => [], { senders: 32, waiters: WAITERS });
  const alone = [], waits = [], streams = [];
  for (let i = 0; i < ROUNDS; i++) {
    alone.push(await send(server, 32, MOST / 8, 1));
    waits.push(await waitOnce(r, server, false));
    await again(r); // so that memory of the round before is not taken for this one's
    streams.push(await waitOnce(r, server, true));
    await again(r);
  }
  raw.waiting = { alone, waits, streams };
  heading(`${WAITERS.toLocaleString('en-US')} devices wait; each gets one message, of ${WAITERS / 1000} groups of 1,000 written to at once (SQLite)`);
  const of = (/** @type {any[]} */ rounds, /** @type {(r: any) => number} */ pick) => median(rounds.map(pick));
  table([
    ['', 'arrives p50 / p99 / max ms', 'µs of processor each', 'relay, MB', 'each, kB', 'aim', 'messages/s of 32 senders meanwhile', 'when nobody waits'],
    ...[waits, streams].map((rounds, i) => [
      ['waits', 'event streams'][i] ?? '',
      [of(rounds, (x) => x.p50_ms), of(rounds, (x) => x.p99_ms), of(rounds, (x) => x.max_ms)].map(figure).join(' / '),
      figure(of(rounds, (x) => x.cpu_us)),
      `${figure(of(rounds, (x) => x.during))} (before ${figure(of(rounds, (x) => x.before))})`,
      figure(of(rounds, (x) => ((x.during - x.before) * 1024) / x.waiting)),
      '< 250 MB',
      `${figure(of(rounds, (x) => x.busy.rate))}, ${figure(of(rounds, (x) => x.busy.cpu_us))} µs`,
      `${figure(median(alone.map((x) => x.rate)))}, ${figure(median(alone.map((x) => x.cpu_us)))} µs`,
    ]),
  ]);
}

async function overload() {
  const r = await relay([]);
  const server = await setUp('overload', [r], () => [], { senders: 256 });
  const pids = String(r.child.pid);
  const served = [], insisting = [];
  for (let i = 0; i < ROUNDS; i++) {
    served.push(await send(server, 256, MOST / 2, SECONDS));
    insisting.push(await send(server, INSISTING, MOST, 2 * SECONDS));
  }
  const most = median(served.map((m) => m.rate));
  const phases = PHASES.map(({ part, seconds }) => `${Math.round(most * part)}:${seconds}`).join(',');
  const count = Math.ceil(most * PHASES.reduce((sum, { part, seconds }) => sum + part * seconds, 0.1));
  settle();
  const run = await load('send', { protocol: 'relay', port: r.port, senders: OPEN, count, phases, pids, devices: String(server.devices), readers: 1 });
  /** @param {'accepted' | 'refused'} which */
  const all = (which) => run.phases.reduce((/** @type {number} */ sum, /** @type {any} */ p) => sum + p[which].count, 0);
  const each = median(served.map((m) => m.cpu_us)), refusal = (run.servers_cpu_s * 1e6 - all('accepted') * each) / all('refused');
  raw.overload = { served, insisting, most, run, each, refusal };
  heading(`Overload (SQLite, ${OPEN.toLocaleString('en-US')} connections, open loop: times count from when a request was due; the relay takes ${figure(most)} a second from 256 that wait for their answers)`);
  table([
    ['', 'due/s', 'begun/s', 'accepted/s', 'p50 / p99 / max ms', 'refused/s', 'p50 / p99 / max ms', 'last refusal', 'aim'],
    ...PHASES.map(({ what, seconds, aim }, i) => {
      const p = run.phases[i], late = p.late_ms > LATE_MS;
      const times = (/** @type {any} */ l) => (l.count === 0 ? '-' : [l.p50_ms, l.p99_ms, l.max_ms].map(figure).join(' / '));
      const last = p.refused.count === 0 ? 'none' : `${figure(p.last_refused_ms / 1000)} s after its begin`;
      const begun = `${figure(p.offered_rate)}${late ? `, late by ${figure(p.late_ms)} ms` : ''}`;
      return [what, figure(p.asked_rate), begun, figure(p.accepted.count / seconds), times(p.accepted), figure(p.refused.count / seconds), times(p.refused), last, aim];
    }),
  ]);
  for (const [i, p] of run.phases.entries())
    if (p.late_ms > LATE_MS) console.log(`${PHASES[i]?.what}: ${p.busy_max === OPEN ? 'all connections waited for their answers' : 'the load was too slow'}, so some requests began late; the times contain that.`);
  console.log(`The load took ${figure(run.own_cpu_s / run.wall_s)} of a processor, the relay ${figure(run.servers_cpu_s / run.wall_s)}.`);
  console.log(`A served message takes ${figure(each)} µs of the relay's processor${all('refused') > 0 ? `, a refused one ${figure(refusal)} (with all that so many connections cost)` : ''}.`);
  console.log(`Of ${INSISTING.toLocaleString('en-US')} who ask again at once, whatever Retry-After says, it takes ${figure(median(insisting.map((m) => m.rate)))} a second and refuses ${figure(median(insisting.map((m) => m.refused / (2 * SECONDS))))}.\n`);
}

const PARTS = { send: sending, growth, relays: several, waiting, overload };
try {
  for (const [name, part] of Object.entries(PARTS)) {
    if (ONLY !== undefined && !ONLY.includes(name)) continue;
    const from = performance.now();
    await part();
    raw[`seconds of ${name}`] = (performance.now() - from) / 1000;
    for (const end of ends.splice(0).reverse()) await end();
  }
  writeFileSync(`${ROOT}build/bench-relay.json`, `${JSON.stringify(raw, null, 1)}\n`);
} finally {
  for (const end of ends.reverse()) await end();
  rmSync(FOLDER, { recursive: true, force: true });
}
process.exit(0);
