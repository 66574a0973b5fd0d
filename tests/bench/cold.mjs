// cold.mjs WHAT [SUITE]: one cold start, in this process, which must be a new one. Writes JSON: milliseconds from before the
// module's bytes are read until the first key is there (`load`: until the module is); `queued` of them this thread was
// ready to run and others had the processors.
//
//     keys SUITE           the module, then a key package; no store
//     keys-memory SUITE    the same, kept in a store in memory
//     keys-disk SUITE      the same, kept in an encrypted store on disk; returns once it is flushed
//     clinic               the product's own way: a clinic, its device's keys and its account, by `clinic.create`, in memory
//     clinic-disk          the same on disk with a PIN, whose stretching costs what it is meant to cost
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadCore } from '../../glue/core.mjs';
import { openFiles } from '../../glue/files-node.mjs';
import { ROOT, loadBench } from './support.mjs';

const [what = '', suite = '61454'] = process.argv.slice(2);
const onDisk = what.endsWith('-disk');
const folder = onDisk ? mkdtempSync(join(tmpdir(), 'sotto-cold-')) : '';
const files = onDisk ? await openFiles(folder) : undefined;

/** Milliseconds that this thread has waited for a processor (Linux: the second number of schedstat). */
function queued() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

const queuedBefore = queued();
const begin = performance.now();
/** @type {number} */
let loaded;
if (what.startsWith('keys')) {
  const bench = await loadBench(readFileSync(`${ROOT}build/tests/bench.wasm`), files);
  loaded = performance.now();
  const failed = what === 'keys' ? bench.bench_first_key(Number(suite)) : bench.bench_first_key_stored(Number(suite), onDisk ? 1 : 0);
  if (failed !== 0) throw new Error(`no key (${failed})`);
} else {
  const core = await loadCore({ wasm: readFileSync(`${ROOT}build/sotto.wasm`), ...(files === undefined ? {} : { files }) });
  loaded = performance.now();
  const handle = core.open(onDisk ? 'account' : '');
  const args = { relay: 'http://localhost:8080', clinic_name: 'Sunrise Clinic', name: 'Reception', kind: 'staff', ...(onDisk ? { pin: '271828' } : {}) };
  const { header } = core.call(handle, { command: 'clinic.create', args });
  if (header.error !== undefined) throw new Error(header.error.message);
}
const end = performance.now();
const queuedSince = queued() - queuedBefore;

await files?.close();
if (onDisk) rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify({ total: end - begin, load: loaded - begin, queued: queuedSince }));
