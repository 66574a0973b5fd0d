// invite-view.mjs: the dialog that makes a link and hands it over: to copy, to scan, and its code to tell.
import { html, nothing, svg } from 'lit';
import { encode } from 'uqr';
import { dateTime } from '../common/time.mjs';
import { View } from '../common/view.mjs';
import { invite as words } from './text.mjs';

/** @typedef {import('./invitations.mjs').InviteDraft} InviteDraft */

/** A QR code as one path: a run of dark squares in a row is one bar. @param {string} text */
function qrPath(text) {
  const { data, size } = encode(text, { ecc: 'M', border: 4 });
  let path = '';
  data.forEach((row, y) => {
    for (let x = 0; x < size; x += 1) {
      if (!row[x]) continue;
      const from = x;
      while (x < size && row[x]) x += 1;
      path += `M${from} ${y}h${x - from}v1h${from - x}z`;
    }
  });
  return { path, size };
}

export class InviteView extends View {
  /** @override */
  static properties = { copied: { state: true } };

  constructor() {
    super();
    /** What came of copying: '', 'yes' or 'no'. */
    this.copied = '';
    this.lastProblems = 0;
    this.hadMade = false;
  }

  /** @returns {InviteDraft} */
  get draft() {
    return this.model;
  }

  /** @override */
  firstUpdated() {
    /** @type {HTMLDialogElement | null} */ (this.find('dialog'))?.showModal();
    this.focusOn(this.draft.again === null ? '#invite-name' : '#invite-birth', 'h2');
  }

  /** @override */
  updated() {
    const { problem, problems, made } = this.draft;
    if (problems !== this.lastProblems) {
      this.lastProblems = problems;
      this.focusOn(problem === 'name' ? '#invite-name' : problem.startsWith('birth') ? '#invite-birth' : 'h2');
    }
    if (made !== null && !this.hadMade) this.focusOn('h2');
    this.hadMade = made !== null;
  }

  onClose() {
    this.dispatchEvent(new Event('done'));
  }

  close() {
    /** @type {HTMLDialogElement | null} */ (this.find('dialog'))?.close();
  }

  /** @param {SubmitEvent} event */
  onMake(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    void this.draft.make(String(data.get('invite-name') ?? ''), String(data.get('invite-birth') ?? ''));
  }

  async onCopy() {
    try {
      await navigator.clipboard.writeText(this.draft.made?.link ?? '');
      this.copied = 'yes';
    } catch {
      this.copied = 'no';
      /** @type {HTMLInputElement | null} */ (this.find('#invite-link'))?.select();
    }
  }

  /** @override */
  render() {
    return html`<dialog class="wide" aria-labelledby="invite-title" @close=${this.onClose}>
      ${this.draft.made === null ? this.form() : this.ready(this.draft.made)}
    </dialog>`;
  }

  form() {
    const { enrols, name, check, busy, problem, again } = this.draft;
    const patient = enrols === 'patient';
    const birthError = problem === 'birth_missing' ? words.birthDateMissing : problem === 'birth_unreadable' ? words.birthDateUnreadable : '';
    return html`<form novalidate @submit=${this.onMake}>
      <h2 id="invite-title" tabindex="-1">${patient ? words.patientTitle : words.staffTitle}</h2>
      ${problem === 'failed' ? html`<p class="error" role="alert">${words.failed}</p>` : nothing}
      <div class="field">
        <label for="invite-name">${patient ? words.patientName : words.name}</label>
        <input
          id="invite-name"
          name="invite-name"
          maxlength="120"
          autocomplete="off"
          .value=${name}
          ?readonly=${again !== null}
          aria-describedby=${problem === 'name' ? 'invite-name-error' : nothing}
          aria-invalid=${problem === 'name'}
        />
        ${problem === 'name' ? html`<p class="error" id="invite-name-error">${words.nameMissing}</p>` : nothing}
      </div>
      <fieldset>
        <legend>${words.check}</legend>
        ${patient ? this.choice('birth_date', words.birthDate) : nothing} ${this.choice('code', words.code)}
        ${patient ? nothing : this.choice('none', words.none)}
      </fieldset>
      ${check === 'birth_date'
        ? html`<div class="field">
            <label for="invite-birth">${words.birthDate}</label>
            <p class="hint" id="invite-birth-hint">${words.birthDateHint}</p>
            <input
              id="invite-birth"
              name="invite-birth"
              maxlength="64"
              inputmode="numeric"
              autocomplete="off"
              aria-describedby=${birthError === '' ? 'invite-birth-hint' : 'invite-birth-error invite-birth-hint'}
              aria-invalid=${birthError !== ''}
            />
            ${birthError === '' ? nothing : html`<p class="error" id="invite-birth-error">${birthError}</p>`}
          </div>`
        : nothing}
      ${check === 'code' ? html`<p class="hint">${words.codeHint}</p>` : nothing}
      <div class="row">
        <button type="button" @click=${this.close}>${words.cancel}</button>
        <button class="primary" ?disabled=${busy}>${busy ? words.making : words.make}</button>
      </div>
    </form>`;
  }

  /**
   * @param {import('./invitations.mjs').Check} check
   * @param {string} label
   */
  choice(check, label) {
    return html`<label class="check">
      <input type="radio" name="check" .checked=${this.draft.check === check} @change=${() => this.draft.choose(check)} />
      ${label}
    </label>`;
  }

  /** @param {import('./invitations.mjs').Made} made */
  ready(made) {
    const { name, enrols, check } = this.draft;
    const { path, size } = qrPath(made.link);
    return html`<h2 id="invite-title" tabindex="-1">${words.readyTitle(name)}</h2>
      <p>
        ${enrols === 'patient' ? words.handPatient : words.handStaff}
        ${check === 'birth_date' ? words.handBirth : check === 'code' ? words.handCode : nothing}
      </p>
      <div class="handover">
        <svg class="qr" viewBox="0 0 ${size} ${size}" role="img" aria-label=${words.qr} shape-rendering="crispEdges">
          ${svg`<path d=${path} />`}
        </svg>
        <div>
          <div class="field">
            <label for="invite-link">${words.link}</label>
            <input id="invite-link" readonly .value=${made.link} @focus=${this.onLinkFocus} />
          </div>
          <button class="primary" @click=${this.onCopy}>${words.copy}</button>
          <p class="hint" role="status">${this.copied === 'yes' ? words.copied : this.copied === 'no' ? words.copyFailed : ''}</p>
          ${made.code === null
            ? nothing
            : html`<p class="label" id="code-title">${words.codeTitle}</p>
                <p class="code" aria-labelledby="code-title">${made.code}</p>`}
        </div>
      </div>
      <p class="hint">${words.once} ${words.until(dateTime(made.expires_ms))}</p>
      <div class="row"><button @click=${this.close}>${words.done}</button></div>`;
  }

  /** @param {FocusEvent} event */
  onLinkFocus(event) {
    /** @type {HTMLInputElement} */ (event.target).select();
  }
}
customElements.define('sotto-invite', InviteView);
