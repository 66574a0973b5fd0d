// access.mjs: the steps from opening the page to an open account: link, check, PIN, unlock. One state machine for both
// pages; what it shows is a step's name and a few facts, the words are the view's. No DOM.
import { Model, codeOf } from './model.mjs';

/**
 * @typedef {import('./types.mjs').Client} Client
 * @typedef {import('./types.mjs').InvitationView} InvitationView
 * @typedef {import('./types.mjs').Me} Me
 *
 * @typedef {'starting' | 'broken' | 'no_link' | 'choose' | 'opening' | 'link_problem' | 'wrong_door' | 'check' | 'pin'
 *   | 'unlock' | 'elsewhere' | 'damaged' | 'newer' | 'ended' | 'open'} Step
 *
 * @typedef {object} Stores the accounts that one browser keeps: one is the rule, more after a new link
 * @property {(name: string) => Promise<Client>} open
 * @property {() => Promise<string[]>} list names of those that may be kept, oldest first; never empty
 * @property {string} first the name of the first
 */

export const PIN_MIN = 4;

/** @type {Record<string, Step>} what a store that will not open means */
const STORE_STEPS = { store_corrupt: 'damaged', store_lost: 'damaged', store_newer: 'newer' };
/** What was asked may or may not have been done: look again. */
const LOST_TRACK = new Set(['interrupted', 'trap']);

export class Access extends Model {
  /** @type {Step} */
  step = 'starting';
  /** While something is asked of the core or the relay: buttons wait. */
  busy = false;
  /** A word for what went wrong in this step: `wrong`, `offline`, `unreadable`, `pin`, `wait`, `storage_denied`, … */
  problem = '';
  /** Plain words of the core, for problems that have no words of ours. */
  problemText = '';
  /** Raised with each problem, so that a view can bring the focus back even when the words are the same. */
  problems = 0;
  /** @type {InvitationView | null} */
  invitation = null;
  /** @type {number | null} */
  attemptsLeft = null;
  /** When the next PIN may be tried, as Date.now() tells it. */
  waitUntil = 0;
  /** Set when the page lost the open account without the user's doing. */
  restarted = false;
  /** More accounts than the one shown are kept in this browser. */
  others = false;
  /** @type {Me | null} */
  me = null;
  /** @type {Client | null} */
  client = null;

  #stores;
  #relay;
  #kinds;
  /** @type {string} */
  #fragment;
  #store;
  /** Set once the way was looked up again after a restart in the middle of something; a second one is told. */
  #lostTrack = false;
  /** @type {(() => void)[]} */
  #off = [];

  /**
   * @param {object} options
   * @param {Stores} options.stores
   * @param {string} options.relay an origin
   * @param {string} options.fragment of a secure link, '' without one
   * @param {string[]} options.kinds of accounts that this page is for
   */
  constructor({ stores, relay, fragment, kinds }) {
    super();
    this.#stores = stores;
    this.#relay = relay;
    this.#fragment = fragment;
    this.#kinds = kinds;
    this.#store = stores.first;
  }

  /** The link's fragment, for handing it to the page it belongs to. */
  get fragment() {
    return this.#fragment;
  }

  async start() {
    try {
      const names = await this.#stores.list();
      this.others = names.length > 1;
      // The newest that holds an account: a link that was opened beside it and left leaves an empty store.
      for (const name of names.reverse()) {
        await this.#use(name);
        if (name === this.#stores.first || (await this.#call('account.status')).state !== 'none') break;
      }
      await this.#route();
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** @param {string} name */
  async #use(name) {
    for (const off of this.#off) off();
    await this.client?.close();
    this.client = null;
    const client = await this.#stores.open(name);
    this.#store = name;
    this.client = client;
    this.#off = [
      client.on('invitation', (event) => void this.#invitationEvent(event.code ?? '')),
      client.on('account', (event) => void this.#accountEvent(event.code ?? '')),
    ];
  }

  /** Goes to the step that the account's state asks for. */
  async #route() {
    const status = await this.#call('account.status');
    this.waitUntil = status.wait_ms > 0 ? Date.now() + status.wait_ms : 0;
    if (status.state === 'damaged') this.#go('damaged');
    else if (status.state === 'none') await (this.#fragment === '' ? this.#go('no_link') : this.openLink());
    else if (this.#fragment !== '') this.#go('choose');
    else if (status.state === 'open') await this.#enter();
    else this.#go('unlock', this.waitUntil > 0 ? 'wait' : '');
  }

  /** @type {Client['call']} */
  #call(command, args) {
    return /** @type {Client} */ (this.client).call(command, args);
  }

  /**
   * @param {Step} step
   * @param {string} [problem]
   * @param {string} [text]
   */
  #go(step, problem = '', text = '') {
    this.step = step;
    this.busy = false;
    this.problem = problem;
    this.problemText = text;
    if (problem !== '') this.problems += 1;
    this.changed();
  }

  /** @param {unknown} error @returns {Promise<void> | void} */
  #fail(error) {
    const code = codeOf(error);
    if (LOST_TRACK.has(code) && !this.#lostTrack) {
      this.#lostTrack = true;
      return this.#route().catch((again) => this.#fail(again));
    }
    this.#go(STORE_STEPS[code] ?? 'broken', code, error instanceof Error ? error.message : String(error));
  }

  /** Runs what a button asked for, unless something runs already. @param {() => Promise<void>} work */
  async #act(work) {
    if (this.busy) return;
    this.busy = true;
    this.problem = '';
    this.changed();
    this.#lostTrack = false;
    try {
      await work();
    } catch (error) {
      await this.#fail(error);
    }
  }

  // ---- a link -----------------------------------------------------------------------------------------------------

  /** Asks the relay for the invitation; the answer comes as an event. */
  async openLink() {
    this.#go('opening');
    try {
      await this.#call('invitation.open', { relay: this.#relay, fragment: this.#fragment });
    } catch (error) {
      const damaged = codeOf(error) === 'malformed';
      this.#go('link_problem', damaged ? 'link_damaged' : codeOf(error), error instanceof Error ? error.message : '');
    }
  }

  /** @param {string} code */
  async #invitationEvent(code) {
    if (code === 'changed') return;
    try {
      if (code === 'accepted') {
        this.#fragment = '';
        this.#go('pin', this.#keeps ? '' : 'storage_denied');
        return;
      }
      const view = await this.#call('invitation.view');
      this.invitation = view;
      this.attemptsLeft = view.attempts_left;
      if (view.opened && !this.#kinds.includes(view.enrols)) this.#go('wrong_door');
      else if (code === 'opened') this.#go('check');
      else this.#checkFailed(view);
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** @param {InvitationView} view */
  #checkFailed(view) {
    const failure = view.failure ?? 'offline';
    if (failure === 'wrong_check' && view.attempts_left !== 0) this.#go('check', 'wrong');
    else if (failure === 'offline' && view.opened) this.#go('check', 'offline');
    else this.#go('link_problem', failure === 'wrong_check' ? 'invitation_locked' : failure, view.failure_text ?? '');
  }

  /**
   * @param {string} factor date of birth or code, as typed
   * @param {string} [name]
   */
  answer(factor, name) {
    if (this.invitation?.check !== 'none' && factor.trim() === '') {
      this.#go('check', 'missing');
      return Promise.resolve();
    }
    return this.#act(async () => {
      try {
        await this.#call('invitation.accept', {
          ...(this.invitation?.check === 'none' ? {} : { factor: factor.trim() }),
          ...(name === undefined ? {} : { name: name.trim() }),
        });
      } catch (error) {
        const code = codeOf(error);
        if (code === 'malformed' || code === 'too_large' || code === 'limit') this.#go('check', 'unreadable');
        else throw error;
      }
    });
  }

  /** @param {string} pin as it was typed twice */
  keep(pin) {
    return this.#act(() => this.#create({ pin }));
  }

  /** Nothing is kept. */
  visit() {
    return this.#act(() => this.#create({}));
  }

  /** Whether a PIN is of use: the browser lets us keep an account. */
  get #keeps() {
    const storage = this.client?.storage;
    return storage === undefined || storage.kind === 'unknown' || storage.persistent;
  }

  /** @param {{ pin?: string }} args */
  async #create(args) {
    if (args.pin !== undefined && !this.#keeps) return this.#go('pin', 'storage_denied');
    try {
      await this.#call('account.create', args);
    } catch (error) {
      const code = codeOf(error);
      if (!code.startsWith('store')) throw error;
      this.#go('pin', code === 'store_full' ? 'storage_full' : 'storage_denied');
      return;
    }
    await this.#enter();
  }

  // ---- an account that is here ------------------------------------------------------------------------------------

  /** @param {string} pin */
  unlock(pin) {
    return this.#act(async () => {
      try {
        await this.#call('account.unlock', { pin });
      } catch (error) {
        const code = codeOf(error);
        if (code !== 'pin' && code !== 'too_soon') throw error;
        const status = await this.#call('account.status');
        this.waitUntil = status.wait_ms > 0 ? Date.now() + status.wait_ms : 0;
        this.#go('unlock', code === 'pin' ? 'pin' : 'wait');
        return;
      }
      await this.#enter();
    });
  }

  /** With a link and an account: leaves the link, which stays unused, and opens the account. */
  chooseOld() {
    this.#fragment = '';
    return this.#act(() => this.#route());
  }

  /** With a link and an account: opens the link into a store of its own, beside the one that is kept. */
  chooseNew() {
    return this.#act(async () => {
      const kept = await this.#stores.list();
      let number = kept.length + 1;
      while (kept.includes(`${this.#stores.first}-${number}`)) number += 1;
      await this.#use(`${this.#stores.first}-${number}`);
      await this.openLink();
    });
  }

  /** Goes on to the next of the kept accounts. */
  nextStore() {
    return this.#act(async () => {
      const names = await this.#stores.list();
      for (let at = names.indexOf(this.#store) - 1, n = names.length; n > 0; at -= 1, n -= 1) {
        await this.#use(names.at(at % names.length) ?? this.#stores.first);
        if ((await this.#call('account.status')).state !== 'none') break;
      }
      await this.#route();
    });
  }

  /** Holds the account in this tab from now on; the other one, which does not answer, loses it. */
  async takeOver() {
    this.client?.takeOver();
    this.#go('starting');
    try {
      await this.#route();
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** Makes a clinic: the staff page's other way in. @param {{ clinic_name: string, name: string, pin: string }} clinic */
  createClinic({ clinic_name, name, pin }) {
    return this.#act(async () => {
      if (!this.#keeps) return this.#go('no_link', 'storage_denied');
      try {
        await this.#call('clinic.create', { relay: this.#relay, clinic_name, name, kind: 'staff', pin });
      } catch (error) {
        const code = codeOf(error);
        if (!code.startsWith('store')) throw error;
        this.#go('no_link', code === 'store_full' ? 'storage_full' : 'storage_denied');
        return;
      }
      await this.#enter();
    });
  }

  async #enter() {
    this.me = await this.#call('me');
    this.restarted = false;
    this.#go('open');
  }

  /** Locks; an account for this visit only is gone with that. */
  async lock() {
    if (this.step !== 'open') return;
    const kept = this.me?.kept ?? true;
    // First the screen goes blank, then the core wipes.
    this.me = null;
    this.#go(kept ? 'unlock' : 'ended');
    try {
      await this.#call('account.lock');
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** @param {string} code */
  async #accountEvent(code) {
    try {
      if (code === 'locked' && this.step === 'open') {
        const kept = this.me?.kept ?? true;
        this.me = null;
        this.restarted = kept;
        this.#go(kept ? 'unlock' : 'ended');
      } else if (code === 'open' && this.step === 'unlock' && !this.busy) {
        await this.#enter(); // another tab of this page was given the PIN
      } else if (code === 'elsewhere' && this.step !== 'elsewhere') {
        this.#go('elsewhere');
        await this.#route(); // it may only have been slow
      }
    } catch (error) {
      await this.#fail(error);
    }
  }
}
