// core.mjs: loads the core's wasm module and speaks its boundary: bytes in, bytes out. No Emscripten runtime, nothing of
// browser or Node but what both have, so it runs unchanged in a Worker and in Node.
//
// The other sides of this file are core/host.h (what the module imports) and core/include/sotto.h (what it exports and
// how a frame is laid out). All calls are synchronous, as the core is; only loading is not.

/** The frame layout and function meanings this loader knows: SOTTO_ABI of core/include/sotto.h. */
export const ABI = 1;

/**
 * What a file operation returns when it fails; `enum host_error` of core/host.h.
 * @readonly
 * @enum {number}
 */
export const HostError = { ENOENT: -1, EIO: -2, EFULL: -3, EBUSY: -4, EDENIED: -5 };

/**
 * Flags of `Files.open`; `enum host_open_flags` of core/host.h.
 * @readonly
 * @enum {number}
 */
export const OpenFlag = { CREATE: 1, READONLY: 2, EXCLUSIVE: 4 };

/**
 * A synchronous file store for one account: OPFS, IndexedDB or node:fs behind it. Paths are relative to its root. A
 * failure is a negative HostError; an exception is logged and counts as EIO. Buffers are views of the module's memory:
 * valid during the call only.
 * @typedef {object} Files
 * @property {(path: string, flags: number) => number} open a descriptor >= 0
 * @property {(fd: number) => number} close
 * @property {(fd: number, into: Uint8Array, offset: number) => number} read how many bytes; fewer only at the file's end
 * @property {(fd: number, from: Uint8Array, offset: number) => number} write writes all or fails
 * @property {(fd: number, size: number) => number} truncate
 * @property {(fd: number) => number} sync returns once what was written is on the medium
 * @property {(fd: number) => number} size
 * @property {(path: string) => number} delete
 * @property {(path: string) => number} access 1 when the file exists, 0 when not
 */

/**
 * @typedef {object} Reply
 * @property {any} header the reply's JSON
 * @property {Uint8Array[]} attachments copies, each with a buffer of its own, so they can be transferred
 */

/**
 * The module's exports; pointers and sizes are i32, which JavaScript sees as signed.
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} memory
 * @property {() => void} _initialize
 * @property {() => number} sotto_abi
 * @property {(frame: number, size: number) => number} sotto_open
 * @property {(handle: number, frame: number, size: number) => number} sotto_call
 * @property {(size: number) => number} sotto_alloc
 * @property {(memory: number, size: number) => void} sotto_free
 * @property {(handle: number) => void} sotto_close
 */

/**
 * The module stopped in the middle of a call: a failed assertion, memory out of bounds, a stack too deep. Its memory can
 * no longer be trusted, so every later call fails with this too. What was committed is in the store: load anew and go on.
 */
export class CoreTrap extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super(`the core stopped: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = 'CoreTrap';
  }
}

/** getRandomValues takes no more than this at once. */
const RANDOM_CHUNK = 65536;

/** @param {Uint8Array} bytes */
function systemRandom(bytes) {
  for (let at = 0; at < bytes.length; at += RANDOM_CHUNK) {
    globalThis.crypto.getRandomValues(bytes.subarray(at, at + RANDOM_CHUNK));
  }
}

/**
 * @param {number} level 0 debug, 1 info, 2 warning, 3 error
 * @param {string} text
 */
function consoleLog(level, text) {
  if (level >= 3) console.error(text);
  else if (level === 2) console.warn(text);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Lays out a frame: u32 total, u32 header size, header, then u32 size and bytes of each attachment. Little endian.
 * @param {object} header
 * @param {readonly Uint8Array[]} attachments
 * @returns {Uint8Array}
 */
export function encodeFrame(header, attachments = []) {
  const json = encoder.encode(JSON.stringify(header));
  const size = attachments.reduce((sum, a) => sum + 4 + a.length, 8 + json.length);
  const frame = new Uint8Array(size);
  const view = new DataView(frame.buffer);
  view.setUint32(0, size - 4, true);
  view.setUint32(4, json.length, true);
  frame.set(json, 8);
  let at = 8 + json.length;
  for (const attachment of attachments) {
    view.setUint32(at, attachment.length, true);
    frame.set(attachment, at + 4);
    at += 4 + attachment.length;
  }
  return frame;
}

/**
 * Reads a frame that begins at `at`. Throws a RangeError when it does not end where it says.
 * @param {Uint8Array} bytes
 * @param {number} at
 * @returns {Reply}
 */
export function decodeFrame(bytes, at = 0) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = at + 4 + view.getUint32(at, true);
  let next = at + 8 + view.getUint32(at + 4, true);
  if (end > bytes.length || next > end) throw new RangeError('a frame that ends past its bytes');
  // slice, not subarray: TextDecoder refuses views of shared memory, and a copy of a header is cheap.
  const header = JSON.parse(decoder.decode(bytes.slice(at + 8, next)));
  const attachments = [];
  while (next < end) {
    const from = next + 4;
    next = from + view.getUint32(next, true);
    if (next > end) throw new RangeError('an attachment that ends past its frame');
    attachments.push(bytes.slice(from, next));
  }
  return { header, attachments };
}

/** One instance of the module, with as many open handles as are wanted. Made by loadCore. */
class Core {
  /** @type {Exports} */
  #exports;
  /** @type {Uint8Array} */
  #bytes;
  /** @type {CoreTrap | null} */
  #trap = null;
  /** @type {Set<number>} */
  #handles = new Set();

  /** @param {Exports} exports */
  constructor(exports) {
    this.#exports = exports;
    this.#bytes = new Uint8Array(exports.memory.buffer);
    this.#run(exports._initialize);
    /** The module's SOTTO_ABI. */
    this.abi = this.#run(exports.sotto_abi) >>> 0;
    if (this.abi !== ABI) throw new Error(`this module speaks ABI ${this.abi}, this loader ABI ${ABI}: one of them is old`);
  }

  /** True after a CoreTrap: nothing but loading anew helps. */
  get dead() {
    return this.#trap !== null;
  }

  /** The module's memory. Growing it replaces the buffer, so a view is made anew when that has happened. */
  get memory() {
    if (this.#bytes.buffer !== this.#exports.memory.buffer) this.#bytes = new Uint8Array(this.#exports.memory.buffer);
    return this.#bytes;
  }

  /**
   * Opens a core over one store. Nothing is read yet: account.create or account.unlock does that.
   * @param {string} name path of the store in `files`; '' for one in memory that dies with the handle
   * @param {object} [options] further members of the header
   * @returns {number} a handle
   */
  open(name, options = {}) {
    const handle = this.#withFrame(encodeFrame({ ...options, store: name }), (frame, size) =>
      this.#run(this.#exports.sotto_open, frame, size),
    );
    if (handle === 0) throw new Error('the core refused to open: out of memory, or a malformed name');
    this.#handles.add(handle);
    return handle;
  }

  /**
   * Runs one command. A command that fails is a reply whose header has "error", not an exception.
   * @param {number} handle
   * @param {object} header
   * @param {readonly Uint8Array[]} [attachments]
   * @returns {Reply}
   */
  call(handle, header, attachments = []) {
    this.#check(handle);
    return this.#withFrame(encodeFrame(header, attachments), (frame, size) => {
      const reply = this.#run(this.#exports.sotto_call, handle, frame, size) >>> 0;
      return decodeFrame(this.memory, reply);
    });
  }

  /**
   * Locks the account, wipes its secrets and closes the store. Closing twice, or after a trap, does nothing.
   * @param {number} handle
   */
  close(handle) {
    if (!this.#handles.delete(handle) || this.dead) return;
    this.#run(this.#exports.sotto_close, handle);
  }

  /** @param {number} handle */
  #check(handle) {
    if (this.#trap !== null) throw this.#trap;
    if (!this.#handles.has(handle)) throw new Error('this handle is closed');
  }

  /**
   * Puts a frame into the module's memory for as long as `use` runs. sotto_free wipes it.
   * @template T
   * @param {Uint8Array} frame
   * @param {(pointer: number, size: number) => T} use
   * @returns {T}
   */
  #withFrame(frame, use) {
    const pointer = this.#run(this.#exports.sotto_alloc, frame.length) >>> 0;
    if (pointer === 0) throw new Error(`the core is out of memory for a frame of ${frame.length} bytes`);
    try {
      this.memory.set(frame, pointer);
      return use(pointer, frame.length);
    } finally {
      frame.fill(0); // it may carry a PIN
      if (!this.dead) this.#run(this.#exports.sotto_free, pointer, frame.length);
    }
  }

  /**
   * Every call into the module goes through here. Whatever leaves it by an exception has left it half way.
   * @template {any[]} A
   * @param {(...args: A) => number | void} fn
   * @param {A} args
   * @returns {number}
   */
  #run(fn, ...args) {
    if (this.#trap !== null) throw this.#trap;
    try {
      return fn(...args) ?? 0;
    } catch (cause) {
      this.#trap = new CoreTrap(cause);
      throw this.#trap;
    }
  }
}

/**
 * @typedef {object} CoreOptions
 * @property {BufferSource | WebAssembly.Module} wasm
 * @property {Files} [files] may be left out when only the store '' (memory) is opened
 * @property {(bytes: Uint8Array) => void} [random] fills the bytes; by default the platform's CSPRNG
 * @property {() => number} [now] milliseconds since 1970; by default Date.now
 * @property {(level: number, text: string) => void} [log] by default warnings and errors go to the console
 */

/**
 * @param {CoreOptions} options
 * @returns {Promise<Core>}
 */
export async function loadCore({ wasm, files, random = systemRandom, now = Date.now, log = consoleLog }) {
  /** @type {WebAssembly.Memory} */
  let memory;
  const view = (/** @type {number} */ pointer, /** @type {number} */ size) =>
    new Uint8Array(memory.buffer, pointer >>> 0, size >>> 0);
  const text = (/** @type {number} */ pointer, /** @type {number} */ size) => decoder.decode(view(pointer, size));

  /**
   * An exception must not pass through the module: it would leave SQLite in the middle of a write.
   * @param {(files: Files) => number} operation
   * @returns {number}
   */
  const file = (operation) => {
    if (files === undefined) return HostError.EDENIED;
    try {
      return operation(files);
    } catch (error) {
      log(3, `file operation failed: ${error instanceof Error ? error.message : String(error)}`);
      return HostError.EIO;
    }
  };

  /** @type {WebAssembly.Imports} */
  const imports = {
    sotto: {
      // A host without entropy must not go on: what this throws ends the instance.
      random: (/** @type {number} */ p, /** @type {number} */ n) => random(view(p, n)),
      now: () => now(),
      log: (/** @type {number} */ level, /** @type {number} */ p, /** @type {number} */ n) => log(level, text(p, n)),
      file_open: (/** @type {number} */ p, /** @type {number} */ n, /** @type {number} */ flags) =>
        file((f) => f.open(text(p, n), flags)),
      file_close: (/** @type {number} */ fd) => file((f) => f.close(fd)),
      file_read: (/** @type {number} */ fd, /** @type {number} */ p, /** @type {number} */ n, /** @type {number} */ at) =>
        file((f) => f.read(fd, view(p, n), at)),
      file_write: (/** @type {number} */ fd, /** @type {number} */ p, /** @type {number} */ n, /** @type {number} */ at) =>
        file((f) => f.write(fd, view(p, n), at)),
      file_truncate: (/** @type {number} */ fd, /** @type {number} */ size) => file((f) => f.truncate(fd, size)),
      file_sync: (/** @type {number} */ fd) => file((f) => f.sync(fd)),
      file_size: (/** @type {number} */ fd) => file((f) => f.size(fd)),
      file_delete: (/** @type {number} */ p, /** @type {number} */ n) => file((f) => f.delete(text(p, n))),
      file_exists: (/** @type {number} */ p, /** @type {number} */ n) => file((f) => f.access(text(p, n))),
    },
  };

  const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(wasm);
  const instance = await WebAssembly.instantiate(module, imports);
  const exports = /** @type {Exports} */ (/** @type {unknown} */ (instance.exports));
  memory = exports.memory;
  return new Core(exports);
}
