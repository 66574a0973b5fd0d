// http.mjs: carries out one request of the core. The core says what to send; this bounds what may come back: no cookies,
// no cache, no redirects, an end to every wait, and no more bytes than the core would take.

/** A reply of the relay is about 1 MiB at most (server/PROTOCOL.md, inbox); what is larger is not read to its end. */
export const BODY_MAX = 2 * 1024 * 1024;
/** Milliseconds for a request, and how much more for one that waits for news. */
export const TIMEOUT = 30_000;
export const WAIT_EXTRA = 35_000;
const RETRY_AFTER_MAX = 86_400;

/**
 * @typedef {object} Request one entry of a reply's `http` (core/command/README.md)
 * @property {string} id
 * @property {string} method
 * @property {string} path path and query
 * @property {Record<string, string>} [headers]
 * @property {number} [body] index of an attachment
 * @property {boolean} [waits] a long poll
 */

/**
 * @typedef {object} Answer
 * @property {number} status 0: could not be carried out
 * @property {number} [retryAfter] seconds
 * @property {Uint8Array} [body]
 * @property {string} [problem] why status is 0, for the developer's log
 */

/**
 * The address of a request: the path behind the relay's origin and nothing else, whatever the path says.
 * @param {string} origin
 * @param {string} path
 * @returns {string}
 */
export function requestUrl(origin, path) {
  const base = new URL(origin);
  const url = new URL(path, base);
  if (!path.startsWith('/') || url.origin !== base.origin) throw new Error('a request that leaves the relay');
  return url.href;
}

/**
 * Retry-After in seconds (RFC 9110 §10.2.3: a number or a date); undefined when absent or unreadable.
 * @param {string | null} value
 * @param {number} now
 * @returns {number | undefined}
 */
export function retryAfter(value, now) {
  if (value === null) return undefined;
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : Math.ceil((Date.parse(value) - now) / 1000);
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), RETRY_AFTER_MAX);
}

/**
 * Reads a body to its end, or gives up once it is over the bound.
 * @param {Response} response
 * @param {number} max
 * @returns {Promise<Uint8Array>}
 */
async function readBody(response, max) {
  if (Number(response.headers.get('content-length') ?? 0) > max) throw new Error(`more than ${max} bytes`);
  if (response.body === null) return new Uint8Array(0);
  const reader = response.body.getReader();
  /** @type {Uint8Array[]} */
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > max) throw new Error(`more than ${max} bytes`);
    parts.push(value);
  }
  if (parts.length === 1) return /** @type {Uint8Array} */ (parts[0]);
  const body = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    body.set(part, at);
    at += part.length;
  }
  return body;
}

/**
 * Never rejects: whatever goes wrong is status 0, which the core takes as "not reached, try later".
 * @param {object} o
 * @param {string} o.origin of the relay
 * @param {Request} o.request
 * @param {Uint8Array} [o.body]
 * @param {AbortController} o.controller its abort ends the request
 * @param {typeof globalThis.fetch} [o.fetch]
 * @param {number} [o.timeout]
 * @param {number} [o.bodyMax]
 * @returns {Promise<Answer>}
 */
export async function carryOut({ origin, request, body, controller, fetch = globalThis.fetch, timeout, bodyMax = BODY_MAX }) {
  const limit = timeout ?? (request.waits === true ? TIMEOUT + WAIT_EXTRA : TIMEOUT);
  const timer = setTimeout(() => controller.abort(new Error(`no answer within ${limit} ms`)), limit);
  try {
    const response = await fetch(requestUrl(origin, request.path), {
      method: request.method,
      headers: request.headers ?? {},
      signal: controller.signal,
      redirect: 'error',
      credentials: 'omit',
      cache: 'no-store',
      referrerPolicy: 'no-referrer',
      ...(body === undefined ? {} : { body: /** @type {BodyInit} */ (body) }),
    });
    const bytes = await readBody(response, bodyMax);
    return { status: response.status, retryAfter: retryAfter(response.headers.get('retry-after'), Date.now()), body: bytes };
  } catch (error) {
    controller.abort();
    return { status: 0, problem: describe(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** @param {unknown} error */
function describe(error) {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
  return `${error.message}${cause}`;
}
