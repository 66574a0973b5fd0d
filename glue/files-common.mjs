// files-common.mjs: what the file back ends have in common: the table of descriptors, and errors as the core knows them.
//
// A back end is one object with two faces. The core calls open, close(fd), read, write, truncate, sync, size, delete and
// access; all are synchronous, and a failure is a negative HostError (core/host.h). The host loop calls flush() after each
// command and close() at the end. What a command wrote may be reported or sent once flush() has resolved.
//
// The core keeps one account in few files: `account.key`, `account.db`, and SQLite's `account.db-wal` and
// `account.db-journal`. They share their fate: a back end never gives some of them without the others (element-web#9862).
import { HostError, OpenFlag } from './core.mjs';
import { SottoError } from './error.mjs';

/** The files of an account (core/client and SQLite give the names). */
export const ACCOUNT_FILES = ['account.key', 'account.db', 'account.db-wal', 'account.db-journal'];

/**
 * @typedef {object} File an open file, or rather the file under any number of descriptors. Methods may throw: the back
 *   end's `errorOf` says what it means.
 * @property {(into: Uint8Array, offset: number) => number} read
 * @property {(from: Uint8Array, offset: number) => void} write all of it
 * @property {(size: number) => void} truncate
 * @property {() => void} sync
 * @property {() => number} size
 * @property {() => void} [close]
 */

/**
 * Another tab or process has the account open.
 * @param {string} message
 * @param {unknown} [cause]
 */
export function busyError(message, cause) {
  return new SottoError({ code: 'store_busy', class: 'store', message }, { cause });
}

/**
 * The account was here and is not any more, in whole or in part. Never answered by a new one: the user decides.
 * @param {string} message
 */
export function lostError(message) {
  return new SottoError({ code: 'store_lost', class: 'store', message });
}

/** This storage is not to be had (private window, old browser, settings); another one may be. */
export class StorageRefused extends SottoError {
  /**
   * @param {string} kind
   * @param {unknown} cause
   */
  constructor(kind, cause) {
    const why = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
    super({ code: 'store_denied', class: 'store', message: `This browser does not allow storage (${kind}: ${why}).` }, { cause });
    this.name = 'StorageRefused';
  }
}

/** @typedef {'opfs' | 'indexeddb' | 'memory' | 'node'} Kind */

/** @abstract */
export class FileBackend {
  /** @type {({ file: File, path: string, exclusive: boolean, readonly: boolean } | null)[]} */
  #open = [];
  #closed = false;

  /** Why storage that would have been better was not used; empty when nothing was refused. @type {string[]} */
  refused = [];

  /**
   * @param {Kind} kind where the files are
   * @param {boolean} persistent whether they are still there at the next visit (unless the browser evicts them)
   */
  constructor(kind, persistent) {
    this.kind = kind;
    this.persistent = persistent;
  }

  /** @param {string} path @param {boolean} create @returns {File | null} null: no such file @protected */
  openFile(path, create) {
    throw new Error(`not implemented: ${path} ${create}`);
  }
  /** @param {string} path @returns {boolean} false: no such file @protected */
  deleteFile(path) {
    throw new Error(`not implemented: ${path}`);
  }
  /** @param {string} path @returns {boolean} @protected */
  hasFile(path) {
    throw new Error(`not implemented: ${path}`);
  }
  /** What an exception of the three above, or of a File, means. @param {unknown} error @returns {number} @protected */
  errorOf(error) {
    return error instanceof Error && error.name === 'QuotaExceededError' ? HostError.EFULL : HostError.EIO;
  }
  /** Lets go of everything; called once, after all files were closed. @returns {Promise<void>} @protected */
  async release() {}
  /** Deletes the account's files; called after release. @returns {Promise<void>} @protected */
  async remove() {}

  /**
   * @param {() => number} operation
   * @returns {number}
   */
  #attempt(operation) {
    if (this.#closed) return HostError.EIO;
    try {
      return operation();
    } catch (error) {
      return this.errorOf(error);
    }
  }

  /**
   * @param {number} fd
   * @param {boolean} writes
   * @param {(file: File) => number} operation
   * @returns {number}
   */
  #with(fd, writes, operation) {
    return this.#attempt(() => {
      const entry = this.#open[fd];
      if (!entry) return HostError.EIO;
      if (writes && entry.readonly) return HostError.EDENIED;
      return operation(entry.file);
    });
  }

  /**
   * @param {string} path
   * @param {number} flags OpenFlag
   * @returns {number} a descriptor >= 0; EBUSY when both this and an earlier descriptor of the file are EXCLUSIVE
   */
  open(path, flags) {
    return this.#attempt(() => {
      if (!/^[a-z0-9][a-z0-9._-]{0,63}$/i.test(path)) return HostError.EDENIED;
      const exclusive = (flags & OpenFlag.EXCLUSIVE) !== 0;
      if (exclusive && this.#open.some((entry) => entry?.path === path && entry.exclusive)) return HostError.EBUSY;
      const file = this.openFile(path, (flags & OpenFlag.CREATE) !== 0);
      if (file === null) return HostError.ENOENT;
      const free = this.#open.indexOf(null);
      const fd = free < 0 ? this.#open.length : free;
      this.#open[fd] = { file, path, exclusive, readonly: (flags & OpenFlag.READONLY) !== 0 };
      return fd;
    });
  }

  /**
   * With a descriptor: closes it. Without: closes all and lets go of the account; what was not flushed is dropped.
   * @type {{ (fd: number): number, (): Promise<void> }}
   */
  close = /** @type {any} */ ((/** @type {number | undefined} */ fd) => (fd === undefined ? this.#shut() : this.#closeOne(fd)));

  /** @param {number} fd */
  #closeOne(fd) {
    return this.#with(fd, false, (file) => {
      this.#open[fd] = null;
      file.close?.();
      return 0;
    });
  }

  async #shut() {
    if (this.#closed) return;
    for (let fd = 0; fd < this.#open.length; fd += 1) this.#closeOne(fd);
    this.#closed = true;
    await this.release();
  }

  /** @param {number} fd @param {Uint8Array} into @param {number} offset @returns {number} */
  read(fd, into, offset) {
    return this.#with(fd, false, (file) => file.read(into, offset));
  }

  /** @param {number} fd @param {Uint8Array} from @param {number} offset @returns {number} 0 */
  write(fd, from, offset) {
    return this.#with(fd, true, (file) => {
      file.write(from, offset);
      return 0;
    });
  }

  /** @param {number} fd @param {number} size @returns {number} 0 */
  truncate(fd, size) {
    return this.#with(fd, true, (file) => {
      file.truncate(size);
      return 0;
    });
  }

  /** @param {number} fd @returns {number} 0 once what was written is on the medium, or will be after the next flush() */
  sync(fd) {
    return this.#with(fd, false, (file) => {
      file.sync();
      return 0;
    });
  }

  /** @param {number} fd @returns {number} */
  size(fd) {
    return this.#with(fd, false, (file) => file.size());
  }

  /** @param {string} path @returns {number} 0 once it is gone for good */
  delete(path) {
    return this.#attempt(() => (this.deleteFile(path) ? 0 : HostError.ENOENT));
  }

  /** @param {string} path @returns {number} 1 when the file exists, 0 when not */
  access(path) {
    return this.#attempt(() => (this.hasFile(path) ? 1 : 0));
  }

  /** Resolves once all that was written is on the medium. @returns {Promise<void>} */
  async flush() {}

  /** Closes, and deletes the account's files for good. Only ever on a person's explicit wish. */
  async destroy() {
    await this.#shut();
    await this.remove();
  }
}
