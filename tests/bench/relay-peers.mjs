// relay-peers.mjs: the servers beside which `make bench-relay` measures the relay, from Debian's packages, each in a folder of its own:
// NATS JetStream (file storage) and Mosquitto (MQTT 3.1.1, persistent). What each makes durable, and when, stands at its starter.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../node/support/relay.mjs';

const START_MS = 10_000;

/** Resolves once somebody listens. @param {number} port @returns {Promise<void>} */
async function listening(port) {
  const until = Date.now() + START_MS;
  for (;;) {
    const open = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => (socket.destroy(), resolve(true)));
      socket.once('error', () => resolve(false));
    });
    if (open) return;
    if (Date.now() > until) throw new Error(`nobody listens on port ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Peer {
  /** @param {string} protocol @param {number} port @param {string} folder @param {import('node:child_process').ChildProcess} child */
  constructor(protocol, port, folder, child) {
    this.protocol = protocol;
    this.port = port;
    this.folder = folder;
    this.child = child;
  }

  pids() {
    return [Number(this.child.pid)];
  }

  async stop() {
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    await ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** @param {string} protocol @param {string} program @param {(port: number, folder: string) => string} configuration @param {(file: string) => string[]} args */
async function start(protocol, program, configuration, args) {
  const folder = mkdtempSync(join(tmpdir(), `sotto-bench-${protocol}-`));
  const port = await freePort(), file = join(folder, 'conf');
  writeFileSync(file, configuration(port, folder));
  let log = '';
  // Debian puts servers where not every user looks.
  const child = spawn(program, args(file), { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  child.once('error', (error) => (log = error.message));
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (log = (log + part).slice(-4000)));
  process.once('exit', () => child.kill('SIGKILL'));
  try {
    await listening(port);
  } catch (error) {
    throw new Error(`${program} did not start: ${error}\n${log}`);
  }
  return new Peer(protocol, port, folder, child);
}

/** One request of JetStream's API. @param {number} port @param {string} subject @param {object} content @returns {Promise<void>} */
function ask(port, subject, content) {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify(content);
    const socket = connect(port, '127.0.0.1');
    let heard = '';
    socket.once('error', reject);
    socket.write(`CONNECT {"verbose":false}\r\nSUB answer 1\r\nPUB ${subject} answer ${body.length}\r\n${body}\r\n`);
    socket.on('data', (part) => {
      heard += part;
      if (!/MSG answer [^]*\}\r\n$/.test(heard)) return;
      socket.destroy();
      if (heard.includes('"error"')) reject(new Error(`JetStream: ${heard}`));
      else resolve();
    });
  });
}

/**
 * A stream with file storage and one reader, a durable consumer that acknowledges each message. By default the server answers once it has
 * written to the file, and flushes the file every 2 minutes: what it acknowledged in between is lost with the machine's power.
 * Debian's 2.9 has no sync_interval (2.10's `always`), so `synced` sets the file attribute S on its folder instead: the kernel then
 * returns from each write only when it is on the disk, which is the same guarantee.
 * @param {boolean} synced
 */
export async function startNats(synced) {
  const peer = await start(
    'nats',
    'nats-server',
    (port, folder) => {
      const store = join(folder, 'store');
      mkdirSync(store);
      if (synced && spawnSync('chattr', ['+S', store]).status !== 0) throw new Error('the file system knows no attribute S: no synchronous NATS here');
      return `host: 127.0.0.1\nport: ${port}\njetstream { store_dir: "${store}", max_mem: 64M, max_file: 20G }\n`;
    },
    (file) => ['-c', file],
  );
  await ask(peer.port, '$JS.API.STREAM.CREATE.B', { name: 'B', subjects: ['bench.*'], storage: 'file', retention: 'limits', num_replicas: 1 });
  const config = { durable_name: 'R', deliver_subject: 'deliver.R', ack_policy: 'explicit', deliver_policy: 'all', max_ack_pending: 100000 };
  await ask(peer.port, '$JS.API.CONSUMER.DURABLE.CREATE.B.R', { stream_name: 'B', config });
  return peer;
}

/**
 * QoS 1 with a persistent session as reader. Mosquitto keeps all in memory and answers before it has stored anything; "persistent" means that it writes
 * a snapshot of everything when it ends and now and then (default: every 30 minutes). `saved` is the nearest it comes to durable: a snapshot, flushed,
 * after each turn of its loop in which something changed; the answer still goes first, so the last messages can be lost.
 * @param {boolean} saved
 */
export function startMosquitto(saved) {
  return start(
    'mqtt',
    'mosquitto',
    (port, folder) =>
      `listener ${port} 127.0.0.1\nallow_anonymous true\nuser ${process.getuid?.() === 0 ? 'root' : (process.env.USER ?? '')}\npersistence true\npersistence_location ${folder}/\n` +
      `max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n${saved ? 'autosave_on_changes true\nautosave_interval 1\n' : ''}`,
    (file) => ['-c', file],
  );
}
