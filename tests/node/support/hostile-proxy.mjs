// hostile-proxy.mjs: a relay that lies: it stands before a real sotto-relay, records everything, and lets a test rewrite, drop,
// hold, repeat or make up whatever goes through. Clients are given its origin. The Host header goes on as it came: requests
// are signed over @authority.
import http from 'node:http';
import { freePort } from './relay.mjs';

/**
 * @typedef {object} Asked what a client sent
 * @property {string} method
 * @property {string} path without the query
 * @property {string} query from the question mark on, or ''
 * @property {string} device keyid of its signature: a device, an invite or a clinic; '' when unsigned
 * @property {import('node:http').IncomingHttpHeaders} headers
 * @property {Buffer} body
 *
 * @typedef {object} Answer
 * @property {number} status
 * @property {Record<string, string>} headers
 * @property {Buffer} body
 *
 * @typedef {Asked & { at: number, answer: Answer | null }} Exchange answer: what the client was given; null: nothing came
 *
 * @typedef {(asked: Asked, forward: () => Promise<Answer>) => Promise<Answer | null> | Answer | null} Rule
 *   gives the client's answer, with or without asking the relay; null: the connection breaks
 *
 * @typedef {Record<string, any>} InboxEvent as in server/PROTOCOL.md
 */

/** So long an inbox without news takes at least, lest the client think it broken. */
const NO_NEWS_MS = 1100;

/** @param {unknown} value @param {number} [status] @returns {Answer} */
export const json = (value, status = 200) => ({
  status,
  headers: { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' },
  body: Buffer.from(JSON.stringify(value)),
});

/** @param {number} status @param {string} name @param {object} [more] */
export const problem = (status, name, more = {}) => json({ type: `urn:sotto:problem:${name}`, title: name, status, ...more }, status);

/** @param {string | Buffer} text @param {number} [status] @param {string} [type] @returns {Answer} */
export const raw = (text, status = 200, type = 'application/json') => ({ status, headers: { 'content-type': type }, body: Buffer.from(text) });

export class HostileProxy {
  /** @type {Exchange[]} */
  exchanges = [];
  /** @type {{ match: (asked: Asked) => boolean, rule: Rule }[]} */
  #rules = [];
  /** @type {{ device: string, change: (events: InboxEvent[]) => InboxEvent[] }[]} */
  #inboxes = [];
  // It ends no connection on its own, and takes a new one for each request: on a machine that is late, the end of one that was idle
  // and the next request would cross, which no client can tell from a relay that broke off.
  #agent = new http.Agent({ keepAlive: false, maxSockets: Infinity });
  #server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
    this.#serve(request, response).catch(() => response.destroy());
  });

  /** @param {{ port: number }} relay @param {number} port */
  constructor(relay, port) {
    this.relay = relay;
    this.port = port;
    this.origin = `http://127.0.0.1:${port}`;
  }

  /** @param {{ after: (fn: () => Promise<void>) => void }} t @param {{ port: number }} relay */
  static async start(t, relay) {
    const proxy = new HostileProxy(relay, await freePort());
    await new Promise((resolve) => proxy.#server.listen(proxy.port, '127.0.0.1', () => resolve(undefined)));
    t.after(async () => {
      proxy.#server.closeAllConnections();
      proxy.#agent.destroy();
      await new Promise((resolve) => proxy.#server.close(resolve));
    });
    return proxy;
  }

  /** @param {http.IncomingMessage} request @param {http.ServerResponse} response */
  async #serve(request, response) {
    /** @type {Buffer[]} */
    const parts = [];
    for await (const part of request) parts.push(part);
    const url = request.url ?? '/';
    const cut = url.includes('?') ? url.indexOf('?') : url.length;
    const device = /keyid="([^"]*)"/.exec(String(request.headers['signature-input'] ?? ''))?.[1] ?? '';
    /** @type {Exchange} */
    const exchange = {
      at: Date.now(),
      method: request.method ?? 'GET',
      path: url.slice(0, cut),
      query: url.slice(cut),
      device,
      headers: request.headers,
      body: Buffer.concat(parts),
      answer: null,
    };
    this.exchanges.push(exchange);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const forward = () => this.#forward(exchange, gone.signal);
    const found = this.#rules.find(({ match }) => match(exchange));
    const answer = found === undefined ? await this.#changed(exchange, await forward()) : await found.rule(exchange, forward);
    if (answer === null) {
      response.destroy();
      return;
    }
    exchange.answer = answer;
    response.writeHead(answer.status, { ...answer.headers, 'content-length': String(answer.body.length) });
    response.end(answer.body);
  }

  /** @param {Asked} asked @param {AbortSignal} signal @returns {Promise<Answer>} */
  #forward({ method, path, query, headers, body }, signal) {
    return new Promise((resolve, reject) => {
      const request = http.request(
        { host: '127.0.0.1', port: this.relay.port, method, path: path + query, headers, agent: this.#agent, signal },
        (response) => {
          /** @type {Buffer[]} */
          const parts = [];
          response.on('data', (part) => parts.push(part));
          response.on('error', reject);
          response.on('end', () => {
            /** @type {Record<string, string>} */
            const kept = {};
            for (const [name, value] of Object.entries(response.headers)) {
              if (!['connection', 'keep-alive', 'transfer-encoding', 'content-length'].includes(name)) kept[name] = String(value);
            }
            resolve({ status: response.statusCode ?? 0, headers: kept, body: Buffer.concat(parts) });
          });
        },
      );
      request.on('error', reject);
      request.end(body);
    });
  }

  /**
   * From now on `rule` answers what matches; the first rule that was made wins. Returns what ends it.
   * @param {{ method?: string, path?: RegExp, device?: string }} what
   * @param {Rule} rule
   */
  when({ method, path, device }, rule) {
    const entry = {
      match: (/** @type {Asked} */ asked) =>
        (method === undefined || asked.method === method) &&
        (path === undefined || path.test(asked.path)) &&
        (device === undefined || asked.device === device),
      rule,
    };
    this.#rules.push(entry);
    return () => {
      this.#rules = this.#rules.filter((other) => other !== entry);
    };
  }

  /**
   * Rewrites what a device is told: `change` gets the events of each answer that has some, and gives those to deliver.
   * An answer that is left without any takes its time, as one does that has no news. Holds for the wait that is under way, too.
   * Of several, each changes what the one before it made.
   * @param {string} device
   * @param {(events: InboxEvent[]) => InboxEvent[]} change
   */
  inbox(device, change) {
    const entry = { device, change };
    this.#inboxes.push(entry);
    return () => {
      this.#inboxes = this.#inboxes.filter((other) => other !== entry);
    };
  }

  /** @param {Asked} asked @param {Answer} answer */
  async #changed({ path, device }, answer) {
    const entries = path === '/v1/inbox' ? this.#inboxes.filter((e) => e.device === device) : [];
    if (entries.length === 0 || answer.status !== 200) return answer;
    const page = JSON.parse(answer.body.toString());
    if (page.events.length === 0) return answer;
    const events = entries.reduce((list, { change }) => change(list), page.events);
    if (events.length === 0) await new Promise((resolve) => setTimeout(resolve, NO_NEWS_MS));
    return { ...answer, body: Buffer.from(JSON.stringify({ ...page, events })) };
  }

  /** What was asked so far, and answered. @param {{ method?: string, path?: RegExp, device?: string }} what */
  seen({ method, path, device }) {
    return this.exchanges.filter(
      (e) => (method === undefined || e.method === method) && (path === undefined || path.test(e.path)) && (device === undefined || e.device === device),
    );
  }
}
