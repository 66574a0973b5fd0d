// files-worker.mjs: the Worker of files.test.mjs. Told what to do by one message; answers with one, or with many.
import { appendForEver, checkContract, checkLog, readAll } from './files-contract.mjs';
import { destroyFiles, openFiles } from '../../../glue/files.mjs';
import { openIdbFiles } from '../../../glue/files-idb.mjs';
import { openOpfsFiles } from '../../../glue/files-opfs.mjs';

/** @param {string} kind @param {string} name */
function open(kind, name) {
  if (kind === 'opfs') return openOpfsFiles(name);
  if (kind === 'indexeddb') return openIdbFiles(name);
  return openFiles(name);
}

/** @param {any} message */
function post(message) {
  /** @type {any} */ (globalThis).postMessage(message);
}

/** @type {any} */
let held = null;

/** @type {Record<string, (m: any) => Promise<unknown>>} */
const tasks = {
  contract: ({ kind, name }) => checkContract(() => open(kind, name), true),
  async append({ kind, name, count }) {
    const files = await open(kind, name);
    post({ open: true });
    await appendForEver(files, (index) => post({ reported: index }), count ?? Infinity);
    await files.close();
    return files.kind;
  },
  async check({ kind, name, reported }) {
    const files = await open(kind, name);
    const whole = checkLog(files, reported);
    await files.flush();
    await files.close();
    return whole;
  },
  async hold({ kind, name }) {
    held = await open(kind, name);
    return { kind: held.kind, persistent: held.persistent, refused: held.refused };
  },
  async holdMemory({ name }) {
    held = await openFiles(name, { prefer: 'memory' });
    return held.kind;
  },
  async put({ path, text }) {
    const fd = held.open(path, 1);
    const written = held.write(fd, new TextEncoder().encode(text), 0);
    held.close(fd);
    await held.flush();
    return written;
  },
  async get({ path }) {
    const bytes = readAll(held, path);
    return bytes && new TextDecoder().decode(bytes);
  },
  async release() {
    await held.close();
  },
  async destroy() {
    await held.destroy();
  },
  async destroyAny({ name }) {
    await destroyFiles(name);
  },
  async fill({ size }) {
    // Until the quota refuses it.
    const fd = held.open('account.db', 1);
    const bytes = new Uint8Array(size);
    for (let at = 0; at < 64 * size; at += size) {
      for (let i = 0; i < size; i += 65536) crypto.getRandomValues(bytes.subarray(i, i + 65536)); // else it is compressed
      const code = held.write(fd, bytes, at);
      if (code !== 0) return { code };
      await held.flush();
    }
    return { code: 0 };
  },
  /** Takes something away from storage, as eviction might. */
  async lose({ kind, name, what }) {
    if (kind === 'opfs') {
      const root = await navigator.storage.getDirectory();
      await root.removeEntry(`sotto-${encodeURIComponent(name)}`, { recursive: true });
      return;
    }
    await new Promise((resolve, reject) => {
      const request = indexedDB.open(`sotto:${name}`);
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const transaction = request.result.transaction(['chunks', 'meta'], 'readwrite');
        if (what === 'manifest') transaction.objectStore('meta').clear();
        if (what === 'chunk') transaction.objectStore('chunks').delete(['account.db', 1]);
        if (what === 'chunks') transaction.objectStore('chunks').clear();
        if (what === 'file') transaction.objectStore('chunks').delete(IDBKeyRange.bound(['account.key', 0], ['account.key', Infinity]));
        transaction.oncomplete = () => {
          request.result.close();
          resolve(undefined);
        };
      };
    });
  },
  async refuseOpfs() {
    // As Firefox's and Safari's private windows do.
    navigator.storage.getDirectory = () => Promise.reject(new DOMException('The operation is insecure.', 'SecurityError'));
  },
  async refuseIndexedDb() {
    Object.defineProperty(globalThis, 'indexedDB', {
      value: {
        open() {
          throw new DOMException('A mutation operation was attempted on a database that did not allow mutations.', 'InvalidStateError');
        },
      },
    });
  },
};

globalThis.onmessage = async ({ data }) => {
  try {
    post({ id: data.id, result: await tasks[data.task](data) });
  } catch (error) {
    post({ id: data.id, error: { code: error.code, message: String(error.message), name: error.name } });
  }
};
