// clinic.mjs: the people of a test: a clinic on a relay, its staff and its patients, each with a store of their own.
import { join } from 'node:path';
import { Sotto } from '../../../glue/node.mjs';
import { tempFolder } from './relay.mjs';

export const PIN = '271828';
export const BIRTH_DATE = '1956-04-12';

/**
 * @typedef {import('../../../glue/client.mjs').Message} Message
 */

/** One who can be closed and opened again from what is on disk. */
export class Party {
  /** @type {Sotto | null} */
  #sotto = null;
  /** Every event since it was made, over all openings. @type {import('../../../glue/host.mjs').SottoEvent[]} */
  events = [];

  /** @param {string} store */
  constructor(store) {
    this.store = store;
  }

  get sotto() {
    if (this.#sotto === null) throw new Error(`${this.store} is not open`);
    return this.#sotto;
  }

  /** @param {{ pin?: string }} [options] */
  async open({ pin = PIN } = {}) {
    this.#sotto = await Sotto.open({ store: this.store, pin });
    this.#sotto.on('*', (event) => this.events.push(event));
    return this.#sotto;
  }

  async close() {
    await this.#sotto?.close();
    this.#sotto = null;
  }

  async reopen() {
    await this.close();
    return this.open();
  }

  /** The conversation of that title once it is there; without a title, the only one. @param {string} [title] */
  conversation(title) {
    return this.sotto.when(async () => {
      const all = await this.sotto.call('conversation.list');
      return all.find((c) => c.state === 'active' && (title === undefined || c.title === title));
    });
  }

  /** @param {string} conversation @returns {Promise<Message[]>} all of them */
  async messages(conversation) {
    /** @type {Message[]} */
    const all = [];
    for (;;) {
      const before = all[0]?.order;
      const page = await this.sotto.call('message.list', { conversation, limit: 200, ...(before === undefined ? {} : { before }) });
      all.unshift(...page);
      if (page.length < 200) return all;
    }
  }

  /** Texts of a conversation, oldest first. @param {string} conversation */
  async texts(conversation) {
    return (await this.messages(conversation)).filter((m) => m.kind === 'text').map((m) => m.text);
  }

  /** The message with that text once it is there. @param {string} conversation @param {string} text */
  received(conversation, text) {
    return this.sotto.when(async () => (await this.messages(conversation)).find((m) => m.text === text));
  }

  /** @param {string} conversation @param {string} text */
  async send(conversation, text) {
    return (await this.sotto.call('message.send', { conversation, text })).message;
  }

  /** A link that works. @param {import('../../../glue/client.mjs').ArgsOf<'invitation.create'>} args */
  async invite(args) {
    const made = await this.sotto.call('invitation.create', args);
    await this.sotto.when(async () => (await this.invitation(made.invitation))?.state !== 'sending');
    return made;
  }

  /** @param {string} id */
  async invitation(id) {
    return (await this.sotto.call('invitation.list')).find((i) => i.invitation === id);
  }
}

/**
 * Makes stores in one folder that goes with the test, and closes whoever is still open.
 * @param {{ after: (fn: () => Promise<void>) => void }} t
 */
export async function people(t) {
  const folder = await tempFolder('people');
  /** @type {Party[]} */
  const all = [];
  t.after(async () => {
    for (const party of all) await party.close().catch(() => {});
    await folder.remove();
  });
  return {
    folder: folder.path,
    /** A store without an account. @param {string} name */
    async someone(name) {
      const party = new Party(join(folder.path, name));
      all.push(party);
      await party.open();
      return party;
    },
    /** @param {string} relay its origin @param {'agent' | 'staff'} [kind] */
    async founder(relay, kind = 'agent') {
      const party = await this.someone('founder');
      await party.sotto.call('clinic.create', { relay, clinic_name: 'Sunrise Clinic', name: 'Clinic agent', kind, pin: PIN });
      await party.sotto.caughtUp();
      return party;
    },
    /** @param {Party} inviter @param {string} name */
    async staff(inviter, name) {
      const { link } = await inviter.invite({ enrols: 'staff', name, check: 'none' });
      const party = await this.someone(name.replace(/\W/g, '-'));
      await party.sotto.acceptInvitation(link, { pin: PIN, name });
      return party;
    },
    /** @param {Party} inviter @param {string} name */
    async patient(inviter, name) {
      const { link } = await inviter.invite({ enrols: 'patient', name, check: 'birth_date', factor: BIRTH_DATE });
      const party = await this.someone(name.replace(/\W/g, '-'));
      await party.sotto.acceptInvitation(link, { factor: BIRTH_DATE, pin: PIN });
      return party;
    },
  };
}

/** @param {() => unknown} condition @param {string} what @param {number} [timeout] */
export async function eventually(condition, what, timeout = 30_000) {
  const end = Date.now() + timeout;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
