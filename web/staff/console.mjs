// console.mjs: the staff page's whole state.
import { App } from '../common/app.mjs';
import { InviteDraft, Invitations } from './invitations.mjs';

export class Console extends App {
  /** Which list is shown. @type {'inbox' | 'invitations'} */
  pane = 'inbox';
  /** @type {Invitations | null} */
  invitations = null;
  /** The invitation in the dialog. @type {InviteDraft | null} */
  draft = null;
  /** What was found to be wrong with the clinic's access log: it stays. @type {readonly import('../common/types.mjs').AuditAlarm[]} */
  alarms = [];
  /** @type {(() => void)[]} */
  #off = [];

  /** @override @param {import('../common/types.mjs').Client} client */
  opened(client) {
    const invitations = new Invitations(client);
    this.invitations = invitations;
    const look = async () => {
      try {
        this.alarms = (await client.call('audit.status')).alarms;
        this.changed();
      } catch {
        // it was locked meanwhile
      }
    };
    this.#off = [
      invitations.subscribe(() => this.changed()),
      client.on('notice', ({ code }) => void (code === 'audit_fault' && look())),
    ];
    void invitations.refresh();
    void look();
  }

  /** @override */
  closed() {
    for (const off of this.#off) off();
    this.alarms = [];
    this.invitations?.close();
    this.invitations = null;
    this.draft = null;
    this.pane = 'inbox';
  }

  /** @param {'inbox' | 'invitations'} pane */
  turnTo(pane) {
    this.pane = pane;
    if (pane === 'invitations') this.show(null);
    this.changed();
  }

  /** May this account make such links? @param {'patient' | 'staff'} enrols */
  mayInvite(enrols) {
    return this.me?.rights.includes(`invite_${enrols}`) ?? false;
  }

  /**
   * @param {'patient' | 'staff'} enrols
   * @param {import('../common/types.mjs').Invitation} [again]
   */
  invite(enrols, again) {
    if (this.client === null) return;
    this.draft = new InviteDraft(this.client, enrols, again ?? null);
    this.changed();
  }

  endInvite() {
    this.draft = null;
    void this.invitations?.refresh();
    this.changed();
  }
}
