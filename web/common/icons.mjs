// icons.mjs: the few pictures, drawn in the text's colour. All stand beside or inside something that has a name.
import { html, svg } from 'lit';

/** @param {import('lit').TemplateResult<2>} shape */
const icon = (shape) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${shape}</svg>`;

/** The mark: a voice that gets quieter. */
export const mark = html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
  <path d="M6 3h20a4 4 0 0 1 4 4v13a4 4 0 0 1-4 4H14l-7 6v-6H6a4 4 0 0 1-4-4V7a4 4 0 0 1 4-4z" />
  <circle cx="10" cy="13.5" r="3" /><circle cx="18" cy="13.5" r="2.1" /><circle cx="24.2" cy="13.5" r="1.3" />
</svg>`;

export const lock = icon(svg`<rect x="5" y="11" width="14" height="9" rx="2" /><path d="M8 11V8a4 4 0 0 1 8 0v3" />`);
export const people = icon(
  svg`<circle cx="9" cy="8" r="3.5" /><path d="M2.5 20c0-4 3-6 6.5-6s6.5 2 6.5 6" /><path d="M16 5a3.4 3.4 0 0 1 0 6.5M18 14.5c2.3.8 3.6 2.7 3.6 5.5" />`,
);
export const back = icon(svg`<path d="M15 5l-7 7 7 7" />`);
export const send = icon(svg`<path d="M4 12l16-8-5 16-4-6z" /><path d="M11 14l9-10" />`);
export const down = icon(svg`<path d="M12 5v14M6 13l6 6 6-6" />`);
export const add = icon(svg`<path d="M12 5v14M5 12h14" />`);
export const leave = icon(svg`<path d="M14 4H6v16h8M11 12h10M17 8l4 4-4 4" />`);
