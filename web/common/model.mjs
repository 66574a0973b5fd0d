// model.mjs: what all view models are: plain state that says when it changed. No DOM.

/** State with listeners. Views listen; several changes in one turn redraw once, because Lit waits for the turn's end. */
export class Model {
  /** @type {Set<() => void>} */
  #listeners = new Set();

  /**
   * @param {() => void} listener
   * @returns {() => void} stops listening
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  changed() {
    for (const listener of [...this.#listeners]) listener();
  }
}

/**
 * Runs `work` once now and, when asked again while it runs, once more after: however many events come, the last state
 * is read after the last of them, and never twice at a time.
 * @param {() => Promise<void>} work
 * @returns {() => Promise<void>} resolves when all that was asked for until now is done
 */
export function coalesce(work) {
  /** @type {Promise<void> | null} */
  let running = null;
  let again = false;
  const loop = async () => {
    do {
      again = false;
      await work();
    } while (again);
  };
  return () => {
    if (running !== null) {
      again = true;
      return running;
    }
    running = loop().finally(() => {
      running = null;
    });
    return running;
  };
}

/**
 * The `code` of an error that a command ended with; '' for anything else.
 * @param {unknown} error
 * @returns {string}
 */
export function codeOf(error) {
  const code = error instanceof Error ? /** @type {{ code?: unknown }} */ (/** @type {unknown} */ (error)).code : undefined;
  return typeof code === 'string' ? code : '';
}

/**
 * Compares two non-negative integers written in decimal, of any size.
 * @param {string} a
 * @param {string} b
 */
export function compareNumbers(a, b) {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}
