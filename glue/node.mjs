// node.mjs: Sotto in Node.
//
//     import { Sotto } from 'sotto';
//     const sotto = await Sotto.open({ store: './frontdesk', pin: process.env.PIN });
//     sotto.on('message', async ({ message }) => {
//       const { sender, text, state } = await sotto.call('message.get', { message });
//       if (state === 'received') console.log(`${sender.name}: ${text}`);
//     });
//
// The core runs in this thread; a store is a folder, held by one process at a time.
import { randomFillSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Sotto as Client, SottoError, parseLink } from './client.mjs';
import { loadCore } from './core.mjs';
import { openFiles } from './files-node.mjs';
import { Host } from './host.mjs';

export { SottoError, parseLink };

/** What the core calls its store within the account's folder. */
const STORE = 'account';
const WASM = new URL('../build/sotto.wasm', import.meta.url);

/** Node 18 has no global `crypto`. @param {Uint8Array} bytes */
const random = (bytes) => void randomFillSync(bytes);

/** @type {Map<string, Promise<WebAssembly.Module>>} */
const modules = new Map();

/** @param {string | URL} address */
function compile(address) {
  const key = String(address);
  const known = modules.get(key);
  if (known !== undefined) return known;
  const module = readFile(address).then((bytes) => WebAssembly.compile(new Uint8Array(bytes)));
  modules.set(key, module);
  module.catch(() => modules.delete(key));
  return module;
}

/**
 * @typedef {object} OpenOptions
 * @property {string} store a folder, made when it is not there; '' keeps the account in memory
 * @property {string} [pin] unlocks the account if there is one, and again by itself should the core have to restart
 * @property {string} [relay] used by `clinic.create` and `invitation.open` when they name none
 * @property {boolean} [unref] timers do not keep the process alive; an open long poll still does, until `close`
 * @property {(level: number, text: string) => void} [log] level 0 debug to 3 error; errors go to stderr by default
 * @property {typeof globalThis.fetch} [fetch]
 * @property {string | URL} [wasm] another build of the core
 * @property {(step: string) => void} [trace] told of each step of the host loop, for tests
 */

export class Sotto extends Client {
  /**
   * @param {OpenOptions} options
   * @returns {Promise<Sotto>}
   */
  static async open({ store, pin, relay, unref, log = complain, fetch, wasm = WASM, trace }) {
    const backend = {
      onevent: (/** @type {import('./host.mjs').SottoEvent} */ _event) => {},
      get storage() {
        return host.storage;
      },
      run: (/** @type {string} */ command, /** @type {Record<string, unknown>} */ args, /** @type {readonly Uint8Array[]} */ attachments) => {
        const needsRelay = (command === 'clinic.create' || command === 'invitation.open') && args.relay === undefined;
        return host.run(command, needsRelay && relay !== undefined ? { ...args, relay } : args, attachments);
      },
      caughtUp: (/** @type {number} */ timeout) => host.caughtUp(timeout),
      close: () => host.close(),
    };
    const host = new Host({
      store: store === '' ? '' : STORE,
      start: async () => {
        const module = await compile(wasm);
        const files = store === '' ? null : await openFiles(store);
        try {
          return { core: await loadCore({ wasm: module, random, log, ...(files === null ? {} : { files }) }), files };
        } catch (error) {
          await files?.close();
          throw error;
        }
      },
      emit: (event) => backend.onevent(event),
      log,
      ...(pin === undefined ? {} : { pin }),
      ...(unref === undefined ? {} : { unref }),
      ...(fetch === undefined ? {} : { fetch }),
      ...(trace === undefined ? {} : { trace }),
    });
    const sotto = new Sotto(backend);
    try {
      await host.ready();
      if (pin !== undefined) {
        const { state } = await sotto.call('account.status');
        if (state === 'locked' || state === 'damaged') await sotto.call('account.unlock', { pin });
      }
    } catch (error) {
      await sotto.close();
      throw error;
    }
    return sotto;
  }
}

/**
 * @param {number} level
 * @param {string} text
 */
function complain(level, text) {
  if (level >= 3) console.error(`sotto: ${text}`);
}
