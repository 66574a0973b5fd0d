// browser.mjs: Sotto in a page. The core runs in a dedicated Worker, because files with synchronous access exist only
// there and because a PIN takes a second to stretch. This opens the Worker, and opens another when it dies: after a kill,
// or when it stopped answering. The new one goes on from the last committed transaction; the user enters the PIN again.
import { Sotto as Client, SottoError, parseLink } from './client.mjs';

export { SottoError, parseLink };

/**
 * With work to do, a Worker is looked after this often. Silent since the last look: it is asked whether it lives. Silent
 * for so many looks: it is given up. Counted, not timed: a page that was asleep took no looks.
 */
const LOOK = 15_000;
const SILENT_LOOKS = 3;
/** New Workers a minute; more, and something is wrong that a new one does not mend. */
const RESTARTS = 4;

const RESTARTED = 'Sotto had to restart. Nothing that was sent is lost. Enter your PIN to go on.';

/**
 * @typedef {import('./host.mjs').SottoEvent} SottoEvent
 * @typedef {import('./host.mjs').Result} Result
 * @typedef {import('./client.mjs').Backend} Backend
 *
 * @typedef {object} OpenOptions
 * @property {string} store the account's name within this origin, for example `patient`; '' keeps it in memory
 * @property {string} [relay] used by `clinic.create` and `invitation.open` when they name none; by default the page's origin
 * @property {string | URL} [worker] address of worker.mjs; by default what `<meta name="sotto-worker">` says, or beside this file
 * @property {string | URL} [wasm] address of sotto.wasm; by default what `<meta name="sotto-wasm">` says, or beside this file
 */

export class Sotto extends Client {
  /** @type {WorkerBackend} */
  #backend;

  /** @param {WorkerBackend} backend */
  constructor(backend) {
    super(backend);
    this.#backend = backend;
  }

  /**
   * Touches neither storage nor network for the account: its first command does.
   * @param {OpenOptions} options
   * @returns {Promise<Sotto>}
   */
  static async open(options) {
    return new Sotto(new WorkerBackend(options));
  }

  /** After the event `account` `elsewhere`: holds the account here from now on. The PIN is asked again. */
  takeOver() {
    this.#backend.takeOver();
  }

  /** Ends the Worker as a crash would: for tests. */
  kill() {
    this.#backend.kill();
  }
}

/** @implements {Backend} */
class WorkerBackend {
  /** @type {(event: SottoEvent) => void} */
  onevent = () => {};
  storage = { kind: 'unknown', persistent: false };
  #options;
  /** @type {Worker | null} */
  #worker = null;
  /** @type {Map<number, { resolve: (r: any) => void, reject: (e: SottoError) => void }>} */
  #calls = new Map();
  #next = 1;
  /** Looks since the Worker last said anything. */
  #silent = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watch;
  /** @type {number[]} */
  #restarts = [];
  #closed = false;
  #unlocked = false;
  /** @type {(() => void)[]} */
  #off = [];

  /** @param {OpenOptions} options */
  constructor(options) {
    this.#options = options;
    this.#listen(globalThis, 'online', () => this.#hint('network', { online: true }));
    this.#listen(globalThis, 'offline', () => this.#hint('network', { online: false }));
    // Timers of a hidden page sleep: what came due meanwhile is due now.
    this.#listen(document, 'visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#hint('tick', {});
    });
    this.#start();
  }

  /**
   * @param {string} command
   * @param {Record<string, unknown>} args
   * @param {readonly Uint8Array[]} attachments
   * @returns {Promise<Result>}
   */
  async run(command, args, attachments) {
    const full = (command === 'clinic.create' || command === 'invitation.open') && args.relay === undefined
      ? { ...args, relay: this.#options.relay ?? globalThis.location.origin }
      : args;
    const result = await this.#ask({ type: 'call', command, args: full, attachments });
    if (command === 'account.unlock' || command === 'account.create' || command === 'clinic.create') {
      this.#unlocked = true;
      // A kept account should not be evicted when the disk runs full. Browsers may ask the user, so only now.
      if (args.pin !== undefined) void globalThis.navigator.storage?.persist?.().catch(() => false);
    }
    return result;
  }

  /** @param {number} timeout */
  async caughtUp(timeout) {
    const { result } = await this.#ask({ type: 'caught-up', timeout });
    return result;
  }

  takeOver() {
    this.#worker?.postMessage({ type: 'take-over' });
  }

  kill() {
    this.#died('killed');
  }

  async close() {
    this.#closed = true;
    for (const off of this.#off) off();
    clearTimeout(this.#watch);
    const worker = this.#worker;
    try {
      if (worker !== null) await this.#ask({ type: 'close' });
    } finally {
      this.#worker = null;
      worker?.terminate();
      this.#failAll('closed', 'This account was closed.');
    }
  }

  // ---- the Worker -------------------------------------------------------------------------------------------------

  #start() {
    const { store, worker: address, wasm } = this.#options;
    const worker = new Worker(scriptAddress(address ?? named('worker') ?? new URL('./worker.mjs', import.meta.url)), { type: 'module', name: `sotto ${store}` });
    this.#worker = worker;
    this.#silent = 0;
    worker.onmessage = ({ data }) => {
      this.#silent = 0;
      if (data.type === 'event') this.#tell(data.event);
      else if (data.type === 'storage') this.storage = data.storage;
      else if (data.type === 'reply') this.#reply(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (this.#worker === worker) this.#died(event.message || 'its script could not be loaded');
    };
    worker.postMessage({
      type: 'open',
      options: {
        account: store,
        wasm: new URL(wasm ?? named('wasm') ?? new URL('./sotto.wasm', import.meta.url), document.baseURI).href,
      },
    });
  }

  /** @param {string} why */
  #died(why) {
    if (this.#closed) return;
    console.warn(`sotto: the Worker ended: ${why}`);
    this.#worker?.terminate();
    this.#worker = null;
    const now = Date.now();
    this.#restarts = this.#restarts.filter((at) => now - at < 60_000);
    this.#restarts.push(now);
    const again = this.#restarts.length <= RESTARTS;
    // Whether these were done is not known: they were not confirmed, so nothing was shown as sent because of them.
    this.#failAll('interrupted', 'Sotto had to restart before it could say whether this was done.');
    if (again) this.#start();
    if (this.#unlocked) this.#tell({ event: 'account', code: 'locked', text: RESTARTED });
  }

  /** @param {SottoEvent} event */
  #tell(event) {
    if (event.event === 'account' && event.code === 'locked') this.#unlocked = false;
    if (event.event === 'account' && event.code === 'open') this.#unlocked = true;
    this.onevent(event);
  }

  /**
   * @param {string} code
   * @param {string} message
   */
  #failAll(code, message) {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const { reject } of calls) reject(new SottoError({ code, class: 'host', message }));
  }

  /**
   * @param {Record<string, unknown>} message
   * @returns {Promise<any>}
   */
  #ask(message) {
    return new Promise((resolve, reject) => {
      if (this.#worker === null && !this.#closed) this.#start();
      const id = this.#next++;
      this.#calls.set(id, { resolve, reject });
      this.#worker?.postMessage({ ...message, id });
      this.#watchOver();
    });
  }

  /** @param {any} data */
  #reply({ id, result, attachments, error }) {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#calls.delete(id);
    if (error === undefined) call.resolve({ result, attachments });
    else call.reject(new SottoError(error));
  }

  /** While anything is asked, silence is looked into. An idle page is left alone. */
  #watchOver() {
    if (this.#watch !== undefined || this.#closed) return;
    this.#watch = setTimeout(() => {
      this.#watch = undefined;
      if (this.#calls.size === 0 || this.#closed) return;
      this.#silent += 1;
      if (this.#silent >= SILENT_LOOKS) this.#died('no answer');
      else if (this.#silent === 1) this.#ask({ type: 'ping' }).catch(() => {});
      this.#watchOver();
    }, LOOK);
  }

  /**
   * Something the machine noticed; of use to an open account only.
   * @param {string} command
   * @param {Record<string, unknown>} args
   */
  #hint(command, args) {
    if (!this.#unlocked || this.#closed) return;
    this.run(command, args, []).catch(() => {});
  }

  /**
   * @param {EventTarget} target
   * @param {string} name
   * @param {() => void} listener
   */
  #listen(target, name, listener) {
    target.addEventListener(name, listener);
    this.#off.push(() => target.removeEventListener(name, listener));
  }
}

/**
 * The address that the page's build wrote into `<meta name="sotto-…">`.
 * @param {'worker' | 'wasm'} part
 */
function named(part) {
  return document.querySelector(`meta[name="sotto-${part}"]`)?.getAttribute('content') ?? undefined;
}

/** @type {{ createScriptURL(url: string): unknown } | undefined} */
let policy;

/**
 * Under Trusted Types a Worker's address must have passed a policy; ours is named `sotto` and takes addresses of this
 * origin only.
 * @param {string | URL} address
 * @returns {URL}
 */
function scriptAddress(address) {
  const url = new URL(address, document.baseURI);
  const { trustedTypes } = /** @type {{ trustedTypes?: { createPolicy(name: string, rules: object): { createScriptURL(url: string): unknown } } }} */ (
    /** @type {unknown} */ (globalThis)
  );
  if (trustedTypes === undefined) return url;
  policy ??= trustedTypes.createPolicy('sotto', {
    createScriptURL: (/** @type {string} */ text) => {
      if (new URL(text).origin !== globalThis.location.origin) throw new TypeError('not an address of this origin');
      return text;
    },
  });
  return /** @type {URL} */ (policy.createScriptURL(url.href));
}
