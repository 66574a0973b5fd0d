// inbox.mjs: the account's conversations and connection as a view model.
import { Model, codeOf, coalesce } from './model.mjs';

/**
 * @typedef {import('./types.mjs').Client} Client
 * @typedef {import('./types.mjs').Conversation} Conversation
 * @typedef {{ code: string, text: string }} Notice
 */

export class Inbox extends Model {
  /** @type {Conversation[]} */
  conversations = [];
  ready = false;
  online;
  revoked = false;
  /** What the user must be told about the account as a whole; those of a conversation stand in it. @type {Notice[]} */
  notices = [];

  #client;
  /** @type {(() => void)[]} */
  #off;

  /**
   * @param {Client} client
   * @param {boolean} online
   */
  constructor(client, online) {
    super();
    this.#client = client;
    this.online = online;
    const again = () => void this.refresh();
    this.#off = [
      client.on('conversation', again),
      client.on('message', again),
      client.on('notice', (event) => {
        again();
        if (event.conversation !== undefined || event.text === undefined) return;
        const notice = { code: event.code ?? '', text: event.text };
        this.notices = [...this.notices.filter(({ code }) => code !== notice.code), notice];
        this.changed();
      }),
      client.on('connection', (event) => {
        this.online = event.code === 'online';
        this.changed();
      }),
      client.on('account', (event) => {
        if (event.code !== 'revoked' && event.code !== 'enrolled') return;
        this.revoked = event.code === 'revoked'; // or the relay had said so falsely
        this.changed();
      }),
    ];
  }

  /** Messages not yet read, in all conversations; counted by the core. */
  get unread() {
    return this.conversations.reduce((sum, { unread }) => sum + unread, 0);
  }

  close() {
    for (const off of this.#off) off();
  }

  /** @param {string} code */
  dismiss(code) {
    this.notices = this.notices.filter((notice) => notice.code !== code);
    this.changed();
  }

  /** What was told before the page was opened, and still holds: the clinic signed this device out, or its access log was changed. */
  async #toldBefore() {
    for (const { code, text } of await this.#client.call('notice.list')) {
      this.revoked ||= code === 'revoked';
      if (code.startsWith('audit_') && !this.notices.some((notice) => notice.code === code)) this.notices = [...this.notices, { code, text }];
    }
  }

  refresh = coalesce(async () => {
    try {
      this.conversations = await this.#client.call('conversation.list');
      if (!this.ready) await this.#toldBefore();
      this.ready = true;
      this.changed();
    } catch (error) {
      if (codeOf(error) !== 'locked' && codeOf(error) !== 'closed') console.warn('conversations could not be read', codeOf(error));
    }
  });
}
