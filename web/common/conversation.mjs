// conversation.mjs: one conversation as a view model: its messages in order, paging, sending, reading. The core is the
// only truth: on every event the newest page is read again, so nothing here can drift from what is stored.
import { Model, codeOf, coalesce, compareNumbers } from './model.mjs';

/**
 * @typedef {import('./types.mjs').Client} Client
 * @typedef {import('./types.mjs').Conversation} Conversation
 * @typedef {import('./types.mjs').Message} Message
 */

export const PAGE = 50;
/** Bytes of a text: TEXT_MAX of core/client/client.h. */
export const TEXT_MAX = 16384;

const encoder = new TextEncoder();

/** How many bytes a text is over the limit; 0 when it fits. @param {string} text */
export function bytesOver(text) {
  // Three bytes is the most that one UTF-16 unit takes: no need to encode what is surely short.
  if (text.length * 3 <= TEXT_MAX) return 0;
  return Math.max(0, encoder.encode(text).length - TEXT_MAX);
}

/** What tells one entry from the others: notices have no id of their own. @param {Message} message */
export function keyOf(message) {
  return message.kind === 'notice' ? `n${message.order}` : message.id;
}

/**
 * The list after the newest page was read again: what is older than the page stays, the page replaces the rest.
 * @param {readonly Message[]} known
 * @param {readonly Message[]} page oldest first
 * @returns {Message[]}
 */
export function mergeNewest(known, page) {
  const [first] = page;
  if (first === undefined) return [];
  const here = new Set(page.map(keyOf));
  return [...known.filter((m) => compareNumbers(m.order, first.order) < 0 && !here.has(keyOf(m))), ...page];
}

export class ConversationModel extends Model {
  /** @type {Conversation | null} */
  info = null;
  /** @type {Message[]} */
  messages = [];
  ready = false;
  /** There are older messages than the first shown. */
  earlier = false;
  loadingEarlier = false;
  /** What is typed and not sent. In memory only. */
  draft = '';
  /** When the draft was handed to the core, while it is not known whether the core took it; else 0. */
  handedOver = 0;
  /** `too_long`, `storage_full`, `failed` or ''. */
  problem = '';

  #client;
  #id;
  /** @type {(() => void)[]} */
  #off;
  /** Messages outside of the newest page that changed. @type {Set<string>} */
  #touched = new Set();
  #seen = '0';
  #closed = false;

  /**
   * @param {Client} client
   * @param {string} id
   */
  constructor(client, id) {
    super();
    this.#client = client;
    this.#id = id;
    const mine = (/** @type {{ conversation?: string }} */ event) => event.conversation === id;
    this.#off = [
      client.on('message', (event) => {
        if (!mine(event)) return;
        if (event.message !== undefined) this.#touched.add(event.message);
        void this.refresh();
      }),
      client.on('notice', (event) => void (mine(event) && this.refresh())),
      client.on('conversation', (event) => void (mine(event) && this.refresh())),
    ];
  }

  get id() {
    return this.#id;
  }

  /** An own message stands in the list: the emergency notice was seen. */
  get wrote() {
    return this.messages.some((m) => m.sender?.own === true);
  }

  get sending() {
    return this.handedOver > 0;
  }

  /** Some text is not yet at the relay. */
  get unsent() {
    return this.messages.some((m) => m.state === 'sending');
  }

  close() {
    this.#closed = true;
    for (const off of this.#off) off();
  }

  refresh = coalesce(async () => {
    if (this.#closed) return;
    try {
      await this.#read();
    } catch (error) {
      // Locked in between: the page shows that by itself. Anything else is tried again with the next event.
      if (codeOf(error) !== 'locked' && !this.#closed) console.warn('messages could not be read', codeOf(error));
    }
  });

  async #read() {
    const conversation = this.#id;
    const touched = this.#touched;
    this.#touched = new Set();
    const [info, page] = await Promise.all([
      this.#client.call('conversation.get', { conversation }),
      this.#client.call('message.list', { conversation, limit: PAGE }),
    ]);
    const newest = this.messages.at(-1);
    let all = page;
    let full = all.length === PAGE;
    // More came at once than one page: read back until what is known is reached, so that no gap stays.
    while (full && newest !== undefined && compareNumbers(/** @type {Message} */ (all[0]).order, newest.order) > 0) {
      const before = /** @type {Message} */ (all[0]).order;
      const more = await this.#client.call('message.list', { conversation, limit: PAGE, before });
      full = more.length === PAGE;
      all = [...more, ...all];
    }
    const first = !this.ready;
    let messages = mergeNewest(this.messages, all);
    const old = messages.filter((m) => touched.has(m.id) && !all.some((n) => n.id === m.id));
    if (old.length > 0) {
      const fresh = new Map();
      for (const m of old) fresh.set(m.id, await this.#client.call('message.get', { message: m.id }));
      messages = messages.map((m) => fresh.get(m.id) ?? m);
    }
    if (this.#closed) return;
    this.info = info;
    this.messages = messages;
    if (first) {
      this.earlier = full;
      this.#settleDraft();
    }
    this.ready = true;
    this.changed();
  }

  /** The page lost the core while it was sending: the draft goes if the core had taken it, and stays if not. */
  #settleDraft() {
    const since = this.handedOver;
    this.handedOver = 0;
    if (since === 0) return;
    const text = this.draft.trim();
    if (this.messages.some((m) => m.sender?.own === true && m.text === text && m.sent_ms >= since)) this.draft = '';
  }

  async loadEarlier() {
    const [first] = this.messages;
    if (first === undefined || this.loadingEarlier) return;
    this.loadingEarlier = true;
    this.changed();
    try {
      const more = await this.#client.call('message.list', { conversation: this.#id, limit: PAGE, before: first.order });
      const here = new Set(this.messages.map(keyOf));
      this.messages = [...more.filter((m) => !here.has(keyOf(m))), ...this.messages];
      this.earlier = more.length === PAGE;
    } finally {
      this.loadingEarlier = false;
      this.changed();
    }
  }

  /** @param {string} text */
  write(text) {
    const before = this.problem;
    this.draft = text;
    this.problem = bytesOver(text) > 0 ? 'too_long' : '';
    if (this.problem !== '' || before !== '') this.changed();
  }

  /** Sends the draft. It leaves the box only when the core has it. */
  async send() {
    const text = this.draft.trim();
    if (text === '' || this.sending || bytesOver(text) > 0) return;
    this.handedOver = Date.now();
    this.problem = '';
    this.changed();
    try {
      await this.#client.call('message.send', { conversation: this.#id, text });
      this.draft = '';
      this.handedOver = 0;
      await this.refresh();
    } catch (error) {
      if (this.#closed) return; // whoever opens this conversation next looks what became of it
      const unknown = codeOf(error) === 'interrupted' || codeOf(error) === 'trap';
      if (unknown) await this.refresh();
      this.#settleDraft();
      this.problem = codeOf(error) === 'store_full' ? 'storage_full' : this.draft === '' ? '' : 'failed';
    } finally {
      this.changed();
    }
  }

  /** @param {string} message id of a failed one */
  async retry(message) {
    try {
      await this.#client.call('message.retry', { message });
    } catch {
      this.problem = 'failed';
      this.changed();
    }
    this.#touched.add(message);
    await this.refresh();
  }

  /** The user has the newest message before their eyes. */
  async seen() {
    const newest = this.messages.at(-1);
    if (newest === undefined || compareNumbers(newest.order, this.#seen) <= 0) return;
    if (!this.messages.some((m) => m.state === 'received') && (this.info?.unread ?? 0) === 0) return;
    this.#seen = newest.order;
    try {
      await this.#client.call('conversation.read', { conversation: this.#id, order: newest.order });
    } catch {
      this.#seen = '0';
    }
  }
}
