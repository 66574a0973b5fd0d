// host.mjs: the loop around one core handle, the same in a Worker and in Node. The core is sans-IO: a command's reply says
// what to do next, and this does it. A command runs like this, one at a time:
//
//     call → files.flush → events → http sent, timer set → the caller's promise resolves
//
// Nothing leaves before the flush: what was reported or sent is on the medium. So the process may be killed between any
// two steps; the core, opened again, goes on from its last committed transaction.
import { SottoError } from './error.mjs';
import { carryOut } from './http.mjs';

/** Requests under way at once; browsers open no more connections to one host over HTTP/1.1. */
const HTTP_MAX = 6;
/** setTimeout takes no more. */
const TIMER_MAX = 0x7fffffff;
/** A long poll that waits for longer than an answer takes has nothing to say: so much longer, in milliseconds. */
const QUIET = 200;
/** A request that took longer was waiting, or stuck: it says nothing of how long answers take. */
const LATENCY_MAX = 3_000;
/** Unlocking again by itself after a trap: so often within a minute, then the cause must be looked at. */
const REOPEN_MAX = 3;

const LOCKED_BY_TRAP = 'Sotto had to restart. Nothing that was sent is lost. Enter your PIN to go on.';
const LOCKED_BY_STORE = 'Storage failed, so Sotto had to close. Enter your PIN to try again.';

/**
 * @typedef {import('./http.mjs').Request} Request
 *
 * @typedef {object} SottoEvent what the user interface is told (core/command/README.md)
 * @property {'account' | 'connection' | 'conversation' | 'message' | 'notice' | 'invitation' | 'audit'} event
 * @property {string} [conversation]
 * @property {string} [message]
 * @property {string} [code]
 * @property {string} [text] plain words
 * @property {number} [attempts_left]
 *
 * @typedef {object} Result
 * @property {any} result
 * @property {Uint8Array[]} attachments
 *
 * @typedef {object} CoreLike what is used of core.mjs' Core
 * @property {boolean} dead
 * @property {(store: string) => number} open
 * @property {(handle: number, header: object, attachments?: readonly Uint8Array[]) => { header: any, attachments: Uint8Array[] }} call
 * @property {(handle: number) => void} close
 *
 * @typedef {object} FilesLike what is used of a file back end beside the core's own calls
 * @property {() => Promise<void> | void} [flush] settles once everything written is on the medium
 * @property {() => Promise<void> | void} close
 * @property {boolean} [persistent]
 * @property {string} [kind]
 *
 * @typedef {object} HostOptions
 * @property {string} store the path the core knows its store by; '' is memory
 * @property {() => Promise<{ core: CoreLike, files: FilesLike | null }>} start makes a new instance over the account's files
 * @property {(event: SottoEvent) => void} emit
 * @property {typeof globalThis.fetch} [fetch]
 * @property {(level: number, text: string) => void} [log] never personal data or secrets
 * @property {string} [pin] unlocks again by itself after a restart of the core: for machines without a user
 * @property {boolean} [unref] in Node: timers do not keep the process alive
 * @property {(step: string) => void} [trace] told of every step, for tests that kill between them
 */

export class Host {
  /** @type {HostOptions} */
  #options;
  /** @type {(level: number, text: string) => void} */
  #log;
  /** @type {CoreLike | null} */
  #core = null;
  /** @type {FilesLike | null} */
  #files = null;
  #handle = 0;
  /** The last command's end: the next one waits for it. @type {Promise<unknown>} */
  #last = Promise.resolve();
  #queued = 0;
  #closed = false;
  /** Whether an account is open, so that its loss is told. */
  #open = false;
  /** The relay's origin; known once an account, or an invitation, is. */
  #origin = '';
  /** Raised whenever requests of before no longer concern the core. */
  #generation = 0;
  /** @type {{ request: Request, body: Uint8Array | undefined, origin: string, generation: number }[]} */
  #waiting = [];
  /** @type {Map<string, { controller: AbortController, waits: boolean, since: number }>} */
  #running = new Map();
  /** Whether the last poll that ended was answered: the relay is there. */
  #polled = false;
  /** How long the last answer took, in milliseconds. */
  #latency = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #due = Infinity;
  /** @type {number[]} */
  #reopened = [];

  /** @param {HostOptions} options */
  constructor(options) {
    this.#options = options;
    this.#log = options.log ?? (() => {});
  }

  /** Where the account is kept. */
  get storage() {
    return { kind: this.#files?.kind ?? 'memory', persistent: this.#files?.persistent ?? false };
  }

  /** Opens the files and loads the core now rather than at the first command, so that what is wrong shows here. */
  ready() {
    return this.#enqueue(() => this.#ensure());
  }

  /**
   * Runs one command after those before it. Resolves once its effects are on the medium.
   * @param {string} command
   * @param {Record<string, unknown>} [args]
   * @param {readonly Uint8Array[]} [attachments]
   * @returns {Promise<Result>}
   */
  run(command, args = {}, attachments = []) {
    if (command === 'network' && args.online === false) this.#abortAll('offline');
    return this.#enqueue(() => this.#execute(command, args, attachments));
  }

  /**
   * True once everything the relay had for this account was taken in and everything due was sent: only the long poll is
   * left, and it found nothing. False when that did not come about in time.
   * @param {number} timeout milliseconds
   */
  async caughtUp(timeout) {
    const end = Date.now() + timeout;
    for (;;) {
      if (this.#quiet()) return true;
      if (Date.now() >= end || this.#closed) return false;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  #quiet() {
    const running = [...this.#running.values()];
    const enough = QUIET + 2 * this.#latency;
    return (
      this.#polled &&
      this.#queued === 0 &&
      this.#waiting.length === 0 &&
      running.length > 0 &&
      running.every(({ waits, since }) => waits && Date.now() - since >= enough)
    );
  }

  /** Ends requests, locks the account and closes its files. What waits in the queue is still done. */
  close() {
    if (this.#closed) return this.#last.then(() => {});
    const done = this.#enqueue(() => this.#shut(true));
    this.#closed = true;
    return done;
  }

  /** Lets go of everything at once, without another write: the account belongs to someone else now. */
  async halt() {
    this.#closed = true;
    await this.#shut(false);
  }

  /**
   * @template T
   * @param {() => Promise<T>} job
   * @returns {Promise<T>}
   */
  #enqueue(job) {
    if (this.#closed) return Promise.reject(closedError());
    this.#queued += 1;
    const done = this.#last.then(job).finally(() => (this.#queued -= 1));
    this.#last = done.catch(() => {});
    return done;
  }

  async #ensure() {
    if (this.#core !== null) return;
    const { core, files } = await this.#options.start();
    this.#files = files;
    try {
      this.#handle = core.open(this.#options.store);
    } catch (error) {
      await files?.close();
      this.#files = null;
      throw SottoError.from(error);
    }
    this.#core = core;
  }

  /**
   * @param {string} command
   * @param {Record<string, unknown>} args
   * @param {readonly Uint8Array[]} attachments
   * @returns {Promise<Result>}
   */
  async #execute(command, args, attachments) {
    await this.#ensure();
    const core = /** @type {CoreLike} */ (this.#core);
    this.#step('call', command);
    let reply;
    try {
      reply = core.call(this.#handle, { command, args }, attachments);
    } catch (cause) {
      const error = SottoError.from(cause);
      if (!core.dead) throw error;
      this.#log(3, error.message);
      await this.#restart(LOCKED_BY_TRAP);
      throw new SottoError({ code: 'trap', class: 'host', message: 'Sotto had to restart in the middle of this.' }, { cause });
    }
    this.#step('called', command);
    try {
      await this.#files?.flush?.();
    } catch (cause) {
      this.#log(3, `flush failed: ${cause instanceof Error ? cause.message : String(cause)}`);
      await this.#restart(LOCKED_BY_STORE);
      throw new SottoError({ code: 'store', class: 'store', message: 'Storage failed; this was not kept.' }, { cause });
    }
    this.#step('flushed', command);
    // Halted while the flush was under way: the account is another's, nothing may be sent in its name.
    if (this.#core !== core) throw closedError();
    const { header } = reply;
    this.#learn(command, args, header);
    for (const event of header.events ?? []) this.#tell(event);
    for (const request of header.http ?? []) this.#send(request, reply.attachments);
    if (typeof header.timer === 'number') this.#schedule(header.timer);
    this.#step('effects', command);
    if (header.error !== undefined) throw new SottoError(header.error);
    return { result: header.result, attachments: reply.attachments };
  }

  /**
   * What the host itself must know of a command that was done.
   * @param {string} command
   * @param {Record<string, unknown>} args
   * @param {any} header
   */
  #learn(command, args, header) {
    if (header.error !== undefined) return;
    // The core names paths only: the relay comes from the account, or from whoever opens a link or makes a clinic.
    const relay = header.result?.relay ?? args.relay;
    if (typeof relay === 'string') this.#origin = relay;
    if (command === 'account.unlock' || command === 'account.create' || command === 'clinic.create') this.#open = true;
    if (command === 'account.lock') {
      this.#open = false;
      this.#abortAll('locked');
      this.#unschedule();
    }
  }

  /** @param {SottoEvent} event */
  #tell(event) {
    if (event.event === 'account' && event.code === 'locked') this.#open = false;
    this.#options.emit(event);
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  /**
   * @param {Request} request
   * @param {Uint8Array[]} attachments
   */
  #send(request, attachments) {
    const body = request.body === undefined ? undefined : attachments[request.body];
    this.#waiting.push({ request, body, origin: this.#origin, generation: this.#generation });
    this.#next();
  }

  #next() {
    while (this.#running.size < HTTP_MAX) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      void this.#carryOut(next);
    }
  }

  /** @param {{ request: Request, body: Uint8Array | undefined, origin: string, generation: number }} job */
  async #carryOut({ request, body, origin, generation }) {
    const controller = new AbortController();
    const entry = { controller, waits: request.waits === true, since: Date.now() };
    this.#running.set(request.id, entry);
    this.#step('http', `${request.method} ${request.path}`);
    const answer = await carryOut({
      origin,
      request,
      controller,
      ...(body === undefined ? {} : { body }),
      ...(this.#options.fetch === undefined ? {} : { fetch: this.#options.fetch }),
    });
    this.#step('answered', `${request.method} ${request.path}`);
    if (this.#running.get(request.id) === entry) this.#running.delete(request.id);
    // Of an account that was locked, or of an instance that is gone: nobody waits for it.
    if (generation !== this.#generation || this.#closed) return;
    const took = Date.now() - entry.since;
    if (answer.status !== 0 && took < LATENCY_MAX) this.#latency = took;
    if (entry.waits) this.#polled = answer.status === 200;
    if (answer.problem !== undefined) this.#log(1, `${request.method} ${withoutQuery(request.path)}: ${answer.problem}`);
    const hasBody = answer.body !== undefined && answer.body.length > 0;
    const reply = this.#internal(
      'http.reply',
      {
        id: request.id,
        status: answer.status >= 0 && answer.status <= 599 ? answer.status : 0,
        ...(answer.retryAfter === undefined ? {} : { retry_after_s: answer.retryAfter }),
        ...(hasBody ? { body: 0 } : {}),
      },
      hasBody ? [/** @type {Uint8Array} */ (answer.body)] : [],
    );
    this.#next();
    await reply;
  }

  /** @param {'offline' | 'locked' | 'gone'} why 'offline': the core is told that they failed; else it knows no more of them */
  #abortAll(why) {
    if (why !== 'offline') {
      this.#generation += 1;
      this.#polled = false;
      this.#waiting = [];
    }
    const running = [...this.#running.values()];
    if (why !== 'offline') this.#running.clear();
    for (const { controller } of running) controller.abort(new Error(why));
  }

  // ---- time -------------------------------------------------------------------------------------------------------

  /** @param {number} ms at the latest; an earlier one that was asked for stands */
  #schedule(ms) {
    const due = Date.now() + Math.max(0, ms);
    if (due >= this.#due) return;
    this.#unschedule();
    this.#due = due;
    this.#timer = setTimeout(
      () => {
        this.#unschedule();
        void this.#internal('tick');
      },
      Math.min(Math.max(0, ms), TIMER_MAX),
    );
    if (this.#options.unref === true && typeof this.#timer === 'object') this.#timer.unref();
  }

  #unschedule() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = Infinity;
  }

  /**
   * A command of the host's own; its failure has no caller, only the log.
   * @param {string} command
   * @param {Record<string, unknown>} [args]
   * @param {readonly Uint8Array[]} [attachments]
   */
  async #internal(command, args, attachments) {
    try {
      await this.run(command, args, attachments);
    } catch (error) {
      if (!this.#closed) this.#log(2, `${command}: ${SottoError.from(error).code}`);
    }
  }

  // ---- the end, and starting over -----------------------------------------------------------------------------------

  /**
   * After a trap or a failed flush, memory and medium may differ: both go, and the next command starts from the medium.
   * @param {string} reason
   */
  async #restart(reason) {
    const wasOpen = this.#open;
    await this.#shut(false);
    if (!wasOpen) return;
    this.#tell({ event: 'account', code: 'locked', text: reason });
    const { pin } = this.#options;
    const now = Date.now();
    this.#reopened = this.#reopened.filter((at) => now - at < 60_000);
    if (pin === undefined || this.#reopened.length >= REOPEN_MAX || this.#closed) return;
    this.#reopened.push(now);
    void this.#internal('account.unlock', { pin });
  }

  /** @param {boolean} tidy whether the core may still write */
  async #shut(tidy) {
    this.#abortAll('gone');
    this.#unschedule();
    const [core, files] = [this.#core, this.#files];
    this.#core = null;
    this.#files = null;
    this.#open = false;
    this.#origin = '';
    try {
      if (tidy) core?.close(this.#handle);
    } catch (error) {
      this.#log(3, SottoError.from(error).message);
    }
    try {
      if (tidy) await files?.flush?.();
    } finally {
      await files?.close();
    }
  }

  /**
   * @param {string} name
   * @param {string} what
   */
  #step(name, what) {
    this.#options.trace?.(`${name} ${what}`);
  }
}

function closedError() {
  return new SottoError({ code: 'closed', class: 'state', message: 'This account was closed.' });
}

/** Queries carry ids; the log needs none. @param {string} path */
function withoutQuery(path) {
  return path.replace(/\?.*$/, '');
}
