// files-opfs.mjs: an account's files in the browser's origin-private file system, through synchronous access handles. Only
// in a dedicated Worker. The handles are made asynchronously, so one for each of the account's few files is opened
// beforehand; each of them is also the lock that keeps other tabs out.
import { HostError } from './core.mjs';
import { ACCOUNT_FILES, FileBackend, StorageRefused, busyError } from './files-common.mjs';

/** A Worker that was terminated in the middle of something lives on for 2 s in Chromium, and holds its handles so long. */
const BUSY_PAUSE = 50;
const BUSY_TRIES = 60;

/**
 * FileSystemSyncAccessHandle, which TypeScript's types know in Workers only.
 * @typedef {object} Handle
 * @property {(into: Uint8Array, options: { at: number }) => number} read
 * @property {(from: Uint8Array, options: { at: number }) => number} write
 * @property {(size: number) => void} truncate
 * @property {() => void} flush
 * @property {() => number} getSize
 * @property {() => void} close
 */

/** The handle's file. An empty one counts as absent unless it was created since: the file system knows no better. */
class OpfsFile {
  /** @param {Handle} handle */
  constructor(handle) {
    this.handle = handle;
    this.exists = handle.getSize() > 0;
  }

  /** @param {Uint8Array} into @param {number} offset */
  read(into, offset) {
    return this.handle.read(into, { at: offset });
  }

  /** @param {Uint8Array} from @param {number} offset */
  write(from, offset) {
    const n = this.handle.write(from, { at: offset });
    if (n !== from.length) throw new DOMException('written in part', 'QuotaExceededError');
  }

  /** @param {number} size */
  truncate(size) {
    this.handle.truncate(size);
  }

  sync() {
    this.handle.flush();
  }

  size() {
    return this.handle.getSize();
  }
}

class OpfsFiles extends FileBackend {
  #folder;
  /** @type {Map<string, OpfsFile>} */
  #files;

  /** @param {string} folder @param {Map<string, OpfsFile>} files */
  constructor(folder, files) {
    super('opfs', true);
    this.#folder = folder;
    this.#files = files;
  }

  /** Whether nothing is kept here: no account, or one that is gone. */
  get empty() {
    return [...this.#files.values()].every((file) => !file.exists);
  }

  /** @param {string} path @param {boolean} create @override */
  openFile(path, create) {
    const file = this.#files.get(path);
    if (file === undefined) throw new TypeError(`no handle for ${path}`);
    if (!file.exists && !create) return null;
    file.exists = true;
    return file;
  }

  /** @param {string} path @override */
  deleteFile(path) {
    const file = this.#files.get(path);
    if (file === undefined || !file.exists) return false;
    file.handle.truncate(0);
    file.handle.flush();
    file.exists = false;
    return true;
  }

  /** @param {string} path @override */
  hasFile(path) {
    return this.#files.get(path)?.exists === true;
  }

  /** @param {unknown} error @override */
  errorOf(error) {
    return error instanceof TypeError ? HostError.EDENIED : super.errorOf(error);
  }

  /** @override */
  async release() {
    for (const { handle } of this.#files.values()) handle.close();
  }

  /** @override */
  async remove() {
    await removeOpfsFolder(this.#folder);
  }
}

/** @param {string} name @returns {string} safe as a file's name, and different for different names */
function folderOf(name) {
  return `sotto-${encodeURIComponent(name)}`;
}

/** @param {string} folder */
async function removeOpfsFolder(folder) {
  const root = await navigator.storage.getDirectory();
  try {
    await root.removeEntry(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof DOMException && error.name === 'NotFoundError')) throw error;
  }
}

/**
 * @param {FileSystemFileHandle} file
 * @returns {Promise<Handle>}
 */
async function accessHandle(file) {
  const create = /** @type {{ createSyncAccessHandle?: () => Promise<Handle> }} */ (/** @type {unknown} */ (file));
  if (create.createSyncAccessHandle === undefined) throw new TypeError('no synchronous access handles');
  for (let tries = 1; ; tries += 1) {
    try {
      return await create.createSyncAccessHandle.call(file);
    } catch (error) {
      const held = error instanceof DOMException && ['NoModificationAllowedError', 'InvalidStateError'].includes(error.name);
      if (!held) throw error;
      if (tries >= BUSY_TRIES) throw busyError('This account is open in another tab.', error);
      await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE));
    }
  }
}

/**
 * Opens an account's files. Rejects with StorageRefused where the browser has no such storage or does not allow it, with
 * `store_busy` when another tab holds the account.
 * @param {string} name
 * @returns {Promise<OpfsFiles>}
 */
export async function openOpfsFiles(name) {
  /** @type {Map<string, OpfsFile>} */
  const files = new Map();
  try {
    if (typeof navigator.storage?.getDirectory !== 'function') throw new TypeError('no origin-private file system');
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(folderOf(name), { create: true });
    for (const path of ACCOUNT_FILES) {
      const handle = await accessHandle(await folder.getFileHandle(path, { create: true }));
      // Before 2023 these methods were asynchronous in some browsers.
      if (typeof handle.getSize() !== 'number') {
        handle.close();
        throw new TypeError('the access handles are not synchronous');
      }
      files.set(path, new OpfsFile(handle));
    }
    return new OpfsFiles(folderOf(name), files);
  } catch (error) {
    for (const { handle } of files.values()) handle.close();
    if (error instanceof Error && 'code' in error && error.code === 'store_busy') throw error;
    throw new StorageRefused('opfs', error);
  }
}

/** Deletes an account's files without opening them. Only ever on a person's explicit wish. @param {string} name */
export async function destroyOpfsFiles(name) {
  if (typeof navigator.storage?.getDirectory === 'function') await removeOpfsFolder(folderOf(name));
}
