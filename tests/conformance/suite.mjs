// Runs the checks against a server: what a check is given, and what becomes of it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ALL_RIGHTS, RIGHT, Server, newKey, sleep } from './client.mjs';
import { Clinic, Device } from './actors.mjs';
import { Contract } from './contract.mjs';

/**
 * @typedef {import('./client.mjs').Request} Request
 * @typedef {import('./client.mjs').Answer} Answer
 * @typedef {{ name: string, group: string, feature: string, run: (c: Context) => Promise<unknown> }} Check feature: '' for what every server must do
 * @typedef {{ name: string, group: string, feature: string, state: 'passed' | 'failed' | 'skipped', why: string, ms: number }} Result
 * @typedef {{ results: Result[], description: any, exchanges: number }} Report
 */

/** A check may need longer when the server slows us down by 429: its time counts from there again. */
const CHECK_MS = 30_000;
const ANSWER_MS = 10_000;
/** Rates refill within a minute. */
const RETRY_LONGEST_S = 90;
const AT_ONCE = 6;

/** Thrown by a check that does not apply to this server. */
export class Skip extends Error {}

/** @type {Check[]} */
const checks = [];

/**
 * Adds checks of one group. @param {string} group
 * @returns {(name: string, run: (c: Context) => Promise<unknown>, feature?: string) => void}
 */
export const checksOf = (group) => (name, run, feature = '') => void checks.push({ name, group, feature, run });

/** All exchanges with a server: each is held against the contract, and asked again when the server says "too many". */
export class Session {
  /** What differs from the contract, with how often. @type {Map<string, number>} */
  faults = new Map();
  exchanges = 0;
  /** Answers 429 whose form was right. */
  slowed = 0;
  /** How often requests had to wait for a rate. */
  patience = 0;

  /** @param {Server} server @param {Contract} contract */
  constructor(server, contract) {
    this.server = server;
    this.contract = contract;
    this.authority = server.authority;
  }

  /** Asks until the answer is not about a rate. @param {() => Request} make each request anew, for a nonce is good once @returns {Promise<Answer>} */
  async ask(make) {
    for (;;) {
      const answer = await this.once(make());
      if (answer.status !== 429) return answer;
      const wait = Number(answer.headers['retry-after'] ?? 1);
      if (!(wait <= RETRY_LONGEST_S)) return answer;
      this.patience += 1;
      await sleep(wait * 1000 + 50);
    }
  }

  /** @param {Request} request @returns {Promise<Answer>} */
  async once(request) {
    const wait = Number(/[?&]wait=(\d+)/.exec(request.path)?.[1] ?? 0);
    const answer = await this.server.exchange(request, ANSWER_MS + wait * 1000);
    this.hold(request, answer);
    return answer;
  }

  /** Holds an exchange against the contract. @param {Request} request @param {Answer} answer */
  hold(request, answer) {
    this.exchanges += 1;
    const operation = this.contract.find(request.method, request.path);
    const faults = this.contract.answerFaults(operation, answer);
    if (answer.status === 429 && faults.length === 0) this.slowed += 1;
    if (operation !== undefined && answer.status < 300) {
      for (const fault of this.contract.requestFaults(operation, request)) faults.push(`accepted a request against the contract: ${fault}`);
    }
    for (const fault of faults) this.fault(`${request.method} ${operation?.pattern.source.slice(1, -1).replaceAll('\\', '').replaceAll('([^/]*)', '{}') ?? request.path.slice(0, 60)}: ${fault}`);
  }

  /** @param {string} what */
  fault(what) {
    this.faults.set(what, (this.faults.get(what) ?? 0) + 1);
  }

  /** Opens an event stream. @param {Device} device @param {number} after */
  async stream(device, after) {
    const { response, close } = await this.server.open(device.request('GET', `/v1/inbox?after=${after}`, undefined, { headers: { accept: 'text/event-stream' } }));
    return new EventStream(this, response, close);
  }
}

/** What comes on an event stream. */
export class EventStream {
  /** @type {import('./actors.mjs').InboxEvent[]} */
  events = [];
  ended = false;
  #wake = () => {};

  /** @param {Session} session @param {import('node:http').IncomingMessage} response @param {() => void} close */
  constructor(session, response, close) {
    this.status = response.statusCode;
    this.close = close;
    const operation = session.contract.find('GET', '/v1/inbox');
    for (const fault of session.contract.answerFaults(operation, { status: response.statusCode ?? 0, headers: response.headers, bytes: Buffer.alloc(0), json: undefined, problem: '' })) {
      session.fault(`event stream: ${fault}`);
    }
    let rest = '';
    const end = () => ((this.ended = true), this.#wake());
    response.setEncoding('utf8');
    response.on('data', (part) => {
      rest += part;
      for (let cut; (cut = rest.indexOf('\n\n')) >= 0; rest = rest.slice(cut + 2)) {
        const frame = /^id: (\d+)\ndata: (.*)$/.exec(rest.slice(0, cut));
        if (frame === null) {
          if (!rest.startsWith(':')) session.fault('event stream: a frame that is no event and no comment');
          continue;
        }
        const event = JSON.parse(frame[2] ?? '');
        const fault = session.contract.eventFault(event);
        if (fault !== '') session.fault(`event stream: ${fault}`);
        if (Number(frame[1]) !== event.seq) session.fault('event stream: id is not the event\'s seq');
        this.events.push(event);
      }
      this.#wake();
    });
    response.on('end', end);
    response.on('error', end);
    response.on('close', end);
  }

  /** @param {() => boolean} condition @param {number} [ms] */
  async until(condition, ms = 5000) {
    const deadline = Date.now() + ms;
    while (!condition()) {
      assert.ok(Date.now() < deadline, `the stream is silent after ${this.events.length} events`);
      await Promise.race([new Promise((resolve) => (this.#wake = () => resolve(undefined))), sleep(100)]);
    }
  }
}

/** What a check works with. Clinic and staff are shared by all: what a check changes of them must not be another's concern. */
export class Context {
  /** @param {Session} session @param {any} description @param {Clinic} clinic @param {Device} staff @param {boolean} open */
  constructor(session, description, clinic, staff, open) {
    this.session = session;
    this.description = description;
    this.clinic = clinic;
    this.staff = staff;
    this.open = open;
  }

  /** A clinic of the check's own. */
  async newClinic() {
    if (!this.open) throw new Skip('the server is closed to new clinics');
    const clinic = new Clinic(this.session, newKey());
    this.expect(await clinic.create(), 201);
    return clinic;
  }

  /** A new device of the shared clinic, able to talk and no more. */
  member(rights = RIGHT.message) {
    return this.clinic.enrolStaff(rights);
  }

  /** @param {number} n */
  members(n) {
    return Promise.all(Array.from({ length: n }, () => this.member()));
  }

  /** A group at epoch 1. @param {Device} creator @param {Device[]} others */
  async group(creator, ...others) {
    const id = randomBytes(32);
    this.expect(await creator.commit(id, 0, { added: others.map((device) => device.id) }), 200);
    return id;
  }

  /** @param {Answer} answer @param {number} status @param {string} [problem] */
  expect(answer, status, problem = '') {
    assert.deepEqual({ status: answer.status, problem: answer.problem }, { status, problem }, `got ${answer.status} ${answer.bytes.toString().slice(0, 300)}`);
    return answer.json;
  }

  /** Of several answers, all alike. @param {Answer[]} answers @param {number} status @param {string} [problem] */
  expectAll(answers, status, problem) {
    return answers.map((answer) => this.expect(answer, status, problem));
  }
}

/**
 * @param {string} url
 * @param {{ clinicSeed?: Buffer, only?: RegExp, onResult?: (result: Result) => void }} [options] clinicSeed: of the root key of a clinic that
 *   the server knows, where it is closed to new ones
 * @returns {Promise<Report>}
 */
export async function runSuite(url, { clinicSeed, only = /(?:)/, onResult = () => {} } = {}) {
  await Promise.all(['server', 'devices', 'invitations', 'key-packages', 'groups', 'schedule', 'blobs', 'inbox', 'roster', 'audit', 'push', 'step-up', 'signatures', 'form', 'rates'].map((name) => import(`./checks/${name}.mjs`)));
  const server = new Server(url);
  const session = new Session(server, new Contract());
  /** @type {Result[]} */
  const results = [];
  const done = (/** @type {Result} */ result) => (results.push(result), onResult(result));
  try {
    const described = await session.ask(() => ({ method: 'GET', path: '/.well-known/sotto', headers: {} }));
    if (described.status !== 200 || described.json === undefined) throw new Error(`${url}/.well-known/sotto answered ${described.status}: this is no relay`);
    const description = described.json;
    const open = clinicSeed === undefined;
    if (open && description.clinics !== 'open') throw new Error('the server is closed to new clinics: give the root key of one that it knows (--clinic-key)');
    const clinic = new Clinic(session, newKey(clinicSeed));
    const made = await clinic.create();
    if (made.status !== 201 && made.status !== 200) throw new Error(`the clinic was refused: ${made.status} ${made.bytes}`);
    const staff = await clinic.enrolStaff(ALL_RIGHTS);
    const context = new Context(session, description, clinic, staff, open);
    const chosen = checks.filter(({ name, group }) => only.test(`${group}: ${name}`));
    // Everybody in a clinic is told of its roster: where there is only one clinic, that comes before the inboxes are looked at.
    const first = chosen.filter(({ group }) => !open && group === 'roster');
    for (const check of first) done(await runCheck(check, context));
    const todo = chosen.filter((check) => !first.includes(check));
    const worker = async () => {
      for (let check; (check = todo.shift()) !== undefined; ) done(await runCheck(check, context));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const contract = { name: 'every request and answer is as openapi.yaml says', group: 'contract', feature: '' };
    done(await runCheck({ ...contract, run: async () => assert.deepEqual([...session.faults].map(([what, times]) => `${what} (${times}×)`), []) }, context));
    return { results, description, exchanges: session.exchanges };
  } finally {
    server.close();
  }
}

/** @param {Check} check @param {Context} context @returns {Promise<Result>} */
async function runCheck({ run, ...check }, context) {
  const begun = performance.now();
  const result = (/** @type {Result['state']} */ state, why = '') => ({ ...check, state, why, ms: Math.round(performance.now() - begun) });
  if (check.feature !== '' && !context.description.features?.includes(check.feature)) return result('skipped', `the server has no feature "${check.feature}"`);
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  const timeout = new Promise((_resolve, reject) => {
    let patience = context.session.patience;
    let left = CHECK_MS;
    timer = setInterval(() => {
      left = patience === context.session.patience ? left - 1000 : CHECK_MS;
      patience = context.session.patience;
      if (left <= 0) reject(new Error(`did not end within ${CHECK_MS / 1000} s`));
    }, 1000);
  });
  try {
    await Promise.race([run(context), timeout]);
    return result('passed');
  } catch (error) {
    return error instanceof Skip ? result('skipped', error.message) : result('failed', error instanceof Error ? error.message : String(error));
  } finally {
    clearInterval(timer);
  }
}
