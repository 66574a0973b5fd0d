// worker.mjs: the dedicated Worker behind browser.mjs. Holds the account's files and the core, or, when another tab of the
// origin does, passes commands on to that one (tabs.mjs). Speaks to its page by messages:
//
//     page → worker   open {options} · call {id, command, args, attachments} · caught-up {id, timeout} · ping {id}
//                     take-over · close {id}
//     worker → page   reply {id, result, attachments} or {id, error} · event {event} · storage {storage}
import { loadCore } from './core.mjs';
import { SottoError } from './error.mjs';
import { openFiles } from './files.mjs';
import { Host } from './host.mjs';
import { Tabs } from './tabs.mjs';

/** What the core calls its store within the account's folder. */
const STORE = 'account';

/**
 * @typedef {object} WorkerOptions
 * @property {string} account '' for one in memory
 * @property {string} wasm address of the module
 */

/** The parts of a Worker's global scope that are used here; the page's own types do not know them. */
const scope = /** @type {{ postMessage(message: unknown, transfer?: Transferable[]): void, close(): void, onmessage: ((e: MessageEvent) => void) | null, navigator: Navigator }} */ (
  /** @type {unknown} */ (globalThis)
);

/** @type {Tabs | null} */
let tabs = null;
/** @type {Promise<WebAssembly.Module> | null} */
let module = null;

/**
 * Compiled once a Worker; a new instance after a trap comes from the same module.
 * @param {string} url
 */
function compile(url) {
  module ??= load(url).catch((error) => {
    module = null; // the next command tries again: the network may be back
    throw error;
  });
  return module;
}

/** @param {string} url */
async function load(url) {
  let response;
  try {
    response = await fetch(url, { credentials: 'omit' });
  } catch (cause) {
    throw new SottoError({ code: 'unavailable', class: 'host', message: 'A part of Sotto could not be loaded.' }, { cause });
  }
  if (!response.ok) {
    throw new SottoError({ code: 'unavailable', class: 'host', message: `A part of Sotto could not be loaded (${response.status}).` });
  }
  // Streaming needs the right Content-Type, which not every static host sends.
  const streams = response.headers.get('content-type')?.startsWith('application/wasm') === true;
  return streams ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}

/** @param {WorkerOptions} options */
function open({ account, wasm }) {
  const memory = account === '';
  tabs = new Tabs({
    account: memory ? `memory:${crypto.getRandomValues(new Uint32Array(2)).join('')}` : account,
    locks: /** @type {any} */ (scope.navigator.locks),
    emit: (event) => scope.postMessage({ type: 'event', event }),
    onstorage: (storage) => scope.postMessage({ type: 'storage', storage }),
    open: async () => {
      const host = new Host({
        store: memory ? '' : STORE,
        start: async () => {
          const compiled = await compile(wasm);
          const files = memory ? null : await openFiles(account);
          try {
            return { core: await loadCore({ wasm: compiled, ...(files === null ? {} : { files }) }), files };
          } catch (error) {
            await files?.close();
            throw error;
          }
        },
        emit: (event) => tabs?.told(event),
        log: (level, text) => {
          if (level >= 2) console.warn(`sotto: ${text}`);
        },
      });
      await host.ready();
      return host;
    },
  });
}

/**
 * @param {string} id
 * @param {() => Promise<{ result?: unknown, attachments?: Uint8Array[] }>} job
 */
async function answer(id, job) {
  try {
    const { result, attachments = [] } = await job();
    scope.postMessage({ type: 'reply', id, result, attachments }, attachments.map((a) => /** @type {ArrayBuffer} */ (a.buffer)));
  } catch (error) {
    scope.postMessage({ type: 'reply', id, error: SottoError.from(error).toJSON() });
  }
}

scope.onmessage = (/** @type {MessageEvent} */ { data }) => {
  const opened = () => {
    if (tabs === null) throw new SottoError({ code: 'state', class: 'state', message: 'Not open yet.' });
    return tabs;
  };
  switch (data.type) {
    case 'open':
      open(data.options);
      return;
    case 'call':
      void answer(data.id, async () => opened().run(data.command, data.args, data.attachments));
      return;
    case 'caught-up':
      void answer(data.id, async () => ({ result: await opened().caughtUp(data.timeout) }));
      return;
    case 'ping':
      void answer(data.id, async () => ({}));
      return;
    case 'take-over':
      opened().takeOver();
      return;
    case 'close':
      void answer(data.id, async () => {
        await tabs?.close();
        return {};
      }).then(() => scope.close());
      return;
  }
};
