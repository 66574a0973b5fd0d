// error.mjs: the one error that callers of Sotto see, whether the core, the host around it or the network is its cause.

/**
 * @typedef {object} ErrorBody what stands under "error" in a reply (core/command/README.md)
 * @property {string} code a word for programs: err_name of core/base/err.h, or one of the host's: `trap`, `interrupted`,
 *   `closed`, `timeout`, `elsewhere`, `unavailable`; of a failed invitation its notice code
 * @property {string} class malformed, invalid, crypto, state, store, limit, host; of a failed invitation `invitation`
 * @property {string} message plain words
 * @property {string} [argument] the argument that was wrong
 * @property {number | null} [attempts_left] of a failed identity check
 */

export class SottoError extends Error {
  /**
   * @param {ErrorBody} body
   * @param {{ cause?: unknown }} [options]
   */
  constructor(body, options) {
    super(body.message, options);
    this.name = 'SottoError';
    this.code = body.code;
    this.class = body.class;
    this.argument = body.argument;
    this.attempts_left = body.attempts_left;
  }

  /** As it crosses a Worker's border, and as `--json` prints it. @returns {ErrorBody} */
  toJSON() {
    const { code, message, argument, attempts_left } = this;
    return {
      code,
      class: this.class,
      message,
      ...(argument === undefined ? {} : { argument }),
      ...(attempts_left === undefined ? {} : { attempts_left }),
    };
  }

  /**
   * Anything thrown, as a SottoError.
   * @param {unknown} error
   * @returns {SottoError}
   */
  static from(error) {
    if (error instanceof SottoError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new SottoError({ code: 'host', class: 'host', message }, { cause: error });
  }
}
