// files-idb.mjs: an account's files in IndexedDB, for browsers without synchronous access handles. They are held in memory;
// flush() writes what a command changed as one IndexedDB transaction, so a command is on the medium as a whole or not at
// all. All of it is prepared before the transaction begins and nothing else is awaited within: browsers end a transaction
// that has nothing to do (element-web#12207).
//
// One database for each account. Its manifest says which files there are and how large; chunks without manifest, or fewer
// than it says, mean that the browser lost some of it, which is said and never repaired by starting anew.
import { FileBackend, StorageRefused, busyError, lostError } from './files-common.mjs';
import { CHUNK_SIZE, ChunkFile, MemoryFiles } from './files-memory.mjs';
import { SottoError } from './error.mjs';

const CHUNKS = 'chunks';
const META = 'meta';
const MANIFEST = 'manifest';

/**
 * @typedef {object} Manifest
 * @property {1} version
 * @property {import('./files-common.mjs').Kind} kind where the account's files are; those in OPFS have only this here
 * @property {string} owner who opened the account last: nobody else may write any more
 * @property {Record<string, number>} files their sizes
 */

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new DOMException('the transaction was given up', 'AbortError'));
  });
}

/** @param {IDBDatabase} database @returns {IDBTransaction} */
function writing(database) {
  return database.transaction([CHUNKS, META], 'readwrite', { durability: 'strict' });
}

/** @param {string} name */
function databaseOf(name) {
  return `sotto:${name}`;
}

/**
 * The account's database, made when it is not there.
 * @param {string} name
 * @returns {Promise<IDBDatabase>}
 */
export async function openDatabase(name) {
  try {
    if (typeof indexedDB === 'undefined') throw new TypeError('no IndexedDB');
    const request = indexedDB.open(databaseOf(name), 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(CHUNKS);
      request.result.createObjectStore(META);
    };
    const database = await result(request);
    // Another tab deletes the account.
    database.onversionchange = () => database.close();
    return database;
  } catch (error) {
    throw new StorageRefused('indexeddb', error);
  }
}

/**
 * What the manifest says; undefined when there is none.
 * @param {IDBDatabase} database
 * @returns {Promise<Manifest | undefined>}
 */
export function readManifest(database) {
  return result(database.transaction(META).objectStore(META).get(MANIFEST));
}

/** Whether anything is kept in the database. @param {IDBDatabase} database */
export async function hasChunks(database) {
  return (await result(database.transaction(CHUNKS).objectStore(CHUNKS).count())) > 0;
}

/**
 * Records that the account's files are somewhere else.
 * @param {IDBDatabase} database
 * @param {import('./files-common.mjs').Kind} kind
 */
export async function writeKind(database, kind) {
  const transaction = writing(database);
  /** @type {Manifest} */
  const manifest = { version: 1, kind, owner: '', files: {} };
  transaction.objectStore(META).put(manifest, MANIFEST);
  await finished(transaction);
}

/** Deletes all of an account in IndexedDB. @param {string} name @returns {Promise<void>} */
export async function deleteDatabase(name) {
  if (typeof indexedDB !== 'undefined') await result(indexedDB.deleteDatabase(databaseOf(name)));
}

class IdbFiles extends MemoryFiles {
  #name;
  #database;
  #owner;
  /** Paths whose chunks must go before those of a new file of that name are written. @type {Set<string>} */
  #deleted = new Set();
  /** What is recorded, or about to be: the sizes. @type {Map<string, number>} */
  #recorded = new Map();
  /** Flushes run one after the other. @type {Promise<void>} */
  #last = Promise.resolve();
  /** The first failure: from then on memory is ahead of the medium. @type {SottoError | null} */
  #failed = null;

  /** @param {string} name @param {IDBDatabase} database @param {string} owner */
  constructor(name, database, owner) {
    super('indexeddb', true);
    this.#name = name;
    this.#database = database;
    this.#owner = owner;
  }

  /** @param {string} path @param {ChunkFile} file read from the database */
  load(path, file) {
    this.files.set(path, file);
    this.#recorded.set(path, file.size());
  }

  /** @param {string} path @param {boolean} create @override */
  openFile(path, create) {
    if (this.#failed) throw this.#failed;
    return super.openFile(path, create);
  }

  /** @param {string} path @override */
  deleteFile(path) {
    if (!super.deleteFile(path)) return false;
    this.#deleted.add(path);
    return true;
  }

  /** @override @returns {Promise<void>} */
  flush() {
    if (this.#failed) return Promise.reject(this.#failed);
    const changes = this.#take();
    if (changes === null) return this.#last;
    const flushed = this.#last.then(() => this.#write(changes));
    this.#last = flushed;
    // Whoever called sees the failure; the next flush sees it too.
    flushed.catch(() => {});
    return flushed;
  }

  /** A copy of all that changed since this was last called. */
  #take() {
    /** @type {{ key: [string, number], bytes: Uint8Array }[]} */
    const chunks = [];
    /** @type {[string, number][]} the first chunk of each that is to go, with all after it */
    const cut = [...this.#deleted].map((path) => [path, 0]);
    let changed = cut.length > 0;
    for (const path of this.#deleted) this.#recorded.delete(path);
    this.#deleted.clear();
    for (const [path, file] of this.files) {
      const before = this.#recorded.get(path);
      if (before === undefined || before !== file.size()) changed = true;
      if (before !== undefined && before > file.size()) cut.push([path, file.chunks.length]);
      for (const index of file.dirty) chunks.push({ key: [path, index], bytes: file.chunks[index].slice() });
      file.dirty.clear();
      this.#recorded.set(path, file.size());
    }
    if (!changed && chunks.length === 0) return null;
    /** @type {Manifest} */
    const manifest = { version: 1, kind: 'indexeddb', owner: this.#owner, files: Object.fromEntries(this.#recorded) };
    return { cut, chunks, manifest };
  }

  /** @param {{ cut: [string, number][], chunks: { key: [string, number], bytes: Uint8Array }[], manifest: Manifest }} changes */
  async #write({ cut, chunks, manifest }) {
    if (this.#failed) throw this.#failed;
    let elsewhere = false;
    try {
      const transaction = writing(this.#database);
      const done = finished(transaction);
      const meta = transaction.objectStore(META);
      const known = meta.get(MANIFEST);
      known.onsuccess = () => {
        if (known.result?.owner !== this.#owner) {
          elsewhere = true;
          transaction.abort();
          return;
        }
        const store = transaction.objectStore(CHUNKS);
        for (const [path, from] of cut) store.delete(IDBKeyRange.bound([path, from], [path, Infinity]));
        for (const { key, bytes } of chunks) store.put(bytes, key);
        meta.put(manifest, MANIFEST);
        transaction.commit?.();
      };
      await done;
    } catch (error) {
      this.#failed = elsewhere ? busyError('This account was opened in another tab.') : this.#failure(error);
      throw this.#failed;
    }
  }

  /** @param {unknown} error @returns {SottoError} */
  #failure(error) {
    const full = error instanceof Error && error.name === 'QuotaExceededError';
    if (full) return new SottoError({ code: 'store_full', class: 'store', message: "The device's storage is full." }, { cause: error });
    const why = error instanceof Error ? error.message : String(error);
    return new SottoError({ code: 'store', class: 'store', message: `Storage failed: ${why}.` }, { cause: error });
  }

  /** @override */
  async release() {
    await this.#last.catch(() => {});
    this.#database.close();
    await super.release();
  }

  /** @override */
  async remove() {
    await deleteDatabase(this.#name);
  }
}

/**
 * Opens an account's files and takes them over: whoever had them open before can write no more. Rejects with
 * StorageRefused where there is no IndexedDB, with `store_lost` when part of the account is gone.
 * @param {string} name
 * @returns {Promise<FileBackend>}
 */
export async function openIdbFiles(name) {
  const database = await openDatabase(name);
  try {
    const owner = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join('-');
    const transaction = writing(database);
    const done = finished(transaction);
    const meta = transaction.objectStore(META);
    const store = transaction.objectStore(CHUNKS);
    const manifestRequest = meta.get(MANIFEST);
    const keysRequest = store.getAllKeys();
    const chunksRequest = store.getAll();
    // The requests are answered in order, so at the last one's success all are.
    chunksRequest.onsuccess = () => {
      const before = /** @type {Manifest | undefined} */ (manifestRequest.result);
      if (before === undefined ? keysRequest.result.length > 0 : before.kind !== 'indexeddb') return;
      /** @type {Manifest} */
      const manifest = { version: 1, kind: 'indexeddb', owner, files: before?.files ?? {} };
      meta.put(manifest, MANIFEST);
    };
    await done;
    const manifest = /** @type {Manifest | undefined} */ (manifestRequest.result);
    if (manifest !== undefined && manifest.kind !== 'indexeddb') throw lostError(`This account is kept elsewhere (${manifest.kind}).`);
    if (manifest === undefined && keysRequest.result.length > 0) throw lostError('The browser has lost part of this account.');
    const files = new IdbFiles(name, database, owner);
    /** @type {Map<string, Uint8Array[]>} */
    const found = new Map();
    keysRequest.result.forEach((key, i) => {
      const [path, index] = /** @type {[string, number]} */ (key);
      const chunks = found.get(path) ?? [];
      chunks[index] = chunksRequest.result[i];
      found.set(path, chunks);
    });
    for (const [path, size] of Object.entries(manifest?.files ?? {})) {
      const chunks = found.get(path) ?? [];
      const count = Math.ceil(size / CHUNK_SIZE);
      for (let i = 0; i < count; i += 1) {
        if (chunks[i]?.length !== CHUNK_SIZE) throw lostError('The browser has lost part of this account.');
      }
      if (chunks.length !== count) throw lostError('The browser has lost part of this account.');
      files.load(path, new ChunkFile(chunks, size));
      found.delete(path);
    }
    if (found.size > 0) throw lostError('The browser has lost part of this account.');
    return files;
  } catch (error) {
    database.close();
    if (error instanceof SottoError) throw error;
    throw new StorageRefused('indexeddb', error);
  }
}
