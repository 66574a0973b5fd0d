// The clinic's own list: signed by its root, only upwards, told to all.
import assert from 'node:assert/strict';
import { RIGHT, b64u, newKey, rosterOf } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('roster');
/** @param {import('../actors.mjs').Device} by @param {number} number @param {string} roster */
const put = (by, number, roster) => by.ask('PUT', '/v1/roster', { number, roster });

check('it is published by the root\'s signature, only upwards, told to all, and read by whoever holds a link', async (c) => {
  // Where one clinic is all there is, its roster may stand already.
  const clinic = c.open ? await c.newClinic() : c.clinic;
  const keeper = await clinic.enrolStaff(RIGHT.roster);
  const reader = await clinic.enrolStaff(RIGHT.message);
  const inviter = await clinic.enrolStaff(RIGHT.message | RIGHT.invitePatient);
  const before = await keeper.ask('GET', '/v1/roster');
  const n = before.status === 404 ? 0 : c.expect(before, 200).number;
  if (c.open) c.expect(before, 404, 'not-found');
  const [one, two] = [rosterOf(clinic.key, Buffer.from('one')), rosterOf(clinic.key, Buffer.from('two'))];
  assert.deepEqual(c.expect(await put(keeper, n + 1, one), 200), { number: n + 1 });
  assert.deepEqual(c.expect(await put(keeper, n + 1, one), 200), { number: n + 1 });
  assert.equal(c.expect(await put(keeper, n + 1, two), 409, 'old-roster').number, n + 1);
  assert.deepEqual(c.expect(await put(keeper, n + 5, two), 200), { number: n + 5 });
  assert.equal(c.expect(await put(keeper, n + 4, one), 409, 'old-roster').number, n + 5);
  assert.deepEqual(c.expect(await reader.ask('GET', '/v1/roster'), 200), { number: n + 5, roster: two });
  const invite = clinic.invite(inviter);
  c.expect(await invite.register(inviter), 201);
  assert.deepEqual(c.expect(await invite.ask('GET', '/v1/roster'), 200), { number: n + 5, roster: two });
  const told = (await reader.events()).filter((e) => e.kind === 'roster').map((e) => e.number);
  assert.deepEqual(told, [n + 1, n + 5]);
});

check('without the right, or the root\'s signature, it is refused', async (c) => {
  const roster = rosterOf(c.clinic.key, Buffer.from('good'));
  const bytes = Buffer.from(roster, 'base64url');
  bytes[0] = /** @type {number} */ (bytes[0]) ^ 1;
  c.expect(await put(await c.member(), 9_000_000_000_000_000, roster), 403, 'forbidden');
  for (const bad of [b64u(bytes), rosterOf(newKey(), Buffer.from('good')), b64u(bytes.subarray(0, 40))]) {
    c.expect(await put(c.staff, 9_000_000_000_000_000, bad), 403, 'bad-certificate');
  }
  for (const number of [0, -1, 1.5, '1', 2 ** 53]) c.expect(await c.staff.ask('PUT', '/v1/roster', { number, roster }), 400, 'malformed');
});
