// files-memory.mjs: files that last as long as the page or the process: "this visit only". Also the memory of files-idb.mjs.
import { FileBackend } from './files-common.mjs';

/** The unit in which files grow, and in which files-idb.mjs writes them: a commit touches one or two. */
export const CHUNK_SIZE = 16384;

/** A file in chunks: growing copies nothing, and what has changed is known. */
export class ChunkFile {
  /** @type {Uint8Array[]} */
  chunks = [];
  /** Indices of the chunks that were changed since they were last taken. @type {Set<number>} */
  dirty = new Set();
  #size = 0;

  /**
   * @param {Uint8Array[]} chunks of CHUNK_SIZE each; owned from now on
   * @param {number} size
   */
  constructor(chunks = [], size = 0) {
    this.chunks = chunks;
    this.#size = size;
  }

  /** @param {Uint8Array} into @param {number} offset */
  read(into, offset) {
    const n = Math.max(0, Math.min(into.length, this.#size - offset));
    for (let done = 0; done < n; ) {
      const at = (offset + done) % CHUNK_SIZE;
      const part = Math.min(n - done, CHUNK_SIZE - at);
      into.set(this.chunks[Math.floor((offset + done) / CHUNK_SIZE)].subarray(at, at + part), done);
      done += part;
    }
    return n;
  }

  /** @param {Uint8Array} from @param {number} offset */
  write(from, offset) {
    this.#grow(offset + from.length);
    for (let done = 0; done < from.length; ) {
      const index = Math.floor((offset + done) / CHUNK_SIZE);
      const at = (offset + done) % CHUNK_SIZE;
      const part = Math.min(from.length - done, CHUNK_SIZE - at);
      this.chunks[index].set(from.subarray(done, done + part), at);
      this.dirty.add(index);
      done += part;
    }
  }

  /** @param {number} size */
  truncate(size) {
    this.#grow(size);
    this.#size = size;
    const count = Math.ceil(size / CHUNK_SIZE);
    if (count < this.chunks.length) {
      this.chunks.length = count;
      for (const index of this.dirty) if (index >= count) this.dirty.delete(index);
    }
    // What lies past the end must read as zero should the file grow again.
    if (size % CHUNK_SIZE !== 0) {
      this.chunks[count - 1].fill(0, size % CHUNK_SIZE);
      this.dirty.add(count - 1);
    }
  }

  sync() {}

  size() {
    return this.#size;
  }

  /** @param {number} size */
  #grow(size) {
    while (this.chunks.length * CHUNK_SIZE < size) {
      this.dirty.add(this.chunks.length);
      this.chunks.push(new Uint8Array(CHUNK_SIZE));
    }
    if (size > this.#size) this.#size = size;
  }
}

export class MemoryFiles extends FileBackend {
  /** @type {Map<string, ChunkFile>} @protected */
  files = new Map();

  /** @param {import('./files-common.mjs').Kind} kind @param {boolean} persistent */
  constructor(kind = 'memory', persistent = false) {
    super(kind, persistent);
  }

  /** @param {string} path @param {boolean} create @override */
  openFile(path, create) {
    let file = this.files.get(path) ?? null;
    if (file === null && create) {
      file = new ChunkFile();
      this.files.set(path, file);
    }
    return file;
  }

  /** @param {string} path @override */
  deleteFile(path) {
    return this.files.delete(path);
  }

  /** @param {string} path @override */
  hasFile(path) {
    return this.files.has(path);
  }

  /** @override */
  async release() {
    this.files.clear();
  }
}

/** @returns {Promise<MemoryFiles>} */
export async function openMemoryFiles() {
  return new MemoryFiles();
}
