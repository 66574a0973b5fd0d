// A client written from server/PROTOCOL.md alone, on node:crypto and node:http: keys, names, certificates, MLS messages as a
// server sees them, and signed requests. Nothing here comes from the server or the core: what it and a server agree on is what
// the page says.
import { createHash, createPrivateKey, createPublicKey, randomBytes, sign } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';

/** @param {Uint8Array} bytes */
export const b64u = (bytes) => Buffer.from(bytes).toString('base64url');
/** @param {Uint8Array[]} parts */
export const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
export const nowS = () => Math.floor(Date.now() / 1000);
/** @param {number} ms @returns {Promise<void>} */
export const sleep = (ms) => new Promise((resolve) => void setTimeout(resolve, ms));
/** 16 random bytes as text: a nonce, a message id, a name of nobody. */
export const randomId = () => b64u(randomBytes(16));

// ---- keys and names

/** @typedef {{ secret: import('node:crypto').KeyObject, raw: Buffer }} Key raw: the public key's 32 bytes */

const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410: what stands before an Ed25519 seed
const SPKI_SIZE = 12; // and how much before a public key

/** @param {Buffer} [seed] 32 bytes @returns {Key} */
export function newKey(seed = randomBytes(32)) {
  const secret = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' });
  return { secret, raw: createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(SPKI_SIZE) };
}

/** @param {string} label @param {Buffer} raw */
const nameOf = (label, raw) => b64u(sha256(Buffer.from(label), raw).subarray(0, 16));
/** @param {Buffer} raw */
export const clinicId = (raw) => nameOf('Sotto clinic 1', raw);
/** @param {Buffer} raw */
export const deviceId = (raw) => nameOf('Sotto device 1', raw);
/** @param {Buffer} raw */
export const inviteId = (raw) => nameOf('Sotto invite 1', raw);

// ---- TLS presentation language, with the variable-size vectors of RFC 9420 §2.1.2

/** @param {number} v */
const u16 = (v) => Buffer.from([v >> 8, v & 255]);
/** @param {number} v */
function u32(v) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(v);
  return bytes;
}
/** @param {number | bigint} v */
function u64(v) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(v));
  return bytes;
}
/** @param {Buffer} bytes */
function vector(bytes) {
  const n = bytes.length;
  const size = n < 0x40 ? Buffer.from([n]) : n < 0x4000 ? u16(n | 0x4000) : u32(n + 0x80000000);
  return Buffer.concat([size, bytes]);
}

// ---- certificates

export const KIND = { staff: 1, agent: 2, invite: 3, patient: 4 };
export const RIGHT = { message: 1, invitePatient: 2, inviteStaff: 4, roster: 8, audit: 16 };
export const ALL_RIGHTS = 31;

/**
 * @typedef {object} CertificateFields
 * @property {string} clinic
 * @property {number} kind
 * @property {Buffer} key the holder's
 * @property {Buffer} subject 16 bytes: the person or agent
 * @property {number} rights
 * @property {number} [enrols]
 * @property {number} [level]
 * @property {number} [notBefore]
 * @property {number} [notAfter]
 */

/** @param {Key} issuer @param {CertificateFields} fields */
export function certificate(issuer, { clinic, kind, key, subject, rights, enrols = 0, level = 0, notBefore = nowS() - 3600, notAfter = nowS() + 86400 }) {
  const body = Buffer.concat([
    u16(1),
    Buffer.from(clinic, 'base64url'),
    Buffer.from([kind, enrols, level]),
    issuer.raw,
    key,
    subject,
    u32(rights),
    u64(notBefore),
    u64(notAfter),
  ]);
  return Buffer.concat([body, sign(null, Buffer.concat([Buffer.from('Sotto certificate 1'), body]), issuer.secret)]);
}

/** @param {Buffer[]} certificates @returns {string} as it stands in JSON */
export const chainOf = (certificates) => b64u(vector(Buffer.concat(certificates)));

/** @param {Key} root @param {Buffer} content */
export const rosterOf = (root, content) =>
  b64u(Buffer.concat([content, sign(null, Buffer.concat([Buffer.from('Sotto roster 1'), content]), root.secret)]));

// ---- MLS messages as a server sees them (RFC 9420 §6)

export const CONTENT = { application: 1, proposal: 2, commit: 3 };

/** An MLSMessage with a PrivateMessage. @param {Buffer} group @param {number} epoch @param {number} type @param {number} [size] of the ciphertext */
export function privateMessage(group, epoch, type, size = 100) {
  return Buffer.concat([
    u16(1), // mls10
    u16(2), // mls_private_message
    vector(group),
    u64(epoch),
    Buffer.from([type]),
    vector(Buffer.alloc(0)),
    vector(randomBytes(44)),
    vector(randomBytes(size)),
  ]);
}

/** An MLSMessage with a PublicMessage, which no call takes. @param {Buffer} group @param {number} epoch */
export const publicMessage = (group, epoch) =>
  Buffer.concat([u16(1), u16(1), vector(group), u64(epoch), Buffer.from([1]), u32(0), vector(Buffer.alloc(0)), Buffer.from([1]), vector(randomBytes(9)), vector(randomBytes(64)), vector(randomBytes(32))]);

// ---- HTTP

/**
 * @typedef {object} Request what goes over the wire
 * @property {string} method
 * @property {string} path with the query
 * @property {Record<string, string | string[]>} headers
 * @property {Buffer} [body]
 *
 * @typedef {object} Answer
 * @property {number} status
 * @property {import('node:http').IncomingHttpHeaders} headers
 * @property {Buffer} bytes
 * @property {any} json undefined when the answer says it is no JSON, or is none
 * @property {string} problem NAME of urn:sotto:problem:NAME, '' when it is no problem
 */

/** @param {http.IncomingMessage} response @param {Buffer} bytes @returns {Answer} */
function answerOf({ statusCode, headers }, bytes) {
  let json;
  if (/^application\/(problem\+)?json\b/.test(headers['content-type'] ?? '')) {
    try {
      json = JSON.parse(bytes.toString());
    } catch {
      // the contract will say so
    }
  }
  const problem = /^urn:sotto:problem:(.*)$/.exec(typeof json?.type === 'string' ? json.type : '')?.[1] ?? '';
  return { status: statusCode ?? 0, headers, bytes, json, problem };
}

/** A server's address, with connections that are kept. */
export class Server {
  /** @param {string} url */
  constructor(url) {
    const { protocol, host, hostname, port } = new URL(url);
    this.http = protocol === 'https:' ? https : http;
    this.agent = new this.http.Agent({ keepAlive: true, maxSockets: 128 });
    this.authority = host;
    this.hostname = hostname.replace(/^\[|\]$/g, '');
    this.port = port;
    this.origin = `${protocol}//${host}`;
  }

  /** One exchange, with nothing added but Host and Content-Length. @param {Request} request @param {number} timeout ms @returns {Promise<Answer>} */
  exchange(request, timeout) {
    return new Promise((resolve, reject) => {
      const outgoing = this.#begin(request);
      const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeout} ms: ${request.method} ${request.path}`)), timeout);
      outgoing.on('response', (response) => {
        /** @type {Buffer[]} */
        const parts = [];
        response.on('data', (part) => parts.push(part));
        response.on('error', reject);
        response.on('close', () => clearTimeout(timer));
        response.on('end', () => resolve(answerOf(response, Buffer.concat(parts))));
      });
      outgoing.on('error', (error) => (clearTimeout(timer), reject(error)));
      outgoing.end(request.body);
    });
  }

  /** Begins an exchange whose answer does not end. @param {Request} request @returns {Promise<{ response: http.IncomingMessage, close: () => void }>} */
  open(request) {
    return new Promise((resolve, reject) => {
      const outgoing = this.#begin(request, false);
      outgoing.on('response', (response) => resolve({ response, close: () => void outgoing.destroy() }));
      outgoing.on('error', reject);
      outgoing.end(request.body);
    });
  }

  /** @param {Request} request @param {boolean} keep */
  #begin({ method, path, headers, body }, keep = true) {
    const size = body === undefined || body.length === 0 ? {} : { 'content-length': String(body.length) };
    return this.http.request({
      host: this.hostname,
      port: this.port,
      method,
      path,
      headers: { host: this.authority, ...size, ...headers },
      agent: keep ? this.agent : false,
    });
  }

  close() {
    this.agent.destroy();
  }
}

// ---- signatures

/**
 * @typedef {object} Deviation where a signature differs from the one that PROTOCOL asks for
 * @property {Key} [key]
 * @property {string} [keyid]
 * @property {number} [created]
 * @property {string} [nonce]
 * @property {string} [digest] the header Content-Digest
 * @property {string} [input] replaces what follows sotto= in Signature-Input
 * @property {{ method?: string, authority?: string, path?: string, query?: string, body?: Buffer }} [over] signed instead of what is sent
 * @property {(headers: Record<string, string>) => void} [edit] changes the finished headers
 */

/**
 * The headers of RFC 9421 and RFC 9530 for a request.
 * @param {Key} key @param {string} keyid @param {string} authority @param {string} method @param {string} target path and query
 * @param {Buffer | undefined} body @param {Deviation} change
 */
export function signedHeaders(key, keyid, authority, method, target, body, change = {}) {
  const { over = {} } = change;
  const cut = target.indexOf('?');
  const path = over.path ?? (cut < 0 ? target : target.slice(0, cut));
  const query = over.query ?? (cut < 0 ? '?' : target.slice(cut));
  const content = over.body ?? body;
  /** @type {Record<string, string>} */
  const headers = {};
  let covered = '"@method" "@authority" "@path" "@query"';
  let base = `"@method": ${over.method ?? method}\n"@authority": ${over.authority ?? authority}\n"@path": ${path}\n"@query": ${query}\n`;
  if (content !== undefined && content.length > 0) {
    const digest = change.digest ?? `sha-256=:${sha256(content).toString('base64')}:`;
    headers['content-digest'] = digest;
    covered += ' "content-digest"';
    base += `"content-digest": ${digest}\n`;
  }
  const { created = nowS(), nonce = randomId() } = change;
  const input = change.input ?? `(${covered});created=${created};nonce="${nonce}";keyid="${change.keyid ?? keyid}";alg="ed25519"`;
  headers['signature-input'] = `sotto=${input}`;
  headers['signature'] = `sotto=:${sign(null, Buffer.from(`${base}"@signature-params": ${input}`), (change.key ?? key).secret).toString('base64')}:`;
  change.edit?.(headers);
  return headers;
}
