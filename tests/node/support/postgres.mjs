// postgres.mjs: a real PostgreSQL from Debian's packages, in a folder and on a port of its own, for tests. It refuses to run as
// root, so there it runs as the package's user.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './relay.mjs';

const VERSIONS = '/usr/lib/postgresql';
const NEWEST = existsSync(VERSIONS) ? readdirSync(VERSIONS).sort((a, b) => Number(a) - Number(b)).at(-1) : undefined;
const BIN = `${VERSIONS}/${NEWEST}/bin`;
const AS_ROOT = process.getuid?.() === 0;

/** @param {string} program @param {string[]} args @returns {[string, string[]]} */
const command = (program, args) => (AS_ROOT ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', join(BIN, program), ...args]] : [join(BIN, program), args]);

/** @param {string} program @param {string[]} args */
function run(program, args) {
  const { status, stdout, stderr, error } = spawnSync(...command(program, args), { encoding: 'utf8', cwd: '/' });
  if (status !== 0) throw new Error(`${program} failed: ${error?.message ?? stderr}`);
  return stdout;
}

/** Why it can't run here, or undefined. */
export const absent = () => (NEWEST === undefined || !existsSync(join(BIN, 'initdb')) ? 'no PostgreSQL server is installed' : undefined);

export class Postgres {
  folder = mkdtempSync(join(tmpdir(), 'sotto-postgres-'));
  port = 0;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  child;

  /** Makes a cluster and starts it. */
  static async start() {
    const server = new Postgres();
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

  /** Starts the server, after a crash too. */
  async launch() {
    const options = ['-D', this.data, '-p', String(this.port), '-k', this.folder, '-c', 'listen_addresses=127.0.0.1', '-c', 'max_connections=60', '-c', 'shared_buffers=32MB'];
    const [file, args] = command('postgres', options);
    const child = spawn(file, args, { cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.on('data', (part) => (log = (log + part).slice(-4000)));
    this.child = child;
    process.once('exit', () => child.kill('SIGKILL'));
    const until = Date.now() + 20_000;
    while (spawnSync(join(BIN, 'pg_isready'), ['-q', '-h', '127.0.0.1', '-p', String(this.port)]).status !== 0) {
      if (child.exitCode !== null || Date.now() > until) throw new Error(`PostgreSQL did not start:\n${log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
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

  /** kill -9 of the whole server; its children end with it. */
  async crash() {
    const pid = Number(readFileSync(join(this.data, 'postmaster.pid'), 'utf8').split('\n')[0]);
    const ended = new Promise((resolve) => this.child?.once('exit', resolve));
    process.kill(pid, 'SIGKILL');
    await ended;
  }

  async stop() {
    const ended = new Promise((resolve) => this.child?.once('exit', resolve));
    if (this.child?.exitCode === null) {
      this.child.kill('SIGINT'); // fast shutdown
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
