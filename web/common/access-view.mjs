// access-view.mjs: draws the steps of access.mjs. Which words it uses, and what the staff page adds, are given to it.
import { html, nothing } from 'lit';
import { PIN_MIN } from './access.mjs';
import { mark } from './icons.mjs';
import { linkProblems } from './text.mjs';
import { View } from './view.mjs';

/**
 * @typedef {import('./access.mjs').Access} Access
 * @typedef {typeof import('./text.mjs').access} Words
 */

/** @param {string} problem */
const isStorage = (problem) => problem.startsWith('storage');

export class AccessView extends View {
  /** @override */
  static properties = { words: { attribute: false }, pinProblem: { state: true }, shown: { state: true }, now: { state: true } };

  constructor() {
    super();
    /** @type {Words} */
    this.words = /** @type {any} */ ({});
    /** What is wrong with the PINs as typed: `short`, `different` or ''. */
    this.pinProblem = '';
    /** PINs stand readable. */
    this.shown = false;
    this.now = 0;
    this.lastStep = '';
    this.lastProblems = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.clock = undefined;
  }

  /** @returns {Access} */
  get access() {
    return this.model;
  }

  /** @override */
  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.clock);
  }

  /** @override @param {Map<PropertyKey, unknown>} changes */
  willUpdate(changes) {
    super.willUpdate(changes);
    this.now = Date.now();
    if (this.access.step !== this.lastStep) {
      this.pinProblem = '';
      this.shown = false;
    }
  }

  /** @override */
  updated() {
    const { step, problems, busy } = this.access;
    if (step !== this.lastStep) {
      this.lastStep = step;
      this.lastProblems = problems;
      this.focusOn('.first', 'h1');
    } else if (problems !== this.lastProblems && !busy) {
      this.lastProblems = problems;
      const field = /** @type {HTMLInputElement | null} */ (this.find('[aria-invalid=true], .first'));
      field?.focus();
      field?.select();
    }
    clearTimeout(this.clock);
    if (step === 'unlock' && this.access.waitUntil > Date.now()) {
      this.clock = setTimeout(() => this.requestUpdate(), 1000);
    }
  }

  /** @override */
  render() {
    return html`<main class="page">
      <div class="brand">${mark}<span>Sotto</span></div>
      <div class="card">${this.step()}</div>
    </main>`;
  }

  step() {
    const w = this.words;
    switch (this.access.step) {
      case 'starting':
        return this.waiting(w.starting);
      case 'opening':
        return this.waiting(w.openingTitle);
      case 'check':
        return this.check();
      case 'pin':
        return this.choosePin();
      case 'unlock':
        return this.unlock();
      case 'choose':
        return this.choose();
      case 'link_problem':
        return this.linkProblem();
      case 'wrong_door':
        return this.wrongDoor();
      case 'no_link':
        return this.noLink();
      case 'elsewhere':
        return html`${this.told(w.elsewhereTitle, w.elsewhereHelp)}
          <button class="primary" @click=${() => this.access.takeOver()}>${w.elsewhereHere}</button>`;
      case 'damaged':
        return this.told(w.damagedTitle, w.damagedHelp);
      case 'newer':
        return html`${this.told(w.newerTitle, w.newerHelp)}${this.reload()}`;
      case 'ended':
        return this.told(w.endedTitle, w.endedHelp);
      default:
        return html`${this.told(w.broken, w.brokenHelp)}
          <p class="detail">${this.access.problemText}</p>
          ${this.reload()}`;
    }
  }

  /** Staff pages have more to offer here. */
  noLink() {
    const w = this.words;
    return html`${this.told(w.noLinkTitle, w.noLinkHelp)}
      <p class="hint">${w.noLinkPrivate}</p>`;
  }

  /** @param {string} text */
  waiting(text) {
    return html`<p class="waiting" role="status">${text}</p>`;
  }

  /** @param {string} title @param {string} help */
  told(title, help) {
    return html`<h1 tabindex="-1">${title}</h1>
      <p>${help}</p>`;
  }

  reload() {
    return html`<button class="primary" @click=${() => location.reload()}>${this.words.reload}</button>`;
  }

  linkProblem() {
    const w = this.words;
    const { problem, problemText } = this.access;
    const known = linkProblems[problem];
    return html`${this.told(known?.title ?? w.broken, known?.help ?? (problemText || w.brokenHelp))}
    ${known?.again ? html`<button class="primary" @click=${() => this.access.openLink()}>${w.tryAgain}</button>` : nothing}`;
  }

  wrongDoor() {
    const w = this.words;
    const enrols = this.access.invitation?.enrols;
    if (enrols === 'agent') return this.told(w.agentLinkTitle, w.agentLinkHelp);
    const staff = enrols === 'staff';
    // The browser keeps a fragment to itself, here as before.
    const go = () => {
      location.replace(`${staff ? '/staff/' : '/'}#${this.access.fragment}`);
    };
    return html`${this.told(staff ? w.staffLinkTitle : w.patientLinkTitle, staff ? w.staffLinkHelp : w.patientLinkHelp)}
      <button class="primary" @click=${go}>${w.goThere}</button>`;
  }

  check() {
    const w = this.words;
    const { invitation, problem, attemptsLeft, busy } = this.access;
    if (invitation === null) return nothing;
    const birth = invitation.check === 'birth_date';
    const hint = birth ? w.birthDateHint : w.codeHint;
    const error =
      problem === 'wrong'
        ? w.wrong(attemptsLeft)
        : problem === 'offline'
          ? w.checkOffline
          : problem === 'missing'
            ? w.factorMissing
            : problem === 'unreadable'
              ? birth
                ? w.factorUnreadable
                : w.codeUnreadable
              : '';
    return html`<h1 tabindex="-1">${w.hello(invitation.clinic_name)}</h1>
      ${invitation.greeting === '' ? nothing : html`<p class="greeting" dir="auto">${invitation.greeting}</p>`}
      <p class="hint">${w.private}</p>
      <form novalidate @submit=${this.onCheck}>
        ${invitation.check === 'none' ? nothing : html`<h2>${w.checkTitle}</h2>`} ${this.nameField(invitation)}
        ${invitation.check === 'none'
          ? error === ''
            ? nothing
            : html`<p class="error" id="factor-error">${error}</p>`
          : html`<div class="field">
              <label for="factor">${birth ? w.birthDate : w.code}</label>
              <p class="hint" id="factor-hint">${hint}</p>
              <input
                id="factor"
                name="factor"
                type="text"
                maxlength="64"
                inputmode=${birth ? 'numeric' : 'text'}
                autocomplete=${birth ? 'bday' : 'one-time-code'}
                autocapitalize="characters"
                spellcheck="false"
                enterkeyhint="go"
                class="first"
                aria-describedby=${error === '' ? 'factor-hint' : 'factor-error factor-hint'}
                aria-invalid=${error === '' ? 'false' : 'true'}
              />
              ${error === '' ? nothing : html`<p class="error" id="factor-error">${error}</p>`}
            </div>`}
        <button class="primary" ?disabled=${busy}>${busy ? w.checking : w.continue}</button>
      </form>`;
  }

  /** Staff say how they are called. @param {import('./types.mjs').InvitationView} _invitation @returns {unknown} */
  nameField(_invitation) {
    return nothing;
  }

  /** @param {SubmitEvent} event */
  onCheck(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const name = data.get('name');
    void this.access.answer(String(data.get('factor') ?? ''), name === null ? undefined : String(name));
  }

  /**
   * The two PIN fields, also for the form that makes a clinic.
   * @param {boolean} first whether the focus begins here
   */
  pinFields(first) {
    const w = this.words;
    const [short, different] = [this.pinProblem === 'short', this.pinProblem === 'different'];
    const type = this.shown ? 'text' : 'password';
    return html`<div class="field">
        <label for="pin">${w.pin}</label>
        <p class="hint" id="pin-hint">${w.pinHint}</p>
        <input
          id="pin"
          name="pin"
          type=${type}
          inputmode="numeric"
          autocomplete="new-password"
          maxlength="64"
          enterkeyhint="next"
          class=${first ? 'first' : ''}
          aria-describedby=${short ? 'pin-error pin-hint' : 'pin-hint'}
          aria-invalid=${short}
          @keydown=${this.onPinKey}
        />
        ${short ? html`<p class="error" id="pin-error">${w.pinShort}</p>` : nothing}
      </div>
      <div class="field">
        <label for="repeat">${w.repeatPin}</label>
        <input
          id="repeat"
          name="repeat"
          type=${type}
          inputmode="numeric"
          autocomplete="new-password"
          maxlength="64"
          enterkeyhint="go"
          aria-describedby=${different ? 'repeat-error' : nothing}
          aria-invalid=${different}
        />
        ${different ? html`<p class="error" id="repeat-error">${w.pinDifferent}</p>` : nothing}
      </div>
      ${this.showPin()}`;
  }

  /** For password managers, which keep a PIN under a name. */
  userName() {
    return html`<input class="quiet" name="username" autocomplete="username" value="Sotto" tabindex="-1" aria-hidden="true" readonly />`;
  }

  showPin() {
    return html`<label class="check">
      <input
        type="checkbox"
        .checked=${this.shown}
        @change=${(/** @type {Event} */ e) => (this.shown = /** @type {HTMLInputElement} */ (e.target).checked)}
      />
      ${this.words.showPin}
    </label>`;
  }

  /** The phone's "next" key goes on to the second field. @param {KeyboardEvent} event */
  onPinKey(event) {
    const repeat = /** @type {HTMLInputElement | null} */ (this.find('#repeat'));
    if (event.key !== 'Enter' || repeat === null || repeat.value !== '') return;
    event.preventDefault();
    repeat.focus();
  }

  /**
   * The PIN when both fields are good; else shows what is wrong, puts the focus there and gives null.
   * @param {FormData} data
   * @returns {string | null}
   */
  readPin(data) {
    const [pin, repeat] = [String(data.get('pin') ?? ''), String(data.get('repeat') ?? '')];
    this.pinProblem = pin.length < PIN_MIN ? 'short' : pin !== repeat ? 'different' : '';
    if (this.pinProblem === '') return pin;
    void this.updateComplete.then(() => this.focusOn(this.pinProblem === 'short' ? '#pin' : '#repeat'));
    return null;
  }

  storageProblem() {
    const w = this.words;
    const { problem } = this.access;
    if (!isStorage(problem)) return nothing;
    return html`<p class="error" role="alert">${problem === 'storage_full' ? w.storageFull : w.storageDenied}</p>`;
  }

  choosePin() {
    const w = this.words;
    const { busy } = this.access;
    return html`<h1 tabindex="-1">${w.pinTitle}</h1>
      <p>${w.pinWhy}</p>
      ${this.storageProblem()}
      <form novalidate @submit=${this.onKeep}>
        ${this.userName()} ${this.pinFields(true)}
        <button class="primary" ?disabled=${busy}>${busy ? w.keeping : w.continue}</button>
      </form>
      ${w.visit === ''
        ? nothing
        : html`<section class="aside">
            <h2>${w.visitTitle}</h2>
            <p id="visit-hint">${w.visitHint}</p>
            <button aria-describedby="visit-hint" ?disabled=${busy} @click=${() => this.access.visit()}>${w.visit}</button>
          </section>`}`;
  }

  /** @param {SubmitEvent} event */
  onKeep(event) {
    event.preventDefault();
    const pin = this.readPin(new FormData(/** @type {HTMLFormElement} */ (event.target)));
    if (pin !== null) void this.access.keep(pin);
  }

  unlock() {
    const w = this.words;
    const { busy, problem, restarted, waitUntil, others } = this.access;
    const wait = Math.max(0, Math.ceil((waitUntil - this.now) / 1000));
    const error = problem === 'pin' ? w.wrongPin : '';
    const described = [error === '' ? '' : 'pin-error', wait > 0 ? 'pin-wait' : ''].join(' ').trim();
    return html`<h1 tabindex="-1">${w.unlockTitle}</h1>
      <p>${restarted ? w.restarted : w.unlockHelp}</p>
      <form novalidate @submit=${this.onUnlock}>
        ${this.userName()}
        <div class="field">
          <label for="pin">${w.pin}</label>
          <input
            id="pin"
            name="pin"
            type=${this.shown ? 'text' : 'password'}
            inputmode="numeric"
            autocomplete="current-password"
            maxlength="64"
            enterkeyhint="go"
            class="first"
            aria-describedby=${described === '' ? nothing : described}
            aria-invalid=${error !== ''}
          />
          ${error === '' ? nothing : html`<p class="error" id="pin-error">${error}</p>`}
          ${wait > 0 ? html`<p class="error" id="pin-wait">${w.wait(wait)}</p>` : nothing}
        </div>
        ${this.showPin()}
        <button class="primary" ?disabled=${busy || wait > 0}>${busy ? w.unlocking : w.continue}</button>
      </form>
      <p class="hint">${w.forgot}</p>
      ${others ? html`<button @click=${() => this.access.nextStore()}>${w.other}</button>` : nothing}`;
  }

  /** @param {SubmitEvent} event */
  onUnlock(event) {
    event.preventDefault();
    const pin = String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get('pin') ?? '');
    if (pin === '' || this.access.waitUntil > Date.now()) this.focusOn('#pin');
    else void this.access.unlock(pin);
  }

  choose() {
    const w = this.words;
    const { busy } = this.access;
    return html`${this.told(w.chooseTitle, w.chooseHelp)}
      <button class="primary" ?disabled=${busy} @click=${() => this.access.chooseOld()}>${w.chooseOld}</button>
      <section class="aside">
        <p id="new-hint">${w.chooseNewHelp}</p>
        <button aria-describedby="new-hint" ?disabled=${busy} @click=${() => this.access.chooseNew()}>${w.chooseNew}</button>
      </section>`;
  }
}
customElements.define('sotto-access', AccessView);
