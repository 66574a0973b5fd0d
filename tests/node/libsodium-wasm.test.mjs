// libsodium compiled to wasm, by itself, with what stands under it: LLVM 14 miscompiles its 4-way ChaCha20 without
// emscripten/patches, Ed25519's table is computed, and memcpy and its kin are our own.
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, randomBytes, randomFillSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const path = new URL('../../build/tests/primitives.wasm', import.meta.url);
let calls = 0;

async function load() {
  /** @type {any} */
  let exports;
  const random = (/** @type {number} */ pointer, /** @type {number} */ size) => {
    calls += 1;
    randomFillSync(new Uint8Array(exports.memory.buffer, pointer, size));
  };
  const log = () => {};
  ({ exports } = (await WebAssembly.instantiate(await readFile(path), { sotto: { random, log } })).instance);
  exports._initialize();
  assert.equal(exports.primitives_init(), 0);
  return exports;
}

test('memcpy, memmove and memset do every length and shift', async () => {
  assert.equal((await load()).memory_difference(), -1);
});

test('ChaCha20 in wasm agrees with a plain implementation at every length from 0 to 4200', async () => {
  const exports = await load();
  assert.equal(exports.chacha20_difference(), -1);
  assert.equal(exports.bench_seal(1000, 1), 0);
  assert.equal(exports.bench_verify(100, 1), 0);
  calls = 0;
  assert.equal(exports.bench_xwing_keypair(1), 0);
  assert.ok(calls <= 3, `randomness is drawn in bulk, not byte by byte (${calls} calls)`);
});

// A key looks up two of the eight entries in each of the table's 32 rows: after a thousand every one was used.
test('Ed25519 keys from the computed table are those of OpenSSL', async () => {
  const exports = await load();
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex'); // PKCS #8 (RFC 8410)
  for (let i = 0; i < 1000; i++) {
    const seed = randomBytes(32);
    const bytes = new Uint8Array(exports.memory.buffer, exports.primitives_seed(), 32);
    bytes.set(seed);
    assert.equal(exports.primitives_public_key(), 0);
    const key = createPrivateKey({ key: Buffer.concat([prefix, seed]), format: 'der', type: 'pkcs8' });
    const expected = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
    assert.deepEqual(Buffer.from(bytes), expected, `seed ${seed.toString('hex')}`);
  }
});
