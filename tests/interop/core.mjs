// core.mjs: our members: build/tests/interop.wasm behind the methods that session.mjs asks of any member.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(new URL('../../build/tests/interop.wasm', import.meta.url));
/** @type {WebAssembly.Module | undefined} */
let compiled;

export const hex = (/** @type {Uint8Array} */ bytes) => Buffer.from(bytes).toString('hex');
export const bytes = (/** @type {string} */ text) => new Uint8Array(Buffer.from(text, 'hex'));

/** An error of the core; `code` is its name (core/base/err.h). */
export class CoreError extends Error {
  /** @param {string} call @param {string} code */
  constructor(call, code) {
    super(`${call}: ${code}`);
    this.code = code;
  }
}

/** One instance of the module, with the members in it. */
export class Core {
  /** @param {(into: Uint8Array) => void} random */
  constructor(random) {
    compiled ??= new WebAssembly.Module(readFileSync(file));
    /** @type {any} */
    let exports;
    const view = (/** @type {number} */ at, /** @type {number} */ n) => new Uint8Array(exports.memory.buffer, at, n);
    const imports = {
      random: (/** @type {number} */ at, /** @type {number} */ n) => random(view(at, n)),
      now: () => Date.now(),
      log: (/** @type {number} */ _level, /** @type {number} */ at, /** @type {number} */ n) => console.error(Buffer.from(view(at, n)).toString()),
    };
    exports = new WebAssembly.Instance(compiled, { sotto: imports }).exports;
    exports._initialize?.();
    this.exports = exports;
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} [args] byte arrays become hex
   * @returns {any}
   */
  call(name, args = {}) {
    const { exports } = this;
    const json = Buffer.from(JSON.stringify({ call: name, ...args }, (_key, value) => (value instanceof Uint8Array ? hex(value) : value)));
    const at = exports.interop_alloc(json.length);
    new Uint8Array(exports.memory.buffer).set(json, at);
    const answer = exports.interop_call(at, json.length);
    const memory = Buffer.from(exports.memory.buffer);
    const reply = JSON.parse(memory.toString('utf8', answer, memory.indexOf(0, answer)));
    exports.interop_free(at);
    exports.interop_free(answer);
    if (reply.error !== undefined) throw new CoreError(name, reply.error);
    return reply;
  }
}

/** A member on our core. Messages, key packages, Welcomes and GroupInfos are MLSMessages. */
export class OurMember {
  kind = 'ours';

  /**
   * @param {Core} core
   * @param {{ suite: number, name: string, seed: Uint8Array, extensionTypes: number[] }} who
   */
  constructor(core, { suite, name, seed, extensionTypes }) {
    this.core = core;
    this.name = name;
    this.seed = seed;
    this.extensionTypes = extensionTypes;
    this.id = core.call('new', { suite, identity: name, seed }).member;
  }

  /** @param {string} name @param {Record<string, unknown>} [args] */
  #call(name, args = {}) {
    return this.core.call(name, { member: this.id, extension_types: this.extensionTypes, ...args });
  }

  free() {
    this.#call('free');
  }

  /** @param {Uint8Array} id @param {Uint8Array} value */
  knowPsk(id, value) {
    this.#call('psk', { id, value });
  }

  async keyPackage({ lastResort = false } = {}) {
    const made = this.#call('key_package', { last_resort: lastResort });
    this.privateKeys = { init: bytes(made.init_key), encryption: bytes(made.encryption_key) };
    return bytes(made.key_package);
  }

  /** @param {Uint8Array} groupId @param {import('./session.mjs').Extension[]} extensions */
  async create(groupId, extensions) {
    this.#call('create', { group_id: groupId, extensions });
  }

  /** @param {Uint8Array} welcome @param {{ tree?: Uint8Array, parent?: OurMember }} [options] */
  async join(welcome, { tree, parent } = {}) {
    this.#call('join', { welcome, ratchet_tree: tree, parent: parent?.id });
  }

  /** @param {Uint8Array} groupInfo @param {{ tree?: Uint8Array, resync?: boolean, psks?: object[] }} [options] */
  async joinExternal(groupInfo, { tree, resync = false, psks = [] } = {}) {
    return bytes(this.#call('join_external', { group_info: groupInfo, ratchet_tree: tree, resync, psks }).commit);
  }

  /** Makes a commit and keeps it until merge or drop. @param {import('./session.mjs').CommitOptions} options */
  async commit({ parent, reInit, ...options }) {
    const made = this.#call('stage', {
      adds: options.adds ?? [],
      removes: options.removes ?? [],
      psks: options.psks ?? [],
      extensions: options.extensions,
      re_init: reInit === undefined ? undefined : reInitArgument(reInit),
      parent: parent?.id,
      tree_apart: options.treeApart,
      force_path: options.forcePath,
      use_proposals: options.byReference,
      new_leaf: options.newLeaf,
      public: options.public,
      aad: options.aad,
    });
    return { commit: bytes(made.commit), welcome: made.welcome === undefined ? undefined : bytes(made.welcome) };
  }

  async merge() {
    this.#call('merge');
  }

  async drop() {
    this.#call('drop');
  }

  /** @param {string} kind @param {any} [what] @param {{ public?: boolean }} [options] */
  async propose(kind, what = {}, options = {}) {
    const argument = kind === 're_init' ? { re_init: reInitArgument(what) } : { key_package: what.keyPackage, ...what };
    return bytes(this.#call('propose', { kind, public: options.public, ...argument }).message);
  }

  /** @param {Uint8Array} message @returns {Promise<import('./session.mjs').Incoming>} */
  async process(message) {
    const got = this.#call('process', { message });
    return {
      kind: got.kind,
      sender: got.sender,
      aad: bytes(got.aad),
      plaintext: got.plaintext === undefined ? undefined : bytes(got.plaintext),
      removesUs: got.staged?.removes_us ?? false,
    };
  }

  /** @param {Uint8Array} plaintext @param {Uint8Array} aad */
  async protect(plaintext, aad) {
    return bytes(this.#call('protect', { plaintext, aad }).message);
  }

  async state() {
    const s = this.#call('state');
    return {
      epoch: s.epoch,
      authenticator: s.epoch_authenticator,
      treeHash: s.tree_hash,
      transcript: s.confirmed_transcript_hash,
      extensions: s.extensions,
      reInit: s.re_init,
    };
  }

  async leafIndex() {
    return this.#call('state').own_leaf;
  }

  /** @param {string} label @param {Uint8Array} context */
  async exportSecret(label, context) {
    return this.#call('export', { label, context }).secret;
  }

  async tree() {
    return bytes(this.#call('tree').ratchet_tree);
  }

  /** @param {{ tree: boolean }} options */
  async groupInfo({ tree }) {
    return bytes(this.#call('info', { with_tree: tree }).group_info);
  }

  /** Closes the group and opens it from its records. */
  async restart() {
    this.#call('reload');
  }

  /** Changes when anything in the records changes. */
  async fingerprint() {
    return this.#call('records').digest;
  }

  /** @returns {Promise<{ leaf: number, identity: string, signature_key: string }[]>} */
  async members() {
    return this.#call('members').members;
  }
}

/** @param {import('./session.mjs').ReInit} r */
const reInitArgument = (r) => ({ group_id: r.groupId, suite: r.suite, extensions: r.extensions });

/**
 * A proposal from outside (RFC 9420 §12.1.8), made by our core.
 * @param {Core} core
 * @param {{ suite: number, groupId: Uint8Array, epoch: number, seed: Uint8Array, kind: string } & Record<string, any>} options
 */
export function proposeFromOutside(core, { groupId, ...options }) {
  return bytes(core.call('propose_external', { group_id: groupId, ...options }).message);
}
