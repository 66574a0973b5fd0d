// page.mjs: what the pages need of the browser before anything is drawn.
import { Sotto } from '../../glue/browser.mjs';

/** The secret behind #, taken out of the address bar and the history at once; '' when there is none. */
export function takeFragment() {
  const fragment = location.hash.slice(1);
  if (location.hash !== '' || location.href.endsWith('#')) history.replaceState(null, '', location.pathname + location.search);
  return fragment;
}

/** @param {string} name */
function named(name) {
  const content = document.querySelector(`meta[name="sotto-${name}"]`)?.getAttribute('content');
  if (!content) throw new Error(`this page does not name its ${name}`);
  return new URL(content, location.href).href;
}

/**
 * The accounts this browser keeps, by name: `patient`, and `patient-2` and so on after a new link beside a kept account.
 * @param {string} first
 * @returns {import('./access.mjs').Stores}
 */
export function browserStores(first) {
  return {
    first,
    open: async (name) =>
      /** @type {import('./types.mjs').Client} */ (
        await Sotto.open({ store: name, wasm: named('wasm'), worker: named('worker'), relay: location.origin })
      ),
    list: () => keptAccounts(first),
  };
}

/**
 * Names of accounts whose files may be here, as glue/files.mjs records them: an IndexedDB database each, also for those in
 * OPFS. Whether there is an account in them, the core says.
 * @param {string} first
 * @returns {Promise<string[]>}
 */
async function keptAccounts(first) {
  /** @type {string[]} */
  let names = [];
  try {
    names = (await indexedDB.databases()).map(({ name }) => (name ?? '').replace(/^sotto:/, ''));
  } catch {
    // Refused here, so nothing is kept either; or a browser without the list, which then shows its first account.
  }
  const number = (/** @type {string} */ name) => Number(name.slice(first.length + 1)) || 1;
  const ours = names.filter((name) => name === first || (name.startsWith(`${first}-`) && /^\d+$/.test(name.slice(first.length + 1))));
  return [...new Set([first, ...ours])].sort((a, b) => number(a) - number(b));
}
