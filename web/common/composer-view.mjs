// composer-view.mjs: where a message is written. The text is the view model's, so a redraw never loses it.
import { html, nothing } from 'lit';
import { TEXT_MAX, bytesOver } from './conversation.mjs';
import { send } from './icons.mjs';
import { chat } from './text.mjs';
import { View } from './view.mjs';

/** @typedef {import('./conversation.mjs').ConversationModel} ConversationModel */

export class ComposerView extends View {
  /** @override */
  static properties = { enterSends: { attribute: false } };

  constructor() {
    super();
    /** A desktop's habit: Enter sends and Shift+Enter makes a line. Otherwise Ctrl or Cmd with Enter sends. */
    this.enterSends = false;
  }

  /** @returns {ConversationModel} */
  get conversation() {
    return this.model;
  }

  /** @returns {HTMLTextAreaElement | null} */
  get box() {
    return this.find('textarea');
  }

  /** @override */
  focus() {
    this.box?.focus();
  }

  /** @override */
  updated() {
    const { box } = this;
    if (box === null) return;
    if (box.value !== this.conversation.draft) box.value = this.conversation.draft;
    this.grow(box);
  }

  /** The box grows with its text up to what the stylesheet allows. @param {HTMLTextAreaElement} box */
  grow(box) {
    if (CSS.supports('field-sizing', 'content')) return;
    box.style.height = 'auto';
    box.style.height = `${box.scrollHeight + 2}px`;
  }

  /** @param {Event} event */
  onInput(event) {
    const box = /** @type {HTMLTextAreaElement} */ (event.target);
    this.conversation.write(box.value);
    this.grow(box);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.key !== 'Enter' || event.isComposing || event.shiftKey || event.altKey) return;
    if (!this.enterSends && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    void this.submit();
  }

  /** @param {Event} [event] */
  async submit(event) {
    event?.preventDefault();
    await this.conversation.send();
    this.focus();
  }

  /** @override */
  render() {
    const { problem, sending, info } = this.conversation;
    const error = problem === '' ? '' : problem === 'too_long' ? this.tooLong() : problem === 'storage_full' ? chat.storageFull : chat.notSent;
    const closed = info?.state === 'left' || info?.state === 'broken';
    return html`<form class="composer" @submit=${this.submit}>
      ${error === '' ? nothing : html`<p class="error" id="message-error" role="alert">${error}</p>`}
      <label class="quiet" for="message">${chat.message}</label>
      <textarea
        id="message"
        rows="1"
        dir="auto"
        placeholder=${chat.message}
        autocomplete="off"
        aria-describedby=${error === '' ? nothing : 'message-error'}
        aria-invalid=${problem === 'too_long'}
        ?disabled=${closed}
        @input=${this.onInput}
        @keydown=${this.onKey}
      ></textarea>
      <button class="primary send" ?disabled=${sending || closed || problem === 'too_long'}>${send}<span>${chat.send}</span></button>
    </form>`;
  }

  tooLong() {
    const { draft } = this.conversation;
    const over = bytesOver(draft);
    // In letters, as the reader counts: the text's own average size.
    return chat.tooLong(Math.max(1, Math.ceil((over / (over + TEXT_MAX)) * draft.length)));
  }
}
customElements.define('sotto-composer', ComposerView);
