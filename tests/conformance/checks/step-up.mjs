// Sessions: a clinic that asks for none, codes and assertions that begin one, and what a locked device may do. Each check has a clinic of its
// own, for a policy is everybody's.
import assert from 'node:assert/strict';
import { createHash, createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { KIND, RIGHT, b64u, randomId } from '../client.mjs';
import { Skip, checksOf } from '../suite.mjs';

const check = checksOf('step-up');
const POLICY = { staff: 'webauthn-or-totp', staff_idle_s: 900, staff_overall_s: 43200, patients: 'local', patient_idle_s: 1800, patient_overall_s: 86400 };

/** @typedef {import('../suite.mjs').Context} Context @typedef {import('../actors.mjs').Device} Device */

/** RFC 6238. @param {string} secret @param {number} ms */
function codeOf(secret, ms) {
  const moment = Buffer.alloc(8);
  moment.writeBigUInt64BE(BigInt(Math.floor(ms / 30_000)));
  const mac = createHmac('sha1', Buffer.from(secret, 'base64url')).update(moment).digest();
  return String((mac.readUInt32BE(/** @type {number} */ (mac[19]) & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/** @param {Device} device @param {string} code */
const sayCode = (device, code) => device.ask('POST', '/v1/session', { method: 'totp', code });

/** A staff device with a session, and the server's time. @param {Context} c @param {Device} device */
async function atWork(c, device) {
  const { secret } = c.expect(await device.ask('POST', '/v1/verifiers', { method: 'totp' }), 201);
  const { now } = c.expect(await device.ask('GET', `/v1/inbox?after=${device.start}`), 200);
  const session = c.expect(await sayCode(device, codeOf(secret, now)), 201);
  return { secret, now, session };
}

/** An ES256 authenticator of the server's relying party. @param {Context} c @param {Device} device */
async function newAuthenticator(c, device) {
  const { origin, rp_id: party } = c.expect(await device.ask('POST', '/v1/session/challenge'), 200);
  if (origin === undefined) return undefined;
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
  const id = randomBytes(32);
  let counter = 0;
  const head = (/** @type {number} */ flags, rp = party) => Buffer.concat([createHash('sha256').update(rp).digest(), Buffer.from([flags, 0, 0, 0, counter++])]);
  const client = (/** @type {string} */ type, /** @type {string} */ challenge, from = origin) => Buffer.from(JSON.stringify({ type, challenge, origin: from, crossOrigin: false }));
  const challenge = async () => c.expect(await device.ask('POST', '/v1/session/challenge'), 200).challenge;
  return {
    challenge,
    async create() {
      const key = Buffer.concat([Buffer.from('a5010203262001215820', 'hex'), Buffer.from(x, 'base64url'), Buffer.from('225820', 'hex'), Buffer.from(y, 'base64url')]);
      const data = Buffer.concat([head(0x45), Buffer.alloc(16), Buffer.from([0, id.length]), id, key]);
      return { method: 'webauthn', client_data: b64u(client('webauthn.create', await challenge())), authenticator_data: b64u(data) };
    },
    /** @param {{ flags?: number, party?: string, origin?: string, challenge?: string, type?: string }} [change] */
    async get(change = {}) {
      const data = head(change.flags ?? 5, change.party), clientData = client(change.type ?? 'webauthn.get', change.challenge ?? (await challenge()), change.origin);
      const signature = sign('sha256', Buffer.concat([data, createHash('sha256').update(clientData).digest()]), privateKey);
      return { method: 'webauthn', credential: b64u(id), client_data: b64u(clientData), authenticator_data: b64u(data), signature: b64u(signature) };
    },
  };
}

check('no policy asks for nothing; only the right roster with a session of its own sets one', async (c) => {
  const clinic = await c.newClinic();
  const [chief, weak] = [await clinic.enrolStaff(), await clinic.enrolStaff(RIGHT.message)];
  const before = c.expect(await weak.ask('GET', '/v1/policy'), 200);
  assert.deepEqual([before.staff, before.patients, before.bounds], ['off', 'off', { idle_s: [60, 3600], overall_s: [60, 86400] }]);
  c.expect(await weak.inbox(weak.start), 200);
  c.expect(await weak.ask('PUT', '/v1/policy', POLICY), 403, 'forbidden');
  assert.deepEqual(c.expect(await chief.ask('PUT', '/v1/policy', POLICY), 401, 'step-up').methods, []);
  c.expect(await weak.inbox(weak.start), 200);
  await atWork(c, chief);
  for (const change of [{ staff_idle_s: 3601 }, { staff_idle_s: 59 }, { patient_idle_s: 3601 }, { staff_overall_s: 86401 }, { patient_overall_s: 59 }, { staff: 'on' }, { patients: 'totp' }, { staff: undefined }])
    c.expect(await chief.ask('PUT', '/v1/policy', { ...POLICY, ...change }), 400, 'malformed');
  const set = c.expect(await chief.ask('PUT', '/v1/policy', POLICY), 200);
  assert.deepEqual(set, { ...before, ...POLICY });
  assert.deepEqual(c.expect(await weak.ask('GET', '/v1/policy'), 200), set);
}, 'step-up');

check('a code counts once, and wrong ones lock', async (c) => {
  const clinic = await c.newClinic();
  const device = await clinic.enrolStaff();
  const { secret, now, session } = await atWork(c, device);
  assert.deepEqual([session.method, session.ends - session.began, session.idle_ends - session.began], ['totp', 43200_000, 900_000]);
  assert.equal(c.expect(await sayCode(device, codeOf(secret, now)), 403, 'wrong-check').attempts_left, 4);
  c.expect(await sayCode(device, codeOf(secret, now - 300_000)), 403, 'wrong-check');
  c.expect(await sayCode(device, '12345'), 400, 'malformed');
  for (const left of [2, 1]) assert.equal(c.expect(await sayCode(device, codeOf(secret, now - 300_000)), 403, 'wrong-check').attempts_left, left);
  c.expect(await sayCode(device, codeOf(secret, now - 300_000)), 429, 'too-many');
  c.expect(await sayCode(device, codeOf(secret, now + 30_000)), 429, 'too-many');
  assert.ok(!JSON.stringify(c.expect(await device.ask('GET', '/v1/verifiers'), 200)).includes(secret));
}, 'step-up');

check('an assertion begins a session once, with nothing of it wrong', async (c) => {
  const clinic = await c.newClinic();
  const [device, other] = [await clinic.enrolStaff(), await clinic.enrolStaff()];
  const key = await newAuthenticator(c, device);
  if (key === undefined) return; // codes only
  c.expect(await device.ask('POST', '/v1/verifiers', await key.create()), 201);
  for (const change of [{ flags: 1 }, { flags: 4 }, { party: 'evil.example' }, { origin: 'https://evil.example' }, { type: 'webauthn.create' }, { challenge: b64u(randomBytes(32)) }])
    c.expect(await device.ask('POST', '/v1/session', await key.get(change)), 403, 'bad-assertion');
  const foreign = c.expect(await other.ask('POST', '/v1/session/challenge'), 200).challenge;
  c.expect(await device.ask('POST', '/v1/session', await key.get({ challenge: foreign })), 403, 'bad-assertion');
  const tampered = await key.get();
  c.expect(await device.ask('POST', '/v1/session', { ...tampered, client_data: b64u(Buffer.from(Buffer.from(tampered.client_data, 'base64url').toString().replace('false', 'null'))) }), 403, 'bad-assertion');
  c.expect(await device.ask('GET', '/v1/session'), 404, 'not-found');
  const [older, good] = [await key.get(), await key.get()];
  c.expect(await device.ask('POST', '/v1/session', older), 403, 'bad-assertion');
  const again = await key.get();
  const answers = await Promise.all([0, 0, 0].map(() => device.ask('POST', '/v1/session', again)));
  assert.deepEqual(answers.map((a) => a.status).sort(), [201, 403, 403]);
  c.expect(await device.ask('POST', '/v1/session', good), 403, 'bad-assertion');
  assert.equal(c.expect(await device.ask('GET', '/v1/session'), 200).method, 'webauthn');
}, 'step-up');

check('a locked device reads nothing and unlocks itself; agents need no session', async (c) => {
  const clinic = await c.newClinic();
  const [device, staff, agent] = [await clinic.enrolStaff(), await clinic.enrolStaff(), await clinic.enrolStaff(RIGHT.message, { kind: KIND.agent })];
  const { secret, now } = await atWork(c, device);
  c.expect(await device.ask('PUT', '/v1/policy', POLICY), 200);
  assert.deepEqual(c.expect(await staff.inbox(staff.start), 401, 'step-up').methods, []);
  c.expect(await agent.inbox(agent.start), 200);
  const { next } = c.expect(await device.inbox(device.start), 200);
  const [waiting] = await Promise.all([device.inbox(next, { wait: 20 }), new Promise((resolve) => setTimeout(resolve, 300)).then(() => device.ask('DELETE', '/v1/session'))]);
  assert.deepEqual(c.expect(waiting, 401, 'step-up').methods, ['totp']);
  for (const [method, path, body] of /** @type {[string, string, object?][]} */ ([['GET', `/v1/inbox?after=${next}`], ['GET', '/v1/roster'], ['PUT', '/v1/session'], ['PUT', '/v1/policy', POLICY],
    ['GET', `/v1/devices/${staff.id}`], ['DELETE', `/v1/devices/${staff.id}`], ['DELETE', `/v1/devices/${staff.id}/verifiers`], ['GET', '/v1/invitations'], ['POST', '/v1/verifiers', { method: 'totp' }],
    ['DELETE', `/v1/verifiers/${randomId()}`]])) {
    assert.deepEqual(c.expect(await device.ask(method, path, body), 401, 'step-up').methods, ['totp'], `${method} ${path}`);
  }
  c.expect(await device.ask('GET', '/v1/policy'), 200);
  assert.equal(c.expect(await device.ask('GET', '/v1/verifiers'), 200).open, false);
  c.expect(await sayCode(device, codeOf(secret, now + 30_000)), 201);
  c.expect(await device.inbox(next), 200);
  c.expect(await device.ask('PUT', '/v1/session'), 200);
  // Somebody lost his telephone.
  c.expect(await device.ask('DELETE', `/v1/devices/${staff.id}/verifiers`), 204);
  assert.deepEqual(c.expect(await staff.ask('GET', '/v1/verifiers'), 200), { verifiers: [], open: true });
  c.expect(await agent.ask('DELETE', `/v1/devices/${staff.id}/verifiers`), 403, 'forbidden');
  c.expect(await agent.ask('POST', '/v1/session', { method: 'local' }), 403, 'forbidden');
}, 'step-up');

check('rules for WebAuthn take no code, and count at once', async (c) => {
  const clinic = await c.newClinic();
  const [device, agent] = [await clinic.enrolStaff(), await clinic.enrolStaff(RIGHT.roster, { kind: KIND.agent })];
  if (c.expect(await device.ask('POST', '/v1/session/challenge'), 200).origin === undefined) throw new Skip('the server takes codes only');
  const { secret, now } = await atWork(c, device);
  c.expect(await agent.ask('PUT', '/v1/policy', POLICY), 200);
  c.expect(await device.inbox(device.start), 200);
  c.expect(await agent.ask('PUT', '/v1/policy', { ...POLICY, staff: 'webauthn' }), 200);
  assert.deepEqual(c.expect(await device.inbox(device.start), 401, 'step-up').methods, []);
  c.expect(await sayCode(device, codeOf(secret, now + 30_000)), 403, 'forbidden');
  // Who has no key of that kind could not let himself in again: an agent takes it back.
  c.expect(await agent.ask('PUT', '/v1/policy', POLICY), 200);
  c.expect(await device.inbox(device.start), 200);
}, 'step-up');

check('a patient\'s page counts its time', async (c) => {
  const clinic = await c.newClinic();
  const device = await clinic.enrolStaff();
  const invite = clinic.invite(device);
  c.expect(await invite.register(device), 201);
  const patient = invite.device();
  c.expect(await patient.enrol(), 201);
  await atWork(c, device);
  c.expect(await device.ask('PUT', '/v1/policy', POLICY), 200);
  assert.deepEqual(c.expect(await patient.inbox(patient.start), 401, 'step-up').methods, ['local']);
  c.expect(await patient.ask('POST', '/v1/session', { method: 'totp', code: '123456' }), 403, 'forbidden');
  c.expect(await device.ask('POST', '/v1/session', { method: 'local' }), 403, 'forbidden');
  const { method, began, ends, idle_ends: idle } = c.expect(await patient.ask('POST', '/v1/session', { method: 'local' }), 201);
  assert.deepEqual([method, idle - began, ends - began], ['local', 1800_000, 86400_000]);
  c.expect(await patient.inbox(patient.start), 200);
}, 'step-up');
