#!/usr/bin/env node
// minimal-server.mjs [--port 8080] [--break FAULT]: the protocol of server/PROTOCOL.md once more, in memory and on node:http alone.
// It shows how little a server needs; it keeps nothing, limits no rates and is no server to run a clinic on.
//
// --break makes it wrong in one way on purpose, so that a test can see the conformance suite find it.
import { createHash, createPublicKey, generateKeyPairSync, sign as signWith, timingSafeEqual, verify } from 'node:crypto';
import http from 'node:http';
import { fileURLToPath } from 'node:url';

/** Faults, and the check that names each. */
export const FAULTS = /** @type {Record<string, string>} */ ({
  reorder: 'inbox: events come in strictly rising order, each once, to every member',
  lose: 'inbox: events come in strictly rising order, each once, to every member',
  repeat: 'inbox: from every cursor the rest follows: no gap, no repeat',
  'skip-page': 'inbox: from every cursor the rest follows: no gap, no repeat',
  'acknowledge-for-all': "inbox: acknowledging is each device's own",
  'sleep-through': 'inbox: a wait ends when something comes',
  'refuse-to-wait': 'inbox: a wait for nothing ends empty, with the same cursor',
  'stream-to-revoked': 'inbox: revoking ends an event stream',
  'accept-future-cursor': 'inbox: a cursor beyond the newest number is refused and acknowledges nothing',
  'accept-stale-epoch': 'groups: a commit for an epoch that is past, or not reached, is refused with the epoch',
  'race-epoch': 'groups: of commits for one epoch exactly one is accepted, and all members see that one',
  'forget-sent': 'groups: the same message again has the same number and is delivered once',
  'deliver-to-removed': 'groups: a device that was removed gets the commit that removes it and nothing after',
  'accept-strangers': 'groups: who is no member is refused',
  'deliver-early': 'schedule: delivered at its time, not before, with a number of then; the same again has the same answer',
  'deliver-withdrawn': 'schedule: withdrawn before its time nobody gets it; afterwards it is too late',
  'withdraw-delivered': 'schedule: of delivering and withdrawing exactly one happens',
  'withdraw-for-all': 'schedule: withdrawn by its sender or with the right roster, and by nobody else',
  'trust-once': 'schedule: a sender who is no member at its time is told, and nobody gets it',
  'members-of-before': 'schedule: who joined since gets it, who was removed does not; what a revoked device sent is dropped',
  'take-any-offset': 'blobs: an upload is resumed where it stands; a piece again changes nothing',
  'store-again': 'blobs: of the same piece sent several times at once one is stored',
  'miscount-range': 'blobs: ranges: from, to, the last ones, across pieces, at most 1 MiB',
  'upload-for-all': 'blobs: only the uploader goes on; he or the right roster deletes; another clinic knows nothing of it',
  'share-blobs': "blobs: another clinic's blob is not there",
  'leave-out-refused': 'audit: requests are entries of one chain, the refused ones too',
  'drop-entry': 'audit: requests are entries of one chain, the refused ones too',
  'show-log-to-all': 'audit: requests are entries of one chain, the refused ones too',
  'change-audit-key': 'audit: a checkpoint is signed, of an entry of the chain, the same for all, and stays',
  'fork-log': 'audit: a checkpoint is signed, of an entry of the chain, the same for all, and stays',
  'forget-checkpoints': 'audit: a checkpoint is signed, of an entry of the chain, the same for all, and stays',
  'log-event-again': "audit: a client's own event is one entry, however often it is sent",
  'newest-first': 'key packages: claimed oldest first, each once',
  'spend-last-resort': 'key packages: the last resort comes when the stock is empty, again and again',
  republish: 'key packages: one that was published before is not added again',
  'double-claim': 'key packages: claimed at the same time, none goes to two',
  'uncounted-attempts': 'invitations: wrong checks are counted and lock it at five',
  'race-invitation': 'invitations: used by several devices at once, it enrols one',
  'move-start': 'devices: a certificate of the root enrols, and again to the same answer',
  'serve-revoked': 'devices: a revoked device is refused at once and for good',
  'accept-any-chain': 'devices: chains that the clinic did not make are refused',
  'leak-clinics': 'server: one clinic sees nothing of another',
  'accept-bad-signature': 'signatures: a signature by another key is refused',
  'accept-altered-content': 'signatures: content that was altered is refused, and nothing comes of it',
  'accept-replay': 'signatures: a signed request is good once',
  'accept-old': 'signatures: one whose clock is wrong is told the time, and can sign by it',
  'narrow-clock': 'signatures: clocks that differ by less than 300 s are no matter',
  'refuse-unknown': 'form: members and parameters that are not known are ignored',
  'plain-errors': 'contract: every request and answer is as openapi.yaml says',
  'unnamed-member': 'contract: every request and answer is as openapi.yaml says',
});

const LIMITS = { body: 1024 * 1024, message: 256 * 1024, wait_s: 25, key_packages: 100, members: 1024, scheduled: 100, blob: 64 * 1024 * 1024 };
const PIECE = { min: 64 * 1024, max: 1024 * 1024 };
const AHEAD_MS = 366 * 86_400_000;
const SKEW_S = 300;
const ATTEMPTS = 5;
const KIND = { staff: 1, agent: 2, invite: 3, patient: 4 };
const RIGHT = { message: 1, invitePatient: 2, inviteStaff: 4, roster: 8, audit: 16 };
const CHECKPOINT_MS = 60_000;
const nowS = () => Math.floor(Date.now() / 1000);

/** An error answer. */
class Problem extends Error {
  /** @param {number} status @param {string} name @param {string} detail @param {Record<string, number>} [more] */
  constructor(status, name, detail, more = {}) {
    super(detail);
    this.status = status;
    /** @type {Record<string, any>} */
    this.body = { type: `urn:sotto:problem:${name}`, title: name, status, detail, ...more };
  }
}
/** @param {string} detail @returns {never} */
const malformed = (detail) => {
  throw new Problem(400, 'malformed', detail);
};
/** @param {string} detail @returns {never} */
const forbidden = (detail) => {
  throw new Problem(403, 'forbidden', detail);
};
/** @param {string} detail @returns {never} */
const badCertificate = (detail) => {
  throw new Problem(403, 'bad-certificate', detail);
};
/** @param {string} detail @returns {never} */
const notFound = (detail) => {
  throw new Problem(404, 'not-found', detail);
};

// ---- bytes

/** @param {Buffer[]} parts */
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
/** @param {string} label @param {Buffer} key */
const nameOf = (label, key) => sha256(Buffer.from(label), key).subarray(0, 16).toString('base64url');

/** Strict base64url, of `size` bytes where that is given. @param {unknown} text @param {string} what @param {number} max @param {number} [size] */
function bytesOf(text, what, max, size) {
  if (typeof text !== 'string') malformed(`${what} must be a string`);
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length === 0 || bytes.toString('base64url') !== text || (size !== undefined && bytes.length !== size)) malformed(`${what} must be base64url${size === undefined ? '' : ` of ${size} bytes`}`);
  if (bytes.length > max) malformed(`${what} is longer than ${max} bytes`);
  return bytes;
}

/** @param {Buffer} key raw @param {Buffer} content @param {Buffer} signature */
function verifies(key, content, signature) {
  try {
    return verify(null, content, createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key]), format: 'der', type: 'spki' }), signature);
  } catch {
    return false;
  }
}

/** Reads TLS presentation language. */
class Reader {
  at = 0;
  /** @param {Buffer} bytes */
  constructor(bytes) {
    this.bytes = bytes;
  }
  /** @param {number} n */
  take(n) {
    if (this.at + n > this.bytes.length) throw new RangeError('it ends too early');
    return this.bytes.subarray(this.at, (this.at += n));
  }
  /** @param {number} n */
  integer(n) {
    return Number(BigInt(`0x${this.take(n).toString('hex')}`));
  }
  /** RFC 9420 §2.1.2: the shortest of three sizes. */
  vector() {
    const form = /** @type {number} */ (this.take(1)[0]) >> 6;
    this.at -= 1;
    if (form === 3) throw new RangeError('a size is in no known form');
    const n = this.integer(1 << form) & [0x3f, 0x3fff, 0x3fffffff][form];
    if (form > 0 && n < (form === 1 ? 0x40 : 0x4000)) throw new RangeError('a size is not in its shortest form');
    return this.take(n);
  }
  end() {
    if (this.at !== this.bytes.length) throw new RangeError('bytes follow after the end');
  }
}

/** Writes it: an unsigned integer of `size` bytes. @param {number} value @param {number} size */
const uint = (value, size) => Buffer.from(BigInt(value).toString(16).padStart(2 * size, '0'), 'hex');
/** opaque<V> of RFC 9420 §2.1.2. @param {Buffer} bytes */
const vector = (bytes) => Buffer.concat([bytes.length < 0x40 ? uint(bytes.length, 1) : uint(bytes.length | 0x4000, 2), bytes]);

// ---- certificates

/**
 * @typedef {ReturnType<typeof readCertificate>} Certificate
 * @param {Reader} r
 */
function readCertificate(r) {
  const start = r.at;
  const [version, clinic] = [r.integer(2), r.take(16).toString('base64url')];
  const [kind, enrols, level] = [r.integer(1), r.integer(1), r.integer(1)];
  const [issuer, key, subject] = [r.take(32), r.take(32), r.take(16)];
  const [rights, notBefore, notAfter] = [r.integer(4), r.integer(8), r.integer(8)];
  const body = r.bytes.subarray(start, r.at);
  return { version, clinic, kind, enrols, level, issuer, key, subject, rights, notBefore, notAfter, body, signature: r.take(64) };
}

/** @param {Buffer} bytes @returns {[Certificate, ...Certificate[]]} */
function readChain(bytes) {
  try {
    const outer = new Reader(bytes);
    const inner = new Reader(outer.vector());
    outer.end();
    const list = [];
    while (inner.at < inner.bytes.length) list.push(readCertificate(inner));
    if (list.length === 0) malformed('member "chain" is empty');
    return /** @type {[Certificate, ...Certificate[]]} */ (list);
  } catch (error) {
    if (error instanceof RangeError) malformed(`member "chain" is no certificate chain: ${error.message}`);
    throw error;
  }
}

/** @param {Certificate[]} chain @param {Buffer} root */
function checkChain(chain, root) {
  const person = (/** @type {number} */ kind) => kind === KIND.staff || kind === KIND.agent;
  const must = (/** @type {boolean} */ holds, /** @type {string} */ what) => void (holds || badCertificate(what));
  must(chain.length <= 9, 'the chain is too long');
  chain.forEach((c, i) => {
    const issuer = chain[i - 1];
    must(c.version === 1 && c.kind >= KIND.staff && c.kind <= KIND.patient && c.level <= 3 && c.notBefore <= c.notAfter, 'a certificate is not well formed');
    must(c.kind === KIND.invite ? person(c.enrols) || c.enrols === KIND.patient : c.enrols === 0, 'a certificate enrols what it may not');
    must(c.kind !== KIND.patient || (c.rights & ~RIGHT.message) === 0, 'a patient has rights of staff');
    must(c.clinic === nameOf('Sotto clinic 1', root), 'a certificate is of another clinic');
    must(c.issuer.equals(issuer?.key ?? root), 'a certificate is not by the one before');
    if (issuer === undefined) return must(person(c.kind), 'the root certifies staff and agents');
    must((c.rights & ~issuer.rights) === 0, 'rights grow');
    must(c.notBefore >= issuer.notBefore && c.notBefore <= issuer.notAfter, 'a certificate begins outside its issuer\'s time');
    if (person(issuer.kind)) must(c.kind === KIND.invite && (issuer.rights & (person(c.enrols) ? RIGHT.inviteStaff : RIGHT.invitePatient)) !== 0, 'the issuer may not invite these');
    else must(issuer.kind === KIND.invite && c.kind === issuer.enrols && c.level === issuer.level && c.subject.equals(issuer.subject), 'a certificate is not what its invite says');
  });
  const last = /** @type {Certificate} */ (chain.at(-1));
  must(nowS() >= last.notBefore && nowS() <= last.notAfter, 'the certificate is not valid now');
  for (const c of chain) must(verifies(c.issuer, Buffer.concat([Buffer.from('Sotto certificate 1'), c.body]), c.signature), 'a certificate\'s signature does not verify');
}

/** What MLS leaves readable of a PrivateMessage of this group. @param {Buffer} bytes @param {Buffer} group @param {string} what */
function readMessage(bytes, group, what) {
  try {
    const r = new Reader(bytes);
    if (r.integer(2) !== 1 || r.integer(2) !== 2) malformed(`${what} must be a PrivateMessage`);
    if (!r.vector().equals(group)) malformed(`${what} is of another group than the path names`);
    const found = { epoch: r.integer(8), type: r.integer(1) };
    for (let i = 0; i < 3; i++) r.vector();
    r.end();
    return found;
  } catch (error) {
    if (error instanceof RangeError) malformed(`${what} is no MLSMessage: ${error.message}`);
    throw error;
  }
}

// ---- JSON

/** A JSON object, none of whose members stands there twice, of at most four levels. @param {Buffer} body @returns {Record<string, unknown>} */
function readJson(body) {
  if (body.length === 0) malformed('the body is missing; a JSON object is expected');
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    malformed('the body is not UTF-8 text');
  }
  let depth = 0;
  const seen = new Set();
  for (const [token, string, colon] of text.matchAll(/("[^"\\]*(?:\\.[^"\\]*)*")\s*(:?)|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
    else if (depth === 1 && colon === ':') {
      const name = string?.replace(/\\u([0-9a-f]{4})/gi, (_all, hex) => String.fromCharCode(parseInt(hex, 16)));
      if (seen.has(name)) malformed(`member ${name} stands there twice`);
      seen.add(name);
    }
    if (depth > 4) malformed('the body nests deeper than 4 levels');
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    malformed('the body is not valid JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) malformed('the body must be a JSON object');
  return value;
}

/** @param {Record<string, unknown>} json @param {string} name */
function member(json, name) {
  if (!Object.hasOwn(json, name)) malformed(`member "${name}" is missing`);
  return json[name];
}
/** @param {Record<string, unknown>} json @param {string} name @param {number} max @param {number} [size] */
const memberBytes = (json, name, max, size) => bytesOf(member(json, name), `member "${name}"`, max, size);
/** @param {Record<string, unknown>} json @param {string} name @param {number} max */
function memberInteger(json, name, max, min = 0) {
  const value = member(json, name);
  if (!Number.isSafeInteger(value) || /** @type {number} */ (value) < min || /** @type {number} */ (value) > max) malformed(`member "${name}" must be an integer from ${min} to ${max}`);
  return /** @type {number} */ (value);
}
/** @param {Record<string, unknown>} json @param {string} name @param {number} count @param {number} max @param {number} [size] */
function memberList(json, name, count, max, size) {
  const list = member(json, name);
  if (!Array.isArray(list)) malformed(`member "${name}" must be an array`);
  if (list.length > count) malformed(`member "${name}" has more than ${count} elements`);
  list.forEach((item, i) => bytesOf(item, `element ${i} of member "${name}"`, max, size));
  return /** @type {string[]} */ (list);
}

// ---- state

/**
 * @typedef {Record<string, any> & { seq: number }} Event
 * @typedef {{ id: string, key: Buffer, rights: number, kind: number, notAfter: number, chain: string, start: number, revoked: boolean, inbox: Event[],
 *   stock: string[], published: Set<string>, lastResort: string | undefined, sent: Map<string, Sent>, wake: Set<() => void> }} Device
 * @typedef {{ digest: string, seq: number | null, waits?: Waiting }} Sent seq: null of one that waits, was withdrawn or not delivered
 * @typedef {{ clinic: Clinic, device: Device, group: string, name: string, at: number, data: string, members: Set<Device> }} Waiting
 * @typedef {{ device: Device, length: number, bytes: Buffer }} Blob
 * @typedef {{ id: string, key: Buffer, issuer: Device, chain: string, sealed: string, check: Buffer | undefined, state: string, left: number, enrols: number, notAfter: number }} Invitation
 * @typedef {{ epoch: number, members: Set<Device>, former: Set<Device>, commits: Map<string, { seq: number, epoch: number }> }} Group
 * @typedef {{ id: string, root: Buffer, seq: number, devices: Map<string, Device>, invitations: Map<string, Invitation>, groups: Map<string, Group>,
 *   roster: { number: number, roster: string } | undefined, log: Log }} Clinic
 * @typedef {{ number: number, hash: Buffer, at: number, signature: Buffer }} Checkpoint
 * @typedef {{ entries: Buffer[], end: Buffer, checkpoints: Checkpoint[], events: Map<string, { digest: string, number: number }> }} Log end: the last entry's hash
 * @typedef {{ clinic: Clinic, device: Device, json: Record<string, unknown>, body: Buffer, id: string, second: string, range: string, query: Map<string, string[]>, stream: boolean,
 *   who: number, keyid: string, verified: boolean, object: Buffer, sealed: Buffer, address: string }} Call
 *   device: who asks; of calls by a root key, a new device or an invite there is none. From `who` on: for the audit log
 */

/** @param {{ fault?: string }} [options] */
export function minimalServer({ fault = '' } = {}) {
  if (fault !== '' && !(fault in FAULTS)) throw new Error(`no fault "${fault}": there are ${Object.keys(FAULTS).join(', ')}`);
  const broken = (/** @type {string} */ name) => fault === name;
  const auditKey = generateKeyPairSync('ed25519');
  /** Lets others in, as a server does that looks first and changes later. */
  const meanwhile = () => new Promise((resolve) => setTimeout(resolve, 60));
  /** @type {Map<string, Clinic>} */
  const clinics = new Map();
  /** Which clinic a device or invite is of. @type {Map<string, Clinic>} */
  const directory = new Map();
  /** When each nonce may be forgotten. @type {Map<string, number>} */
  const nonces = new Map();
  /** Of all clinics, in the order they came. @type {Set<Waiting>} */
  const waiting = new Set();
  /** By clinic and id. @type {Map<string, Blob>} */
  const blobs = new Map();
  let delivered = 0;

  /** Gives an event the next number and puts it into inboxes. @param {Clinic} clinic @param {Iterable<Device>} to @param {object} what */
  function deliver(clinic, to, what) {
    const event = { seq: ++clinic.seq, at: Date.now(), ...what };
    const inboxes = [...to].filter((device) => !device.revoked);
    if (broken('lose') && ++delivered % 7 === 0) inboxes.pop();
    for (const device of inboxes) {
      device.inbox.push(event);
      if (!broken('sleep-through')) for (const wake of [...device.wake]) wake();
    }
    return event.seq;
  }

  /** @param {Device} device @param {number} after @param {number} limit */
  function page(device, after, limit) {
    const events = device.inbox.filter((e) => (broken('repeat') ? e.seq >= after : e.seq > after)).slice(broken('skip-page') && limit < 10 ? 1 : 0).slice(0, limit);
    const next = events.at(-1)?.seq ?? after;
    if (broken('reorder') && events.length > 1) events.push(...events.splice(-2).reverse());
    return { events, next, now: Date.now() };
  }

  /** @param {Device} device @param {number} right @param {string} what */
  const need = (device, right, what) => void ((device.rights & right) !== 0 || forbidden(`the caller's certificate lacks the right to ${what}`));

  // ---- the calls

  /** @param {Call} c */
  function createClinic(c) {
    const root = memberBytes(c.json, 'root_key', 32, 32);
    const id = nameOf('Sotto clinic 1', root);
    const known = clinics.has(id);
    const log = { entries: [], end: Buffer.alloc(32), checkpoints: [], events: new Map() };
    if (!known) clinics.set(id, { id, root, seq: 0, devices: new Map(), invitations: new Map(), groups: new Map(), roster: undefined, log });
    c.clinic = /** @type {Clinic} */ (clinics.get(id));
    return { status: known ? 200 : 201, json: { clinic: id } };
  }

  /** @param {Call} c */
  async function enrolDevice({ clinic, json }) {
    const text = /** @type {string} */ (json['chain']);
    const chain = readChain(Buffer.from(text, 'base64url'));
    const holder = /** @type {Certificate} */ (chain.at(-1));
    if (holder.kind === KIND.invite) badCertificate('the chain ends in an invite, not in a device');
    const id = nameOf('Sotto device 1', holder.key);
    const { kind, rights, notAfter } = holder;
    const known = clinic.devices.get(id);
    if (known !== undefined) {
      if (known.revoked) throw new Problem(403, 'revoked', 'this device was revoked and can not be enrolled again');
      if (known.chain !== text && chain.length !== 1) forbidden('this device is enrolled by another chain');
      Object.assign(known, { chain: text, kind, rights, notAfter });
      return { status: 200, json: { device: id, clinic: clinic.id, seq: broken('move-start') ? clinic.seq : known.start } };
    }
    if (directory.has(id)) forbidden('this key is enrolled in another clinic');
    if (chain.length > 1) {
      const invitation = findInvitation(clinic, json, chain);
      if (broken('race-invitation')) await meanwhile();
      invitation.state = 'used';
      deliver(clinic, [invitation.issuer], { kind: 'invitation', invitation: invitation.id, state: 'used', attempts_left: invitation.left, device: id });
    }
    const keepers = [...clinic.devices.values()].filter((d) => d.kind !== KIND.patient && (d.rights & RIGHT.roster) !== 0);
    const start = deliver(clinic, keepers, { kind: 'device', device: id, chain: text });
    clinic.devices.set(id, {
      id, key: holder.key, rights, kind, notAfter, chain: text, start, revoked: false, inbox: [], stock: [], published: new Set(), lastResort: undefined, sent: new Map(), wake: new Set(),
    });
    directory.set(id, clinic);
    return { status: 201, json: { device: id, clinic: clinic.id, seq: start } };
  }

  /** @param {Invitation} invitation */
  function checkOpen({ state, notAfter }) {
    if (state === 'used') throw new Problem(410, 'invitation-used', 'it has enrolled a device');
    if (state === 'locked') throw new Problem(403, 'invitation-locked', 'there were five wrong checks');
    if (state === 'withdrawn' || nowS() > notAfter) throw new Problem(410, 'invitation-gone', 'it has expired or was withdrawn');
  }

  /** The invitation that a chain stands on, if it may be used. @param {Clinic} clinic @param {Record<string, unknown>} json @param {Certificate[]} chain */
  function findInvitation(clinic, json, chain) {
    const invite = /** @type {Certificate} */ (chain.at(-2));
    const invitation = clinic.invitations.get(nameOf('Sotto invite 1', invite.key)) ?? notFound('the invitation of this chain was not registered here');
    checkOpen({ ...invitation, notAfter: invite.notAfter });
    if (invitation.check !== undefined && !timingSafeEqual(memberBytes(json, 'check', 32, 32), invitation.check)) {
      if (!broken('uncounted-attempts')) invitation.left -= 1;
      if (invitation.left === 0) invitation.state = 'locked';
      const state = invitation.left === 0 ? 'locked' : 'wrong-check';
      deliver(clinic, [invitation.issuer], { kind: 'invitation', invitation: invitation.id, state, attempts_left: invitation.left });
      if (invitation.left === 0) throw new Problem(403, 'invitation-locked', 'that was the last attempt');
      throw new Problem(403, 'wrong-check', 'member "check" is not the one registered', { attempts_left: invitation.left });
    }
    const registered = readChain(Buffer.from(invitation.chain, 'base64url'));
    const same = registered.length === chain.length - 1 && registered.every((c, i) => c.signature.equals(/** @type {Certificate} */ (chain[i]).signature) && c.body.equals(/** @type {Certificate} */ (chain[i]).body));
    if (!same) badCertificate('the invitation was registered with another chain');
    return invitation;
  }

  /** @param {Call} c */
  function readDevice({ clinic, id }) {
    bytesOf(id, 'the id in the path', 16, 16);
    const device = (broken('leak-clinics') ? directory.get(id) : clinic)?.devices.get(id) ?? notFound('the clinic has no such device');
    return { status: 200, json: { device: id, chain: device.chain, revoked: device.revoked } };
  }

  /** @param {Call} c */
  function revokeDevice({ clinic, device, id }) {
    bytesOf(id, 'the id in the path', 16, 16);
    if (id !== device.id) need(device, RIGHT.roster, 'revoke other devices');
    const other = clinic.devices.get(id) ?? notFound('the clinic has no such device');
    Object.assign(other, { revoked: true, inbox: [], stock: [], lastResort: undefined });
    for (const invitation of clinic.invitations.values()) if (invitation.issuer === other && invitation.state === 'open') invitation.state = 'withdrawn';
    for (const wake of [...other.wake]) wake();
    return { status: 204 };
  }

  /** @param {Call} c */
  function publishKeyPackages({ device, json }) {
    const list = memberList(json, 'key_packages', LIMITS.key_packages, 16384);
    const lastResort = Object.hasOwn(json, 'last_resort') ? memberBytes(json, 'last_resort', 16384) : undefined;
    const fresh = [...new Set(list)].filter((p) => broken('republish') || !device.published.has(p));
    if (device.stock.length + fresh.length > LIMITS.key_packages) throw new Problem(413, 'too-large', 'the stock would be over its limit', { limit: LIMITS.key_packages });
    device.stock.push(...fresh);
    for (const p of fresh) device.published.add(p);
    if (lastResort !== undefined) device.lastResort = /** @type {string} */ (json['last_resort']);
    return { status: 200, json: { count: device.stock.length } };
  }

  /** @param {Call} c */
  async function claimKeyPackages({ clinic, device, json }) {
    const devices = memberList(json, 'devices', 64, 16, 16);
    need(device, RIGHT.message, 'take part in conversations');
    const key_packages = [];
    for (const id of devices) {
      const owner = clinic.devices.get(id);
      if (owner === undefined) continue;
      const at = broken('newest-first') ? owner.stock.length - 1 : 0;
      const key_package = owner.stock[at] ?? owner.lastResort;
      if (broken('double-claim')) await meanwhile();
      if (owner.stock[at] === key_package) owner.stock.splice(at, 1);
      else if (broken('spend-last-resort')) owner.lastResort = undefined;
      if (key_package !== undefined) key_packages.push({ device: id, key_package });
    }
    return { status: 200, json: { key_packages } };
  }

  /** @param {Call} c */
  async function commit({ clinic, device, json, id }) {
    const groupId = bytesOf(id, 'the id in the path', 32, 32);
    const epoch = memberInteger(json, 'epoch', Number.MAX_SAFE_INTEGER - 1);
    const bytes = memberBytes(json, 'commit', LIMITS.body);
    if (Object.hasOwn(json, 'welcome')) memberBytes(json, 'welcome', LIMITS.body);
    const [added, removed] = [memberList(json, 'added', 256, 16, 16), memberList(json, 'removed', 256, 16, 16)];
    need(device, RIGHT.message, 'take part in conversations');
    const read = readMessage(bytes, groupId, 'member "commit"');
    if (read.type !== 3 || read.epoch !== epoch) malformed('member "commit" is no commit, or of another epoch than member "epoch" says');
    if (added.length > 0 !== Object.hasOwn(json, 'welcome')) malformed('members "added" and "welcome" go together');

    const known = clinic.groups.get(id);
    const mark = `${device.id} ${epoch} ${sha256(bytes).toString('hex')}`;
    const before = known?.commits.get(mark);
    if (before !== undefined) return { status: 200, json: before };
    /** @type {Group} */
    const group = known ?? { epoch: 0, members: new Set([device]), former: new Set(), commits: new Map() };
    if (!group.members.has(device) && !broken('accept-strangers')) forbidden('the caller is not a member of the group');
    const stale = broken('accept-stale-epoch') && epoch < group.epoch;
    if (epoch !== group.epoch && !stale) throw new Problem(409, 'wrong-epoch', "the group is not at the commit's epoch", { epoch: group.epoch });
    if (broken('race-epoch')) await meanwhile();

    const members = new Set(group.members);
    removed.forEach((name, i) => {
      if (name === device.id) malformed(`element ${i} of member "removed" is the sender`);
      const other = clinic.devices.get(name);
      if (other === undefined || !members.delete(other)) notFound(`element ${i} of member "removed" is no member of the group`);
    });
    const joining = added.map((name, i) => {
      const other = clinic.devices.get(name);
      if (other === undefined || other.revoked) notFound(`element ${i} of member "added" is no device of the clinic, or was revoked`);
      if (members.has(other)) malformed(`element ${i} of member "added" is a member already`);
      members.add(other);
      return other;
    });
    if (members.size > LIMITS.members) throw new Problem(413, 'too-large', 'the group would have too many members', { limit: LIMITS.members });

    const what = { group: id, sender: device.id };
    const seq = deliver(clinic, recipients(group), { kind: 'commit', ...what, epoch, data: json['commit'] });
    for (const other of group.members) if (!members.has(other)) group.former.add(other);
    Object.assign(group, { epoch: Math.max(group.epoch, epoch + 1), members });
    if (joining.length > 0) deliver(clinic, joining, { kind: 'welcome', ...what, epoch: epoch + 1, data: json['welcome'] });
    const answer = { seq, epoch: epoch + 1 };
    group.commits.set(mark, answer);
    clinic.groups.set(id, group);
    return { status: 200, json: answer };
  }

  /** @param {Group} group */
  const recipients = (group) => (broken('deliver-to-removed') ? new Set([...group.members, ...group.former]) : group.members);

  /** @param {Call} c */
  function sendMessage(c) {
    const { clinic, device, body, id, query } = c;
    const groupId = bytesOf(id, 'the id in the path', 32, 32);
    const names = query.get('id') ?? [];
    if (names.length !== 1) malformed('query parameter "id" must be there once');
    const name = /** @type {string} */ (names[0]);
    bytesOf(name, 'query parameter "id"', 16, 16);
    if (body.length === 0) malformed('the body is missing; an MLSMessage is expected');
    need(device, RIGHT.message, 'take part in conversations');
    const { epoch, type } = readMessage(body, groupId, 'the body');
    if (type !== 1 && type !== 2) malformed('the body must be an application message or a proposal');
    const at = query.has('deliver_at') ? integerOf(c, 'deliver_at', undefined, 1, Number.MAX_SAFE_INTEGER) : undefined;
    if (at !== undefined && type !== 1) malformed('what is delivered later must be an application message');
    const later = at === undefined ? {} : { deliver_at: at };
    const digest = sha256(groupId, body, Buffer.from(String(at ?? ''))).toString('hex');
    const before = device.sent.get(name);
    if (before !== undefined && !broken('forget-sent')) {
      if (before.digest !== digest) throw new Problem(409, 'id-reused', 'this client message id was used for another message');
      return { status: 200, json: { seq: before.seq, ...later } };
    }
    const group = clinic.groups.get(id) ?? notFound('there is no such group');
    if (!group.members.has(device) && !broken('accept-strangers')) forbidden('the caller is not a member of the group');
    if (epoch > group.epoch) throw new Problem(409, 'wrong-epoch', 'the message is of an epoch that the group has not reached', { epoch: group.epoch });
    const data = body.toString('base64url');
    if (at !== undefined) {
      if (at <= Date.now() || at > Date.now() + AHEAD_MS) malformed('query parameter "deliver_at" must lie ahead, by 366 days at most');
      if ([...waiting].filter((w) => w.device === device).length >= LIMITS.scheduled) throw new Problem(413, 'too-large', 'too many messages wait', { limit: LIMITS.scheduled });
      const waits = { clinic, device, group: id, name, at, data, members: new Set(group.members) };
      waiting.add(waits);
      device.sent.set(name, { digest, seq: null, waits });
      return { status: 200, json: { seq: null, ...later } };
    }
    const seq = deliver(clinic, recipients(group), { kind: 'message', group: id, sender: device.id, [broken('unnamed-member') ? 'name' : 'id']: name, data });
    device.sent.set(name, { digest, seq });
    return { status: 200, json: { seq } };
  }

  /** @param {Call} c */
  function withdrawMessage({ clinic, device, id, second, query }) {
    bytesOf(id, 'the id in the path', 32, 32);
    bytesOf(second, 'the id in the path', 16, 16);
    const [name = device.id] = query.get('sender') ?? [];
    if (name !== device.id && !broken('withdraw-for-all')) need(device, RIGHT.roster, 'withdraw what others sent');
    const sent = clinic.devices.get(name)?.sent.get(second);
    if (sent === undefined || (sent.waits !== undefined && sent.waits.group !== id)) notFound('there is no such message of this sender');
    if (sent.seq !== null && !broken('withdraw-delivered')) throw new Problem(409, 'delivered', 'members may have it', { seq: sent.seq });
    if (sent.waits !== undefined && !broken('deliver-withdrawn')) waiting.delete(sent.waits);
    delete sent.waits;
    return { status: 204 };
  }

  /** Delivers what is due. */
  function deliverDue() {
    const due = [...waiting].filter((w) => w.at <= Date.now() + (broken('deliver-early') ? 1500 : 0)).sort((a, b) => a.at - b.at);
    for (const w of due) {
      const { clinic, device, group, name, data } = w;
      waiting.delete(w);
      const sent = /** @type {Sent} */ (device.sent.get(name));
      delete sent.waits;
      const now = clinic.groups.get(group);
      if (device.revoked || now === undefined) continue;
      const fault = device.notAfter < nowS() ? 'bad-certificate' : (device.rights & RIGHT.message) === 0 || !now.members.has(device) ? 'forbidden' : '';
      if (fault !== '' && !broken('trust-once')) deliver(clinic, [device], { kind: 'undelivered', group, id: name, reason: fault });
      else sent.seq = deliver(clinic, broken('members-of-before') ? w.members : now.members, { kind: 'message', group, sender: device.id, id: name, data });
    }
  }

  // ---- blobs

  /** @param {Call} c */
  const blobName = ({ clinic, id }) => (bytesOf(id, 'the id in the path', 32, 32), broken('share-blobs') ? id : `${clinic.id} ${id}`);
  /** @param {Call} c */
  const findBlob = (c) => blobs.get(blobName(c)) ?? notFound('the clinic has no such blob');
  /** @param {Blob} blob */
  const blobState = (blob) => ({ status: 200, json: { offset: blob.bytes.length, length: blob.length } });

  /** @param {Call} c */
  async function uploadBlob(c) {
    const { device, body } = c;
    const name = blobName(c);
    const length = integerOf(c, 'length', undefined, 1, Number.MAX_SAFE_INTEGER);
    const offset = integerOf(c, 'offset', undefined, 0, Number.MAX_SAFE_INTEGER);
    need(device, RIGHT.message, 'take part in conversations');
    if (length > LIMITS.blob) throw new Problem(413, 'too-large', 'the blob is larger than this server takes', { limit: LIMITS.blob });
    if (body.length === 0) malformed('the body is missing; a piece of the blob is expected');
    if (offset + body.length > length) malformed("the piece goes beyond the blob's length");
    if (body.length < PIECE.min && offset + body.length < length) malformed('a piece but the last must be of 64 KiB or more');
    const blob = blobs.get(name) ?? { device, length, bytes: Buffer.alloc(0) };
    if (blob.device !== device && !broken('upload-for-all')) forbidden("this blob is another device's");
    if (blob.length !== length) throw new Problem(409, 'id-reused', 'this id was used for a blob of another length');
    const stored = blob.bytes.length;
    if (broken('store-again')) await meanwhile();
    if (offset !== stored && !broken('take-any-offset')) {
      if (blob.bytes.subarray(offset, offset + body.length).equals(body)) return blobState(blob);
      throw new Problem(409, 'wrong-offset', 'the upload goes on elsewhere', { offset: stored });
    }
    blob.bytes = Buffer.concat([blob.bytes, body]);
    blobs.set(name, blob);
    return blobState(blob);
  }

  /** @param {Call} c @returns {Outcome} */
  function readBlob(c) {
    const { length, bytes } = findBlob(c);
    if (bytes.length < length) notFound('the blob is not complete');
    const [, from, to] = /^bytes=(?!-$)(\d{0,15})-(\d{0,15})$/.exec(c.range) ?? [];
    if (from === undefined || to === undefined || (from !== '' && to !== '' && Number(to) < Number(from))) {
      if (length > PIECE.max) malformed('a blob of more than 1 MiB is read by one Range of bytes');
      return { status: 200, bytes, headers: { 'accept-ranges': 'bytes' } };
    }
    const first = from === '' ? Math.max(0, length - Number(to)) : Number(from);
    const end = Math.min(from === '' || to === '' ? length : Number(to) + (broken('miscount-range') ? 0 : 1), length, first + PIECE.max);
    if (first >= length) {
      throw new Problem(416, 'bad-range', "the range begins beyond the blob's end", { length });
    }
    return { status: 206, bytes: bytes.subarray(first, end), headers: { 'accept-ranges': 'bytes', 'content-range': `bytes ${first}-${end - 1}/${length}` } };
  }

  /** @param {Call} c */
  function deleteBlob(c) {
    if (findBlob(c).device !== c.device) need(c.device, RIGHT.roster, "delete others' blobs");
    blobs.delete(blobName(c));
    return { status: 204 };
  }

  /** @param {Call} c @param {string} name @param {number | undefined} missing @param {number} min @param {number} max */
  function integerOf({ query }, name, missing, min, max) {
    const values = query.get(name) ?? (missing === undefined ? [] : [String(missing)]);
    const value = Number(values[0]);
    if (values.length !== 1 || !/^(0|[1-9][0-9]{0,15})$/.test(/** @type {string} */ (values[0])) || value < min || value > max) malformed(`query parameter "${name}" must be one integer from ${min} to ${max}`);
    return value;
  }

  /** @param {Call} c @returns {Promise<Outcome>} */
  async function readInbox(c) {
    const { clinic, device } = c;
    const after = integerOf(c, 'after', undefined, 0, Number.MAX_SAFE_INTEGER);
    const wait = integerOf(c, 'wait', 0, 0, LIMITS.wait_s);
    const limit = integerOf(c, 'limit', 128, 1, 256);
    if (after > clinic.seq && !broken('accept-future-cursor')) malformed('query parameter "after" is beyond the clinic\'s newest sequence number');
    c.object = uint(after, 8);
    const before = device.inbox.length;
    const acknowledge = (/** @type {Device} */ d) => void (d.inbox = d.inbox.filter((e) => (broken('repeat') ? e.seq >= after : e.seq > after)));
    if (broken('acknowledge-for-all')) for (const d of clinic.devices.values()) acknowledge(d);
    else acknowledge(device);
    if (c.stream) return { status: 200, device, after };
    let answer = page(device, after, limit);
    const silent = device.inbox.length === before && answer.events.length === 0;
    if (answer.events.length === 0 && wait > 0 && !broken('refuse-to-wait')) {
      await new Promise((resolve) => {
        const end = () => (clearTimeout(timer), device.wake.delete(end), resolve(undefined));
        const timer = setTimeout(end, wait * 1000);
        device.wake.add(end);
      });
      if (device.revoked && !broken('serve-revoked')) throw new Problem(403, 'revoked', 'this device may not ask for anything any more');
      answer = page(device, after, limit);
    }
    return { status: 200, json: answer, silent };
  }

  /** @param {Call} c */
  function createInvitation(c) {
    const { clinic, device, json } = c;
    const chain = readChain(memberBytes(json, 'chain', 4096));
    memberBytes(json, 'sealed', 16384);
    const check = Object.hasOwn(json, 'check') ? memberBytes(json, 'check', 32, 32) : undefined;
    checkChain(chain, clinic.root);
    const invite = /** @type {Certificate} */ (chain.at(-1));
    if (invite.kind !== KIND.invite) badCertificate('the chain does not end in an invite');
    if (!invite.issuer.equals(device.key)) forbidden('the invite was not issued by the caller');
    need(device, invite.enrols === KIND.patient ? RIGHT.invitePatient : RIGHT.inviteStaff, 'invite these');
    const id = nameOf('Sotto invite 1', invite.key);
    c.object = Buffer.from(id, 'base64url');
    const known = clinic.invitations.get(id);
    const given = JSON.stringify([json['chain'], json['sealed'], check?.toString('hex')]);
    if (known !== undefined && JSON.stringify([known.chain, known.sealed, known.check?.toString('hex')]) === given) return { status: 200, json: { invitation: id } };
    if (directory.has(id)) throw new Problem(409, 'id-reused', 'this invite was registered with other content');
    clinic.invitations.set(id, {
      id, key: invite.key, issuer: device, chain: String(json['chain']), sealed: String(json['sealed']), check, state: 'open', left: ATTEMPTS, enrols: invite.enrols, notAfter: invite.notAfter,
    });
    directory.set(id, clinic);
    return { status: 201, json: { invitation: id } };
  }

  /** @param {Call} c */
  function readInvitation({ clinic, id }) {
    const invitation = /** @type {Invitation} */ (clinic.invitations.get(id));
    checkOpen(invitation);
    return { status: 200, json: { sealed: invitation.sealed, state: 'open', attempts_left: invitation.left, checked: invitation.check !== undefined } };
  }

  /** @param {Call} c */
  function listInvitations({ clinic, device }) {
    const invitations = [...clinic.invitations.values()]
      .filter((i) => i.issuer === device)
      .reverse()
      .slice(0, 256)
      .map(({ id, state, left, notAfter, enrols }) => ({
        invitation: id, state: state === 'open' && nowS() > notAfter ? 'expired' : state, attempts_left: left, expires_s: notAfter, enrols: ['', 'staff', 'agent', '', 'patient'][enrols],
      }));
    return { status: 200, json: { invitations } };
  }

  /** @param {Call} c */
  function withdrawInvitation({ clinic, device, id }) {
    bytesOf(id, 'the id in the path', 16, 16);
    const invitation = clinic.invitations.get(id) ?? notFound('there is no such invitation');
    if (invitation.issuer !== device) need(device, RIGHT.roster, "withdraw others' invitations");
    if (invitation.state === 'used') throw new Problem(410, 'invitation-used', 'it has enrolled a device; revoke that instead');
    invitation.state = 'withdrawn';
    return { status: 204 };
  }

  /** @param {Call} c */
  function publishRoster(c) {
    const { clinic, device, json } = c;
    const number = memberInteger(json, 'number', Number.MAX_SAFE_INTEGER, 1);
    c.object = uint(number, 8);
    const bytes = memberBytes(json, 'roster', 512 * 1024);
    const roster = /** @type {string} */ (json['roster']);
    need(device, RIGHT.roster, 'publish a roster');
    const signed = bytes.length > 64 && verifies(clinic.root, Buffer.concat([Buffer.from('Sotto roster 1'), bytes.subarray(0, -64)]), bytes.subarray(-64));
    if (!signed) badCertificate('member "roster" is not signed by the clinic\'s root key');
    const stands = clinic.roster;
    if (stands !== undefined && stands.number >= number && !(stands.number === number && stands.roster === roster)) {
      throw new Problem(409, 'old-roster', 'a roster with this number or a higher one stands', { number: stands.number });
    }
    if (stands?.number !== number) {
      clinic.roster = { number, roster };
      deliver(clinic, clinic.devices.values(), { kind: 'roster', number });
    }
    return { status: 200, json: { number } };
  }

  // ---- audit

  /** The first 3 bytes of an IPv4 address, the first 6 of an IPv6 address. @param {string} address */
  function networkOf(address) {
    if (address.includes('.')) return Buffer.from(address.replace(/^.*:/, '').split('.').slice(0, 3).map(Number));
    const [head = '', tail = ''] = address.split('::');
    const groups = head.split(':').filter(Boolean);
    const rest = tail.split(':').filter(Boolean);
    return Buffer.concat([...groups, ...Array(8 - groups.length - rest.length).fill('0'), ...rest].slice(0, 3).map((g) => uint(parseInt(g, 16), 2)));
  }

  /** Appends an entry. @param {Call} c @param {number} call @param {number} status @param {string} problem */
  function note({ clinic, who, keyid, object, sealed, address }, call, status, problem) {
    if (broken('leave-out-refused') && status >= 400) return;
    const { log } = clinic;
    const entry = Buffer.concat([
      uint(log.entries.length + 1, 8), uint(Date.now(), 8), uint(who, 1), Buffer.from(keyid, 'base64url'), uint(call, 1), vector(object),
      uint(status, 2), vector(Buffer.from(problem)), vector(networkOf(address)), vector(status < 400 ? sealed : Buffer.alloc(0)), log.end,
    ]);
    log.end = sha256(Buffer.from('Sotto audit 1'), entry);
    log.entries.push(entry);
    if (broken('drop-entry') && log.entries.length === 3) log.entries.splice(1, 1);
  }

  /** @param {Clinic} clinic */
  function sign({ id, log }) {
    const [number, at] = [log.entries.length, Date.now()];
    const last = log.checkpoints.at(-1);
    if (number === (last?.number ?? 0) || (last !== undefined && at - last.at < CHECKPOINT_MS)) return;
    const content = Buffer.concat([Buffer.from('Sotto checkpoint 1'), Buffer.from(id, 'base64url'), uint(number, 8), log.end, uint(at, 8)]);
    const key = broken('change-audit-key') ? generateKeyPairSync('ed25519') : auditKey;
    log.checkpoints.push({ number, hash: log.end, at, signature: signWith(null, content, key.privateKey) });
  }

  /** @param {Call} c */
  function readCheckpoint(c) {
    const { clinic } = c;
    const asked = integerOf(c, 'number', 0, 0, Number.MAX_SAFE_INTEGER);
    sign(clinic);
    const { checkpoints } = clinic.log;
    if (broken('forget-checkpoints') && asked > 0) checkpoints.length = 0;
    const { number, hash, at, signature } = (asked === 0 ? checkpoints.at(-1) : checkpoints.find((p) => p.number === asked)) ?? notFound('there is no checkpoint with this number');
    const shown = broken('fork-log') ? sha256(hash) : hash;
    return { status: 200, json: { clinic: clinic.id, number, hash: shown.toString('base64url'), at, signature: signature.toString('base64url') } };
  }

  /** @param {Call} c */
  function readAudit(c) {
    const after = integerOf(c, 'after', 0, 0, Number.MAX_SAFE_INTEGER);
    const limit = integerOf(c, 'limit', 128, 1, 256);
    c.object = uint(after, 8);
    if (!broken('show-log-to-all')) need(c.device, RIGHT.audit, 'read the audit log');
    const entries = c.clinic.log.entries.slice(after, after + limit).map((entry) => entry.toString('base64url'));
    return { status: 200, json: { entries, next: after + entries.length } };
  }

  /** @param {Call} c */
  function addEvent(c) {
    const id = memberBytes(c.json, 'id', 16, 16);
    const sealed = memberBytes(c.json, 'sealed', 4096);
    const { events, entries } = c.clinic.log;
    const mark = `${c.device.id} ${id.toString('base64url')}`;
    const digest = sha256(sealed).toString('hex');
    const known = events.get(mark);
    c.object = id;
    if (known !== undefined && known.digest !== digest) throw new Problem(409, 'id-reused', 'this id was used for another event');
    if (known !== undefined && !broken('log-event-again')) return { status: 200, json: { number: known.number }, silent: true };
    c.sealed = sealed;
    events.set(mark, { digest, number: entries.length + 1 });
    return { status: known === undefined ? 201 : 200, json: { number: entries.length + 1 } };
  }

  /** @typedef {{ status: number, json?: object, bytes?: Buffer, headers?: Record<string, string>, device?: Device, after?: number, silent?: boolean }} Outcome device: whose event stream begins; silent: no access */
  /** @typedef {'root' | 'enrols' | 'device' | 'invite' | 'device or invite'} Who */
  /** @type {[string, RegExp, Who, '' | 'application/json' | 'message/mls' | 'application/octet-stream', number, (c: Call) => Outcome | Promise<Outcome>][]} the number: of the call in the audit log; 0: none */
  const routes = [
    ['POST', /^\/v1\/clinics$/, 'root', 'application/json', 1, createClinic],
    ['POST', /^\/v1\/devices$/, 'enrols', 'application/json', 2, enrolDevice],
    ['GET', /^\/v1\/devices\/([^/]*)$/, 'device', '', 3, readDevice],
    ['DELETE', /^\/v1\/devices\/([^/]*)$/, 'device', '', 4, revokeDevice],
    ['PUT', /^\/v1\/key-packages$/, 'device', 'application/json', 5, publishKeyPackages],
    ['GET', /^\/v1\/key-packages$/, 'device', '', 0, ({ device }) => ({ status: 200, json: { count: device.stock.length } })],
    ['POST', /^\/v1\/key-packages\/claim$/, 'device', 'application/json', 6, claimKeyPackages],
    ['POST', /^\/v1\/groups\/([^/]*)\/commits$/, 'device', 'application/json', 7, commit],
    ['POST', /^\/v1\/groups\/([^/]*)\/messages$/, 'device', 'message/mls', 8, sendMessage],
    ['DELETE', /^\/v1\/groups\/([^/]*)\/messages\/([^/]*)$/, 'device', '', 18, withdrawMessage],
    ['PUT', /^\/v1\/blobs\/([^/]*)$/, 'device', 'application/octet-stream', 19, uploadBlob],
    ['GET', /^\/v1\/blobs\/([^/]*)$/, 'device', '', 20, readBlob],
    ['DELETE', /^\/v1\/blobs\/([^/]*)$/, 'device', '', 21, deleteBlob],
    ['GET', /^\/v1\/blobs\/([^/]*)\/state$/, 'device', '', 0, (c) => blobState(findBlob(c))],
    ['GET', /^\/v1\/inbox$/, 'device', '', 9, readInbox],
    ['POST', /^\/v1\/invitations$/, 'device', 'application/json', 10, createInvitation],
    ['GET', /^\/v1\/invitations$/, 'device', '', 11, listInvitations],
    ['GET', /^\/v1\/invitations\/([^/]*)$/, 'invite', '', 12, readInvitation],
    ['DELETE', /^\/v1\/invitations\/([^/]*)$/, 'device', '', 13, withdrawInvitation],
    ['PUT', /^\/v1\/roster$/, 'device', 'application/json', 14, publishRoster],
    ['GET', /^\/v1\/roster$/, 'device or invite', '', 15, ({ clinic }) => ({ status: 200, json: clinic.roster ?? notFound('the clinic has published no roster') })],
    ['GET', /^\/v1\/audit\/checkpoint$/, 'device', '', 0, readCheckpoint],
    ['GET', /^\/v1\/audit$/, 'device', '', 16, readAudit],
    ['POST', /^\/v1\/audit$/, 'device', 'application/json', 17, addEvent],
  ];

  // ---- who asks

  /** Key and clinic for a keyid, as the call says where they come from. @param {Who} who @param {string} keyid @param {Call} c @returns {Buffer} */
  function keyOf(who, keyid, c) {
    if (who === 'root') {
      const root = memberBytes(c.json, 'root_key', 32, 32);
      if (nameOf('Sotto clinic 1', root) !== keyid) throw new Problem(401, 'bad-signature', 'keyid is not the name of member "root_key"');
      return root;
    }
    if (who === 'enrols') {
      const chain = readChain(memberBytes(c.json, 'chain', 4096));
      const holder = /** @type {Certificate} */ (chain.at(-1));
      if (nameOf('Sotto device 1', holder.key) !== keyid) throw new Problem(401, 'bad-signature', 'keyid is not the name of the device at the end of member "chain"');
      c.clinic = clinics.get(chain[0].clinic) ?? badCertificate("the chain's clinic is not known here");
      if (!broken('accept-any-chain')) checkChain(chain, c.clinic.root);
      return holder.key;
    }
    const clinic = directory.get(keyid);
    if (clinic !== undefined) c.clinic = clinic;
    if (who === 'invite') {
      bytesOf(c.id, 'the id in the path', 16, 16);
      if (c.id !== keyid) forbidden('an invitation is read with its own key: keyid must be the id in the path');
      return clinic?.invitations.get(keyid)?.key ?? notFound('there is no such invitation');
    }
    const device = clinic?.devices.get(keyid);
    if (device !== undefined) c.device = device;
    const invite = who === 'device or invite' ? clinic?.invitations.get(keyid)?.key : undefined;
    const key = device?.key ?? invite;
    if (key === undefined) throw new Problem(401, 'unknown-device', 'keyid names no device that is enrolled here');
    return key;
  }

  /** @param {http.IncomingMessage} request @param {string} path @param {string} search @param {Who} who @param {Call} c */
  function authenticate({ method, headers }, path, search, who, c) {
    const unsigned = (/** @type {string} */ what) => {
      throw new Problem(401, 'unsigned', what);
    };
    const digest = headers['content-digest'];
    const input = /^sotto=(\("@method" "@authority" "@path" "@query"( "content-digest")?\);created=(0|[1-9]\d{0,14});nonce="([\w-]{21}[AQgw])";keyid="([\w-]{21}[AQgw])";alg="ed25519")$/.exec(
      String(headers['signature-input'] ?? ''),
    );
    const signature = /^sotto=:([A-Za-z0-9+/]{85}[AQgw]==):$/.exec(String(headers['signature'] ?? ''));
    if (input === null || signature === null) return unsigned('Signature-Input or Signature is missing or not in the form that the protocol gives');
    const [, parameters, covers, created, nonce, keyid] = /** @type {string[]} */ (/** @type {unknown} */ (input));
    if (c.body.length > 0 !== (covers !== undefined) || (digest !== undefined) !== (covers !== undefined)) return unsigned('content goes with a Content-Digest that is covered, and only content');
    if (Math.abs(Number(created) - nowS()) > (broken('narrow-clock') ? 60 : SKEW_S) && !broken('accept-old')) throw new Problem(401, 'clock-skew', 'created is not within 300 s of the relay\'s clock', { now: Date.now() });
    const key = keyOf(who, /** @type {string} */ (keyid), c);
    const base = `"@method": ${method}\n"@authority": ${headers.host?.toLowerCase()}\n"@path": ${path}\n"@query": ${search || '?'}\n${covers ? `"content-digest": ${digest}\n` : ''}"@signature-params": ${parameters}`;
    const altered = covers !== undefined && digest !== `sha-256=:${sha256(c.body).toString('base64')}:` && !broken('accept-altered-content');
    if (altered || (!verifies(key, Buffer.from(base), Buffer.from(/** @type {string} */ (signature[1]), 'base64')) && !broken('accept-bad-signature'))) {
      throw new Problem(401, 'bad-signature', 'the signature does not verify, or the digest differs');
    }
    c.keyid = /** @type {string} */ (keyid);
    c.who = who === 'root' ? 3 : who === 'invite' || (who === 'device or invite' && c.device === undefined) ? 2 : 1;
    c.verified = true;
    if (c.device?.revoked && !broken('serve-revoked')) throw new Problem(403, 'revoked', 'this device may not ask for anything any more');
    if (c.device && c.device.notAfter < nowS()) badCertificate("the device's certificate has expired");
    const mark = `${keyid} ${nonce}`;
    if (nonces.has(mark) && !broken('accept-replay')) throw new Problem(401, 'replayed', 'this nonce was used before; sign again with a new one');
    nonces.set(mark, Date.now() + 2 * SKEW_S * 1000);
  }

  // ---- HTTP

  /** @param {http.IncomingMessage} request @param {Buffer} body @param {boolean} tooLarge @returns {Promise<Outcome>} */
  async function handle(request, body, tooLarge) {
    const { method, url = '/', headers } = request;
    const cut = url.includes('?') ? url.indexOf('?') : url.length;
    const [path, search] = [url.slice(0, cut), url.slice(cut)];
    if (method === 'GET' && path === '/.well-known/sotto') {
      return { status: 200, json: { version: 1, limits: LIMITS, features: ['sse', 'schedule', 'blobs', 'audit'], audit_key: auditKey.publicKey.export({ format: 'jwk' }).x, clinics: 'open', now: Date.now() } };
    }
    if (url.length > 511 || !/^[\w./?&=~-]*$/.test(url) || headers['transfer-encoding'] !== undefined) malformed('the path, query or a header is too long or not in its form');
    const route = routes.find(([m, pattern]) => m === method && pattern.test(path)) ?? notFound('there is no such call');
    const [, pattern, who, type, call, run] = route;
    if (tooLarge) throw new Problem(413, 'too-large', 'the content is larger than any call takes', { limit: LIMITS.body });
    if (type === '' && body.length > 0) malformed('this call has no content');
    if (type === 'message/mls' && body.length > LIMITS.message) throw new Problem(413, 'too-large', 'the content is larger than this call takes', { limit: LIMITS.message });
    if (body.length > 0 && headers['content-type']?.split(/[; ]/)[0]?.toLowerCase() !== type) malformed(`Content-Type must be ${type}`);
    /** @type {Map<string, string[]>} */
    const query = new Map();
    if (broken('refuse-unknown') && search.includes('later=')) malformed('query parameter "later" is not known');
    for (const [name, value] of new URLSearchParams(search)) query.set(name, [...(query.get(name) ?? []), value]);
    const c = /** @type {Call} */ ({ body, id: pattern.exec(path)?.[1] ?? '', second: pattern.exec(path)?.[2] ?? '', range: headers.range ?? '', query, stream: headers.accept?.includes('text/event-stream') ?? false,
      who: 1, keyid: '', verified: false, object: Buffer.from(pattern.exec(path)?.[1] ?? '', 'base64url').subarray(0, 32), sealed: Buffer.alloc(0), address: request.socket.remoteAddress ?? '' });
    // The key of these two is in their content; the others' is read once it is known whose it is.
    const early = who === 'root' || who === 'enrols';
    if (early) c.json = readJson(body);
    try {
      authenticate(request, path, search, who, c);
      if (!early && type === 'application/json') c.json = readJson(body);
      const outcome = await run(c);
      if (call !== 0 && outcome.silent !== true) note(c, call, outcome.status, '');
      return outcome;
    } catch (error) {
      if (call !== 0 && c.verified && c.clinic !== undefined && error instanceof Problem) note(c, call, error.status, error.body.type.slice('urn:sotto:problem:'.length));
      throw error;
    }
  }

  const server = http.createServer({ maxHeaderSize: 8192 }, (request, response) => {
    /** @type {Buffer[]} */
    const parts = [];
    let size = 0;
    request.on('data', (part) => {
      size += part.length;
      if (size <= LIMITS.body) parts.push(part);
    });
    request.on('error', () => response.destroy());
    request.on('end', async () => {
      /** @type {Outcome} */
      let outcome;
      let type = 'application/json';
      try {
        outcome = await handle(request, Buffer.concat(parts), size > LIMITS.body);
      } catch (error) {
        const problem = error instanceof Problem ? error : new Problem(503, 'unavailable', 'nothing was changed; try again');
        if (!(error instanceof Problem)) console.error(error);
        if (problem.status === 416) response.setHeader('content-range', `bytes */${problem.body.length}`);
        if (problem.status === 503) response.setHeader('retry-after', '1');
        type = broken('plain-errors') ? 'text/plain' : 'application/problem+json';
        outcome = { status: problem.status, json: problem.body };
      }
      response.setHeader('cache-control', 'no-store');
      if (outcome.device !== undefined) return stream(response, outcome.device, outcome.after ?? 0);
      if (outcome.json !== undefined) response.setHeader('content-type', type);
      if (outcome.bytes !== undefined) return response.writeHead(outcome.status, { 'content-type': 'application/octet-stream', ...outcome.headers }).end(outcome.bytes);
      response.writeHead(outcome.status).end(outcome.json === undefined ? undefined : JSON.stringify(outcome.json));
    });
  });

  /** @param {http.ServerResponse} response @param {Device} device @param {number} after */
  function stream(response, device, after) {
    const more = () => {
      if (device.revoked && !broken('stream-to-revoked')) return response.end();
      const { events, next } = page(device, after, Infinity);
      for (const event of events) response.write(`id: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`);
      after = next;
    };
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    device.wake.add(more);
    const comments = setInterval(() => response.write(':\n\n'), 15_000);
    response.on('close', () => (device.wake.delete(more), clearInterval(comments)));
    more();
  }

  const tidy = setInterval(() => {
    for (const [mark, until] of nonces) if (until < Date.now()) nonces.delete(mark);
  }, 60_000).unref();
  const due = setInterval(deliverDue, 200).unref();
  server.on('close', () => (clearInterval(tidy), clearInterval(due)));
  return server;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (/** @type {string} */ name, /** @type {string} */ missing) => (process.argv.includes(name) ? (process.argv[process.argv.indexOf(name) + 1] ?? '') : missing);
  const server = minimalServer({ fault: option('--break', '') });
  server.listen(Number(option('--port', '8080')), '127.0.0.1', () => {
    const address = server.address();
    console.log(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`);
  });
}
