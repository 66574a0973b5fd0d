// relay.mjs: a real sotto-relay on a free port, with a data folder of its own, for tests.
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../../build/sotto-relay', import.meta.url));
const START_TIMEOUT = 10_000;
/** Tests enrol in a minute what a clinic does in a week. */
const NO_RATES = ['--rate-device', '0', '--rate-address', '0', '--rate-enrol', '0', '--rate-invite', '0', '--rate-clinic', '0'];

/** Programs of tests that run at a time (tests/run.mjs) have ports apart from each other's, and from those that the system gives out. */
const SLOTS = 8, FIRST_PORT = 10_000, PORTS = 2_500;
const slot = Number(process.env.SOTTO_TEST_SLOT ?? process.pid) % SLOTS;
let offset = randomInt(PORTS);

/** @param {number} port @returns {Promise<boolean>} */
function nobodyListens(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => void server.close(() => resolve(true)));
  });
}

/** @returns {Promise<number>} a port that nobody listens on, and that nobody gets while who asked for it is down for a moment */
export async function freePort() {
  for (let tried = 0; tried < PORTS; tried++) {
    const port = FIRST_PORT + slot * PORTS + (offset++ % PORTS);
    if (await nobodyListens(port)) return port;
  }
  throw new Error('no port is free');
}

/** A folder under the system's for temporary files; `remove` takes it away. @param {string} name */
export async function tempFolder(name) {
  const path = await mkdtemp(join(tmpdir(), `sotto-${name}-`));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export class Relay {
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;
  #log = '';

  /**
   * @param {number} port
   * @param {string} data
   * @param {string[]} options
   */
  constructor(port, data, options) {
    this.port = port;
    this.data = data;
    this.options = options;
    this.origin = `http://127.0.0.1:${port}`;
  }

  /** What it wrote to stdout and stderr. */
  get log() {
    return this.#log;
  }

  get running() {
    return this.#process !== null;
  }

  /** Starts it and waits until it answers. */
  async start() {
    if (this.#process !== null) throw new Error('the relay runs already');
    const child = spawn(PROGRAM, ['serve', '--host', '127.0.0.1', '--port', String(this.port), '--data', this.data, '--clinics', 'open', ...NO_RATES, ...this.options]);
    this.#process = child;
    // A test that ends by an exception leaves no relay behind.
    const end = () => void child.kill('SIGKILL');
    process.once('exit', end);
    child.once('exit', () => process.off('exit', end));
    let ended = '';
    child.once('error', (error) => (ended = error.message));
    child.once('exit', (code, signal) => {
      ended = signal ?? `exit status ${code}`;
      if (this.#process === child) this.#process = null;
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (/** @type {Buffer} */ part) => (this.#log += part));
    const until = Date.now() + START_TIMEOUT;
    for (;;) {
      if (ended !== '') throw new Error(`the relay did not start (${ended}):\n${this.#log}`);
      try {
        const response = await fetch(`${this.origin}/.well-known/sotto`);
        if (response.ok) {
          await response.arrayBuffer();
          return this;
        }
      } catch {
        // not listening yet
      }
      if (Date.now() > until) throw new Error(`the relay did not answer in time:\n${this.#log}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** @param {NodeJS.Signals} [signal] SIGTERM stops it in order, SIGKILL as a crash would */
  async stop(signal = 'SIGTERM') {
    const child = this.#process;
    if (child === null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
    this.#process = null;
  }
}

/**
 * A relay that runs, and goes with the test: `t.after` of node:test.
 * @param {{ after: (fn: () => Promise<void>) => void }} t
 * @param {{ options?: string[] }} [how]
 */
export async function startRelay(t, { options = [] } = {}) {
  const folder = await tempFolder('relay');
  const relay = new Relay(await freePort(), folder.path, options);
  t.after(async () => {
    await relay.stop();
    await folder.remove();
  });
  return relay.start();
}

/** Whether what these tests need was built; a reason otherwise. */
export function notBuilt() {
  const missing = ['build/sotto-relay', 'build/sotto.wasm'].filter((p) => !existsSync(new URL(`../../../${p}`, import.meta.url)));
  return missing.length === 0 ? false : `${missing.join(' and ')} not built`;
}
