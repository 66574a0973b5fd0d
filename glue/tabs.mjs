// tabs.mjs: one owner per account. Several tabs of one origin may show the same account, but only one Worker may hold its
// files. A Web Lock chooses it; the others send it their commands over a BroadcastChannel and get its events.
//
// When the owner's tab is closed, the browser gives the lock to the next in line, which opens the files as they were last
// committed. The account is locked then: the key was in the memory of the one that is gone. When an owner does not answer
// (a phone froze its tab), the user may take the account over; what was lost by that is what had not been confirmed.
import { SottoError } from './error.mjs';

/** An owner takes a command on at once, however long the command takes. */
const ACK_TIMEOUT = 3_000;
/** A file handle may outlive its closed tab by a moment. */
const BUSY_RETRIES = 25;
const BUSY_PAUSE = 200;

/** Asking these twice changes nothing, so they are asked again when an owner went away in the middle. */
const READS = /^(manifest|me|account\.status|[a-z]+\.(list|get|view))$/;

/**
 * @typedef {import('./host.mjs').Host} Host
 * @typedef {import('./host.mjs').SottoEvent} SottoEvent
 * @typedef {import('./host.mjs').Result} Result
 *
 * @typedef {object} Locks what is used of navigator.locks
 * @property {(name: string, options: { steal?: boolean, signal?: AbortSignal }, run: () => Promise<void>) => Promise<unknown>} request
 *
 * @typedef {object} Call
 * @property {string} id
 * @property {string} command
 * @property {Record<string, unknown>} args
 * @property {readonly Uint8Array[]} attachments
 * @property {(result: any) => void} resolve
 * @property {(error: SottoError) => void} reject
 * @property {ReturnType<typeof setTimeout>} [ack]
 * @property {boolean} sent
 *
 * @typedef {object} TabsOptions
 * @property {string} account
 * @property {() => Promise<Host>} open makes the host loop over the account's files; rejects with `store_busy` while another holds them
 * @property {(event: SottoEvent) => void} emit
 * @property {(storage: { kind: string, persistent: boolean }) => void} [onstorage] told where the account is kept, once known
 * @property {Locks | undefined} locks undefined: a browser without them, where each tab is on its own
 */

export class Tabs {
  #options;
  #id = name();
  #channel;
  /** @type {Host | null} */
  #host = null;
  /** The owner we speak to; our own id when it is us; '' while there is none. */
  #owner = '';
  /** @type {Map<string, Call>} */
  #calls = new Map();
  #closed = false;
  #giveUp = new AbortController();
  /** Ends our ownership. */
  #release = () => {};
  /** @type {Promise<unknown>} */
  #held = Promise.resolve();
  #firstOwner = true;

  /** @param {TabsOptions} options */
  constructor(options) {
    this.#options = options;
    this.#channel = new BroadcastChannel(`sotto:${options.account}`);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#post({ type: 'hello' });
    this.#queueUp({});
  }

  get owner() {
    return this.#host !== null;
  }

  /**
   * @param {string} command
   * @param {Record<string, unknown>} args
   * @param {readonly Uint8Array[]} attachments
   * @returns {Promise<Result>}
   */
  run(command, args, attachments = []) {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#host !== null) return this.#host.run(command, args, attachments);
    return new Promise((resolve, reject) => {
      /** @type {Call} */
      const call = { id: name(), command, args, attachments, resolve, reject, sent: false };
      this.#calls.set(call.id, call);
      if (this.#owner !== '') this.#dispatch(call);
    });
  }

  /**
   * @param {number} timeout
   * @returns {Promise<boolean>}
   */
  async caughtUp(timeout) {
    if (this.#host !== null) return this.#host.caughtUp(timeout);
    const { result } = await this.run('host.caught_up', { timeout });
    return result;
  }

  /** Makes this tab the owner whatever the present one does. The account is locked afterwards. */
  takeOver() {
    if (this.#host !== null || this.#options.locks === undefined) return;
    this.#giveUp.abort();
    this.#giveUp = new AbortController();
    this.#queueUp({ steal: true });
  }

  async close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#giveUp.abort();
    for (const call of this.#calls.values()) this.#settle(call, () => call.reject(closedError()));
    const host = this.#host;
    this.#host = null;
    try {
      await host?.close();
    } finally {
      if (host !== null) this.#post({ type: 'gone' });
      this.#release();
      await this.#held.catch(() => {});
      this.#channel.close();
    }
  }

  // ---- the lock ---------------------------------------------------------------------------------------------------

  /** @param {{ steal?: boolean }} how */
  #queueUp(how) {
    const { locks, account } = this.#options;
    const { signal } = this.#giveUp;
    if (locks === undefined) {
      void this.#own();
      return;
    }
    // A stolen lock cannot also be waited for: `steal` and `signal` exclude each other.
    const options = how.steal === true ? { steal: true } : { signal };
    let granted = false;
    const held = locks.request(`sotto:${account}`, options, () => {
      granted = true;
      if (this.#closed || (how.steal !== true && signal.aborted)) return Promise.resolve();
      return new Promise((resolve) => {
        this.#release = resolve;
        void this.#own();
      });
    });
    this.#held = held;
    held.catch(() => {
      // Either we gave up waiting, or the lock was taken from us while we held it.
      if (this.#closed || signal.aborted || this.#held !== held) return;
      if (granted) this.#lost();
      // Refused altogether, as storage is where the user blocked it: nothing is shared, so each tab is on its own.
      else void this.#own();
    });
  }

  /** The lock is ours: open the files, then serve all. */
  async #own() {
    let host;
    try {
      host = await this.#openPatiently();
    } catch (error) {
      const why = SottoError.from(error);
      for (const call of [...this.#calls.values()]) this.#settle(call, () => call.reject(why));
      // Commands to come try anew; a held lock keeps others from trying at the same time.
      if (!this.#closed) this.#host = failing(why, this.#options.open);
      return;
    }
    if (this.#closed) {
      await host.close();
      return;
    }
    this.#host = host;
    this.#owner = this.#id;
    this.#options.onstorage?.(host.storage);
    this.#post({ type: 'owner', storage: host.storage });
    if (!this.#firstOwner) {
      this.#options.emit({ event: 'account', code: 'locked', text: 'Sotto goes on in this tab. Enter your PIN.' });
    }
    this.#firstOwner = false;
    this.#redo();
  }

  async #openPatiently() {
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.#options.open();
      } catch (error) {
        if (SottoError.from(error).code !== 'store_busy' || tries >= BUSY_RETRIES || this.#closed) throw error;
        await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE));
      }
    }
  }

  /** Another tab took the account over: not one more write from here. */
  #lost() {
    const host = this.#host;
    this.#host = null;
    this.#owner = '';
    void host?.halt().catch(() => {});
    this.#options.emit({ event: 'account', code: 'locked', text: 'Sotto is now used in another tab.' });
    this.#post({ type: 'hello' });
    this.#queueUp({});
  }

  /** There is a new owner: what was never sent goes to it, what may be asked twice too. The rest has no known outcome. */
  #redo() {
    for (const call of [...this.#calls.values()]) {
      if (call.sent && !READS.test(call.command)) {
        this.#settle(call, () => call.reject(interruptedError()));
      } else if (this.#host !== null) {
        this.#settle(call, () => {});
        this.#host.run(call.command, call.args, call.attachments).then(call.resolve, call.reject);
      } else {
        this.#dispatch(call);
      }
    }
  }

  // ---- the channel ----------------------------------------------------------------------------------------------------

  /** @param {Call} call */
  #dispatch(call) {
    call.sent = true;
    clearTimeout(call.ack);
    call.ack = setTimeout(() => {
      this.#options.emit({ event: 'account', code: 'elsewhere', text: 'Sotto is open in another tab, which does not answer.' });
    }, ACK_TIMEOUT);
    const { id, command, args, attachments } = call;
    this.#post({ type: 'call', to: this.#owner, id, command, args, attachments });
  }

  /**
   * @param {Call} call
   * @param {() => void} how
   */
  #settle(call, how) {
    clearTimeout(call.ack);
    this.#calls.delete(call.id);
    how();
  }

  /** @param {any} data */
  #hear(data) {
    if (this.#closed) return;
    switch (data.type) {
      case 'hello':
        if (this.#host !== null) this.#post({ type: 'owner', storage: this.#host.storage });
        return;
      case 'owner':
        // An old owner that does not know yet that it lost the lock: the lock decides, not who speaks last.
        if (this.#host !== null) return;
        this.#options.onstorage?.(data.storage);
        if (this.#owner === data.from) return;
        this.#owner = data.from;
        if (!this.#firstOwner) this.#options.emit({ event: 'account', code: 'locked', text: 'Enter your PIN to go on.' });
        this.#firstOwner = false;
        this.#redo();
        return;
      case 'gone':
        if (data.from === this.#owner) this.#owner = '';
        return;
      case 'event':
        if (data.from === this.#owner && this.#host === null) this.#options.emit(data.event);
        return;
      case 'call':
        if (data.to === this.#id && this.#host !== null) void this.#serve(data);
        return;
      case 'taken': {
        const call = this.#calls.get(data.id);
        if (call !== undefined) clearTimeout(call.ack);
        return;
      }
      case 'reply': {
        const call = this.#calls.get(data.id);
        if (call === undefined || data.to !== this.#id) return;
        this.#settle(call, () =>
          data.error === undefined
            ? call.resolve({ result: data.result, attachments: data.attachments })
            : call.reject(new SottoError(data.error)),
        );
        return;
      }
    }
  }

  /** A command of another tab's. @param {{ from: string, id: string, command: string, args: any, attachments: Uint8Array[] }} call */
  async #serve({ from, id, command, args, attachments }) {
    this.#post({ type: 'taken', to: from, id });
    const host = /** @type {Host} */ (this.#host);
    try {
      const { result, attachments: more } =
        command === 'host.caught_up'
          ? { result: await host.caughtUp(args.timeout), attachments: [] }
          : await host.run(command, args, attachments);
      this.#post({ type: 'reply', to: from, id, result, attachments: more });
    } catch (error) {
      this.#post({ type: 'reply', to: from, id, error: SottoError.from(error).toJSON() });
    }
  }

  /** To this tab and to all others. The host's own events come here. @param {SottoEvent} event */
  #emit(event) {
    this.#options.emit(event);
    this.#post({ type: 'event', event });
  }

  /** What the host loop of this tab tells. @param {SottoEvent} event */
  told(event) {
    if (!this.#closed) this.#emit(event);
  }

  /** @param {Record<string, unknown>} message */
  #post(message) {
    this.#channel.postMessage({ ...message, from: this.#id });
  }
}

/**
 * Stands for a host whose files could not be opened: each command tries again, and says why it cannot be.
 * @param {SottoError} why
 * @param {() => Promise<Host>} open
 * @returns {any}
 */
function failing(why, open) {
  /** @type {Host | null} */
  let host = null;
  let last = why;
  return {
    get storage() {
      return host?.storage ?? { kind: 'none', persistent: false };
    },
    /** @param {[string, Record<string, unknown>, readonly Uint8Array[]]} call */
    async run(...call) {
      try {
        host ??= await open();
      } catch (error) {
        last = SottoError.from(error);
        throw last;
      }
      return host.run(...call);
    },
    caughtUp: async (/** @type {number} */ timeout) => (await host?.caughtUp(timeout)) ?? false,
    close: async () => host?.close(),
    halt: async () => host?.halt(),
  };
}

/** Unguessable is not needed, only unlike any other tab's. */
function name() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return btoa(String.fromCharCode(...bytes));
}

function closedError() {
  return new SottoError({ code: 'closed', class: 'state', message: 'This account was closed.' });
}

function interruptedError() {
  const message = 'The tab that did this was closed before it could say whether it was done.';
  return new SottoError({ code: 'interrupted', class: 'host', message });
}
