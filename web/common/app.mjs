// app.mjs: one page's whole state: the way in, and once the account is open its inbox and the conversation shown.
import { Access } from './access.mjs';
import { ConversationModel } from './conversation.mjs';
import { Inbox } from './inbox.mjs';
import { Model } from './model.mjs';

/**
 * @typedef {import('./types.mjs').Me} Me
 * @typedef {import('./types.mjs').Client} Client
 */

export class App extends Model {
  /** @type {Access} */
  access;
  /** @type {Inbox | null} */
  inbox = null;
  /** The conversation that is shown. @type {ConversationModel | null} */
  conversation = null;
  /**
   * Texts that were begun, by conversation. In memory: they outlive a lock, not the page.
   * @type {Map<string, { draft: string, handedOver: number }>}
   */
  #drafts = new Map();
  #alone;
  /** @type {(() => void)[]} */
  #off = [];
  #unwatch = () => {};

  /**
   * @param {object} options
   * @param {import('./access.mjs').Stores} options.stores
   * @param {string[]} options.kinds
   * @param {string} options.fragment
   * @param {string} options.relay
   * @param {boolean} [options.alone] there is one conversation, which is shown by itself
   */
  constructor({ stores, kinds, fragment, relay, alone = false }) {
    super();
    this.#alone = alone;
    this.access = new Access({ stores, relay, fragment, kinds });
    this.access.subscribe(() => this.#follow());
  }

  start() {
    return this.access.start();
  }

  /** The open account. @returns {Me | null} */
  get me() {
    return this.access.me;
  }

  /** @returns {Client | null} */
  get client() {
    return this.access.client;
  }

  /** Opens and lets go of what an open account has. */
  #follow() {
    const { step, client, me } = this.access;
    if (step === 'open' && this.inbox === null && client !== null && me !== null) {
      const inbox = new Inbox(client, me.online);
      this.inbox = inbox;
      this.#off = [
        inbox.subscribe(() => {
          if (this.#alone && this.conversation === null) this.show(inbox.conversations[0]?.conversation ?? null);
          this.changed();
        }),
      ];
      this.opened(client, me);
      void inbox.refresh();
    } else if (step !== 'open' && this.inbox !== null) {
      this.show(null);
      for (const off of this.#off) off();
      this.inbox.close();
      this.inbox = null;
      this.closed();
    }
    this.changed();
  }

  /** For more that lives as long as the account is open. @param {Client} _client @param {Me} _me */
  opened(_client, _me) {}

  closed() {}

  /** @param {string | null} id */
  show(id) {
    const shown = this.conversation;
    if (shown?.id === id) return;
    if (shown !== null) {
      this.#drafts.set(shown.id, { draft: shown.draft, handedOver: shown.handedOver });
      this.#unwatch();
      shown.close();
    }
    this.conversation = null;
    const { client } = this.access;
    if (id !== null && client !== null) {
      const conversation = new ConversationModel(client, id);
      Object.assign(conversation, this.#drafts.get(id));
      this.#unwatch = conversation.subscribe(() => this.changed());
      this.conversation = conversation;
      void conversation.refresh();
    }
    this.changed();
  }

  lock() {
    return this.access.lock();
  }
}
