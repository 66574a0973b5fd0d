// view.mjs: what all elements share: they draw into the page itself (one linked stylesheet, as the CSP wants), and redraw
// when the view model they are given says that it changed.
import { LitElement } from 'lit';

export class View extends LitElement {
  /** @type {import('lit').PropertyDeclarations} @override */
  static properties = { model: { attribute: false } };

  /** @type {(() => void) | undefined} */
  #off;

  constructor() {
    super();
    /** @type {any} */
    this.model = undefined;
  }

  /** @override */
  createRenderRoot() {
    return this;
  }

  /** @override @param {Map<PropertyKey, unknown>} changes */
  willUpdate(changes) {
    if (changes.has('model')) this.#listen();
  }

  /** @override */
  connectedCallback() {
    super.connectedCallback();
    if (this.hasUpdated) this.#listen();
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    this.#off?.();
    this.#off = undefined;
  }

  #listen() {
    this.#off?.();
    this.#off = this.model?.subscribe(() => this.requestUpdate());
  }

  /**
   * @template {Element} E
   * @param {string} selector
   * @returns {E | null}
   */
  find(selector) {
    return /** @type {E | null} */ (this.renderRoot.querySelector(selector));
  }

  /** Puts the focus on the first of these that is there. @param {...string} selectors */
  focusOn(...selectors) {
    for (const selector of selectors) {
      const element = /** @type {HTMLElement | null} */ (this.find(selector));
      if (element === null) continue;
      element.focus();
      return;
    }
  }
}
