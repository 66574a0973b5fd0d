// Enrolling, looking up, renewing and revoking devices.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { ALL_RIGHTS, CONTENT, KIND, RIGHT, b64u, certificate, chainOf, deviceId, newKey, nowS, privateMessage, randomId, rosterOf, sleep } from '../client.mjs';
import { Clinic, Device } from '../actors.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('devices');

check("a certificate of the root enrols, and again to the same answer", async (c) => {
  const device = c.clinic.staff();
  const first = c.expect(await device.enrol(), 201);
  assert.deepEqual({ device: first.device, clinic: first.clinic }, { device: deviceId(device.key.raw), clinic: c.clinic.id });
  await c.member();
  assert.deepEqual(c.expect(await device.enrol(), 200), first, 'its inbox still begins where it was enrolled');
});

check('a device is looked up with its certificates', async (c) => {
  const device = await c.member();
  assert.deepEqual(c.expect(await c.staff.ask('GET', `/v1/devices/${device.id}`), 200), { device: device.id, chain: chainOf(device.certificates), revoked: false });
  c.expect(await c.staff.ask('GET', `/v1/devices/${randomId()}`), 404, 'not-found');
});

check('who keeps the roster hears of new devices, others do not', async (c) => {
  const keeper = await c.clinic.enrolStaff(RIGHT.roster);
  const other = await c.clinic.enrolStaff(ALL_RIGHTS & ~RIGHT.roster);
  const device = await c.member();
  const heard = (await keeper.events()).filter((e) => e.kind === 'device' && e.device === device.id);
  assert.deepEqual(heard.map((e) => e.chain), [chainOf(device.certificates)]);
  assert.deepEqual((await other.events()).filter((e) => e.kind === 'device'), []);
});

check('chains that the clinic did not make are refused', async (c) => {
  const key = newKey();
  const by = (/** @type {import('../client.mjs').Key} */ issuer, /** @type {object} */ change = {}) =>
    certificate(issuer, { clinic: c.clinic.id, kind: KIND.staff, key: key.raw, subject: randomBytes(16), rights: RIGHT.message, ...change });
  const flipped = by(c.clinic.key);
  flipped[40] = /** @type {number} */ (flipped[40]) ^ 1;
  const unknown = new Clinic(c.session, newKey());
  /** @type {[string, Buffer[]][]} */
  const chains = [
    ['signed by another root', [by(newKey())]],
    ['altered', [flipped]],
    ['expired', [by(c.clinic.key, { notAfter: nowS() - 5 })]],
    ['not valid yet', [by(c.clinic.key, { notBefore: nowS() + 3600 })]],
    ['of an unknown clinic', [by(unknown.key, { clinic: unknown.id })]],
    ['a patient straight from the root', [by(c.clinic.key, { kind: KIND.patient })]],
    ['an invite instead of a device', [by(c.clinic.key, { kind: KIND.invite, enrols: KIND.patient })]],
    ['issued by staff without an invite', [...c.staff.certificates, by(c.staff.key)]],
  ];
  for (const [what, chain] of chains) {
    const answer = await new Device(c.session, key, chain, 0).enrol();
    assert.deepEqual([what, answer.status, answer.problem], [what, 403, 'bad-certificate']);
  }
});

check('a chain by an invite may not say more than the invite', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  for (const change of [{ rights: RIGHT.message | RIGHT.roster }, { subject: randomBytes(16) }, { level: 0 }, { kind: KIND.staff }]) {
    c.expect(await invite.device(change).enrol(), 403, 'bad-certificate');
  }
  const patient = invite.device();
  c.expect(await patient.enrol(), 201);
  const beyond = certificate(patient.key, { clinic: c.clinic.id, kind: KIND.invite, enrols: KIND.patient, key: newKey().raw, subject: randomBytes(16), rights: RIGHT.message });
  const refused = await patient.ask('POST', '/v1/invitations', { chain: chainOf([...patient.certificates, beyond]), sealed: 'AAAA' });
  c.expect(refused, 403, 'bad-certificate');
});

check('a key is enrolled in one clinic only', async (c) => {
  const other = await c.newClinic();
  const device = await c.member();
  c.expect(await other.staff({}, device.key).enrol(), 403, 'forbidden');
});

check("the root's new certificate replaces the old, and its rights count at once", async (c) => {
  const device = await c.member();
  const roster = { number: 1, roster: b64u(randomBytes(80)) };
  c.expect(await device.ask('PUT', '/v1/roster', roster), 403, 'forbidden');
  const renewed = c.clinic.staff({ rights: ALL_RIGHTS }, device.key);
  c.expect(await renewed.enrol(), 200);
  // Now it is the roster's own signature that is missing.
  c.expect(await device.ask('PUT', '/v1/roster', roster), 403, 'bad-certificate');
  assert.equal(c.expect(await c.staff.ask('GET', `/v1/devices/${device.id}`), 200).chain, chainOf(renewed.certificates));
  const invite = c.clinic.invite(c.staff, { enrols: KIND.staff });
  c.expect(await invite.register(c.staff), 201);
  c.expect(await invite.device({}, device.key).enrol(), 403, 'forbidden');
});

check('what has expired ends: devices and invitations', async (c) => {
  // Short, and longer where rates hold us up. The server's clock may not be ours: it is its time that counts.
  for (const seconds of [2, 30, 90]) {
    const { now } = c.expect(await c.session.ask(() => ({ method: 'GET', path: '/.well-known/sotto', headers: {} })), 200);
    const soon = Math.floor(now / 1000) + seconds;
    const until = Date.now() + seconds * 1000;
    const device = c.clinic.staff({ rights: RIGHT.message, notAfter: soon });
    const invite = c.clinic.invite(c.staff, { notAfter: soon });
    await device.enrol();
    const registered = await invite.register(c.staff);
    const served = await device.inbox(0);
    if (Date.now() > until && seconds < 90) continue;
    c.expect(registered, 201);
    c.expect(served, 200);
    await sleep(until - Date.now() + 1200);
    c.expect(await device.inbox(0), 403, 'bad-certificate');
    c.expect(await invite.read(), 410, 'invitation-gone');
    c.expect(await invite.device({ notBefore: soon }).enrol(), 410, 'invitation-gone');
    const listed = c.expect(await c.staff.ask('GET', '/v1/invitations'), 200).invitations;
    assert.equal(listed.find((/** @type {any} */ i) => i.invitation === invite.id).state, 'expired');
    return;
  }
});

check('a revoked device is refused at once and for good', async (c) => {
  const device = await c.clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient);
  const invite = c.clinic.invite(device);
  c.expect(await invite.register(device), 201);
  c.expect(await device.publish([b64u(randomBytes(40))], b64u(randomBytes(40))), 200);
  c.expect(await c.staff.ask('DELETE', `/v1/devices/${device.id}`), 204);
  c.expect(await device.inbox(0), 403, 'revoked');
  c.expect(await device.ask('GET', '/v1/key-packages'), 403, 'revoked');
  c.expect(await device.commit(randomBytes(32), 0), 403, 'revoked');
  c.expect(await device.enrol(), 403, 'revoked');
  c.expect(await c.clinic.staff({}, device.key).enrol(), 403, 'revoked');
  assert.equal(c.expect(await c.staff.ask('GET', `/v1/devices/${device.id}`), 200).revoked, true);
  assert.deepEqual(c.expect(await c.staff.claim(device.id), 200).key_packages, []);
  c.expect(await invite.read(), 410, 'invitation-gone');
  c.expect(await invite.device().enrol(), 410, 'invitation-gone');
  c.expect(await c.staff.ask('DELETE', `/v1/devices/${device.id}`), 204);
});

check('revoking needs the right, or to be the device itself', async (c) => {
  const [device, other] = await c.members(2);
  c.expect(await device.ask('DELETE', `/v1/devices/${other.id}`), 403, 'forbidden');
  c.expect(await other.inbox(0), 200);
  c.expect(await other.ask('DELETE', `/v1/devices/${other.id}`), 204);
  c.expect(await other.inbox(0), 403, 'revoked');
  c.expect(await c.staff.ask('DELETE', `/v1/devices/${randomId()}`), 404, 'not-found');
});

check('revoking ends a wait', async (c) => {
  const device = await c.member();
  const waiting = device.inbox(device.start, { wait: 10 });
  await sleep(150);
  const begun = performance.now();
  c.expect(await c.staff.ask('DELETE', `/v1/devices/${device.id}`), 204);
  c.expect(await waiting, 403, 'revoked');
  assert.ok(performance.now() - begun < 8000, 'it waited on');
});

check('a revoked member stays until a commit removes it, and can not be added', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  c.expect(await c.staff.ask('DELETE', `/v1/devices/${b.id}`), 204);
  c.expect(await a.message(group, privateMessage(group, 1, CONTENT.application)), 200);
  c.expect(await a.commit(group, 1, { added: [b.id] }), 404, 'not-found');
  c.expect(await a.commit(group, 1, { removed: [b.id] }), 200);
  c.expect(await a.commit(group, 2, { added: [b.id] }), 404, 'not-found');
});

check('an invite may read the roster and nothing else of a device', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  c.expect(await invite.ask('GET', '/v1/inbox?after=0'), 401, 'unknown-device');
  c.expect(await invite.ask('GET', '/v1/invitations'), 401, 'unknown-device');
  c.expect(await invite.ask('PUT', '/v1/roster', { number: 1, roster: rosterOf(c.clinic.key, Buffer.from('x')) }), 401, 'unknown-device');
});
