// conversation-view.mjs: a conversation from its banners down to the composer, and the sheet that says who is in it. Both
// pages show it; what stands above it is theirs.
import { html, nothing } from 'lit';
import './composer-view.mjs';
import './log-view.mjs';
import { chat } from './text.mjs';
import { View } from './view.mjs';

/**
 * @typedef {import('./conversation.mjs').ConversationModel} ConversationModel
 * @typedef {import('./inbox.mjs').Inbox} Inbox
 * @typedef {import('./types.mjs').Person} Person
 */

/**
 * The line that says that there is no connection, and what the user must be told. The region itself is always there:
 * screen readers announce only what changes inside a region that they know.
 * @param {Inbox} inbox
 */
export function banners(inbox) {
  return html`<div class="banners" role="status">
    ${inbox.online ? nothing : html`<p class="banner offline">${chat.offline}</p>`}
    ${inbox.revoked ? html`<p class="banner bad">${chat.revoked}</p>` : nothing}
    ${inbox.notices.map(
      ({ code, text }) => html`<div class="banner warn">
        <p>${text}</p>
        <button class="small" @click=${() => inbox.dismiss(code)}>${chat.dismiss}</button>
      </div>`,
    )}
  </div>`;
}

export class ConversationView extends View {
  /** @override */
  static properties = { enterSends: { attribute: false }, emergency: { attribute: false } };

  constructor() {
    super();
    this.enterSends = false;
    /** The words of the emergency notice, '' for none. */
    this.emergency = '';
  }

  /** @returns {ConversationModel} */
  get conversation() {
    return this.model;
  }

  /** Where writing is the next thing to do. On a phone with messages to read, the keyboard would cover them: there the list. */
  async begin() {
    await this.updateComplete;
    const reading = matchMedia('(pointer: coarse)').matches && this.conversation.messages.length > 0;
    const part = /** @type {View | null} */ (this.find(reading ? 'sotto-log' : 'sotto-composer'));
    await part?.updateComplete;
    part?.focus();
  }

  /** @override */
  render() {
    const { info, wrote } = this.conversation;
    const state = info === null || info.state === 'active' ? '' : chat[info.state];
    return html`<sotto-log .model=${this.conversation}></sotto-log>
      <div class="above-composer">
        ${state === '' ? nothing : html`<p class="banner ${info?.state === 'creating' ? '' : 'bad'}" role="status">${state}</p>`}
        ${wrote || this.emergency === '' ? nothing : html`<p class="emergency">${this.emergency}</p>`}
      </div>
      <sotto-composer .model=${this.conversation} .enterSends=${this.enterSends}></sotto-composer>`;
  }
}
customElements.define('sotto-conversation', ConversationView);

/** One line a person, however many devices they have. @param {readonly Person[]} members */
export function people(members) {
  const rank = { patient: 0, staff: 1, agent: 2 };
  /** @type {Map<string, Person>} */
  const bySubject = new Map();
  for (const member of members) {
    const known = bySubject.get(member.subject);
    if (known === undefined || member.own) bySubject.set(member.subject, member);
  }
  return [...bySubject.values()].sort((a, b) => rank[a.kind] - rank[b.kind] || a.name.localeCompare(b.name));
}

export class PeopleView extends View {
  /** @override */
  render() {
    const { info } = /** @type {ConversationModel} */ (this.model);
    return html`<dialog class="sheet" aria-labelledby="people-title" @click=${this.onClick}>
      <form method="dialog">
        <h2 id="people-title">${chat.peopleTitle}</h2>
        <p class="hint">${chat.peopleHelp}</p>
        <ul class="people">
          ${people(info?.members ?? []).map(
            (p) => html`<li>
              <strong dir="auto">${p.name || chat.unknown} ${p.own ? chat.youMark : nothing}</strong><span>${chat.kind[p.kind]}</span>
            </li>`,
          )}
        </ul>
        <button>${chat.close}</button>
      </form>
    </dialog>`;
  }

  open() {
    /** @type {HTMLDialogElement | null} */ (this.find('dialog'))?.showModal();
  }

  /** A tap beside the sheet closes it. @param {Event} event */
  onClick(event) {
    const dialog = this.find('dialog');
    if (event.target === dialog) /** @type {HTMLDialogElement} */ (dialog).close();
  }
}
customElements.define('sotto-people', PeopleView);
