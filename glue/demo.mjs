#!/usr/bin/env node
// demo.mjs: what `make run` starts: a relay with an embedded database, and a demo clinic whose agent runs here. Prints a
// staff link and a patient link that work in a browser on this machine. A demo: the agent's PIN lies beside its store.
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Sotto, SottoError } from './node.mjs';

const RELAY = fileURLToPath(new URL('../build/sotto-relay', import.meta.url));
const PAGES = fileURLToPath(new URL('../build/web', import.meta.url));
const CLINIC = { clinic_name: 'Sunrise Clinic', name: 'Clinic agent' };
const PATIENT = { name: 'Maria Lopez', birth_date: '1956-04-12' };
const STAFF = { name: 'Front desk' };
/** Hosts that a browser here reaches by the name localhost, which it trusts as it does https. */
const LOCAL = ['127.0.0.1', 'localhost', '0.0.0.0', '::', '::1'];
const START_TIMEOUT = 15_000;
const STOP_TIMEOUT = 5_000;

/** Something the user is told in one line. */
class Trouble extends Error {}

/** @returns {{ port: number, host: string, data: string }} */
function parse() {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8080' },
      host: { type: 'string', default: '127.0.0.1' },
      data: { type: 'string', default: 'build/data' },
    },
  });
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new Trouble(`PORT=${values.port} is no port`);
  return { port, host: String(values.host), data: String(values.data) };
}

/**
 * Refuses early and in plain words what the relay would fail at.
 * @param {number} port
 * @param {string} host
 * @returns {Promise<void>}
 */
function portMustBeFree(port, host) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      const why = {
        EADDRINUSE: `port ${port} is in use: stop what runs there, or choose another: make run PORT=${port + 1}`,
        EACCES: `port ${port} needs more rights: choose one above 1023, such as make run PORT=8080`,
        EADDRNOTAVAIL: `this machine has no address ${host}`,
      }[error.code ?? ''];
      reject(new Trouble(why ?? `cannot listen on ${host}:${port}: ${error.message}`));
    });
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve()));
  });
}

/**
 * @param {{ port: number, host: string, data: string }} options
 * @returns {import('node:child_process').ChildProcess}
 */
function startRelay({ port, host, data }) {
  return spawn(
    RELAY,
    ['serve', '--host', host, '--port', String(port), '--data', join(data, 'relay'), '--static', PAGES, '--clinics', 'open', '--log', 'warning'],
    // A group of its own: Ctrl-C reaches this process only, which then stops the relay in order.
    { stdio: ['ignore', 'inherit', 'inherit'], detached: true },
  );
}

/**
 * @param {string} origin
 * @param {AbortSignal} ended
 */
async function healthy(origin, ended) {
  const end = Date.now() + START_TIMEOUT;
  while (!ended.aborted) {
    try {
      const response = await fetch(`${origin}/.well-known/sotto`, { redirect: 'error' });
      const { version } = await response.json();
      if (version === 1) return;
      throw new Trouble(`${origin} answers, but not as a Sotto relay does`);
    } catch (error) {
      if (error instanceof Trouble) throw error;
      if (Date.now() > end) throw new Trouble(`the relay did not answer at ${origin} within ${START_TIMEOUT / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/**
 * The PIN of the demo's agent, made at the first run.
 * @param {string} path
 */
async function pinOf(path) {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
  }
  const pin = String(randomInt(1e11, 1e12));
  await writeFile(path, `${pin}\n`, { mode: 0o600, flag: 'wx' });
  return pin;
}

/**
 * @param {string} data
 * @param {string} origin
 */
async function openClinic(data, origin) {
  const store = join(data, 'clinic');
  const pin = await pinOf(join(data, 'clinic.pin'));
  const sotto = await Sotto.open({ store, pin });
  try {
    const { state } = await sotto.call('account.status');
    if (state === 'none') {
      await sotto.call('clinic.create', { ...CLINIC, relay: origin, kind: 'agent', pin });
      console.log(`made the demo clinic "${CLINIC.clinic_name}" in ${store}; its PIN is in ${join(data, 'clinic.pin')}, as only a demo may do`);
    }
    const { relay } = await sotto.call('me');
    if (relay === origin) return sotto;
    throw new Trouble(`the clinic in ${data} is at ${relay}: use that port and host, or another folder: make run DATA=other`);
  } catch (error) {
    await sotto.close();
    throw error;
  }
}

/**
 * Issues a link and waits until the relay knows it, so that it works when it is printed.
 * @param {Sotto} sotto
 * @param {import('./client.mjs').ArgsOf<'invitation.create'>} args
 */
async function issue(sotto, args) {
  const { invitation, link } = await sotto.call('invitation.create', args);
  await sotto.when(async () => {
    const made = (await sotto.call('invitation.list')).find((i) => i.invitation === invitation);
    return made !== undefined && made.state !== 'sending';
  });
  return link;
}

/** @param {import('node:child_process').ChildProcess} relay */
async function stopRelay(relay) {
  if (relay.pid === undefined || relay.exitCode !== null || relay.signalCode !== null) return;
  const ended = new Promise((resolve) => relay.once('exit', resolve));
  relay.kill('SIGTERM');
  const timer = setTimeout(() => relay.kill('SIGKILL'), STOP_TIMEOUT);
  await ended;
  clearTimeout(timer);
}

/** @returns {Promise<number>} exit status */
async function main() {
  const options = parse();
  const name = LOCAL.includes(options.host) ? 'localhost' : options.host.includes(':') ? `[${options.host}]` : options.host;
  const origin = `http://${name}:${options.port}`;
  // People get links to localhost, which every browser knows. This process asks by address: a minimal system has no
  // /etc/hosts to look the name up in, and Node 18 tries only the first address of a name, which may be ::1.
  const reach = name === 'localhost' ? `http://${options.host === '::1' ? '[::1]' : '127.0.0.1'}:${options.port}` : origin;
  await portMustBeFree(options.port, options.host);
  await mkdir(options.data, { recursive: true });

  const relay = startRelay(options);
  const stop = new AbortController();
  let died = '';
  relay.once('error', (error) => {
    died = error.message;
    stop.abort();
  });
  relay.once('exit', (code, signal) => {
    if (!stop.signal.aborted) died = signal ?? `exit status ${code}`;
    stop.abort();
  });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.once(signal, () => stop.abort());
  const stopped = new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));

  /** @type {Sotto | undefined} */
  let sotto;
  try {
    await healthy(reach, stop.signal);
    if (!stop.signal.aborted) {
      const agent = (sotto = await openClinic(options.data, reach));
      agent.on('notice', ({ text }) => console.log(`notice: ${text}`));
      const links = Promise.all([
        issue(agent, { enrols: 'staff', check: 'none', ...STAFF }),
        issue(agent, { enrols: 'patient', check: 'birth_date', name: PATIENT.name, factor: PATIENT.birth_date }),
      ]);
      links.catch(() => {});
      const made = await Promise.race([links, stopped]);
      if (Array.isArray(made)) {
        console.log(`staff: ${made[0].replace(reach, origin)}`);
        console.log(`patient: ${made[1].replace(reach, origin)}`);
        console.log(`date of birth of the demo patient: ${PATIENT.birth_date}`);
      }
    }
    await stopped;
  } finally {
    stop.abort();
    await sotto?.close().catch((error) => console.error(SottoError.from(error).message));
    await stopRelay(relay);
  }
  if (died === '') return 0;
  throw new Trouble(`the relay ended by itself (${died})`);
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`sotto: ${error instanceof Trouble || error instanceof SottoError ? error.message : /** @type {Error} */ (error).stack}`);
  process.exitCode = 1;
}
