// inbox-view.mjs: the two lists beside a conversation: conversations, and invitations.
import { html, nothing } from 'lit';
import { repeat } from 'lit/directives/repeat.js';
import { dateTime, messageTime, shortTime } from '../common/time.mjs';
import { View } from '../common/view.mjs';
import { OVER } from './invitations.mjs';
import { desk, invitations as words } from './text.mjs';

/**
 * @typedef {import('./console.mjs').Console} Console
 * @typedef {import('../common/types.mjs').Conversation} Conversation
 * @typedef {import('../common/types.mjs').Invitation} Invitation
 */

export class InboxView extends View {
  /** @returns {Console} */
  get app() {
    return this.model;
  }

  /** Arrow keys go through the list; Tab leaves it. @param {KeyboardEvent} event */
  onKey(event) {
    const items = /** @type {HTMLElement[]} */ ([...this.renderRoot.querySelectorAll('.item')]);
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (at === -1 || to === undefined) return;
    event.preventDefault();
    items[Math.min(Math.max(to, 0), items.length - 1)]?.focus();
  }

  /** @override */
  render() {
    const { inbox, conversation } = this.app;
    if (inbox === null) return nothing;
    const { conversations, ready } = inbox;
    if (ready && conversations.length === 0) return html`<p class="empty">${desk.nobody}</p>`;
    return html`<ul class="list" aria-label=${desk.conversations} @keydown=${this.onKey}>
      ${repeat(
        conversations,
        (c) => c.conversation,
        (c) => this.item(c, c.conversation === conversation?.id),
      )}
    </ul>`;
  }

  /**
   * @param {Conversation} c
   * @param {boolean} shown
   */
  item(c, shown) {
    const { last, unread } = c;
    const own = last?.sender?.own === true;
    return html`<li>
      <button class="item ${unread > 0 ? 'unread' : ''}" aria-current=${shown ? 'true' : nothing} @click=${() => this.app.show(c.conversation)}>
        <span class="who" dir="auto">${c.title}</span>
        ${last === null ? nothing : html`<time>${shortTime(messageTime(last))}</time>`}
        <span class="snippet" dir="auto">${last === null ? desk.noMessage : own ? desk.you + last.text : last.text}</span>
        ${unread > 0 ? html`<span class="count"><span aria-hidden="true">${unread}</span><span class="quiet">${desk.unread(unread)}</span></span>` : nothing}
      </button>
    </li>`;
  }
}
customElements.define('sotto-inbox', InboxView);

export class InvitationsView extends View {
  /** @returns {Console} */
  get app() {
    return this.model;
  }

  /** @override */
  render() {
    const { invitations } = this.app;
    if (invitations === null) return nothing;
    if (invitations.ready && invitations.list.length === 0) return html`<p class="empty">${words.none}</p>`;
    return html`<ul class="list" aria-label=${desk.invitations}>
      ${repeat(
        invitations.list,
        (i) => i.invitation,
        (i) => this.item(i),
      )}
    </ul>`;
  }

  /** @param {Invitation} i */
  item(i) {
    const tried = (i.state === 'open' || i.state === 'wrong-check') && i.attempts_left !== null && i.attempts_left < 5;
    const state = tried ? words.wrong(i.attempts_left ?? 0) : (words.state[i.state] ?? i.state);
    const enrols = i.enrols === 'patient' ? 'patient' : 'staff';
    return html`<li class="invitation">
      <span class="who" dir="auto">${i.name}</span>
      <span class="hint">${words.kind[i.enrols]} · ${words.made(dateTime(i.created_ms))}</span>
      <span class="badge ${i.state}">${state}</span>
      ${OVER.has(i.state)
        ? this.app.mayInvite(enrols)
          ? html`<button class="small" aria-label="${words.newLink}: ${i.name}" @click=${() => this.app.invite(enrols, i)}>${words.newLink}</button>`
          : nothing
        : html`<button
            class="small"
            aria-label="${words.withdraw}: ${i.name}"
            @click=${() => this.app.invitations?.withdraw(i.invitation)}
          >
            ${words.withdraw}
          </button>`}
    </li>`;
  }
}
customElements.define('sotto-invitations', InvitationsView);
