// What the server says of itself, and which clinics it takes.
import assert from 'node:assert/strict';
import { RIGHT, b64u, newKey, sleep } from '../client.mjs';
import { Clinic, Party } from '../actors.mjs';
import { Skip, checksOf } from '../suite.mjs';

const check = checksOf('server');

check('says what it is, and its time', async (c) => {
  const answer = await c.session.once({ method: 'GET', path: '/.well-known/sotto', headers: {} });
  const { version, now } = c.expect(answer, 200);
  assert.equal(version, 1);
  // Requests signed by our clock are taken, so its clock can't be further off than that.
  assert.ok(Math.abs(now - Date.now()) < 300_000, `its time is ${now}`);
});

check('a clinic is made once, by its root key', async (c) => {
  const clinic = await c.newClinic();
  assert.deepEqual(c.expect(await clinic.create(), 200), { clinic: clinic.id });
});

check('another key can not make a clinic', async (c) => {
  const root = newKey();
  const stranger = newKey();
  const name = new Clinic(c.session, root).id;
  const body = { root_key: b64u(root.raw) };
  c.expect(await new Party(c.session, stranger, name).ask('POST', '/v1/clinics', body), 401, 'bad-signature');
  c.expect(await new Clinic(c.session, stranger).ask('POST', '/v1/clinics', body), 401, 'bad-signature');
});

check('a clinic that is known can be made known again', async (c) => {
  c.expect(await c.clinic.create(), 200);
});

check('closed to new clinics, it says so', async (c) => {
  if (c.description.clinics !== 'closed') throw new Skip('the server is open to new clinics');
  c.expect(await new Clinic(c.session, newKey()).create(), 403, 'forbidden');
});

check('says how long events wait for a device', async (c) => {
  // That they go then, and leave a gap, takes a month to see.
  assert.ok(c.description.limits.retention_days >= 30, 'less than 30 days');
}, 'retention');

check('a clinic sets a period of its own, by the right roster', async (c) => {
  const clinic = await c.newClinic();
  const [chief, weak] = [await clinic.enrolStaff(), await clinic.enrolStaff(RIGHT.message)];
  const before = c.expect(await weak.ask('GET', '/v1/retention'), 200);
  assert.deepEqual(before, { days: c.description.limits.retention_days, own: false, bounds: [30, 36600] });
  c.expect(await weak.ask('PUT', '/v1/retention', { days: 45 }), 403, 'forbidden');
  for (const days of [29, 36601, 45.5, '45', undefined]) c.expect(await chief.ask('PUT', '/v1/retention', { days }), 400, 'malformed');
  assert.deepEqual(c.expect(await weak.ask('GET', '/v1/retention'), 200), before);
  for (const days of [45, 45, 90]) assert.deepEqual(c.expect(await chief.ask('PUT', '/v1/retention', { days }), 200), { ...before, days, own: true });
  assert.equal(c.expect(await weak.ask('GET', '/v1/retention'), 200).days, 90);
  c.expect(await weak.ask('DELETE', '/v1/retention'), 403, 'forbidden');
  for (let i = 0; i < 2; i++) c.expect(await chief.ask('DELETE', '/v1/retention'), 204);
  assert.deepEqual(c.expect(await weak.ask('GET', '/v1/retention'), 200), before);
}, 'retention');

check('one clinic sees nothing of another', async (c) => {
  const other = await c.newClinic();
  const foreign = await other.enrolStaff();
  const member = await c.member();
  const group = await c.group(member);
  c.expect(await foreign.ask('GET', `/v1/devices/${member.id}`), 404, 'not-found');
  c.expect(await foreign.ask('DELETE', `/v1/devices/${member.id}`), 404, 'not-found');
  const { privateMessage, CONTENT } = await import('../client.mjs');
  c.expect(await foreign.message(group, privateMessage(group, 1, CONTENT.application)), 404, 'not-found');
  c.expect(await member.commit(group, 1, { added: [foreign.id] }), 404, 'not-found');
  await member.publish([b64u(newKey().raw)]);
  assert.deepEqual(c.expect(await foreign.claim(member.id), 200).key_packages, []);
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  c.expect(await foreign.ask('DELETE', `/v1/invitations/${invite.id}`), 404, 'not-found');
  await sleep(50);
  assert.deepEqual(await foreign.events(), []);
});
