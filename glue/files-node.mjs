// files-node.mjs: an account's files in a folder of the operating system's, through node:fs. One process at a time.
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { HostError } from './core.mjs';
import { SottoError } from './error.mjs';
import { ACCOUNT_FILES, FileBackend, busyError } from './files-common.mjs';

/** How the lock's sockets are named, one for each process that holds or wants the folder. */
const LOCK = /^\.lock-[0-9a-f]{12}$/;
/** Two that come at the same moment both step back; then each waits a random while. */
const LOCK_TRIES = 4;
/** The longest path of a Unix socket, less its end. */
const SOCKET_PATH_MAX = 100;

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

class NodeFile {
  #fd;

  /** @param {number} fd */
  constructor(fd) {
    this.#fd = fd;
  }

  /** @param {Uint8Array} into @param {number} offset */
  read(into, offset) {
    let done = 0;
    while (done < into.length) {
      const n = fs.readSync(this.#fd, into, done, into.length - done, offset + done);
      if (n === 0) break;
      done += n;
    }
    return done;
  }

  /** @param {Uint8Array} from @param {number} offset */
  write(from, offset) {
    let done = 0;
    while (done < from.length) done += fs.writeSync(this.#fd, from, done, from.length - done, offset + done);
  }

  /** @param {number} size */
  truncate(size) {
    fs.ftruncateSync(this.#fd, size);
  }

  sync() {
    fs.fdatasyncSync(this.#fd);
  }

  size() {
    return fs.fstatSync(this.#fd).size;
  }

  close() {
    fs.closeSync(this.#fd);
  }
}

class NodeFiles extends FileBackend {
  #folder;
  /** The folder itself, open, so that it can be synced. */
  #folderFd;
  /** @type {() => Promise<void>} */
  #unlock;

  /** @param {string} folder @param {number} folderFd @param {() => Promise<void>} unlock */
  constructor(folder, folderFd, unlock) {
    super('node', true);
    this.#folder = folder;
    this.#folderFd = folderFd;
    this.#unlock = unlock;
  }

  /** @param {string} name @param {boolean} create @override */
  openFile(name, create) {
    const at = path.join(this.#folder, name);
    try {
      return new NodeFile(fs.openSync(at, 'r+'));
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    if (!create) return null;
    const fd = fs.openSync(at, 'wx+', 0o600);
    this.#syncFolder();
    return new NodeFile(fd);
  }

  /** @param {string} name @override */
  deleteFile(name) {
    try {
      fs.unlinkSync(path.join(this.#folder, name));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
    this.#syncFolder();
    return true;
  }

  /** @param {string} name @override */
  hasFile(name) {
    return fs.statSync(path.join(this.#folder, name), { throwIfNoEntry: false }) !== undefined;
  }

  /** @param {unknown} error @override */
  errorOf(error) {
    switch (codeOf(error)) {
      case 'ENOENT': return HostError.ENOENT;
      case 'ENOSPC':
      case 'EDQUOT': return HostError.EFULL;
      case 'EACCES':
      case 'EPERM':
      case 'EROFS': return HostError.EDENIED;
      default: return HostError.EIO;
    }
  }

  /** @override */
  async release() {
    await this.#unlock();
    fs.closeSync(this.#folderFd);
  }

  /** @override */
  async remove() {
    for (const name of ACCOUNT_FILES) fs.rmSync(path.join(this.#folder, name), { force: true });
    // What else is in the folder is not ours.
    if (fs.readdirSync(this.#folder).length === 0) fs.rmdirSync(this.#folder);
  }

  /** A file's name is in its folder, so that one must reach the medium too. */
  #syncFolder() {
    if (process.platform !== 'win32') fs.fsyncSync(this.#folderFd);
  }
}

/**
 * Whether anybody listens on a socket. A process that was killed leaves its socket's file behind, but nobody who answers:
 * the kernel knows, so neither process ids (which are used again) nor times have to be trusted.
 * @param {string} address
 * @returns {Promise<boolean>}
 */
function answers(address) {
  return new Promise((resolve) => {
    const socket = net.connect(address);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(codeOf(error))));
  });
}

/**
 * @param {string} address
 * @returns {Promise<net.Server>}
 */
function listen(address) {
  return new Promise((resolve, reject) => {
    const server = net.createServer((socket) => socket.destroy());
    server.on('error', reject);
    // exclusive: in a cluster, not shared with the other workers.
    server.listen({ path: address, exclusive: true }, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** @param {net.Server} server @returns {Promise<void>} */
function stop(server) {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/**
 * Becomes the folder's owner. Each who wants it listens on a socket of its own in the folder, and then looks for others:
 * one who finds another that answers steps back. So whoever is owner had looked after it could be seen, and there is never
 * a second one; a killed owner's socket answers nobody and is removed. Holds for processes of one machine, in containers
 * too; not for machines that share a network file system.
 * @param {string} folder
 * @param {number} folderFd
 * @returns {Promise<(() => Promise<void>) | null>} what gives it back; null when another has it
 */
async function lock(folder, folderFd) {
  if (process.platform === 'win32') {
    const name = createHash('sha256').update(fs.realpathSync(folder).toLowerCase()).digest('hex');
    try {
      const server = await listen(`\\\\.\\pipe\\sotto-${name}`);
      return () => stop(server);
    } catch (error) {
      if (codeOf(error) === 'EADDRINUSE') return null;
      throw error;
    }
  }
  // A socket's path is short; the kernel's own name for the open folder always is.
  const short = folder.length + 20 > SOCKET_PATH_MAX && process.platform === 'linux' ? `/proc/self/fd/${folderFd}` : folder;
  for (let tries = 0; tries < LOCK_TRIES; tries += 1) {
    if (tries > 0) await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 80 * tries));
    const ours = `.lock-${randomBytes(6).toString('hex')}`;
    const server = await listen(path.join(short, ours));
    let alone = false;
    try {
      const others = fs.readdirSync(folder).filter((name) => LOCK.test(name) && name !== ours);
      const alive = await Promise.all(others.map((name) => answers(path.join(short, name))));
      others.forEach((name, i) => alive[i] || fs.rmSync(path.join(folder, name), { force: true }));
      // Ours may have been removed by one that looked before we answered: then it is the owner, or nobody is.
      alone = !alive.includes(true) && fs.existsSync(path.join(folder, ours));
    } finally {
      if (!alone) await stop(server);
    }
    if (alone) return () => stop(server);
  }
  return null;
}

/**
 * Opens an account's folder for this process; makes it when it is not there.
 * @param {string} folder
 * @returns {Promise<FileBackend>}
 */
export async function openFiles(folder) {
  if (folder === '') throw new SottoError({ code: 'store', class: 'store', message: 'A folder is needed to keep an account in.' });
  const at = path.resolve(folder);
  let folderFd = -1;
  try {
    // Only what is made here is made private; a folder of the user's own keeps its mode.
    if (fs.mkdirSync(at, { recursive: true, mode: 0o700 }) !== undefined) syncParent(at);
    folderFd = fs.openSync(at, 'r');
    const unlock = await lock(at, folderFd);
    if (unlock === null) throw busyError(`The account in ${folder} is in use by another process.`);
    return new NodeFiles(at, folderFd, unlock);
  } catch (error) {
    if (folderFd >= 0) fs.closeSync(folderFd);
    if (error instanceof SottoError) throw error;
    const code = ['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error)) ? 'store_denied' : 'store';
    const message = `The folder ${folder} cannot be used: ${error instanceof Error ? error.message : String(error)}.`;
    throw new SottoError({ code, class: 'store', message }, { cause: error });
  }
}

/** @param {string} folder */
function syncParent(folder) {
  if (process.platform === 'win32') return;
  const fd = fs.openSync(path.dirname(folder), 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
