// Who asks: parties with a key, and the clinic that certifies them.
import { randomBytes } from 'node:crypto';
import { ALL_RIGHTS, CONTENT, KIND, RIGHT, b64u, certificate, chainOf, clinicId, deviceId, inviteId, newKey, privateMessage, randomId, signedHeaders } from './client.mjs';

/**
 * @typedef {import('./client.mjs').Key} Key
 * @typedef {import('./client.mjs').Answer} Answer
 * @typedef {import('./suite.mjs').Session} Session
 * @typedef {Record<string, any>} InboxEvent
 *
 * @typedef {object} Asking
 * @property {import('./client.mjs').Deviation} [sign] how the signature differs from a good one
 * @property {string} [type] of the content
 * @property {Record<string, string>} [headers]
 */

/** A key and the name that it asks by. */
export class Party {
  /** @param {Session} session @param {Key} key @param {string} id */
  constructor(session, key, id) {
    this.session = session;
    this.key = key;
    this.id = id;
  }

  /**
   * A signed request. Objects travel as JSON, strings as what is called JSON, bytes as message/mls.
   * @param {string} method @param {string} path @param {object | string | Buffer} [content] @param {Asking} [how]
   * @returns {Promise<Answer>}
   */
  ask(method, path, content, how = {}) {
    const answer = this.session.ask(() => this.request(method, path, content, how));
    // A check that has failed does not wait for what it still has under way.
    answer.catch(() => {});
    return answer;
  }

  /**
   * The request by itself.
   * @param {string} method @param {string} path @param {object | string | Buffer} [content] @param {Asking} [how]
   * @returns {import('./client.mjs').Request}
   */
  request(method, path, content, { sign = {}, type, headers = {} } = {}) {
    const body = content === undefined || Buffer.isBuffer(content) ? content : Buffer.from(typeof content === 'string' ? content : JSON.stringify(content));
    const signed = signedHeaders(this.key, this.id, this.session.authority, method, path, body, sign);
    if (body !== undefined) signed['content-type'] = type ?? (Buffer.isBuffer(content) ? 'message/mls' : 'application/json');
    return { method, path, body, headers: { ...signed, ...headers } };
  }
}

/** A device with its certificates. */
export class Device extends Party {
  /** The first cursor; set by enrolling. */
  start = 0;

  /** @param {Session} session @param {Key} key @param {Buffer[]} certificates @param {number} rights */
  constructor(session, key, certificates, rights) {
    super(session, key, deviceId(key.raw));
    this.certificates = certificates;
    this.rights = rights;
  }

  /** @param {object} [more] @param {Asking} [how] */
  async enrol(more = {}, how = {}) {
    const answer = await this.ask('POST', '/v1/devices', { chain: chainOf(this.certificates), ...more }, how);
    if (answer.status < 300) this.start = answer.json.seq;
    return answer;
  }

  /**
   * @param {Buffer} group @param {number} epoch
   * @param {{ added?: string[], removed?: string[], commit?: Buffer, welcome?: Buffer, more?: object }} [what]
   */
  commit(group, epoch, { added = [], removed = [], commit = privateMessage(group, epoch, CONTENT.commit), welcome, more = {} } = {}) {
    if (added.length > 0) welcome ??= randomBytes(60);
    return this.ask('POST', `/v1/groups/${b64u(group)}/commits`, {
      epoch,
      commit: b64u(commit),
      ...(welcome === undefined ? {} : { welcome: b64u(welcome) }),
      added,
      removed,
      ...more,
    });
  }

  /** @param {Buffer} group @param {Buffer} content @param {string} [id] */
  message(group, content, id = randomId()) {
    return this.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${id}`, content);
  }

  /** One page. @param {number} after @param {{ wait?: number, limit?: number }} [how] */
  inbox(after, { wait, limit } = {}) {
    return this.ask('GET', `/v1/inbox?after=${after}${wait === undefined ? '' : `&wait=${wait}`}${limit === undefined ? '' : `&limit=${limit}`}`);
  }

  /**
   * All that is there after a cursor, acknowledging page by page; of one group when it is named.
   * @param {{ from?: number, limit?: number, group?: Buffer }} [what] @returns {Promise<InboxEvent[]>}
   */
  async events({ from = this.start, limit = 256, group } = {}) {
    const all = [];
    for (let next = from; ; ) {
      const { status, json } = await this.inbox(next, { limit });
      if (status !== 200) throw new Error(`the inbox answered ${status} ${JSON.stringify(json)}`);
      if (json.events.length === 0) break;
      all.push(...json.events);
      if (json.next <= next) throw new Error(`the cursor went from ${next} to ${json.next}`);
      next = json.next;
    }
    return group === undefined ? all : all.filter((event) => event.group === b64u(group));
  }

  /** @param {(string | undefined)[]} packages @param {string} [lastResort] */
  publish(packages, lastResort) {
    return this.ask('PUT', '/v1/key-packages', { key_packages: packages, last_resort: lastResort });
  }

  /** @param {string[]} devices */
  claim(...devices) {
    return this.ask('POST', '/v1/key-packages/claim', { devices });
  }
}

/** The key of a link. */
export class Invite extends Party {
  /** @param {Session} session @param {Key} key @param {Buffer[]} certificates @param {import('./client.mjs').CertificateFields} fields */
  constructor(session, key, certificates, fields) {
    super(session, key, inviteId(key.raw));
    this.certificates = certificates;
    this.fields = fields;
  }

  /** Registers it. @param {Device} by @param {object} [more] */
  register(by, more = {}) {
    return by.ask('POST', '/v1/invitations', { chain: chainOf(this.certificates), sealed: b64u(Buffer.from('sealed')), ...more });
  }

  read() {
    return this.ask('GET', `/v1/invitations/${this.id}`);
  }

  /** A device of whom it is for. @param {Partial<import('./client.mjs').CertificateFields>} [change] @param {Key} [key] */
  device(change = {}, key = newKey()) {
    const { clinic, enrols = KIND.patient, level, subject, rights } = this.fields;
    const own = certificate(this.key, { clinic, kind: enrols, level, subject, rights, key: key.raw, ...change });
    return new Device(this.session, key, [...this.certificates, own], rights);
  }
}

/** A clinic's root key, which certifies devices. */
export class Clinic extends Party {
  /** @param {Session} session @param {Key} root */
  constructor(session, root) {
    super(session, root, clinicId(root.raw));
  }

  create() {
    return this.ask('POST', '/v1/clinics', { root_key: b64u(this.key.raw) });
  }

  /** A device that is not enrolled yet. @param {Partial<import('./client.mjs').CertificateFields>} [fields] @param {Key} [key] */
  staff(fields = {}, key = newKey()) {
    const { rights = ALL_RIGHTS } = fields;
    const own = certificate(this.key, { clinic: this.id, kind: KIND.staff, key: key.raw, subject: randomBytes(16), rights, ...fields });
    return new Device(this.session, key, [own], rights);
  }

  /** @param {number} [rights] @param {Partial<import('./client.mjs').CertificateFields>} [fields] */
  async enrolStaff(rights = ALL_RIGHTS, fields = {}) {
    const device = this.staff({ rights, ...fields });
    const { status, json } = await device.enrol();
    if (status !== 201) throw new Error(`enrolling answered ${status} ${JSON.stringify(json)}`);
    return device;
  }

  /** An invite that is not registered yet. @param {Device} by @param {Partial<import('./client.mjs').CertificateFields>} [change] */
  invite(by, change = {}) {
    const key = newKey();
    const fields = { clinic: this.id, kind: KIND.invite, enrols: KIND.patient, level: 1, rights: RIGHT.message, subject: randomBytes(16), key: key.raw, ...change };
    return new Invite(by.session, key, [...by.certificates, certificate(by.key, fields)], fields);
  }
}
