// Links: who may make them, their checks and attempts, and that each enrols one device.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { KIND, RIGHT, b64u, certificate, newKey, nowS, randomId } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('invitations');
const aCheck = () => b64u(randomBytes(32));

/** What an issuer was told of an invitation. @param {import('../actors.mjs').Device} issuer @param {string} invitation */
async function told(issuer, invitation) {
  return (await issuer.events()).filter((e) => e.kind === 'invitation' && e.invitation === invitation);
}

check('one without a check enrols one device, and its issuer hears of it', async (c) => {
  const issuer = await c.clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient);
  const invite = c.clinic.invite(issuer);
  assert.deepEqual(c.expect(await invite.register(issuer), 201), { invitation: invite.id });
  assert.deepEqual(c.expect(await invite.read(), 200), { sealed: b64u(Buffer.from('sealed')), state: 'open', attempts_left: 5, checked: false });
  const patient = invite.device();
  c.expect(await patient.enrol(), 201);
  c.expect(await patient.enrol(), 200);
  c.expect(await invite.device().enrol(), 410, 'invitation-used');
  c.expect(await invite.read(), 410, 'invitation-used');
  assert.deepEqual((await told(issuer, invite.id)).map((e) => [e.state, e.attempts_left, e.device]), [['used', 5, patient.id]]);
});

check('used by several devices at once, it enrols one', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  const answers = await Promise.all(Array.from({ length: 6 }, () => invite.device().enrol()));
  assert.deepEqual(answers.map((a) => a.status).sort(), [201, 410, 410, 410, 410, 410]);
});

check('wrong checks are counted and lock it at five', async (c) => {
  const issuer = await c.clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient);
  const right = aCheck();
  const invite = c.clinic.invite(issuer);
  const patient = invite.device();
  c.expect(await invite.register(issuer, { check: right }), 201);
  assert.equal(c.expect(await invite.read(), 200).checked, true);
  for (let left = 4; left >= 1; left--) {
    assert.equal(c.expect(await patient.enrol({ check: aCheck() }), 403, 'wrong-check').attempts_left, left);
    assert.equal(c.expect(await invite.read(), 200).attempts_left, left);
  }
  c.expect(await patient.enrol({ check: aCheck() }), 403, 'invitation-locked');
  c.expect(await patient.enrol({ check: right }), 403, 'invitation-locked');
  c.expect(await invite.read(), 403, 'invitation-locked');
  const heard = (await told(issuer, invite.id)).map((e) => [e.state, e.attempts_left]);
  assert.deepEqual(heard, [['wrong-check', 4], ['wrong-check', 3], ['wrong-check', 2], ['wrong-check', 1], ['locked', 0]]);
});

check('wrong checks tried at once are five, not more', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff, { check: aCheck() }), 201);
  const answers = await Promise.all(Array.from({ length: 10 }, () => invite.device().enrol({ check: aCheck() })));
  const left = answers.filter((a) => a.problem === 'wrong-check').map((a) => a.json.attempts_left);
  assert.deepEqual(left.sort(), [1, 2, 3, 4]);
  assert.equal(answers.filter((a) => a.problem === 'invitation-locked').length, 6);
});

check('the right check enrols after wrong ones', async (c) => {
  const right = aCheck();
  const invite = c.clinic.invite(c.staff);
  const patient = invite.device();
  c.expect(await invite.register(c.staff, { check: right }), 201);
  c.expect(await patient.enrol({ check: aCheck() }), 403, 'wrong-check');
  c.expect(await patient.enrol({ check: right }), 201);
  c.expect(await patient.enrol({ check: right }), 200);
});

check('a missing or malformed check costs no attempt', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff, { check: aCheck() }), 201);
  for (const more of [{}, { check: 5 }, { check: 'AAAA' }, { check: null }]) c.expect(await invite.device().enrol(more), 400, 'malformed');
  assert.equal(c.expect(await invite.read(), 200).attempts_left, 5);
});

check('the same again is the same, other content is refused', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  c.expect(await invite.register(c.staff), 200);
  c.expect(await invite.register(c.staff, { check: aCheck() }), 409, 'id-reused');
  c.expect(await invite.register(c.staff, { sealed: 'AAAA' }), 409, 'id-reused');
  assert.equal(c.expect(await invite.read(), 200).checked, false);
});

check('only its issuer may register it, with the right to', async (c) => {
  const nurse = await c.clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient);
  c.expect(await c.clinic.invite(nurse).register(c.staff), 403, 'forbidden');
  c.expect(await c.clinic.invite(nurse, { enrols: KIND.staff }).register(nurse), 403, 'bad-certificate');
  c.expect(await c.clinic.invite(nurse, { rights: RIGHT.message | RIGHT.roster }).register(nurse), 403, 'bad-certificate');
  c.expect(await c.clinic.invite(nurse, { notAfter: nowS() - 5 }).register(nurse), 403, 'bad-certificate');
  const invite = c.clinic.invite(nurse);
  // Its certificate was renewed without the right: what the old one would allow is over.
  c.expect(await c.clinic.staff({ rights: RIGHT.message }, nurse.key).enrol(), 200);
  c.expect(await invite.register(nurse), 403, 'forbidden');
});

check('it is read with its own key only', async (c) => {
  const [one, two] = [c.clinic.invite(c.staff), c.clinic.invite(c.staff)];
  c.expect(await one.register(c.staff), 201);
  c.expect(await two.register(c.staff), 201);
  c.expect(await two.ask('GET', `/v1/invitations/${one.id}`), 403, 'forbidden');
  c.expect(await one.ask('GET', `/v1/invitations/${one.id}`, undefined, { sign: { key: two.key } }), 401, 'bad-signature');
  const unknown = c.clinic.invite(c.staff);
  c.expect(await unknown.read(), 404, 'not-found');
  c.expect(await unknown.device().enrol(), 404, 'not-found');
});

check('another certificate for its key does not enrol', async (c) => {
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  const other = certificate(c.staff.key, { ...invite.fields, level: 3 });
  invite.certificates = [...c.staff.certificates, other];
  c.expect(await invite.device({ level: 3 }).enrol(), 403, 'bad-certificate');
});

check('the list has one\'s own, newest first', async (c) => {
  const issuer = await c.clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient | RIGHT.inviteStaff);
  const one = c.clinic.invite(issuer, { notAfter: 2_000_000_000 });
  const two = c.clinic.invite(issuer, { enrols: KIND.agent, notAfter: 2_000_000_001 });
  assert.deepEqual(c.expect(await issuer.ask('GET', '/v1/invitations'), 200), { invitations: [] });
  c.expect(await one.register(issuer), 201);
  c.expect(await two.register(issuer), 201);
  assert.deepEqual(c.expect(await issuer.ask('GET', '/v1/invitations'), 200).invitations, [
    { invitation: two.id, state: 'open', attempts_left: 5, expires_s: 2_000_000_001, enrols: 'agent' },
    { invitation: one.id, state: 'open', attempts_left: 5, expires_s: 2_000_000_000, enrols: 'patient' },
  ]);
});

check('withdrawn it enrols nobody; a used one can not be withdrawn', async (c) => {
  const issuer = await c.clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient);
  const [one, two, used] = [c.clinic.invite(issuer), c.clinic.invite(issuer), c.clinic.invite(issuer)];
  for (const invite of [one, two, used]) c.expect(await invite.register(issuer), 201);
  c.expect(await used.device().enrol(), 201);
  const stranger = await c.member();
  c.expect(await stranger.ask('DELETE', `/v1/invitations/${one.id}`), 403, 'forbidden');
  c.expect(await issuer.ask('DELETE', `/v1/invitations/${one.id}`), 204);
  c.expect(await c.staff.ask('DELETE', `/v1/invitations/${two.id}`), 204);
  c.expect(await issuer.ask('DELETE', `/v1/invitations/${used.id}`), 410, 'invitation-used');
  c.expect(await c.staff.ask('DELETE', `/v1/invitations/${randomId()}`), 404, 'not-found');
  for (const invite of [one, two]) {
    c.expect(await invite.read(), 410, 'invitation-gone');
    c.expect(await invite.device().enrol(), 410, 'invitation-gone');
  }
  const states = c.expect(await issuer.ask('GET', '/v1/invitations'), 200).invitations.map((/** @type {any} */ i) => i.state);
  assert.deepEqual(states, ['used', 'withdrawn', 'withdrawn']);
});

check('staff who were invited invite patients', async (c) => {
  const rights = RIGHT.message | RIGHT.invitePatient;
  const first = c.clinic.invite(c.staff, { enrols: KIND.staff, rights });
  c.expect(await first.register(c.staff), 201);
  const nurse = first.device();
  c.expect(await nurse.enrol(), 201);
  const second = c.clinic.invite(nurse);
  c.expect(await second.register(nurse), 201);
  c.expect(await second.device().enrol(), 201);
});

check('an invite key belongs to one clinic', async (c) => {
  const other = await c.newClinic();
  const foreign = await other.enrolStaff();
  const invite = c.clinic.invite(c.staff);
  c.expect(await invite.register(c.staff), 201);
  const stolen = other.invite(foreign, { key: newKey().raw });
  stolen.certificates = [...foreign.certificates, certificate(foreign.key, { ...stolen.fields, key: invite.key.raw })];
  c.expect(await stolen.register(foreign), 409, 'id-reused');
});
