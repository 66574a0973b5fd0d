// The log of accesses: one chain, signed checkpoints, an entry for what was asked and how it ended.
import assert from 'node:assert/strict';
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { RIGHT, b64u, randomId } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('audit');
const CALL = { enrol: 2, message: 8, rosterPut: 14, auditRead: 16, event: 17 };

/** An Entry of PROTOCOL.md. @param {string} text */
function decode(text) {
  const bytes = Buffer.from(text, 'base64url');
  let at = 0;
  const take = (/** @type {number} */ n) => {
    assert.ok(at + n <= bytes.length, 'an entry ends early');
    return bytes.subarray(at, (at += n));
  };
  const byte = () => /** @type {number} */ (take(1)[0]);
  const opaque = () => {
    const first = byte();
    return take(first < 0x40 ? first : ((first & 0x3f) << 8) | byte());
  };
  const entry = {
    number: Number(take(8).readBigUInt64BE()), at: Number(take(8).readBigUInt64BE()), who: byte(), keyid: b64u(take(16)), call: byte(), object: opaque(),
    status: take(2).readUInt16BE(), problem: opaque().toString(), network: opaque(), sealed: opaque(), previous: take(32),
  };
  assert.equal(at, bytes.length, 'an entry has bytes behind it');
  assert.ok(entry.network.length === 3 || entry.network.length === 6);
  return { ...entry, hash: createHash('sha256').update('Sotto audit 1').update(bytes).digest() };
}

/** What follows after an entry, a few at a time, its chain checked. @param {import('../suite.mjs').Context} c @param {import('../actors.mjs').Device} reader */
async function read(c, reader, after = 0, previous = /** @type {Buffer} */ (Buffer.alloc(32))) {
  const entries = [];
  for (let next = after; ;) {
    const page = c.expect(await reader.ask('GET', `/v1/audit?after=${next}&limit=20`), 200);
    for (const text of page.entries) {
      const entry = decode(text);
      assert.equal(entry.number, (next += 1));
      assert.deepEqual(entry.previous, previous, 'the chain is broken');
      previous = entry.hash;
      entries.push(entry);
    }
    assert.equal(page.next, next);
    if (page.entries.length < 20) return entries;
  }
}

check('requests are entries of one chain, the refused ones too', async (c) => {
  const clinic = await c.newClinic();
  const auditor = await clinic.enrolStaff(RIGHT.audit);
  const other = await clinic.enrolStaff(RIGHT.message);
  c.expect(await other.ask('GET', '/v1/audit'), 403, 'forbidden');
  c.expect(await other.ask('PUT', '/v1/roster', { number: 1, roster: 'AAAA' }), 403, 'forbidden');
  const entries = await read(c, auditor);
  /** @param {string} keyid @param {number} call */
  const of = (keyid, call) => entries.filter((e) => e.keyid === keyid && e.call === call).map((e) => [e.who, e.status, e.problem]);
  assert.deepEqual(of(auditor.id, CALL.enrol), [[1, 201, '']]);
  assert.deepEqual(of(other.id, CALL.enrol), [[1, 201, '']]);
  assert.deepEqual(of(other.id, CALL.auditRead), [[1, 403, 'forbidden']]);
  assert.deepEqual(of(other.id, CALL.rosterPut), [[1, 403, 'forbidden']]);
  const last = entries.at(-1);
  const more = await read(c, auditor, last?.number, last?.hash);
  assert.ok(more.length > 0 && more.every((e) => e.keyid === auditor.id && e.call === CALL.auditRead), 'reading the log is an entry itself');
}, 'audit');

check('a checkpoint is signed, of an entry of the chain, the same for all, and stays', async (c) => {
  const clinic = await c.newClinic();
  const [auditor, other] = [await clinic.enrolStaff(RIGHT.audit), await clinic.enrolStaff(RIGHT.message)];
  const p = c.expect(await other.ask('GET', '/v1/audit/checkpoint'), 200);
  const u64 = (/** @type {number} */ v) => Buffer.from(BigInt(v).toString(16).padStart(16, '0'), 'hex');
  const content = Buffer.concat([Buffer.from('Sotto checkpoint 1'), Buffer.from(p.clinic, 'base64url'), u64(p.number), Buffer.from(p.hash, 'base64url'), u64(p.at)]);
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: c.description.audit_key }, format: 'jwk' });
  assert.ok(verify(null, content, key, Buffer.from(p.signature, 'base64url')), 'the signature does not verify with audit_key');
  assert.equal(p.clinic, clinic.id);
  const entries = await read(c, auditor);
  assert.equal(b64u(/** @type {Buffer} */ (entries[p.number - 1]?.hash)), p.hash);
  assert.deepEqual(c.expect(await auditor.ask('GET', `/v1/audit/checkpoint?number=${p.number}`), 200), p);
  c.expect(await auditor.ask('GET', '/v1/audit/checkpoint?number=9000000000000000'), 404, 'not-found');
  c.expect(await auditor.ask('GET', '/v1/audit/checkpoint?number=x'), 400, 'malformed');
}, 'audit');

check('a client\'s own event is one entry, however often it is sent', async (c) => {
  const clinic = await c.newClinic();
  const [auditor, other] = [await clinic.enrolStaff(RIGHT.audit), await clinic.enrolStaff(RIGHT.message)];
  const id = randomId();
  const sealed = randomBytes(4096);
  const put = (/** @type {object} */ more = {}) => other.ask('POST', '/v1/audit', { id, sealed: b64u(sealed), ...more });
  const [first, ...rest] = await Promise.all([put(), put(), put()]);
  const { number } = /** @type {any} */ (first).json;
  assert.deepEqual([first, ...rest].map((a) => a.status).sort(), [200, 200, 201]);
  for (const again of rest) assert.equal(again.json.number, number);
  c.expect(await put({ sealed: 'AAAA' }), 409, 'id-reused');
  c.expect(await put({ id: 'AAAA' }), 400, 'malformed');
  c.expect(await put({ sealed: b64u(randomBytes(4097)) }), 400, 'malformed');
  const events = (await read(c, auditor)).filter((e) => e.call === CALL.event && e.status < 400);
  assert.deepEqual(events.map((e) => [e.number, e.keyid, b64u(e.object), b64u(e.sealed)]), [[number, other.id, id, b64u(sealed)]]);
}, 'audit');
