// ts-mls.mjs: the work of groups.mjs done by ts-mls, a peer in TypeScript, as JSON of the same form. A cell that would take
// longer than LIMIT_MS, going by the size before it and processor time, is left out (null).
import { webcrypto } from 'node:crypto';
import { fillingOrder, median } from './support.mjs';

// Node 18 has no global crypto, which ts-mls takes for granted.
// @ts-ignore
globalThis.crypto ??= webcrypto;
/** @type {any} */
const mls = await import('ts-mls');
/** @type {any} */
const math = await import('ts-mls/treemath.js');

/** Its names; 0x0054 is what it calls our 0xF00E. @type {Record<string, string>} */
const SUITES = {
  f00e: 'MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519',
  '0003': 'MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519',
};
const SIZES = (process.argv[2] ?? '2,8,32,128,512,1000').split(',').map(Number);
const LIMIT_MS = 40_000;
const COMMITS = 5;

/** Milliseconds of processor time so far. */
function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** @param {() => Promise<unknown>} work @returns {Promise<number>} milliseconds of processor time */
async function timed(work) {
  const began = cpu();
  await work();
  return cpu() - began;
}

/** A group on one machine: what each of its members has of his own is kept apart from what all have in common. */
class Group {
  /** @type {any} the committing member's state */
  first;
  /** @type {any} the last member's */
  last;
  /** @type {{ publicPackage: any, privatePackage: any }[]} */
  members = [];
  /** Private keys by node, of all members. @type {Record<number, Uint8Array>} */
  keys = {};
  bytes = { keyPackage: 0, welcome: 0, commit: 0 };
  /** @type {{ commit?: Uint8Array, welcome?: Uint8Array }} */
  sent = {};

  /** @param {any} cs @param {number} size */
  constructor(cs, size) {
    this.cs = cs;
    this.size = size;
  }

  async makeKeys() {
    const lifetime = { notBefore: 0n, notAfter: 9223372036854775807n };
    const identity = new TextEncoder().encode('0123456789abcdef');
    for (let i = 0; i < this.size; i++) {
      const made = await mls.generateKeyPackage({ credentialType: 'basic', identity }, mls.defaultCapabilities(), lifetime, [], this.cs);
      this.members.push(made);
      this.keys[2 * i] = made.privatePackage.hpkePrivateKey;
    }
    this.bytes.keyPackage = mls.encodeMlsMessage({ version: 'mls10', wireformat: 'mls_key_package', keyPackage: this.members[0].publicPackage }).length - 4;
  }

  async create() {
    const { publicPackage, privatePackage } = this.members[0];
    this.first = await mls.createGroup(new TextEncoder().encode('bench'), publicPackage, privatePackage, [], this.cs);
  }

  /** @param {any[]} members to be added */
  async commit(members = []) {
    const extraProposals = members.map(({ publicPackage: keyPackage }) => ({ proposalType: 'add', add: { keyPackage } }));
    const made = await mls.createCommit({ state: this.first, cipherSuite: this.cs }, { extraProposals, ratchetTreeExtension: true });
    this.first = made.newState;
    this.sent.commit = mls.encodeMlsMessage(made.commit);
    this.bytes.commit = this.sent.commit?.length ?? 0;
    if (made.welcome === undefined) return;
    this.sent.welcome = mls.encodeMlsMessage({ version: 'mls10', wireformat: 'mls_welcome', welcome: made.welcome });
    this.bytes.welcome = (this.sent.welcome?.length ?? 4) - 4;
  }

  async fill() {
    await this.create();
    await this.commit(this.members.slice(1));
  }

  async oneByOne() {
    await this.create();
    for (const member of this.members.slice(1)) await this.commit([member]);
  }

  async join() {
    const [{ welcome }] = mls.decodeMlsMessage(this.sent.welcome, 0);
    const { publicPackage, privatePackage } = this.members[this.size - 1];
    this.last = await mls.joinGroup(welcome, publicPackage, privatePackage, mls.makePskIndex(undefined, {}), this.cs);
  }

  async process() {
    const [{ privateMessage }] = mls.decodeMlsMessage(this.sent.commit, 0);
    const result = await mls.processPrivateMessage(this.last, privateMessage, mls.makePskIndex(this.last, {}), this.cs);
    this.last = result.newState;
  }

  /** The state of that member in the present epoch. @param {number} leaf */
  #stateOf(leaf) {
    const { ratchetTree } = this.first;
    const path = [2 * leaf, ...math.directPath(2 * leaf, math.leafWidth(ratchetTree.length))];
    const privateKeys = Object.fromEntries(path.filter((node) => this.keys[node] !== undefined).map((node) => [node, this.keys[node]]));
    return { ...this.first, privatePath: { leafIndex: leaf, privateKeys }, signaturePrivateKey: this.members[leaf].privatePackage.signaturePrivateKey };
  }

  /** No parent is blank afterwards; false when that took too long. */
  async fillParents() {
    const began = cpu();
    for (const leaf of [...fillingOrder(this.size), 0]) {
      this.first = this.#stateOf(leaf);
      await this.commit();
      Object.assign(this.keys, this.first.privatePath.privateKeys);
      if (cpu() - began > LIMIT_MS) return false;
    }
    this.last = this.#stateOf(this.size - 1);
    return true;
  }
}

/** @param {Group} g @param {number} count */
async function commits(g, count) {
  const made = [];
  const processed = [];
  for (let i = 0; i < count; i++) {
    made.push(await timed(() => g.commit()));
    processed.push(await timed(() => g.process()));
  }
  return { commit: median(made), process: median(processed), bytes: g.bytes.commit };
}

/** How long each kind of work took at the size before. @typedef {Record<string, { size: number, ms: number }>} Before */

/** @param {Before} before @param {string} what @param {number} size */
function tooLong(before, what, size) {
  const last = before[what];
  return last !== undefined && last.ms * (size / last.size) ** 2 > LIMIT_MS;
}

/** @param {any} cs @param {number} size @param {Before} before */
async function cell(cs, size, before) {
  /** @template T @param {string} what @param {() => Promise<T>} work */
  const within = async (what, work) => {
    if (tooLong(before, what, size)) return null;
    const began = cpu();
    const result = await work();
    before[what] = { size, ms: cpu() - began };
    return result;
  };
  const g = new Group(cs, size);
  await g.makeKeys();
  const oneByOne = await within('oneByOne', () => timed(() => g.oneByOne()));
  const fill = await within('fill', () => timed(() => g.fill()));
  if (fill === null) return { fill, join: null, oneByOne, added: null, full: null, bytes: g.bytes };
  const join = await timed(() => g.join());
  const bytes = { ...g.bytes };
  const added = await within('added', () => commits(g, 1));
  const full = await within('full', async () => ((await g.fillParents()) ? commits(g, COMMITS) : null));
  return { fill, join, oneByOne, added, full, bytes };
}

/** @type {Record<string, unknown>} */
const results = {};
for (const [suite, name] of Object.entries(SUITES)) {
  const cs = await mls.getCiphersuiteImpl(mls.getCiphersuiteFromName(name));
  await cell(cs, 8, {}); // so that the first cell is not the compiler's
  /** @type {Before} */
  const before = {};
  for (const size of SIZES) results[`${suite} ${size}`] = await cell(cs, size, before);
}
console.log(JSON.stringify(results));
