// Attachments: pieces in order, resumed after an interruption, read by ranges.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { RIGHT, b64u } from '../client.mjs';
import { checksOf } from '../suite.mjs';

/** @typedef {import('../actors.mjs').Device} Device */

const group = checksOf('blobs');
/** @param {string} name @param {(c: import('../suite.mjs').Context) => Promise<unknown>} run */
const check = (name, run) => group(name, run, 'blobs');

const KIB = 1024;
const MIB = 1024 * KIB;
const TYPE = { type: 'application/octet-stream' };
const newId = () => b64u(randomBytes(32));
/** @param {Device} device @param {string} id @param {number} length @param {number} offset @param {Buffer} piece */
const put = (device, id, length, offset, piece) => device.ask('PUT', `/v1/blobs/${id}?length=${length}&offset=${offset}`, piece, TYPE);
/** @param {Device} device @param {string} id @param {string} [range] */
const get = (device, id, range) => device.ask('GET', `/v1/blobs/${id}`, undefined, range === undefined ? {} : { headers: { range } });
/** @param {Device} device @param {string} id */
const state = (device, id) => device.ask('GET', `/v1/blobs/${id}/state`);
/** @param {Device} device @param {string} id */
const remove = (device, id) => device.ask('DELETE', `/v1/blobs/${id}`);
/** Uploads all of it. @param {import('../suite.mjs').Context} c @param {Device} device @param {Buffer} bytes @param {number} size of a piece */
async function upload(c, device, bytes, size = MIB, id = newId()) {
  for (let at = 0; at < bytes.length; at += size) {
    const piece = bytes.subarray(at, at + size);
    assert.deepEqual(c.expect(await put(device, id, bytes.length, at, piece), 200), { offset: at + piece.length, length: bytes.length });
  }
  return id;
}

check('uploaded in pieces, read by every device of the clinic, byte for byte', async (c) => {
  const [a, b] = /** @type {[Device, Device]} */ (await c.members(2));
  for (const size of [1, 64 * KIB, MIB]) {
    const bytes = randomBytes(size);
    const id = await upload(c, a, bytes, 200 * KIB);
    const whole = await get(b, id);
    c.expect(whole, 200);
    assert.ok(whole.bytes.equals(bytes), `${size} bytes differ`);
  }
});

check('ranges: from, to, the last ones, across pieces, at most 1 MiB', async (c) => {
  const [a] = /** @type {[Device]} */ (await c.members(1));
  const size = 2.5 * MIB + 3;
  const bytes = randomBytes(size);
  const id = await upload(c, a, bytes, 700 * KIB);
  const ranges = /** @type {[string, number, number][]} */ ([
    ['0-0', 0, 0],
    ['1-2', 1, 2],
    [`${700 * KIB - 1}-${700 * KIB}`, 700 * KIB - 1, 700 * KIB],
    [`${300 * KIB}-`, 300 * KIB, 300 * KIB + MIB - 1],
    ['0-9999999999', 0, MIB - 1],
    ['-5', size - 5, size - 1],
    [`${size - 1}-`, size - 1, size - 1],
    [`${size - 10}-${size + 10}`, size - 10, size - 1],
  ]);
  for (const [range, first, last] of ranges) {
    const part = await get(a, id, `bytes=${range}`);
    c.expect(part, 206);
    const [from, to] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(String(part.headers['content-range'])) ?? []).slice(1).map(Number);
    assert.equal(from, first, range);
    assert.ok(to !== undefined && to <= last, range);
    // a server may give less of a long one
    if (last - first < 64 * KIB) assert.equal(to, last, range);
    assert.ok(part.bytes.equals(bytes.subarray(first, to + 1)), `bytes of ${range}`);
    assert.ok(String(part.headers['content-range']).endsWith(`/${size}`));
  }
  for (const range of [`${size}-`, `${size + 5}-${size + 6}`, '-0']) {
    const beyond = await get(a, id, `bytes=${range}`);
    assert.equal(c.expect(beyond, 416, 'bad-range').length, size);
    assert.equal(beyond.headers['content-range'], `bytes */${size}`);
  }
  c.expect(await get(a, id), 400, 'malformed');
  // What is no single range of bytes is as if it were not there.
  const small = await upload(c, a, bytes.subarray(0, 100));
  for (const range of ['bytes=0-1,3-4', 'pages=0-1', 'bytes=5-1', 'bytes=', 'bytes=a-b', 'bytes=1', 'bytes=--1']) c.expect(await get(a, small, range), 200);
});

check('an upload is resumed where it stands; a piece again changes nothing', async (c) => {
  const [a] = /** @type {[Device]} */ (await c.members(1));
  const bytes = randomBytes(200 * KIB);
  const id = newId();
  const [first, second] = [bytes.subarray(0, 100 * KIB), bytes.subarray(100 * KIB)];
  c.expect(await state(a, id), 404, 'not-found');
  assert.equal(c.expect(await put(a, id, bytes.length, 100 * KIB, second), 409, 'wrong-offset').offset, 0);
  const half = { offset: first.length, length: bytes.length };
  assert.deepEqual(c.expect(await put(a, id, bytes.length, 0, first), 200), half);
  assert.deepEqual(c.expect(await put(a, id, bytes.length, 0, first), 200), half);
  assert.deepEqual(c.expect(await state(a, id), 200), half);
  assert.equal(c.expect(await put(a, id, bytes.length, 0, second), 409, 'wrong-offset').offset, first.length);
  assert.equal(c.expect(await put(a, id, bytes.length, 120 * KIB, bytes.subarray(120 * KIB)), 409, 'wrong-offset').offset, first.length);
  c.expect(await get(a, id), 404, 'not-found');
  c.expect(await put(a, id, bytes.length + 1, first.length, second), 409, 'id-reused');
  const whole = { offset: bytes.length, length: bytes.length };
  assert.deepEqual(c.expect(await put(a, id, bytes.length, first.length, second), 200), whole);
  assert.deepEqual(c.expect(await put(a, id, bytes.length, first.length, second), 200), whole);
  assert.deepEqual(c.expect(await state(a, id), 200), whole);
  assert.equal(c.expect(await put(a, id, bytes.length, first.length, randomBytes(second.length)), 409, 'wrong-offset').offset, bytes.length);
  assert.ok((await get(a, id)).bytes.equals(bytes));
});

check('of the same piece sent several times at once one is stored', async (c) => {
  const [a] = /** @type {[Device]} */ (await c.members(1));
  const id = newId();
  const pieces = Array.from({ length: 3 }, () => randomBytes(64 * KIB));
  const length = pieces.length * 64 * KIB;
  for (const [i, piece] of pieces.entries()) {
    const answers = await Promise.all(Array.from({ length: 4 }, () => put(a, id, length, i * piece.length, piece)));
    c.expectAll(answers, 200);
  }
  assert.ok((await get(a, id)).bytes.equals(Buffer.concat(pieces)));
});

check('only the uploader goes on; he or the right roster deletes; another clinic knows nothing of it', async (c) => {
  const [a, b] = /** @type {[Device, Device]} */ (await c.members(2));
  const id = newId();
  const bytes = randomBytes(130 * KIB);
  c.expect(await put(a, id, bytes.length, 0, bytes.subarray(0, 65 * KIB)), 200);
  c.expect(await put(b, id, bytes.length, 65 * KIB, bytes.subarray(65 * KIB)), 403, 'forbidden');
  c.expect(await remove(b, id), 403, 'forbidden');
  c.expect(await put(a, id, bytes.length, 65 * KIB, bytes.subarray(65 * KIB)), 200);
  c.expect(await remove(a, id), 204);
  c.expect(await remove(a, id), 404, 'not-found');
  c.expect(await get(a, id), 404, 'not-found');
  const other = await upload(c, a, bytes);
  const keeper = await c.member(RIGHT.roster);
  c.expect(await put(keeper, newId(), 1, 0, bytes.subarray(0, 1)), 403, 'forbidden');
  c.expect(await remove(keeper, other), 204);
  c.expect(await get(b, other), 404, 'not-found');
  const third = await upload(c, a, bytes);
  c.expect(await a.ask('DELETE', `/v1/devices/${a.id}`), 204);
  c.expect(await get(a, third), 403, 'revoked');
  c.expect(await get(b, third), 200);
});

check("another clinic's blob is not there", async (c) => {
  const [a] = /** @type {[Device]} */ (await c.members(1));
  const id = await upload(c, a, randomBytes(10));
  const stranger = await (await c.newClinic()).enrolStaff();
  c.expect(await get(stranger, id), 404, 'not-found');
  c.expect(await state(stranger, id), 404, 'not-found');
  c.expect(await remove(stranger, id), 404, 'not-found');
  // The same id there is another blob.
  c.expect(await put(stranger, id, 3, 0, Buffer.from('abc')), 200);
  assert.equal((await get(a, id)).bytes.length, 10);
});

check('form and limits: lengths, offsets, sizes of pieces, ids', async (c) => {
  const [a] = /** @type {[Device]} */ (await c.members(1));
  const piece = randomBytes(64 * KIB);
  const id = newId();
  assert.equal(c.expect(await put(a, id, c.description.limits.blob + 1, 0, piece), 413, 'too-large').limit, c.description.limits.blob);
  c.expect(await put(a, id, 1e6, 0, piece.subarray(1)), 400, 'malformed');
  c.expect(await put(a, id, 10, 0, piece.subarray(0, 11)), 400, 'malformed');
  c.expect(await put(a, id, 10, 20, piece.subarray(0, 1)), 400, 'malformed');
  c.expect(await put(a, id, 0, 0, piece), 400, 'malformed');
  c.expect(await put(a, 'AAAA', 10, 0, piece.subarray(0, 10)), 400, 'malformed');
  for (const query of ['', '?length=10', '?offset=0', '?length=10&offset=x', '?length=10&length=10&offset=0']) {
    c.expect(await a.ask('PUT', `/v1/blobs/${id}${query}`, piece.subarray(0, 10), TYPE), 400, 'malformed');
  }
  c.expect(await a.ask('PUT', `/v1/blobs/${id}?length=10&offset=0`, undefined), 400, 'malformed');
  c.expect(await a.ask('PUT', `/v1/blobs/${id}?length=10&offset=0`, piece.subarray(0, 10)), 400, 'malformed');
  c.expect(await state(a, id), 404, 'not-found');
  c.expect(await get(a, 'AAAA'), 400, 'malformed');
});
