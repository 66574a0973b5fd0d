// postgres.mjs: a real PostgreSQL from Debian's packages, in a folder and on a port of its own, for tests. It refuses to run as
// root, so there it runs as the package's user.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './relay.mjs';

const VERSIONS = '/usr/lib/postgresql';
const NEWEST = existsSync(VERSIONS) ? readdirSync(VERSIONS).sort((a, b) => Number(a) - Number(b)).at(-1) : undefined;
const BIN = `${VERSIONS}/${NEWEST}/bin`;
const AS_ROOT = process.getuid?.() === 0;

/** @param {string} program @param {string[]} args @returns {[string, string[]]} */
const command = (program, args) => (AS_ROOT ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', join(BIN, program), ...args]] : [join(BIN, program), args]);

/** @param {string} program @param {string[]} args @param {string} [input] */
function run(program, args, input) {
  const { status, stdout, stderr, error } = spawnSync(...command(program, args), { encoding: 'utf8', cwd: '/', input, maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr}`);
  return stdout;
}

/** Why it can't run here, or undefined. */
export const absent = () => (NEWEST === undefined || !existsSync(join(BIN, 'initdb')) ? 'no PostgreSQL server is installed' : undefined);

/** Only so that a test ends at all: recovery takes as long as the disk has other things to do. */
const PATIENCE_MS = 180_000;
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));

/** Processes end while one looks at them. @param {() => string} read */
function tryRead(read) {
  try {
    return read();
  } catch {
    return '';
  }
}
/** @param {number} pid */
const childrenOf = (pid) => tryRead(() => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')).split(' ').filter(Boolean).map(Number);
/** @param {number} pid */
const commandLine = (pid) => tryRead(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
/** @param {number} pid */
const killed = (pid) => void tryRead(() => String(process.kill(pid, 'SIGKILL')));

export class Postgres {
  /** @param {string} folder its own */
  constructor(folder) {
    this.folder = folder;
  }

  port = 0;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  child;
  /** The end of what it wrote to stderr. */
  log = () => '';

  /** Makes a cluster and starts it. @param {string} [folder] where; it is removed in the end */
  static async start(folder = mkdtempSync(join(tmpdir(), 'sotto-postgres-'))) {
    const server = new Postgres(folder);
    mkdirSync(folder, { recursive: true });
    chmodSync(server.folder, 0o700);
    if (AS_ROOT) spawnSync('chown', ['postgres:postgres', server.folder]);
    run('initdb', ['-D', server.data, '-A', 'trust', '-U', 'sotto', '--no-sync', '--encoding=UTF8', '--locale=C']);
    server.port = await freePort();
    await server.launch();
    return server;
  }

  get data() {
    return join(this.folder, 'data');
  }

  get socket() {
    return join(this.folder, `.s.PGSQL.${this.port}`);
  }

  /** Starts the server, after a crash too: recovery then flushes the whole file system in one call, not a thousand files by turns. */
  async launch() {
    const options = ['-c', 'recovery_init_sync_method=syncfs', '-D', this.data, '-p', String(this.port), '-k', this.folder, '-c', 'listen_addresses=127.0.0.1', '-c', 'max_connections=60', '-c', 'shared_buffers=32MB'];
    const [file, args] = command('postgres', options);
    const child = spawn(file, args, { cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.on('data', (part) => (log = (log + part).slice(-4000)));
    this.child = child;
    const end = () => void child.kill('SIGKILL');
    process.once('exit', end);
    child.once('exit', () => process.off('exit', end));
    this.log = () => log;
    await this.ready();
  }

  /** Waits until it takes connections. */
  async ready() {
    const until = Date.now() + PATIENCE_MS;
    while (spawnSync(join(BIN, 'pg_isready'), ['-q', '-h', '127.0.0.1', '-p', String(this.port)]).status !== 0) {
      if (this.child?.exitCode !== null || Date.now() > until) throw new Error(`PostgreSQL did not start:\n${this.log()}`);
      await pause();
    }
  }

  /** A new database's address. */
  database() {
    const name = `t_${randomBytes(6).toString('hex')}`;
    run('createdb', ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'sotto', name]);
    return `postgres://sotto@127.0.0.1:${this.port}/${name}`;
  }

  /** Statements of somebody who has the database, in one transaction. @param {string} database its address @param {string} sql */
  query(database, sql) {
    return run('psql', ['-q', '-1', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', sql]);
  }

  /** A copy as an operator makes it. @param {string} database its address @param {string} file */
  dump(database, file) {
    writeFileSync(file, run('pg_dump', ['--format=plain', '--clean', '--if-exists', '-d', database]));
  }

  /** Puts it back. @param {string} database @param {string} file */
  putBack(database, file) {
    run('psql', ['-q', '-v', 'ON_ERROR_STOP=1', '-d', database], readFileSync(file, 'utf8'));
  }

  /** Throws unless tables and indexes are whole (amcheck). @param {string} database its address */
  check(database) {
    run('pg_amcheck', ['--install-missing', '--heapallindexed', '-h', '127.0.0.1', '-p', String(this.port), '-U', 'sotto', '-d', new URL(database).pathname.slice(1)]);
  }

  /** Its first process. */
  get pid() {
    return Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0]);
  }

  /** Processes that serve connections to a database. @param {string} address the database's */
  backends(address) {
    const name = new URL(address).pathname.slice(1);
    return childrenOf(this.pid).filter((pid) => commandLine(pid).includes(` ${name} `));
  }

  /**
   * kill -9 of the first process, upon which the others end by themselves, or of all at once. No one is left when it returns: a new server
   * refuses to start beside processes of the old one.
   * @param {{ all?: boolean }} [how]
   */
  async crash({ all = false } = {}) {
    const { pid } = this, others = childrenOf(pid);
    const ended = new Promise((resolve) => this.child?.once('exit', resolve));
    for (const one of all ? [pid, ...others] : [pid]) killed(one);
    await ended;
    while (others.some((one) => commandLine(one).startsWith('postgres:'))) await pause();
  }

  /** Ends it at once, for its files go: a checkpoint, which an orderly end begins with, would write them to the disk first. */
  async stop() {
    const ended = new Promise((resolve) => this.child?.once('exit', resolve));
    if (this.child?.exitCode === null) {
      this.child.kill('SIGQUIT');
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
