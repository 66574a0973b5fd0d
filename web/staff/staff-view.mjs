// staff-view.mjs: the staff console: lists on one side, a conversation on the other; one of them at a time where it is narrow.
import { html, nothing } from 'lit';
import { AppView } from '../common/app-view.mjs';
import { banners } from '../common/conversation-view.mjs';
import { add, back, lock, mark, people } from '../common/icons.mjs';
import { chat } from '../common/text.mjs';
import './access-view.mjs';
import './inbox-view.mjs';
import './invite-view.mjs';
import { access, audit, desk } from './text.mjs';

/** With a real keyboard, Enter sends, as in other desks' programs. */
const enterSends = matchMedia('(hover: hover) and (pointer: fine)').matches;

export class StaffView extends AppView {
  constructor() {
    super();
    /** @type {import('../common/conversation.mjs').ConversationModel | null} */
    this.lastShown = null;
    /** Which one the focus goes back to. */
    this.lastId = '';
  }

  /** @returns {import('./console.mjs').Console} @override */
  get app() {
    return this.model;
  }

  /** @override */
  pageTitle() {
    const unread = this.app.inbox?.unread ?? 0;
    return unread > 0 ? `(${unread}) ${desk.title}` : desk.title;
  }

  /** @override @param {Map<PropertyKey, unknown>} changes */
  updated(changes) {
    super.updated(changes);
    const shown = this.app.conversation;
    if (shown === this.lastShown || shown?.ready === false) return;
    this.lastShown = shown;
    if (shown !== null) void /** @type {import('../common/conversation-view.mjs').ConversationView | null} */ (this.find('sotto-conversation'))?.begin();
    else if (this.app.pane === 'inbox') this.focusOn('.item[aria-current]', '.item');
  }

  /** @override */
  render() {
    if (this.model === undefined) return nothing;
    const { me, inbox, conversation, draft, invitations, pane, alarms } = this.app;
    if (me === null || inbox === null || invitations === null) {
      return html`<sotto-staff-access .model=${this.app.access} .words=${access}></sotto-staff-access>`;
    }
    const { needing } = invitations;
    return html`<div class="console ${conversation === null ? '' : 'reading'}">
      <header class="bar">
        ${mark}
        <h1 dir="auto">${me.clinic_name}</h1>
        <span class="me" dir="auto">${me.name}</span>
        <button @click=${() => this.app.lock()}>${lock}<span>${desk.lock}</span></button>
      </header>
      ${banners(inbox)}
      ${alarms.length === 0 ? nothing : html`<div class="banners">${alarms.map((a) => html`<p class="banner bad">${audit.fault[a.fault]}${a.number > 0 ? audit.at(a.number) : ''}</p>`)}</div>`}
      <main>
        <div class="side">
          <nav class="tabs" aria-label=${desk.views}>
            ${this.tab('inbox', desk.inbox, inbox.unread)} ${this.tab('invitations', desk.invitations, needing)}
          </nav>
          ${this.app.mayInvite('patient')
            ? html`<button class="primary" @click=${() => this.app.invite('patient')}>${add} ${desk.invitePatient}</button>`
            : nothing}
          ${pane === 'inbox'
            ? html`<sotto-inbox .model=${this.app}></sotto-inbox>`
            : html`${this.app.mayInvite('staff')
                  ? html`<button @click=${() => this.app.invite('staff')}>${add} ${desk.inviteStaff}</button>`
                  : nothing}<sotto-invitations .model=${this.app}></sotto-invitations>`}
        </div>
        <div class="pane">${conversation === null ? html`<p class="empty">${desk.pick}</p>` : this.conversation(conversation)}</div>
      </main>
      ${draft === null ? nothing : html`<sotto-invite .model=${draft} @done=${() => this.app.endInvite()}></sotto-invite>`}
    </div>`;
  }

  /**
   * @param {'inbox' | 'invitations'} pane
   * @param {string} label
   * @param {number} count
   */
  tab(pane, label, count) {
    return html`<button aria-pressed=${this.app.pane === pane} @click=${() => this.app.turnTo(pane)}>
      ${label} ${count > 0 ? html`<span class="count">${count}</span>` : nothing}
    </button>`;
  }

  /** @param {import('../common/conversation.mjs').ConversationModel} conversation */
  conversation(conversation) {
    const { info } = conversation;
    return html`<header class="bar">
        <button class="back" @click=${() => this.app.show(null)}>${back}<span class="quiet">${desk.back}</span></button>
        <div class="title">
          <h2 dir="auto">${info?.title ?? ''}</h2>
          <p class="hint">${info === null ? '' : desk.check[info.check]}</p>
        </div>
        <button @click=${this.onPeople}>${people}<span>${chat.people}</span></button>
      </header>
      <sotto-conversation class="conversation" .model=${conversation} .enterSends=${enterSends}></sotto-conversation>
      <sotto-people .model=${conversation}></sotto-people>`;
  }

  onPeople() {
    /** @type {import('../common/conversation-view.mjs').PeopleView | null} */ (this.find('sotto-people'))?.open();
  }
}
customElements.define('sotto-staff', StaffView);
