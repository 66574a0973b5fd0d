// session.mjs: one random session: a group with members on both implementations, driven by a seeded generator. After every
// epoch all members must agree; what one refuses, or reads otherwise than it was sent, is a divergence.
import { createHash } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { Core, CoreError, OurMember, hex, proposeFromOutside } from './core.mjs';
import { TsMember, tsProposeFromOutside, tsSuite } from './ts-mls.mjs';

/**
 * @typedef {{ type: number, data: Uint8Array }} Extension
 * @typedef {{ external?: Uint8Array, group_id?: Uint8Array, epoch?: number, usage?: number, nonce?: Uint8Array }} PskId
 * @typedef {{ groupId: Uint8Array, suite: number, extensions: Extension[] }} ReInit
 * @typedef {object} CommitOptions
 * @property {Uint8Array[]} [adds] key packages
 * @property {number[]} [removes] leaf indexes
 * @property {PskId[]} [psks]
 * @property {Extension[]} [extensions]
 * @property {ReInit} [reInit]
 * @property {any} [parent] the member's own view of the group branched from or re-initialised
 * @property {boolean} [byReference] with the pending proposals
 * @property {boolean} [forcePath]
 * @property {boolean} [newLeaf]
 * @property {boolean} [treeApart]
 * @property {boolean} [public] as PublicMessage
 * @property {Uint8Array} [aad]
 * @typedef {{ kind: string, removesUs: boolean, plaintext?: Uint8Array, aad?: Uint8Array, sender?: number }} Incoming
 * @typedef {OurMember | TsMember} Member
 * @typedef {{ kind: string, by?: Member, target?: Member, joiner?: Member }} Pending
 */

/** What our members keep of the past (core/mls/group.h). */
const PAST_EPOCHS = 3;
const PSK_APPLICATION = 1;
const PSK_REINIT = 2;
const PSK_BRANCH = 3;
/** Extension types of private use (RFC 9420 §17.3) that all members of a session support. */
const PRIVATE_EXTENSIONS = [0xf0a0, 0xf0a1];
const REQUIRED_CAPABILITIES = 3;
const EXTERNAL_SENDERS = 5;
const HISTORY = 40;

export class Divergence extends Error {}

/** Numbers from a seed (mulberry32): the same session again from the same seed. */
export class Random {
  /** @param {number} seed */
  constructor(seed) {
    this.state = seed >>> 0;
  }

  float() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** From 0 to n - 1. @param {number} n */
  below(n) {
    return Math.floor(this.float() * n);
  }

  /** @param {number} p */
  chance(p) {
    return this.float() < p;
  }

  /** @template T @param {T[]} list @returns {T} */
  pick(list) {
    return list[this.below(list.length)];
  }

  /** @template T @param {T[]} list @returns {T[]} */
  shuffled(list) {
    const all = [...list];
    for (let i = all.length - 1; i > 0; i--) {
      const k = this.below(i + 1);
      [all[i], all[k]] = [all[k], all[i]];
    }
    return all;
  }

  /** @param {number} n */
  bytes(n) {
    return Uint8Array.from({ length: n }, () => this.below(256));
  }
}

export class Session {
  /** @type {Member[]} */
  members = [];
  /** One who only reads: sends nothing, commits nothing, is not removed. @type {Member | undefined} */
  passive;
  /** The epoch in which each came. @type {Map<Member, number>} */
  since = new Map();
  epoch = 0;
  /** Of all groups of the session. */
  epochs = 0;
  /** @type {Pending[]} */
  pending = [];
  /** Messages on their way. @type {{ message: Uint8Array, plaintext: Uint8Array, aad: Uint8Array, leaf: number, epoch: number, to: Member[] }[]} */
  late = [];
  /** What happened, the newest last. @type {string[]} */
  history = [];
  /** @type {Record<string, number>} */
  counts = {};
  /** What went through the group's commits. @type {Record<string, number>} */
  contents = {};
  steps = 0;
  /** How often ts-mls took in an altered message that our members refused. */
  lenient = 0;
  #names = 0;

  /**
   * @param {object} options
   * @param {number} options.suite
   * @param {number} options.seed
   * @param {number} [options.most] members at a time
   * @param {string[]} [options.kinds] which implementations members are of
   * @param {number} [options.pskEpochs] how far back resumption PSKs reach
   */
  constructor({ suite, seed, most = 12, kinds = ['ours', 'ts-mls'], pskEpochs = PAST_EPOCHS }) {
    this.suite = suite;
    this.seed = seed;
    this.most = most;
    this.kinds = kinds;
    this.pskEpochs = pskEpochs;
    this.random = new Random(seed);
    const forCore = new Random(seed ^ 0x5bd1e995);
    this.core = new Core((into) => into.set(forCore.bytes(into.length)));
    this.pskPool = Array.from({ length: 4 }, () => ({ id: this.random.bytes(8), value: this.random.bytes(32) }));
    this.externalSender = this.random.bytes(32);
    /** @type {Extension[]} */
    this.extensions = [];
    this.groupId = this.random.bytes(16);
  }

  async start() {
    this.cs = await tsSuite(this.suite);
    const first = this.#newMember();
    this.extensions = this.#someExtensions();
    await first.create(this.groupId, this.extensions);
    this.members = [first];
    this.since.set(first, 0);
    this.#note(`${first.name} creates the group with ${this.extensions.map((e) => e.type)}`);
    // One of each side from the start.
    await this.#commit(first, { join: [this.#newMember(this.kinds.find((kind) => kind !== first.kind))] });
  }

  end() {
    for (const m of this.members) m.free();
  }

  /** @param {string} what */
  #note(what) {
    this.history.push(`step ${this.steps}, epoch ${this.epoch}: ${what}`);
    if (this.history.length > HISTORY) this.history.shift();
  }

  /** @param {string} what */
  #count(what, n = 1) {
    this.contents[what] = (this.contents[what] ?? 0) + n;
  }

  /** @param {string} what */
  #diverged(what) {
    return new Divergence(
      `suite 0x${this.suite.toString(16)}, seed ${this.seed}, step ${this.steps}: ${what}\n  before:\n    ${this.history.join('\n    ')}`,
    );
  }

  /** @template T @param {string} what @param {() => Promise<T>} doing @returns {Promise<T>} */
  async #must(what, doing) {
    try {
      return await doing();
    } catch (error) {
      if (error instanceof Divergence) throw error;
      throw this.#diverged(`${what}: ${error.stack ?? error}`);
    }
  }

  /** @param {string} kind @param {{ name: string, seed: Uint8Array }} [who] somebody who was a member before */
  #newMember(kind = this.random.pick(this.kinds), who) {
    const seed = who?.seed ?? this.random.bytes(32);
    const name = who?.name ?? `${kind === 'ours' ? 'our' : 'ts'}-${++this.#names}`;
    const about = { suite: this.suite, name, seed, extensionTypes: PRIVATE_EXTENSIONS };
    const member = kind === 'ours' ? new OurMember(this.core, about) : new TsMember(this.cs, { ...about, publicKey: ed25519.getPublicKey(seed), pastEpochs: this.pskEpochs + 1 });
    for (const { id, value } of this.pskPool) member.knowPsk(id, value);
    return member;
  }

  /** Never empty: ts-mls takes an empty list in a GroupContextExtensions for "as they are" (createCommit.js, "length > 0"). */
  #someExtensions() {
    /** @type {Extension[]} */
    const list = [{ type: PRIVATE_EXTENSIONS[0], data: this.random.bytes(this.random.below(40)) }];
    if (this.random.chance(0.5)) list.push({ type: PRIVATE_EXTENSIONS[1], data: this.random.bytes(3) });
    // extension types [0xF0A0], no proposal types, credential types [basic]
    if (this.random.chance(0.5)) list.push({ type: REQUIRED_CAPABILITIES, data: Uint8Array.of(2, 0xf0, 0xa0, 0, 2, 0, 1) });
    if (this.random.chance(0.6)) {
      const key = ed25519.getPublicKey(this.externalSender);
      const sender = [32, ...key, 0, 1, 6, ...Buffer.from('server')];
      list.push({ type: EXTERNAL_SENDERS, data: Uint8Array.of(sender.length, ...sender) });
    }
    return list;
  }

  /** Who may do something, or have it done to them. */
  #actors() {
    return this.members.filter((m) => m !== this.passive);
  }

  /** @param {Member} m */
  #others(m) {
    return this.members.filter((other) => other !== m);
  }

  /** A bit flipped; now and then cut off or lengthened. @param {Uint8Array} message */
  #alter(message) {
    if (this.random.chance(0.1)) return message.slice(0, this.random.below(message.length));
    if (this.random.chance(0.1)) return Uint8Array.of(...message, this.random.below(256));
    const copy = Uint8Array.from(message);
    copy[this.random.below(copy.length)] ^= 1 << this.random.below(8);
    return copy;
  }

  /** All must refuse it and be as they were. @param {Member[]} readers @param {Uint8Array} message */
  async #refused(readers, message) {
    const altered = this.#alter(message);
    for (const m of readers) {
      const before = await m.fingerprint();
      const state = m instanceof TsMember ? m.current : undefined;
      try {
        await m.process(altered);
      } catch {
        if ((await m.fingerprint()) !== before) throw this.#diverged(`${m.name} refused an altered message and changed`);
        continue;
      }
      if (m instanceof OurMember) throw this.#diverged(`${m.name} took in an altered message: ${hex(altered)}`);
      // Its decoder takes any octet but 0 for "present" and lengths that are not minimal (PITFALLS: ts-mls codec).
      this.lenient += 1;
      m.current = state;
      m.next = undefined;
    }
  }

  /** @param {Member} m @param {Uint8Array} message */
  async #mustRefuse(m, message, /** @type {string} */ what, /** @type {string[]} */ codes) {
    try {
      await m.process(message);
    } catch (error) {
      if (m instanceof OurMember && !(error instanceof CoreError && codes.includes(error.code)))
        throw this.#diverged(`${m.name} refused ${what} with ${error}, not ${codes}`);
      return;
    }
    throw this.#diverged(`${m.name} took in ${what}`);
  }

  /** Only ours is held to it. @param {Member} m @param {string} what @param {() => Promise<unknown>} joining */
  async #joinRefused(m, what, joining) {
    if (m instanceof TsMember) return;
    try {
      await joining();
    } catch (error) {
      if (error instanceof CoreError) return;
      throw error;
    }
    throw this.#diverged(`${m.name} joined by an altered ${what}`);
  }

  /** After every change of epoch. */
  async #agree() {
    const label = this.random.pick(['interop', 'a', 'label with spaces']);
    const context = this.random.bytes(this.random.below(40));
    const [first, ...rest] = this.members;
    const view = async (/** @type {Member} */ m) =>
      this.#must(`looking at ${m.name}`, async () => {
        const { reInit: _reInit, ...state } = await m.state();
        return { ...state, exported: await m.exportSecret(label, context), tree: createHash('sha256').update(await m.tree()).digest('hex') };
      });
    const expected = await view(first);
    if (expected.epoch !== this.epoch) throw this.#diverged(`${first.name} is in epoch ${expected.epoch}, not ${this.epoch}`);
    if (JSON.stringify(expected.extensions) !== JSON.stringify(this.extensions.map((e) => ({ type: e.type, data: hex(e.data) }))))
      throw this.#diverged(`${first.name} has other extensions: ${JSON.stringify(expected.extensions)}`);
    for (const m of rest) {
      const own = await view(m);
      if (JSON.stringify(own) !== JSON.stringify(expected))
        throw this.#diverged(`${first.name} and ${m.name} disagree:\n    ${JSON.stringify(expected)}\n    ${JSON.stringify(own)}`);
    }
  }

  /** What the new epoch does to the session's own books. @param {Member[]} gone @param {Member[]} come */
  #turn(gone, come) {
    this.epoch += 1;
    this.epochs += 1;
    for (const m of gone) m.free();
    this.members = [...this.members.filter((m) => !gone.includes(m)), ...come];
    for (const m of come) this.since.set(m, this.epoch);
    this.pending = [];
    for (const l of this.late) l.to = l.to.filter((m) => !gone.includes(m));
    this.late = this.late.filter((l) => l.to.length > 0);
  }

  /**
   * A member reads a commit made by another and goes to the next epoch.
   * @param {Member} m @param {Uint8Array} commit @param {boolean} removed
   */
  async #follow(m, commit, removed) {
    try {
      const got = await m.process(commit);
      if (got.kind !== 'commit') throw this.#diverged(`${m.name} read a commit as ${got.kind}`);
      if (got.removesUs !== removed && m instanceof OurMember) throw this.#diverged(`${m.name}: removes_us is ${got.removesUs}`);
      await m.merge();
    } catch (error) {
      // ts-mls does not see that it was removed when its leaf is taken again in the same commit or by the joiner's.
      if (removed && m instanceof TsMember) return;
      if (error instanceof Divergence) throw error;
      throw this.#diverged(`${m.name} on the commit: ${error.stack ?? error}`);
    }
    if (removed && m instanceof OurMember) {
      try {
        await m.protect(Uint8Array.of(1), new Uint8Array());
      } catch (error) {
        if (error instanceof CoreError && error.code === 'removed') return;
        throw this.#diverged(`${m.name} was removed, and protect says ${error}`);
      }
      throw this.#diverged(`${m.name} was removed and still sends`);
    }
  }

  /**
   * Any commit by a member, from making it to everybody's agreement.
   * @param {Member} by
   * @param {{ join?: Member[], remove?: Member[], psks?: PskId[], extensions?: Extension[], forcePath?: boolean, newLeaf?: boolean, rival?: Member }} content
   */
  async #commit(by, { join = [], remove = [], psks = [], extensions, forcePath = false, newLeaf = false, rival }) {
    const { random } = this;
    const pending = this.pending;
    const joiners = [...join, ...pending.flatMap((p) => p.joiner ?? [])];
    const gone = [...remove, ...pending.flatMap((p) => (p.kind === 'remove' && p.target ? [p.target] : []))];
    const adds = [];
    for (const m of join) adds.push(await this.#must(`${m.name} makes a key package`, () => m.keyPackage()));
    const removes = [];
    for (const m of remove) removes.push(await m.leafIndex());
    const treeApart = random.chance(0.3);
    const options = { adds, removes, psks, extensions, forcePath, newLeaf, treeApart, public: random.chance(0.5), byReference: true, aad: random.chance(0.2) ? random.bytes(5) : undefined };
    const what = [
      join.length > 0 ? `adds ${join.map((m) => m.name)}` : '',
      remove.length > 0 ? `removes ${remove.map((m) => m.name)}` : '',
      psks.length > 0 ? `${psks.length} PSKs` : '',
      extensions ? 'extensions' : '',
      pending.length > 0 ? `by reference: ${pending.map((p) => p.kind)}` : '',
      forcePath ? 'path' : '',
    ];
    this.#note(`${by.name} commits (${options.public ? 'public' : 'private'}) ${what.filter(Boolean).join(', ')}`);
    this.#count(`commits by ${by.kind}`);
    if (join.length > 0) this.#count('Add', join.length);
    if (remove.length > 0) this.#count('Remove', remove.length);
    if (psks.length > 0) this.#count('PreSharedKey', psks.length);
    if (extensions !== undefined) this.#count('GroupContextExtensions');
    for (const p of pending) this.#count(`${p.kind} by reference`);
    const made = await this.#must(`${by.name} makes the commit`, () => by.commit(options));

    if (rival !== undefined) {
      // Somebody else commits too, and loses.
      await this.#must(`${rival.name} makes the commit that loses`, () => rival.commit({ forcePath: true, byReference: true, public: random.chance(0.5) }));
      this.#note(`${rival.name} commits too, and loses`);
      if (random.chance(0.5)) await this.#must(`${rival.name} restarts`, () => this.#restart(rival));
      if (random.chance(0.5)) await this.#must(`${rival.name} drops its commit`, () => rival.drop());
    }
    if (random.chance(0.1)) await this.#refused(this.#others(by), made.commit);
    if (random.chance(0.2)) await this.#must(`${by.name} restarts with its commit staged`, () => this.#restart(by));
    for (const m of random.shuffled(this.#others(by))) await this.#follow(m, made.commit, gone.includes(m));
    await this.#must(`${by.name} merges`, () => by.merge());
    this.#turn(gone, joiners);
    if (extensions !== undefined) this.extensions = extensions;
    const byRef = pending.find((p) => p.kind === 'extensions');
    if (byRef !== undefined) this.extensions = /** @type {any} */ (byRef).extensions;

    if (joiners.length > 0) {
      const { welcome } = made;
      if (welcome === undefined) throw this.#diverged(`${by.name} made no Welcome`);
      const tree = treeApart ? await this.#must(`the tree from ${by.name}`, () => by.tree()) : undefined;
      // For one alone: in a Welcome for many, what is for the others could be anything.
      if (joiners.length === 1 && random.chance(0.3)) {
        await this.#joinRefused(joiners[0], 'Welcome', () => joiners[0].join(this.#alter(welcome), { tree }));
        if (tree) await this.#joinRefused(joiners[0], 'tree', () => joiners[0].join(welcome, { tree: this.#alter(tree) }));
      }
      for (const m of joiners) await this.#must(`${m.name} joins by the Welcome of ${by.name}${treeApart ? ', tree apart' : ''}`, () => m.join(welcome, { tree }));
    }
    await this.#agree();
  }

  /** ts-mls members keep a commit that is out in memory only. @param {Member} m */
  async #restart(m) {
    if (m instanceof OurMember || m.next === undefined) await m.restart();
  }

  /** Who may commit what is pending: not who proposed an Update, not who is to be removed (RFC 9420 §12.2). */
  #committers() {
    return this.#actors().filter((m) => !this.pending.some((p) => (p.kind === 'update' && p.by === m) || (p.kind === 'remove' && p.target === m)));
  }

  /**
   * Makes the one who only reads; the subclass that passive.mjs has writes down what it reads.
   * @param {{ name: string, seed: Uint8Array }} [who]
   * @returns {Member}
   */
  newPassive(who) {
    return this.#newMember('ours', who);
  }

  async addPassive() {
    this.passive = this.newPassive();
    await this.#commit(this.random.pick(this.#committers()), { join: [this.passive], psks: this.random.chance(0.5) ? this.#somePsks(false) : [] });
  }

  /** A step of one kind, if it can be done now. @param {string} kind */
  async tryStep(kind) {
    const entry = this.#table.find(([, name]) => name === kind);
    if (entry === undefined) throw new Error(`no kind of step ${kind}`);
    this.steps += 1;
    return entry[2]();
  }

  // ---- the steps; each says whether it could be done ----

  /** @type {[number, string, () => Promise<boolean>][]} */
  #table = [
    [30, 'application', () => this.#application()],
    [8, 'late', () => this.#deliverLate()],
    [12, 'commit', () => this.#randomCommit()],
    [10, 'propose', () => this.#propose()],
    [5, 'external join', () => this.#externalJoin()],
    [3, 'propose from outside', () => this.#proposeFromOutside()],
    [4, 'competing commits', () => this.#compete()],
    [6, 'restart', () => this.#restartSomebody()],
    [3, 'altered message', () => this.#altered()],
    [0.25, 'branch', () => this.#successor(false)],
    [0.25, 're-init', () => this.#successor(true)],
  ];

  async step() {
    this.steps += 1;
    const total = this.#table.reduce((sum, [weight]) => sum + weight, 0);
    for (;;) {
      let at = this.random.float() * total;
      const entry = this.#table.find(([weight]) => (at -= weight) < 0) ?? this.#table[0];
      if (await entry[2]()) {
        this.counts[entry[1]] = (this.counts[entry[1]] ?? 0) + 1;
        return;
      }
    }
  }

  /** Who may send now: ts-mls sends no application message while a proposal waits (createMessage.js). */
  #senders() {
    return this.#actors().filter((m) => m instanceof OurMember || this.pending.length === 0);
  }

  async #application() {
    const { random } = this;
    const senders = this.#senders();
    if (senders.length === 0 || this.members.length < 2) return false;
    const by = random.pick(senders);
    const sent = [];
    for (let n = 1 + random.below(3); n > 0; n--) {
      const plaintext = random.bytes(random.chance(0.1) ? 5000 : random.below(600));
      const aad = random.chance(0.3) ? random.bytes(random.below(20)) : new Uint8Array();
      const message = await this.#must(`${by.name} protects`, () => by.protect(plaintext, aad));
      sent.push({ message, plaintext, aad, leaf: await by.leafIndex(), epoch: this.epoch, to: /** @type {Member[]} */ ([]) });
    }
    this.#note(`${by.name} sends ${sent.length}`);
    for (const m of this.#others(by)) {
      for (const one of random.shuffled(sent)) {
        if (random.chance(0.1)) one.to.push(m);
        else await this.#read(m, one);
      }
    }
    if (random.chance(0.1) && by instanceof OurMember) await this.#mustRefuse(by, sent[0].message, 'its own message', ['state']);
    this.late.push(...sent.filter((one) => one.to.length > 0));
    return true;
  }

  /** @param {Member} m @param {Session['late'][number]} one */
  async #read(m, one) {
    const got = await this.#must(`${m.name} reads a message of epoch ${one.epoch}`, () => m.process(one.message));
    if (got.kind !== 'application' || hex(got.plaintext ?? new Uint8Array()) !== hex(one.plaintext)) throw this.#diverged(`${m.name} read another text`);
    if (got.aad !== undefined && (hex(got.aad) !== hex(one.aad) || got.sender !== one.leaf)) throw this.#diverged(`${m.name} read another sender or aad`);
    if (this.random.chance(0.05)) await this.#mustRefuse(m, one.message, 'a replayed message', ['replay']);
  }

  async #deliverLate() {
    if (this.late.length === 0) return false;
    const one = this.random.pick(this.late);
    this.#note(`late: a message of epoch ${one.epoch} to ${one.to.map((m) => m.name)}`);
    for (const m of one.to) {
      if (this.epoch - one.epoch <= PAST_EPOCHS) await this.#read(m, one);
      else if (m instanceof OurMember) await this.#mustRefuse(m, one.message, 'a message of an epoch long gone', ['epoch_gone']);
    }
    this.late = this.late.filter((other) => other !== one);
    return true;
  }

  async #restartSomebody() {
    const m = this.random.pick(this.#actors());
    this.#note(`${m.name} restarts`);
    await this.#must(`${m.name} restarts`, () => this.#restart(m));
    return true;
  }

  async #altered() {
    const senders = this.#senders();
    if (senders.length === 0 || this.members.length < 2) return false;
    const by = this.random.pick(senders);
    const plaintext = this.random.bytes(30);
    const one = { message: await by.protect(plaintext, new Uint8Array()), plaintext, aad: new Uint8Array(), leaf: await by.leafIndex(), epoch: this.epoch, to: [] };
    this.#note(`${by.name} sends one that is altered on its way, then as it was`);
    for (let n = 0; n < 3; n++) await this.#refused(this.#others(by), one.message);
    for (const m of this.#others(by)) await this.#read(m, one);
    return true;
  }

  /** PSKs that all members have. @param {boolean} resumption */
  #somePsks(resumption) {
    /** @type {PskId[]} */
    const psks = [];
    const pool = this.random.shuffled(this.pskPool);
    for (let n = 1 + this.random.below(2); n > 0; n--) psks.push({ external: pool[n].id });
    const oldest = Math.max(...this.members.map((m) => /** @type {number} */ (this.since.get(m))), this.epoch - this.pskEpochs + 1);
    if (resumption && oldest <= this.epoch && this.random.chance(0.7))
      psks.push({ group_id: this.groupId, epoch: oldest + this.random.below(this.epoch - oldest + 1), usage: PSK_APPLICATION });
    return psks;
  }

  async #randomCommit() {
    const { random } = this;
    const committers = this.#committers();
    if (committers.length === 0) return false;
    const by = random.pick(committers);
    const leaving = this.pending.filter((p) => p.kind === 'remove').length;
    const coming = this.pending.filter((p) => p.joiner).length;
    let room = this.most - this.members.length - coming + leaving;
    /** @type {Member[]} */
    const join = [];
    const growing = this.members.length < 3 || random.chance(room / this.most);
    if (growing && room > 0) for (let n = 1 + random.below(Math.min(4, room)); n > 0 && room > 0; n--, room--) join.push(this.#newMember());
    /** @type {Member[]} */
    const remove = [];
    // Nobody is removed twice, or removed and updated, in one commit (§12.2).
    const free = this.#others(by).filter((m) => m !== this.passive && !this.pending.some((p) => p.target === m || (p.kind === 'update' && p.by === m)));
    if (random.chance(0.35)) for (const m of random.shuffled(free).slice(0, 1 + random.below(2))) if (this.members.length - leaving - remove.length > 1) remove.push(m);
    // A joiner that ts-mls welcomes with a resumption PSK asks for a group that it comes from (clientState.js, joinGroup).
    const resumption = join.length === 0 && coming === 0;
    const psks = random.chance(0.25) ? this.#somePsks(resumption) : [];
    const extensions = random.chance(0.12) && !this.pending.some((p) => p.kind === 'extensions') ? this.#someExtensions() : undefined;
    await this.#commit(by, { join, remove, psks, extensions, forcePath: random.chance(0.5), newLeaf: random.chance(0.2) });
    return true;
  }

  async #compete() {
    if (this.members.length < 3) return false;
    const [by, rival] = this.random.shuffled(this.#committers());
    if (rival === undefined) return false;
    await this.#commit(by, { rival, join: this.members.length < this.most && this.random.chance(0.4) ? [this.#newMember()] : [] });
    return true;
  }

  /** A proposal by reference, read by all. */
  async #propose() {
    const { random, pending } = this;
    if (pending.length >= 6 || this.members.length < 3) return false;
    const by = random.pick(this.#actors());
    const busy = (/** @type {Member} */ m) => pending.some((p) => p.target === m || (p.kind === 'update' && p.by === m));
    /** @type {Pending & Record<string, any>} */
    let made;
    /** @type {any} */
    let what = {};
    const kind = random.pick(['add', 'update', 'update', 'remove', 'psk', 'extensions']);
    if (kind === 'update') {
      if (busy(by) || this.#committers().length <= 1) return false;
      made = { kind, by };
    } else if (kind === 'remove') {
      const target = random.pick(this.#actors());
      if (busy(target) || this.#committers().filter((m) => m !== target).length < 2) return false;
      made = { kind, by, target };
      what = { leaf: await target.leafIndex() };
    } else if (kind === 'add') {
      if (this.members.length + pending.filter((p) => p.joiner).length >= this.most || pending.some((p) => p.kind === 'psk')) return false;
      const joiner = this.#newMember();
      made = { kind, by, joiner };
      what = { keyPackage: await joiner.keyPackage() };
    } else if (kind === 'psk') {
      if (pending.some((p) => p.joiner)) return false;
      made = { kind, by };
      what = { psk: this.#somePsks(false)[0] };
    } else {
      if (pending.some((p) => p.kind === 'extensions')) return false;
      made = { kind, by, extensions: this.#someExtensions() };
      what = { extensions: made.extensions };
    }
    const options = { public: random.chance(0.5) };
    this.#note(`${by.name} proposes (${options.public ? 'public' : 'private'}) ${kind} ${(made.joiner ?? made.target)?.name ?? ''}`);
    const message = await this.#must(`${by.name} proposes ${kind}`, () => by.propose(kind, what, options));
    await this.#deliverProposal(message, made, by);
    return true;
  }

  /** @param {Uint8Array} message @param {Pending} made @param {Member} [by] */
  async #deliverProposal(message, made, by) {
    const readers = by === undefined ? this.members : this.#others(by);
    if (this.random.chance(0.1)) await this.#refused(readers, message);
    for (const m of readers) {
      const got = await this.#must(`${m.name} reads the proposal ${made.kind}`, () => m.process(message));
      if (got.kind !== 'proposal') throw this.#diverged(`${m.name} read a proposal as ${got.kind}`);
    }
    this.pending.push(made);
  }

  async #proposeFromOutside() {
    const { random } = this;
    if (this.pending.length >= 6 || this.members.length < 3) return false;
    const allowed = this.extensions.some((e) => e.type === EXTERNAL_SENDERS);
    const kind = allowed ? random.pick(['join', 'add', 'remove', 'psk']) : 'join';
    const full = this.members.length + this.pending.filter((p) => p.joiner).length >= this.most;
    if ((kind === 'join' || kind === 'add') && (full || this.pending.some((p) => p.kind === 'psk'))) return false;
    if (kind === 'psk' && this.pending.some((p) => p.joiner)) return false;
    const withTs = !this.kinds.includes('ours') || random.chance(0.5);
    /** @type {any} */
    const made = { kind: kind === 'join' ? 'add' : kind };
    /** @type {any} */
    let what = {};
    if (kind === 'join' || kind === 'add') {
      made.joiner = this.#newMember(kind === 'join' ? (withTs ? 'ts-mls' : 'ours') : undefined);
      what = { keyPackage: await made.joiner.keyPackage() };
    } else if (kind === 'remove') {
      const target = random.pick(this.#actors());
      const busy = this.pending.some((p) => p.target === target || (p.kind === 'update' && p.by === target));
      if (busy || this.#committers().filter((m) => m !== target).length < 2) return false;
      made.target = target;
      what = { leaf: await target.leafIndex() };
    } else {
      what = { psk: this.#somePsks(false)[0] };
    }
    const seed = kind === 'join' ? made.joiner.seed : this.externalSender;
    this.#note(`from outside, by ${withTs ? 'ts-mls' : 'our core'}: ${kind} ${(made.joiner ?? made.target)?.name ?? ''}`);
    const cs = /** @type {any} */ (this.cs);
    const message = await this.#must(`proposing ${kind} from outside`, async () => {
      if (!withTs) {
        const psk = what.psk === undefined ? undefined : { ...what.psk, nonce: random.bytes(cs.kdf.size) };
        return proposeFromOutside(this.core, { suite: this.suite, groupId: this.groupId, epoch: this.epoch, seed, kind, index: 0, key_package: what.keyPackage, leaf: what.leaf, psk });
      }
      const groupInfo = await random.pick(this.#actors()).groupInfo({ tree: false });
      return tsProposeFromOutside(cs, { groupInfo, seed, publicKey: ed25519.getPublicKey(seed), kind, joiner: made.joiner, ...what });
    });
    await this.#deliverProposal(message, made);
    return true;
  }

  /** By an external commit; with resync, as one who lost the state. */
  async #externalJoin() {
    const { random } = this;
    const resync = random.chance(0.4) && this.#actors().length > 1;
    if (!resync && this.members.length >= this.most) return false;
    const lost = resync ? random.pick(this.#actors()) : undefined;
    const host = random.pick(this.#actors().filter((m) => m !== lost));
    const joiner = this.#newMember(undefined, lost);
    const treeApart = random.chance(0.3);
    this.#note(`${joiner.name} (${joiner.kind}) joins by an external commit${resync ? ' in its own place' : ''}, GroupInfo of ${host.name}`);
    const groupInfo = await this.#must(`${host.name} makes a GroupInfo`, () => host.groupInfo({ tree: !treeApart }));
    const tree = treeApart ? await host.tree() : undefined;
    // PSKs in an external commit: only ours can (ts-mls has no argument for them).
    const psks = joiner instanceof OurMember && random.chance(0.3) ? [{ external: this.pskPool[0].id }] : [];
    this.#count(`external commits by ${joiner.kind}${resync ? ', resync' : ''}`);
    if (random.chance(0.3)) {
      await this.#joinRefused(joiner, 'GroupInfo', () => joiner.joinExternal(this.#alter(groupInfo), { tree, resync, psks }));
    }
    const commit = await this.#must(`${joiner.name} joins`, () => joiner.joinExternal(groupInfo, { tree, resync, psks }));
    if (random.chance(0.2)) await this.#refused(this.members.filter((m) => m !== lost), commit);
    for (const m of random.shuffled(this.members)) if (m !== lost) await this.#follow(m, commit, false);
    this.#turn(lost === undefined ? [] : [lost], [joiner]);
    await this.#agree();
    return true;
  }

  /** All go on in a group after this one (RFC 9420 §11.2), or in one branched from it (§11.3). */
  async #successor(reInit = this.random.chance(0.5)) {
    const { random } = this;
    if (this.pending.length > 0 || this.members.length < 2) return false;
    const groupId = random.bytes(16);
    // A branch has the extensions of its parent (ts-mls: branchGroup); of a re-init they are in the proposal.
    const extensions = reInit ? this.#someExtensions() : this.extensions;
    const by = random.pick(this.#actors());
    this.#note(`${by.name} ${reInit ? 're-initialises the group' : 'branches from it'}`);
    this.#count(`${reInit ? 're-inits' : 'branches'}`);
    const parentEpoch = reInit ? this.epoch + 1 : this.epoch;
    if (reInit) {
      const made = await this.#must(`${by.name} commits the ReInit`, () => by.commit({ reInit: { groupId, suite: this.suite, extensions }, public: random.chance(0.5) }));
      for (const m of this.#others(by)) await this.#follow(m, made.commit, false);
      await this.#must(`${by.name} merges the ReInit`, () => by.merge());
      this.#turn([], []);
      await this.#agree();
    }
    const starter = random.pick(this.#actors());
    /** @type {Map<Member, Member>} */
    const next = new Map();
    for (const m of this.members) next.set(m, m === this.passive ? this.newPassive(m) : this.#newMember(m.kind, m));
    const first = /** @type {Member} */ (next.get(starter));
    const others = this.#others(starter);
    await this.#must(`${starter.name} makes the group after it`, () => first.create(groupId, extensions));
    /** @type {Uint8Array[]} */
    const adds = [];
    for (const m of others) adds.push(await /** @type {Member} */ (next.get(m)).keyPackage());
    const psk = { group_id: this.groupId, epoch: parentEpoch, usage: reInit ? PSK_REINIT : PSK_BRANCH };
    const made = await this.#must(`${starter.name} leads into it`, () => first.commit({ adds, psks: [psk], parent: starter, public: false }));
    await this.#must(`${starter.name} merges`, () => first.merge());
    for (const m of others) {
      const to = /** @type {any} */ (next.get(m));
      await this.#must(`${m.name} joins it`, () => to.join(/** @type {Uint8Array} */ (made.welcome), { parent: /** @type {any} */ (m) }));
    }
    for (const m of this.members) m.free();
    this.members = this.members.map((m) => /** @type {Member} */ (next.get(m)));
    this.passive = this.passive && next.get(this.passive);
    this.groupId = groupId;
    this.extensions = extensions;
    this.epoch = 1;
    this.since = new Map(this.members.map((m) => [m, 1]));
    this.late = [];
    await this.#agree();
    return true;
  }
}

/**
 * Runs sessions until `steps` were taken, a new one every `each`; of different sizes, from 4 members to 16.
 * @param {{ suite: number, seed: number, steps: number, each?: number, progress?: (session: Session) => void }} options
 */
export async function runSessions({ suite, seed, steps, each = 250, progress }) {
  /** @type {Record<string, number>} */
  const counts = {};
  /** @type {Record<string, number>} */
  const contents = {};
  let done = 0;
  let epochs = 0;
  let lenient = 0;
  /** @type {number[]} */
  const seeds = [];
  while (done < steps) {
    const next = seed + seeds.length;
    const session = new Session({ suite, seed: next, most: 4 + (next % 4) * 4 });
    seeds.push(session.seed);
    await session.start();
    for (let n = Math.min(each, steps - done); n > 0; n--, done++) await session.step();
    for (const [name, n] of Object.entries(session.counts)) counts[name] = (counts[name] ?? 0) + n;
    for (const [name, n] of Object.entries(session.contents)) contents[name] = (contents[name] ?? 0) + n;
    epochs += session.epochs;
    lenient += session.lenient;
    session.end();
    progress?.(session);
  }
  return { steps: done, seeds, counts, contents, epochs, lenient };
}
