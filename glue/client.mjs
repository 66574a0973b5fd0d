// client.mjs: Sotto by promises, the same in a browser's page and in Node. What differs is what stands behind it: in a
// page a Worker (browser.mjs), in Node the host loop itself (node.mjs). Both give a subclass with `open`.
//
// Everything the core can do is `call(command, arguments)`; the methods here are those that are more than one command.
import { SottoError } from './error.mjs';

export { SottoError };

/**
 * @typedef {import('../build/glue/sotto.d.ts').CommandMap} CommandMap every command's arguments and result, made from core/command/commands.def
 * @typedef {import('../build/glue/sotto.d.ts').Me} Me
 * @typedef {import('../build/glue/sotto.d.ts').Message} Message
 * @typedef {import('../build/glue/sotto.d.ts').Conversation} Conversation
 * @typedef {import('./host.mjs').SottoEvent} SottoEvent
 * @typedef {SottoEvent['event']} EventName
 *
 * @typedef {object} Backend what runs the commands
 * @property {(command: string, args: Record<string, unknown>, attachments: readonly Uint8Array[]) => Promise<import('./host.mjs').Result>} run
 * @property {(timeout: number) => Promise<boolean>} caughtUp
 * @property {() => Promise<void>} close
 * @property {{ kind: string, persistent: boolean }} storage
 * @property {(event: SottoEvent) => void} onevent set by the client
 */

/**
 * @template {keyof CommandMap} C
 * @typedef {CommandMap[C]['args']} ArgsOf
 */

/**
 * @template {keyof CommandMap} C
 * @typedef {CommandMap[C]['result']} ResultOf
 */

/** How far a message of one's own has come. */
const STATES = /** @type {const} */ (['sending', 'sent', 'delivered', 'read']);
/** message.list's own limit. */
const PAGE = 200;
const TIMEOUT = 30_000;

export class Sotto {
  /** @type {Backend} */
  #backend;
  /** @type {Map<string, Set<(event: SottoEvent) => void>>} */
  #listeners = new Map();
  /** Told when the client is closed. @type {Set<() => void>} */
  #waiters = new Set();
  #closed = false;

  /** Use `Sotto.open` of browser.mjs or node.mjs. @param {Backend} backend */
  constructor(backend) {
    this.#backend = backend;
    backend.onevent = (event) => this.#dispatch(event);
  }

  /** Where the account is kept, and whether it outlives this visit. */
  get storage() {
    return this.#backend.storage;
  }

  /**
   * Runs a command of the core's table. What it changed is on the medium when it resolves; what must go to the relay goes
   * by itself, now or when there is a network. Rejects with a SottoError.
   * @template {keyof CommandMap} C
   * @param {C} command
   * @param {ArgsOf<C>} [args]
   * @returns {Promise<ResultOf<C>>}
   */
  async call(command, args) {
    const { result } = await this.#backend.run(String(command), /** @type {Record<string, unknown>} */ (args ?? {}), []);
    return result;
  }

  // ---- events -----------------------------------------------------------------------------------------------------

  /**
   * @param {EventName | '*'} name '*' for all
   * @param {(event: SottoEvent) => void} listener
   * @returns {() => void} ends it
   */
  on(name, listener) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    // Wrapped, so that the same function may be given twice and ended singly.
    const own = (/** @type {SottoEvent} */ event) => listener(event);
    set.add(own);
    return () => void set.delete(own);
  }

  /**
   * The next event of that name.
   * @param {EventName | '*'} name
   * @param {{ timeout?: number }} [options]
   */
  once(name, options) {
    return this.until((event) => name === '*' || event.event === name, options);
  }

  /**
   * The next event that `accept` takes. Listens from the moment of the call.
   * @param {(event: SottoEvent) => unknown} accept
   * @param {{ timeout?: number }} [options] milliseconds; 30 s by default
   * @returns {Promise<SottoEvent>}
   */
  until(accept, { timeout = TIMEOUT } = {}) {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        off();
        this.#waiters.delete(closed);
      };
      const closed = () => {
        end();
        reject(new SottoError({ code: 'closed', class: 'state', message: 'This account was closed.' }));
      };
      const off = this.on('*', (event) => {
        try {
          if (!accept(event)) return;
        } catch (error) {
          end();
          reject(error);
          return;
        }
        end();
        resolve(event);
      });
      const timer = setTimeout(() => {
        end();
        reject(timeoutError(timeout));
      }, timeout);
      this.#waiters.add(closed);
      if (this.#closed) closed();
    });
  }

  /**
   * What `check` returns once it is truthy: asked now, and again after every event until then.
   * @template T
   * @param {() => T | Promise<T>} check
   * @param {{ timeout?: number }} [options] milliseconds; 30 s by default
   * @returns {Promise<Exclude<T, undefined | null | false | ''>>}
   */
  async when(check, { timeout = TIMEOUT } = {}) {
    const end = Date.now() + timeout;
    for (;;) {
      // Listening before asking: what happens in between must not be missed.
      let happened = false;
      const off = this.on('*', () => (happened = true));
      try {
        const value = await check();
        if (value) return /** @type {Exclude<T, undefined | null | false | ''>} */ (value);
      } finally {
        off();
      }
      const left = end - Date.now();
      if (left <= 0) throw timeoutError(timeout);
      if (happened) continue;
      await this.once('*', { timeout: left }).catch((error) => {
        if (error.code !== 'timeout') throw error;
      });
    }
  }

  /** @param {SottoEvent} event */
  #dispatch(event) {
    for (const name of [event.event, '*']) {
      for (const listener of [...(this.#listeners.get(name) ?? [])]) {
        try {
          listener(event);
        } catch (error) {
          // The listener's bug, not the core's: it must not end the loop, nor be hidden.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    }
  }

  // ---- more than one command ------------------------------------------------------------------------------------------

  /**
   * Opens a link, passes its check, and makes the account. Rejects with the invitation's failure; after a wrong check the
   * same link may be tried again while `attempts_left` of the error is above 0.
   * @param {string} link the whole link, https://host/#i=…
   * @param {{ factor?: string, pin?: string, name?: string }} [answers] factor: the date of birth or code; without a pin
   *   the account lives for this visit only
   * @returns {Promise<Me>}
   */
  async acceptInvitation(link, { factor, pin, name } = {}) {
    const { relay, fragment } = parseLink(link);
    await this.#invitationStep('opened', () => this.call('invitation.open', { relay, fragment })).catch((error) => {
      throw error.class === 'malformed' ? linkError('A part of this link is missing or was changed. Copy the whole link.', error) : error;
    });
    await this.#invitationStep('accepted', () =>
      this.call('invitation.accept', {
        ...(factor === undefined ? {} : { factor }),
        ...(name === undefined ? {} : { name }),
      }),
    );
    return await this.call('account.create', pin === undefined ? {} : { pin });
  }

  /**
   * @param {'opened' | 'accepted'} goal
   * @param {() => Promise<unknown>} step
   */
  async #invitationStep(goal, step) {
    const answered = this.until((e) => e.event === 'invitation' && (e.code === goal || e.code === 'failed'));
    answered.catch(() => {}); // when the step itself fails, nobody waits for it
    await step();
    const event = await answered;
    if (event.code === goal) return;
    const view = await this.call('invitation.view');
    throw new SottoError({
      code: view.failure ?? 'invitation',
      class: 'invitation',
      message: view.failure_text ?? event.text ?? 'The invitation could not be opened.',
      attempts_left: view.attempts_left,
    });
  }

  /**
   * The message once it has come so far, or has failed.
   * @param {string} message its id
   * @param {'sent' | 'delivered' | 'read'} state
   * @param {{ timeout?: number }} [options]
   * @returns {Promise<Message>}
   */
  reached(message, state, options) {
    return this.when(async () => {
      const found = await this.call('message.get', { message });
      const far = STATES.indexOf(/** @type {typeof STATES[number]} */ (found.state)) >= STATES.indexOf(state);
      return far || found.state === 'failed' ? found : undefined;
    }, options);
  }

  /**
   * Resolves when no message of one's own is on its way any more: all are sent or have failed. Gives the failed ones of
   * those that were on their way.
   * @param {{ timeout?: number }} [options]
   * @returns {Promise<Message[]>}
   */
  async settled(options) {
    /** @type {Message[]} */
    const failed = [];
    let pending = await this.#sending();
    await this.when(async () => {
      /** @type {string[]} */
      const still = [];
      for (const message of pending) {
        const found = await this.call('message.get', { message });
        if (found.state === 'sending') still.push(message);
        else if (found.state === 'failed') failed.push(found);
      }
      pending = still;
      return pending.length === 0;
    }, options);
    return failed;
  }

  /** Ids of one's own messages that are on their way. */
  async #sending() {
    /** @type {string[]} */
    const ids = [];
    for (const { conversation } of await this.call('conversation.list')) {
      /** @type {string | undefined} */
      let before;
      for (;;) {
        const page = await this.call('message.list', { conversation, limit: PAGE, ...(before === undefined ? {} : { before }) });
        const sending = page.filter((m) => m.state === 'sending');
        ids.push(...sending.map((m) => m.id));
        // The outbox is in order: what stands before a page without any is not on its way.
        if (page.length < PAGE || sending.length === 0) break;
        before = page[0]?.order;
      }
    }
    return ids;
  }

  /**
   * True once everything the relay held for this account was taken in and everything due was sent; false when that did
   * not come about in time (offline, or a busy clinic).
   * @param {{ timeout?: number }} [options]
   */
  caughtUp({ timeout = 10_000 } = {}) {
    return this.#backend.caughtUp(timeout);
  }

  /** Locks the account, ends all requests and lets go of the store. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#backend.close();
    } finally {
      for (const closed of [...this.#waiters]) closed();
      this.#listeners.clear();
    }
  }
}

/**
 * A link's two halves. What the fragment says is the core's to judge.
 * @param {string} link
 * @returns {{ relay: string, fragment: string }}
 */
export function parseLink(link) {
  let url;
  try {
    url = new URL(link.trim());
  } catch (cause) {
    throw linkError('This is not a link.', cause);
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw linkError('A link begins with https://.');
  if (url.hash.length < 2) throw linkError('The part of the link after # is missing. Copy the whole link.');
  return { relay: url.origin, fragment: url.hash.slice(1) };
}

/**
 * @param {string} message
 * @param {unknown} [cause]
 */
function linkError(message, cause) {
  return new SottoError({ code: 'malformed', class: 'malformed', message, argument: 'link' }, { cause });
}

/** @param {number} timeout */
function timeoutError(timeout) {
  return new SottoError({ code: 'timeout', class: 'host', message: `Nothing came of it within ${Math.ceil(timeout / 1000)} s.` });
}
