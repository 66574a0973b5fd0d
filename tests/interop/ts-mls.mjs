// ts-mls.mjs: members on ts-mls 1.6.4 (with patches.mjs) behind the methods that session.mjs asks of any member.
import { webcrypto } from 'node:crypto';
import { register } from 'node:module';
import { hex } from './core.mjs';

// Node 18 has no global crypto, which ts-mls and its libraries take for granted.
// @ts-ignore
globalThis.crypto ??= webcrypto;
register('./patches.mjs', import.meta.url);
const mls = await import('ts-mls');
const { signLeafNodeCommit } = await import('ts-mls/leafNode.js');
const { updateLeafKey } = await import('ts-mls/privateKeyPath.js');
const { encodeRatchetTree, decodeRatchetTree } = await import('ts-mls/ratchetTree.js');
const { resumptionPSKUsages } = await import('ts-mls/presharedkey.js');
const { leafToNodeIndex } = await import('ts-mls/treemath.js');

/** The number of each suite and its name there. @type {Record<number, any>} */
const SUITES = {
  0x0003: 'MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519',
  0x0054: 'MLS_256_XWING_CHACHA20POLY1305_SHA512_Ed25519',
  0xf00e: 'XWING_F00E',
};
export const tsSuite = (/** @type {number} */ suite) => mls.getCiphersuiteImpl(mls.getCiphersuiteFromName(SUITES[suite]));

const LIFETIME_SECONDS = 28n * 86400n;
const NONE = new Uint8Array();
const text = new TextEncoder();

const nameOf = (/** @type {Record<string, number>} */ table, /** @type {number} */ number) =>
  Object.keys(table).find((name) => table[name] === number) ?? number;
const extensionsOf = (/** @type {import('./session.mjs').Extension[]} */ list) =>
  list.map(({ type, data }) => ({ extensionType: /** @type {any} */ (nameOf(mls.defaultExtensionTypes, type)), extensionData: data }));

/** @param {any} cs @param {import('./session.mjs').PskId} id */
function pskOf(cs, id) {
  const pskNonce = id.nonce ?? cs.rng.randomBytes(cs.kdf.size);
  return id.external !== undefined
    ? { psktype: 'external', pskId: id.external, pskNonce }
    : { psktype: 'resumption', usage: nameOf(resumptionPSKUsages, id.usage ?? 1), pskGroupId: id.group_id, pskEpoch: BigInt(id.epoch ?? 0), pskNonce };
}

/** @param {any} cs @param {string} kind @param {any} what @returns {any} */
function proposalOf(cs, kind, what) {
  switch (kind) {
    case 'add':
      return { proposalType: 'add', add: { keyPackage: decode(what.keyPackage).keyPackage } };
    case 'remove':
      return { proposalType: 'remove', remove: { removed: what.leaf } };
    case 'psk':
      return { proposalType: 'psk', psk: { preSharedKeyId: pskOf(cs, what.psk) } };
    case 'extensions':
      return { proposalType: 'group_context_extensions', groupContextExtensions: { extensions: extensionsOf(what.extensions) } };
    case 're_init':
      return {
        proposalType: 'reinit',
        reinit: { groupId: what.groupId, version: 'mls10', cipherSuite: SUITES[what.suite], extensions: extensionsOf(what.extensions) },
      };
    default:
      throw new Error(`no proposal ${kind}`);
  }
}

/** @param {Uint8Array} message @returns {any} */
export function decode(message) {
  const decoded = mls.decodeMlsMessage(message, 0);
  if (decoded === undefined || decoded[1] !== message.length) throw new Error('ts-mls: not an MLSMessage');
  return decoded[0];
}
const encode = (/** @type {any} */ message) => mls.encodeMlsMessage({ version: 'mls10', ...message });

export class TsMember {
  kind = 'ts-mls';
  /** @type {any} ts-mls's ClientState */
  current;
  /** @type {any} the state that a commit leads to, until merge or drop */
  next;
  /** @type {Map<string, Uint8Array>} */
  psks = new Map();
  /** The private key of an Update of ours that waits for a commit. @type {Uint8Array | undefined} */
  updateKey;

  /**
   * @param {any} cs
   * @param {{ suite: number, name: string, seed: Uint8Array, publicKey: Uint8Array, extensionTypes: number[], pastEpochs: number }} who
   */
  constructor(cs, { suite, name, seed, publicKey, extensionTypes, pastEpochs }) {
    this.cs = cs;
    this.suite = suite;
    this.name = name;
    this.seed = seed;
    this.publicKey = publicKey;
    this.extensionTypes = extensionTypes;
    this.config = {
      // As much as our members keep (group.h): what is late for them is late for these.
      keyRetentionConfig: { retainKeysForGenerations: 256, retainKeysForEpochs: pastEpochs, maximumForwardRatchetSteps: 1024 },
      lifetimeConfig: { maximumTotalLifetime: LIFETIME_SECONDS, validateLifetimeOnReceive: true },
      keyPackageEqualityConfig: mls.defaultKeyPackageEqualityConfig,
      paddingConfig: mls.defaultPaddingConfig,
      authService: mls.defaultAuthenticationService,
    };
  }

  free() {}

  /** @param {Uint8Array} id @param {Uint8Array} value */
  knowPsk(id, value) {
    this.psks.set(mls.bytesToBase64(id), value);
  }

  /** @param {any} [state] whose resumption PSKs it answers for */
  #pskIndex(state = this.current) {
    return mls.makePskIndex(state, Object.fromEntries(this.psks));
  }

  async keyPackage() {
    const now = BigInt(Math.floor(Date.now() / 1000));
    const made = await mls.generateKeyPackageWithKey(
      { credentialType: 'basic', identity: text.encode(this.name) },
      { ...mls.defaultCapabilities(), extensions: this.extensionTypes },
      { notBefore: now - 3600n, notAfter: now + LIFETIME_SECONDS - 3600n },
      [],
      { signKey: this.seed, publicKey: this.publicKey },
      this.cs,
    );
    this.package = made;
    this.privateKeys = { init: made.privatePackage.initPrivateKey, encryption: made.privatePackage.hpkePrivateKey };
    return encode({ wireformat: 'mls_key_package', keyPackage: made.publicPackage });
  }

  /** @param {Uint8Array} groupId @param {import('./session.mjs').Extension[]} extensions */
  async create(groupId, extensions) {
    await this.keyPackage();
    const { publicPackage, privatePackage } = /** @type {any} */ (this.package);
    this.current = await mls.createGroup(groupId, publicPackage, privatePackage, extensionsOf(extensions), this.cs, this.config);
  }

  /** @param {Uint8Array} welcome @param {{ tree?: Uint8Array, parent?: TsMember }} [options] */
  async join(welcome, { tree, parent } = {}) {
    const { publicPackage, privatePackage } = /** @type {any} */ (this.package);
    const decoded = tree === undefined ? undefined : decodeRatchetTree(tree, 0)?.[0];
    const w = decode(welcome).welcome;
    this.current = await mls.joinGroup(w, publicPackage, privatePackage, this.#pskIndex(parent?.current), this.cs, decoded, parent?.current, this.config);
  }

  /** PSKs in its own external commits are unknown to ts-mls. @param {Uint8Array} groupInfo @param {{ tree?: Uint8Array, resync?: boolean }} [options] */
  async joinExternal(groupInfo, { tree, resync = false } = {}) {
    await this.keyPackage();
    const { publicPackage, privatePackage } = /** @type {any} */ (this.package);
    const decoded = tree === undefined ? undefined : decodeRatchetTree(tree, 0)?.[0];
    const info = decode(groupInfo).groupInfo;
    const { publicMessage, newState } = await mls.joinGroupExternal(info, publicPackage, privatePackage, resync, this.cs, decoded, this.config);
    this.current = newState;
    return encode({ wireformat: 'mls_public_message', publicMessage });
  }

  /** ts-mls puts every pending proposal into a commit, and decides itself about the path. @param {import('./session.mjs').CommitOptions} options */
  async commit(options) {
    const proposals = [
      ...(options.adds ?? []).map((keyPackage) => proposalOf(this.cs, 'add', { keyPackage })),
      ...(options.removes ?? []).map((leaf) => proposalOf(this.cs, 'remove', { leaf })),
      ...(options.psks ?? []).map((psk) => proposalOf(this.cs, 'psk', { psk })),
      ...(options.extensions === undefined ? [] : [proposalOf(this.cs, 'extensions', options)]),
      ...(options.reInit === undefined ? [] : [proposalOf(this.cs, 're_init', options.reInit)]),
    ];
    const parent = options.parent?.current;
    const made = await mls.createCommit(
      { state: this.current, pskIndex: this.#pskIndex(parent), cipherSuite: this.cs },
      {
        wireAsPublicMessage: options.public ?? false,
        extraProposals: proposals,
        ratchetTreeExtension: !options.treeApart,
        authenticatedData: options.aad ?? NONE,
      },
    );
    this.next = made.newState;
    return {
      commit: encode(made.commit),
      welcome: made.welcome === undefined ? undefined : encode({ wireformat: 'mls_welcome', welcome: made.welcome }),
    };
  }

  async merge() {
    if (this.next === undefined) throw new Error('ts-mls: no commit to merge');
    this.current = this.next;
    this.next = this.updateKey = undefined;
  }

  async drop() {
    this.next = undefined;
  }

  /** @param {string} kind @param {any} [what] @param {{ public?: boolean }} [options] */
  async propose(kind, what = {}, options = {}) {
    const proposal = kind === 'update' ? await this.#update() : proposalOf(this.cs, kind, what);
    const made = await mls.createProposal(this.current, options.public ?? false, proposal, this.cs);
    this.current = made.newState;
    return encode(made.message);
  }

  /** ts-mls has no Update of one's own: the leaf is made here, and #withUpdate puts its key into the state when it counts. */
  async #update() {
    const { ratchetTree, privatePath, groupContext } = this.current;
    const { leaf } = ratchetTree[leafToNodeIndex(privatePath.leafIndex)];
    const pair = await this.cs.hpke.generateKeyPair();
    this.updateKey = await this.cs.hpke.exportPrivateKey(pair.privateKey);
    const { hpkePublicKey: _old, signature: _signature, parentHash: _hash, lifetime: _lifetime, ...rest } = leaf;
    const tbs = {
      ...rest,
      leafNodeSource: 'update',
      hpkePublicKey: await this.cs.hpke.exportPublicKey(pair.publicKey),
      groupId: groupContext.groupId,
      leafIndex: privatePath.leafIndex,
    };
    const { groupId: _id, leafIndex: _index, ...leafNode } = /** @type {any} */ (await signLeafNodeCommit(/** @type {any} */ (tbs), this.seed, this.cs.signature));
    return { proposalType: 'update', update: { leafNode } };
  }

  /** @param {Uint8Array} message @returns {Promise<import('./session.mjs').Incoming>} */
  async process(message) {
    const before = this.current;
    if (this.updateKey !== undefined) {
      // Is our Update in this commit? Only what ts-mls tells its callback says so.
      let included = false;
      const state = { ...before, privatePath: updateLeafKey(before.privatePath, this.updateKey) };
      const own = before.privatePath.leafIndex;
      const look = (/** @type {any} */ incoming) => {
        included ||= incoming.kind === 'commit' && incoming.proposals.some((/** @type {any} */ p) => p.proposal.proposalType === 'update' && p.senderLeafIndex === own);
        return 'accept';
      };
      try {
        const result = await this.#read(state, message, look);
        if (included) return result;
      } catch (error) {
        if (included) throw error;
      }
    }
    return this.#read(before, message, () => 'accept');
  }

  /** @param {any} state @param {Uint8Array} message @param {(incoming: any) => any} callback */
  async #read(state, message, callback) {
    const m = decode(message);
    /** @type {string} */
    let kind = 'proposal';
    const seen = (/** @type {any} */ incoming) => {
      if (incoming.kind === 'commit') kind = 'commit';
      return callback(incoming);
    };
    // Not processMessage, which forgets the external PSKs of private messages.
    /** @type {any} */
    const result =
      m.wireformat === 'mls_public_message'
        ? await mls.processPublicMessage(state, m.publicMessage, this.#pskIndex(), this.cs, seen)
        : await mls.processPrivateMessage(state, m.privateMessage, this.#pskIndex(), this.cs, seen);
    if (result.kind === 'applicationMessage') {
      this.current = result.newState;
      return { kind: 'application', plaintext: result.message, removesUs: false };
    }
    if (kind === 'commit') {
      this.next = result.newState;
      return { kind, removesUs: this.next.groupActiveState.kind === 'removedFromGroup' };
    }
    this.current = result.newState;
    return { kind, removesUs: false };
  }

  /** @param {Uint8Array} plaintext @param {Uint8Array} aad */
  async protect(plaintext, aad) {
    const made = await mls.createApplicationMessage(this.current, plaintext, this.cs, aad);
    this.current = made.newState;
    return encode({ wireformat: 'mls_private_message', privateMessage: made.privateMessage });
  }

  async state() {
    const { groupContext, keySchedule, groupActiveState } = this.current;
    return {
      epoch: Number(groupContext.epoch),
      authenticator: hex(keySchedule.epochAuthenticator),
      treeHash: hex(groupContext.treeHash),
      transcript: hex(groupContext.confirmedTranscriptHash),
      extensions: groupContext.extensions.map((/** @type {any} */ e) => ({
        type: mls.defaultExtensionTypes[/** @type {keyof typeof mls.defaultExtensionTypes} */ (e.extensionType)] ?? e.extensionType,
        data: hex(e.extensionData),
      })),
      reInit: groupActiveState.kind === 'suspendedPendingReinit' ? groupActiveState.reinit : undefined,
    };
  }

  async leafIndex() {
    return this.current.privatePath.leafIndex;
  }

  /** @param {string} label @param {Uint8Array} context */
  async exportSecret(label, context) {
    return hex(await mls.mlsExporter(this.current.keySchedule.exporterSecret, label, context, 64, this.cs));
  }

  async tree() {
    return encodeRatchetTree(this.current.ratchetTree);
  }

  /** @param {{ tree: boolean }} options */
  async groupInfo({ tree }) {
    const make = tree ? mls.createGroupInfoWithExternalPubAndRatchetTree : mls.createGroupInfoWithExternalPub;
    return encode({ wireformat: 'mls_group_info', groupInfo: await make(this.current, [], this.cs) });
  }

  /** Its state to bytes and back. */
  async restart() {
    const [state] = /** @type {any} */ (mls.decodeGroupState(mls.encodeGroupState(this.current), 0));
    this.current = { ...state, clientConfig: this.config };
  }

  async fingerprint() {
    return hex(mls.encodeGroupState(this.current));
  }
}

/**
 * A proposal from outside (RFC 9420 §12.1.8), made by ts-mls: `kind` join (by the member who asks), or by the external sender.
 * @param {any} cs
 * @param {{ groupInfo: Uint8Array, seed: Uint8Array, publicKey: Uint8Array, kind: string, joiner?: TsMember } & Record<string, any>} options
 */
export async function tsProposeFromOutside(cs, { groupInfo, seed, publicKey, kind, joiner, ...what }) {
  const info = decode(groupInfo).groupInfo;
  const message =
    kind === 'join'
      ? await mls.proposeAddExternal(info, /** @type {any} */ (joiner?.package).publicPackage, /** @type {any} */ (joiner?.package).privatePackage, cs)
      : await mls.proposeExternal(info, proposalOf(cs, kind, what), publicKey, seed, cs);
  return encode(message);
}

