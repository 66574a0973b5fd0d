// files.mjs: chooses where an account's files are kept in a browser: OPFS, else IndexedDB, else memory ("this visit only").
//
// An account stays where it was made. Its IndexedDB database records where that is, also for OPFS; both belong to the same
// origin and a browser that evicts, evicts both. When the record is there and the files are not, or the storage they were
// in refuses, opening fails: a new identity is never made over a lost one (element-ios#2361).
import { FileBackend, StorageRefused, lostError } from './files-common.mjs';
import { deleteDatabase, hasChunks, openDatabase, openIdbFiles, readManifest, writeKind } from './files-idb.mjs';
import { openMemoryFiles } from './files-memory.mjs';
import { destroyOpfsFiles, openOpfsFiles } from './files-opfs.mjs';
import { SottoError } from './error.mjs';

export { StorageRefused };

/** @typedef {import('./files-common.mjs').Kind} Kind */

/** @param {string} name @returns {Promise<Kind | undefined>} where the account is recorded to be */
async function recordedKind(name) {
  const database = await openDatabase(name);
  try {
    const manifest = await readManifest(database);
    if (manifest === undefined && (await hasChunks(database))) throw lostError('The browser has lost part of this account.');
    return manifest?.kind;
  } catch (error) {
    throw error instanceof SottoError ? error : new StorageRefused('indexeddb', error);
  } finally {
    database.close();
  }
}

/**
 * Files in OPFS, whose existence is recorded in IndexedDB with the first that is made.
 * @param {string} name
 * @param {Kind | undefined} recorded
 */
async function openRecordedOpfs(name, recorded) {
  const files = await openOpfsFiles(name);
  if (recorded === 'opfs' && files.empty) {
    await files.close();
    throw lostError('The browser has lost this account.');
  }
  const [flush, destroy] = [files.flush.bind(files), files.destroy.bind(files)];
  let noted = recorded === 'opfs';
  files.flush = async () => {
    await flush();
    if (noted || files.empty) return;
    noted = true;
    try {
      const database = await openDatabase(name);
      await writeKind(database, 'opfs').finally(() => database.close());
    } catch {
      // No IndexedDB here: then there is nothing that could later be mistaken for this account either.
    }
  };
  files.destroy = async () => {
    await destroy();
    await deleteDatabase(name).catch(() => {});
  };
  return files;
}

/**
 * Opens an account's files. `files.kind` and `files.persistent` say what came of it, `files.refused` why not better.
 * Rejects with a SottoError: `store_busy` when another tab holds the account, `store_lost` when it was here and is gone,
 * `store_denied` when the storage it was made in is refused now.
 * @param {string} name
 * @param {{ prefer?: Kind }} [options] prefer: where to begin trying for a new account; 'memory' keeps it nowhere else
 * @returns {Promise<FileBackend>}
 */
export async function openFiles(name, { prefer = 'opfs' } = {}) {
  if (prefer === 'memory') return openMemoryFiles();
  /** @type {string[]} */
  const refused = [];
  /** @type {Kind | undefined} */
  let recorded;
  try {
    recorded = await recordedKind(name);
  } catch (error) {
    if (!(error instanceof StorageRefused)) throw error;
    refused.push(error.message);
  }
  if (recorded === 'opfs') return openRecordedOpfs(name, recorded);
  if (recorded === 'indexeddb') return openIdbFiles(name);
  /** @type {[Kind, () => Promise<FileBackend>][]} */
  const ways = [
    ['opfs', () => openRecordedOpfs(name, recorded)],
    ['indexeddb', () => openIdbFiles(name)],
  ];
  for (const [kind, open] of prefer === 'indexeddb' ? ways.slice(1) : ways) {
    try {
      const files = await open();
      files.refused = kind === 'opfs' ? [] : refused;
      return files;
    } catch (error) {
      if (!(error instanceof StorageRefused)) throw error;
      if (!refused.includes(error.message)) refused.push(error.message);
    }
  }
  const files = await openMemoryFiles();
  files.refused = refused;
  return files;
}

/**
 * Deletes an account wherever it is, also one that can no longer be opened. Only ever on a person's explicit wish.
 * @param {string} name
 */
export async function destroyFiles(name) {
  await destroyOpfsFiles(name);
  await deleteDatabase(name);
}
