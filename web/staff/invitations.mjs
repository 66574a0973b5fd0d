// invitations.mjs: links that were issued here, and the making of new ones, as view models.
import { Model, codeOf, coalesce } from '../common/model.mjs';

/**
 * @typedef {import('../common/types.mjs').Client} Client
 * @typedef {import('../common/types.mjs').Invitation} Invitation
 * @typedef {Exclude<import('../common/types.mjs').Check, 'desk'>} Check
 * @typedef {import('../common/types.mjs').MadeInvitation} Made
 */

/** States in which a link can no longer be used, so that a new one is what helps. */
export const OVER = new Set(['used', 'locked', 'withdrawn', 'expired']);

export class Invitations extends Model {
  /** @type {Invitation[]} */
  list = [];
  ready = false;
  #client;
  /** @type {() => void} */
  #off;

  /** @param {Client} client */
  constructor(client) {
    super();
    this.#client = client;
    this.#off = client.on('invitation', () => void this.refresh());
  }

  /** Links that wait for someone to act: a locked one needs a new link. */
  get needing() {
    return this.list.filter(({ state }) => state === 'locked').length;
  }

  close() {
    this.#off();
  }

  refresh = coalesce(async () => {
    try {
      this.list = await this.#client.call('invitation.list');
      this.ready = true;
      this.changed();
    } catch (error) {
      if (codeOf(error) !== 'locked' && codeOf(error) !== 'closed') console.warn('invitations could not be read', codeOf(error));
    }
  });

  /** @param {string} invitation */
  async withdraw(invitation) {
    try {
      await this.#client.call('invitation.withdraw', { invitation });
    } finally {
      await this.refresh();
    }
  }
}

/** One invitation in the making: the dialog's state. */
export class InviteDraft extends Model {
  enrols;
  /** An invitation that this one is to replace: same person. @type {Invitation | null} */
  again;
  name;
  /** @type {Check} */
  check;
  birthDate = '';
  busy = false;
  /** `name`, `birth_missing`, `birth_unreadable`, `failed` or ''. */
  problem = '';
  problems = 0;
  /** What was made; it can't be shown again. @type {Made | null} */
  made = null;
  #client;

  /**
   * @param {Client} client
   * @param {'patient' | 'staff'} enrols
   * @param {Invitation | null} again
   */
  constructor(client, enrols, again = null) {
    super();
    this.#client = client;
    this.enrols = enrols;
    this.again = again;
    this.name = again?.name ?? '';
    this.check = again === null || again.check === 'desk' ? (enrols === 'patient' ? 'birth_date' : 'code') : again.check;
  }

  /** @param {Check} check */
  choose(check) {
    this.check = check;
    this.problem = '';
    this.changed();
  }

  /** @param {string} problem */
  #complain(problem) {
    this.problem = problem;
    this.problems += 1;
    this.busy = false;
    this.changed();
  }

  /**
   * @param {string} name
   * @param {string} birthDate
   */
  async make(name, birthDate) {
    if (this.busy) return;
    [this.name, this.birthDate] = [name.trim(), birthDate.trim()];
    if (this.name === '') return this.#complain('name');
    if (this.check === 'birth_date' && this.birthDate === '') return this.#complain('birth_missing');
    this.busy = true;
    this.problem = '';
    this.changed();
    try {
      this.made = await this.#client.call('invitation.create', {
        enrols: this.enrols,
        name: this.name,
        check: this.check,
        ...(this.check === 'birth_date' ? { factor: this.birthDate } : {}),
        ...(this.again === null ? {} : { subject: this.again.subject }),
      });
      this.birthDate = '';
      this.busy = false;
      this.changed();
    } catch (error) {
      this.#complain(codeOf(error) === 'malformed' && this.check === 'birth_date' ? 'birth_unreadable' : 'failed');
    }
  }
}
