// cold-worker.mjs: the Worker of browser.mjs's cold start: the module by streaming, an account in memory, its first keys.
import { loadCore } from '../../glue/core.mjs';

const begin = performance.now();
const core = await loadCore({ wasm: await WebAssembly.compileStreaming(fetch('/build/sotto.wasm')) });
const loaded = performance.now();
const handle = core.open('');
const { header } = core.call(handle, {
  command: 'clinic.create',
  args: { relay: location.origin, clinic_name: 'Sunrise Clinic', name: 'Reception', kind: 'staff' },
});
const end = performance.now();
const post = /** @type {(message: unknown) => void} */ (globalThis.postMessage);
post({ error: header.error?.message, total: end - begin, load: loaded - begin, memory: core.memory.length });
