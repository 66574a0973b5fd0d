// app-view.mjs: what both pages' outermost elements do: take the place of the page's first words, lock when idle, name the page.
import { IDLE_MINUTES, lockWhenIdle } from './idle.mjs';
import { View } from './view.mjs';

/** @typedef {import('./app.mjs').App} App */

export class AppView extends View {
  constructor() {
    super();
    /** @type {(() => void) | undefined} */
    this.endIdle = undefined;
    this.onLeave = (/** @type {BeforeUnloadEvent} */ event) => {
      // Between the check and the PIN there is an account that nothing keeps yet, and its link is used up.
      if (this.app?.access.step === 'pin') event.preventDefault();
    };
  }

  /** @returns {App} */
  get app() {
    return this.model;
  }

  /** @override */
  connectedCallback() {
    // The words that stood here while the script was loading: what Lit draws comes in their place.
    if (!this.hasUpdated) this.replaceChildren();
    super.connectedCallback();
    window.addEventListener('beforeunload', this.onLeave);
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    window.removeEventListener('beforeunload', this.onLeave);
    this.endIdle?.();
    this.endIdle = undefined;
  }

  /** The page's title: never who writes, for whoever looks over a shoulder. */
  pageTitle() {
    return '';
  }

  /** @override @param {Map<PropertyKey, unknown>} _changes */
  updated(_changes) {
    const open = this.app.me !== null;
    if (open && this.endIdle === undefined) {
      const kept = this.app.me?.kept ?? true;
      this.endIdle = lockWhenIdle(() => void this.app.lock(), {
        minutes: IDLE_MINUTES,
        // Locking ends a visit for good: what is on its way goes first.
        wait: () => !kept && this.app.conversation?.unsent === true,
      });
    } else if (!open) {
      this.endIdle?.();
      this.endIdle = undefined;
    }
    const title = this.pageTitle();
    if (document.title !== title) document.title = title;
  }
}
