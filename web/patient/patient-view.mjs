// patient-view.mjs: the patient's page from end to end.
import { html, nothing } from 'lit';
import { AppView } from '../common/app-view.mjs';
import '../common/access-view.mjs';
import { banners } from '../common/conversation-view.mjs';
import { leave, lock, mark, people } from '../common/icons.mjs';
import { access, chat } from '../common/text.mjs';

export class PatientView extends AppView {
  constructor() {
    super();
    /** @type {import('../common/conversation.mjs').ConversationModel | null} */
    this.lastShown = null;
  }

  /** @override */
  pageTitle() {
    const unread = this.app.inbox?.unread ?? 0;
    return unread > 0 ? `(${unread}) ${chat.title}` : chat.title;
  }

  /** @override @param {Map<PropertyKey, unknown>} changes */
  updated(changes) {
    super.updated(changes);
    const shown = this.app.conversation;
    if (shown === this.lastShown || shown?.ready === false) return;
    this.lastShown = shown;
    if (shown !== null) void /** @type {import('../common/conversation-view.mjs').ConversationView | null} */ (this.find('sotto-conversation'))?.begin();
  }

  /** @override */
  render() {
    if (this.model === undefined) return nothing;
    const { me, inbox, conversation } = this.app;
    if (me === null || inbox === null) return html`<sotto-access .model=${this.app.access} .words=${access}></sotto-access>`;
    return html`<div class="chat">
      <header class="bar">
        ${mark}
        <h1 dir="auto">${me.clinic_name}</h1>
        ${conversation === null
          ? nothing
          : html`<button @click=${() => this.openSheet('sotto-people')}>${people}<span>${chat.people}</span></button>`}
        ${me.kept
          ? html`<button @click=${() => this.app.lock()}>${lock}<span>${chat.lock}</span></button>`
          : html`<button @click=${this.onEnd}>${leave}<span>${chat.endVisit}</span></button>`}
      </header>
      ${banners(inbox)}
      <main class="conversation">
        ${me.kept ? nothing : html`<p class="banner">${chat.visitOnly}</p>`}
        ${conversation === null
          ? html`<p class="waiting" role="status">${access.keeping}</p>`
          : html`<sotto-conversation .model=${conversation} .emergency=${chat.emergency}></sotto-conversation>
              <sotto-people .model=${conversation}></sotto-people>`}
      </main>
      ${this.endDialog()}
    </div>`;
  }

  endDialog() {
    const unsent = this.app.conversation?.unsent === true;
    return html`<dialog id="end" class="sheet" aria-labelledby="end-title">
      <form method="dialog">
        <h2 id="end-title">${chat.endVisitTitle}</h2>
        <p>${chat.endVisitHelp}</p>
        ${unsent ? html`<p class="error">${chat.endVisitUnsent}</p>` : nothing}
        <div class="row">
          <button>${chat.cancel}</button>
          <button class="primary" @click=${() => this.app.lock()}>${chat.endVisit}</button>
        </div>
      </form>
    </dialog>`;
  }

  onEnd() {
    /** @type {HTMLDialogElement | null} */ (this.find('#end'))?.showModal();
  }

  /** @param {string} name */
  openSheet(name) {
    /** @type {import('../common/conversation-view.mjs').PeopleView | null} */ (this.find(name))?.open();
  }
}
customElements.define('sotto-patient', PatientView);
