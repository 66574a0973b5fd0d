// access-view.mjs: the way into the staff page: as the patient's, and the form that makes a clinic.
import { html, nothing } from 'lit';
import { AccessView } from '../common/access-view.mjs';
import { clinic } from './text.mjs';

export class StaffAccessView extends AccessView {
  /** @type {typeof AccessView.properties & Record<string, object>} @override */
  static properties = { ...AccessView.properties, missing: { state: true } };

  constructor() {
    super();
    /** The field that was left empty: its id. */
    this.missing = '';
  }

  /** @override @param {import('../common/types.mjs').InvitationView} invitation it proposes the name that the inviter wrote */
  nameField(invitation) {
    const w = this.words;
    return this.textField('name', w.name, w.nameHint, w.nameMissing, 'name', true, invitation.name);
  }

  /**
   * @param {string} id
   * @param {string} label
   * @param {string} hint
   * @param {string} error
   * @param {string} autocomplete
   * @param {boolean} [first]
   * @param {string} [proposed] what stands in it at first
   */
  textField(id, label, hint, error, autocomplete, first = false, proposed = '') {
    const bad = this.missing === id;
    const described = [bad ? `${id}-error` : '', hint === '' ? '' : `${id}-hint`].join(' ').trim();
    return html`<div class="field">
      <label for=${id}>${label}</label>
      ${hint === '' ? nothing : html`<p class="hint" id="${id}-hint">${hint}</p>`}
      <input
        id=${id}
        name=${id}
        maxlength="120"
        value=${proposed}
        autocomplete=${/** @type {any} */ (autocomplete)}
        class=${first ? 'first' : ''}
        aria-describedby=${described === '' ? nothing : described}
        aria-invalid=${bad}
      />
      ${bad ? html`<p class="error" id="${id}-error">${error}</p>` : nothing}
    </div>`;
  }

  /**
   * True when all of these were filled in; else says which was not.
   * @param {FormData} data
   * @param {...string} ids
   */
  filled(data, ...ids) {
    this.missing = ids.find((id) => String(data.get(id) ?? '').trim() === '') ?? '';
    if (this.missing === '') return true;
    void this.updateComplete.then(() => this.focusOn(`#${this.missing}`));
    return false;
  }

  /** @override @param {SubmitEvent} event */
  onCheck(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    if (this.filled(data, 'name')) void this.access.answer(String(data.get('factor') ?? ''), String(data.get('name')));
  }

  /** @override */
  noLink() {
    const w = this.words;
    const { busy, problem, problemText } = this.access;
    return html`<h1 tabindex="-1">${w.noLinkTitle}</h1>
      <p>${w.noLinkHelp}</p>
      <section class="aside">
        <h2>${clinic.title}</h2>
        <p class="hint">${clinic.help}</p>
        ${this.storageProblem()}
        ${problem === 'failed' ? html`<p class="error" role="alert">${problemText}</p>` : nothing}
        <form novalidate @submit=${this.onCreate}>
          ${this.userName()} ${this.textField('clinic-name', clinic.clinicName, '', clinic.clinicNameMissing, 'organization')}
          ${this.textField('name', clinic.name, '', clinic.nameMissing, 'name')} ${this.pinFields(false)}
          <button class="primary" ?disabled=${busy}>${busy ? clinic.creating : clinic.create}</button>
        </form>
      </section>`;
  }

  /** @param {SubmitEvent} event */
  onCreate(event) {
    event.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (event.target));
    this.pinProblem = '';
    if (!this.filled(data, 'clinic-name', 'name')) return;
    const pin = this.readPin(data);
    if (pin === null) return;
    void this.access.createClinic({
      clinic_name: String(data.get('clinic-name')).trim(),
      name: String(data.get('name')).trim(),
      pin,
    });
  }
}
customElements.define('sotto-staff-access', StaffAccessView);
