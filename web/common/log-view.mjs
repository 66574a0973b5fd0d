// log-view.mjs: the list of messages. It keeps the reader's place: older messages appear above without a jump, new ones
// follow only when the end is in sight, and are announced by a button otherwise. Screen readers hear what is added.
import { html, nothing } from 'lit';
import { repeat } from 'lit/directives/repeat.js';
import { keyOf } from './conversation.mjs';
import { down } from './icons.mjs';
import { chat } from './text.mjs';
import { dayName, messageTime, timeOfDay } from './time.mjs';
import { View } from './view.mjs';

/**
 * @typedef {import('./conversation.mjs').ConversationModel} ConversationModel
 * @typedef {import('./types.mjs').Message} Message
 */

/** So near to the end, in pixels, counts as being there. */
const NEAR = 48;

/** @param {Message} message */
function senderName(message) {
  if (message.sender === null) return '';
  if (message.sender.own) return chat.you;
  return message.sender.name || chat.unknown;
}

export class LogView extends View {
  /** @override */
  static properties = { below: { state: true } };

  constructor() {
    super();
    /** New messages are below what is in sight. */
    this.below = false;
    this.atEnd = true;
    /** Where the reader is, kept over a redraw. */
    this.place = { height: 0, top: 0, first: '', last: '' };
    /** @type {ResizeObserver | undefined} */
    this.resized = undefined;
    this.onVisible = () => this.markSeen();
  }

  /** @returns {ConversationModel} */
  get conversation() {
    return this.model;
  }

  /** @returns {HTMLElement | null} */
  get list() {
    return this.find('[role=log]');
  }

  /** @override */
  connectedCallback() {
    super.connectedCallback();
    document.addEventListener('visibilitychange', this.onVisible);
    window.addEventListener('focus', this.onVisible);
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    document.removeEventListener('visibilitychange', this.onVisible);
    window.removeEventListener('focus', this.onVisible);
    this.resized?.disconnect();
    this.resized = undefined;
  }

  /** @override @param {Map<PropertyKey, unknown>} changes */
  willUpdate(changes) {
    super.willUpdate(changes);
    const { list } = this;
    if (changes.has('model')) {
      this.atEnd = true;
      this.below = false;
      this.place = { height: 0, top: 0, first: '', last: '' };
    }
    if (list !== null) this.place = { ...this.place, height: list.scrollHeight, top: list.scrollTop };
  }

  /** @override */
  updated() {
    const { list } = this;
    const { messages } = this.conversation;
    const [newest, oldest] = [messages.at(-1), messages[0]];
    if (list === null) return;
    if (this.resized === undefined) {
      // The keyboard opened, or the composer grew: who was at the end stays there.
      this.resized = new ResizeObserver(() => this.atEnd && this.toEnd());
      this.resized.observe(list);
    }
    const [first, last] = [oldest ? keyOf(oldest) : '', newest ? keyOf(newest) : ''];
    const grew = last !== this.place.last;
    if (this.atEnd || (grew && newest?.sender?.own === true)) this.toEnd();
    else if (first !== this.place.first) list.scrollTop = this.place.top + list.scrollHeight - this.place.height;
    else if (grew) this.below = true;
    this.place = { ...this.place, first, last };
    this.markSeen();
  }

  /** @override */
  focus() {
    this.list?.focus();
  }

  toEnd() {
    const { list } = this;
    if (list === null) return;
    list.scrollTop = list.scrollHeight;
    this.atEnd = true;
    this.below = false;
  }

  onScroll() {
    const { list } = this;
    if (list === null) return;
    this.atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR;
    if (!this.atEnd) return;
    this.below = false;
    this.markSeen();
  }

  markSeen() {
    if (this.atEnd && this.conversation?.ready && document.visibilityState === 'visible' && document.hasFocus()) {
      void this.conversation.seen();
    }
  }

  /** @override */
  render() {
    const { messages, ready, earlier, loadingEarlier } = this.conversation;
    return html`<div
        class="log"
        role="log"
        aria-live="polite"
        aria-relevant="additions"
        aria-label=${chat.messages}
        aria-busy=${!ready || loadingEarlier}
        tabindex="0"
        @scroll=${this.onScroll}
      >
        ${earlier
          ? html`<button class="small" ?disabled=${loadingEarlier} @click=${() => this.conversation.loadEarlier()}>
              ${loadingEarlier ? chat.loadingEarlier : chat.earlier}
            </button>`
          : nothing}
        ${ready && messages.length === 0 ? html`<p class="empty">${chat.none}</p>` : nothing}
        ${repeat(messages, keyOf, (message, index) => this.entry(message, messages[index - 1]))}
      </div>
      ${this.below
        ? html`<button class="jump" @click=${() => this.toEnd()}>${down} ${chat.newMessages}</button>`
        : nothing}`;
  }

  /**
   * @param {Message} message
   * @param {Message | undefined} before
   */
  entry(message, before) {
    const day = dayName(messageTime(message), chat);
    const newDay = before === undefined || dayName(messageTime(before), chat) !== day;
    // Always one element an entry: `repeat` moves and keeps them by key.
    return html`<div class="entry">
      ${newDay ? html`<p class="day">${day}</p>` : nothing}
      ${message.kind === 'notice' ? html`<p class="notice">${message.text}</p>` : this.bubble(message, before, newDay)}
    </div>`;
  }

  /**
   * @param {Message} message
   * @param {Message | undefined} before
   * @param {boolean} newDay
   */
  bubble(message, before, newDay) {
    const own = message.sender?.own === true;
    const follows =
      !newDay && before?.kind === 'text' && before.sender?.device === message.sender?.device && before.shared === message.shared;
    const name = senderName(message);
    return html`<div class="message ${own ? 'own' : 'other'} ${follows ? 'follows' : ''}">
      <p class="sender ${own || follows ? 'quiet' : ''}" dir="auto">${name}</p>
      <p class="bubble" dir="auto">${message.text}</p>
      <p class="meta">
        <time datetime=${new Date(messageTime(message)).toISOString()}>${timeOfDay(messageTime(message))}</time>
        ${message.shared ? html`<span>${chat.shared}</span>` : nothing}
        ${own ? html`<span class="state ${message.state}">${chat.state[message.state]}</span>` : nothing}
      </p>
      ${message.state === 'failed' ? this.failed(message) : nothing}
    </div>`;
  }

  /** @param {Message} message */
  failed(message) {
    return html`<div class="failed-why">
      <p class="error">${message.reason ?? chat.failedWhy}</p>
      <button class="small" @click=${() => this.conversation.retry(message.id)}>${chat.tryAgain}</button>
    </div>`;
  }
}
customElements.define('sotto-log', LogView);
