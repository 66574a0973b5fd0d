// libsodium compiled to wasm, by itself: LLVM 14 miscompiles its 4-way ChaCha20 without emscripten/patches.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const path = new URL('../../build/tests/primitives.wasm', import.meta.url);

test('ChaCha20 in wasm agrees with a plain implementation at every length from 0 to 4200', async () => {
  /** @type {any} */
  let exports;
  let calls = 0;
  const random = (/** @type {number} */ pointer, /** @type {number} */ size) => {
    calls += 1;
    randomFillSync(new Uint8Array(exports.memory.buffer, pointer, size));
  };
  const log = () => {};
  ({ exports } = (await WebAssembly.instantiate(await readFile(path), { sotto: { random, log } })).instance);
  exports._initialize();
  assert.equal(exports.primitives_init(), 0);
  assert.equal(exports.chacha20_difference(), -1);
  assert.equal(exports.bench_seal(1000, 1), 0);
  assert.equal(exports.bench_verify(100, 1), 0);
  calls = 0;
  assert.equal(exports.bench_xwing_keypair(1), 0);
  assert.ok(calls <= 3, `randomness is drawn in bulk, not byte by byte (${calls} calls)`);
});
