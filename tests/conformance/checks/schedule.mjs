// Messages that are delivered later: at their time, once, to the members of then; or withdrawn.
import assert from 'node:assert/strict';
import { CONTENT, RIGHT, b64u, privateMessage, randomId, sleep } from '../client.mjs';
import { checksOf } from '../suite.mjs';

/** @typedef {import('../actors.mjs').Device} Device */

const group = checksOf('schedule');
/** @param {string} name @param {(c: import('../suite.mjs').Context) => Promise<unknown>} run */
const check = (name, run) => group(name, run, 'schedule');
/** @param {Buffer} id */
const text = (id) => privateMessage(id, 1, CONTENT.application);
/** How late a message may be, by this suite's patience. */
const LATE_MS = 15_000;

/** The server's time, by which `deliver_at` goes. @param {Device} device @param {number} after */
const now = async (device, after) => (await device.inbox(after)).json.now;
/** @param {Device} device @param {Buffer} id @param {number} at @param {Buffer} body @param {string} [name] */
const later = (device, id, at, body, name = randomId()) => device.ask('POST', `/v1/groups/${b64u(id)}/messages?id=${name}&deliver_at=${at}`, body);
/** @param {Device} device @param {Buffer} id @param {string} name @param {Device} [sender] */
const withdraw = (device, id, name, sender) => device.ask('DELETE', `/v1/groups/${b64u(id)}/messages/${name}${sender === undefined ? '' : `?sender=${sender.id}`}`);

/** Waits for events of one kind in a group. @param {Device} device @param {Buffer} id @param {string} kind @param {number} n */
async function arrive(device, id, kind, n) {
  const until = Date.now() + LATE_MS;
  const found = [];
  for (let next = device.start; found.length < n; ) {
    assert.ok(Date.now() < until, `${found.length} of ${n} events "${kind}" came`);
    const { json } = await device.inbox(next, { wait: 5 });
    found.push(...json.events.filter((/** @type {any} */ e) => e.group === b64u(id) && e.kind === kind));
    next = json.next;
  }
  return found;
}

check('delivered at its time, not before, with a number of then; the same again has the same answer', async (c) => {
  const [a, b] = await c.members(2);
  const id = await c.group(a, b);
  const [name, body] = [randomId(), text(id)];
  const at = (await now(a, a.start)) + 2000;
  const waiting = { seq: null, deliver_at: at };
  assert.deepEqual(c.expect(await later(a, id, at, body, name), 200), waiting);
  assert.deepEqual(c.expect(await later(a, id, at, body, name), 200), waiting);
  c.expect(await later(a, id, at + 1, body, name), 409, 'id-reused');
  c.expect(await later(a, id, at, text(id), name), 409, 'id-reused');
  c.expect(await a.message(id, body, name), 409, 'id-reused');
  const before = c.expect(await b.message(id, text(id)), 200).seq;
  const [, event] = /** @type {any[]} */ (await arrive(b, id, 'message', 2));
  assert.deepEqual({ ...event, at: 0, seq: 0 }, { seq: 0, at: 0, kind: 'message', group: b64u(id), sender: a.id, id: name, data: b64u(body) });
  assert.ok(event.at >= at, `delivered ${at - event.at} ms early`);
  assert.ok(event.seq > before, 'its number is of the time when it was sent');
  assert.deepEqual(c.expect(await later(a, id, at, body, name), 200), { seq: event.seq, deliver_at: at });
  await sleep(1500);
  assert.equal((await a.events({ group: id })).filter((e) => e.id === name).length, 1);
});

check('withdrawn before its time nobody gets it; afterwards it is too late', async (c) => {
  const [a, b] = await c.members(2);
  const id = await c.group(a, b);
  const [gone, kept, far] = [randomId(), randomId(), randomId()];
  const [body, at] = [text(id), (await now(a, a.start)) + 1500];
  c.expect(await later(a, id, at, body, gone), 200);
  c.expect(await later(a, id, at, text(id), kept), 200);
  c.expect(await later(a, id, at + 3_600_000, text(id), far), 200);
  c.expect(await withdraw(a, id, gone), 204);
  c.expect(await withdraw(a, id, gone), 204);
  assert.deepEqual(c.expect(await later(a, id, at, body, gone), 200), { seq: null, deliver_at: at }, 'posted again it stays withdrawn');
  const [event] = await arrive(b, id, 'message', 1);
  assert.equal(event?.id, kept);
  assert.equal(c.expect(await withdraw(a, id, kept), 409, 'delivered').seq, event?.seq);
  const { seq } = c.expect(await a.message(id, text(id), 'AAAAAAAAAAAAAAAAAAAAAA'), 200);
  assert.equal(c.expect(await withdraw(a, id, 'AAAAAAAAAAAAAAAAAAAAAA'), 409, 'delivered').seq, seq);
  await sleep(1500);
  assert.deepEqual((await b.events({ group: id })).filter((e) => e.id === gone || e.id === far), []);
});

check('withdrawn by its sender or with the right roster, and by nobody else', async (c) => {
  const [a, b] = await c.members(2);
  const id = await c.group(a, b);
  const other = await c.group(a, b);
  const name = randomId();
  c.expect(await later(a, id, (await now(a, a.start)) + 3_600_000, text(id), name), 200);
  c.expect(await withdraw(b, id, name), 404, 'not-found');
  c.expect(await withdraw(b, id, name, a), 403, 'forbidden');
  c.expect(await withdraw(a, other, name), 404, 'not-found');
  c.expect(await withdraw(a, id, randomId()), 404, 'not-found');
  c.expect(await withdraw(a, id, 'AA'), 400, 'malformed');
  const keeper = await c.member(RIGHT.roster);
  c.expect(await withdraw(keeper, id, name), 404, 'not-found');
  c.expect(await withdraw(keeper, id, name, a), 204);
  c.expect(await withdraw(a, id, name), 204);
});

check('of delivering and withdrawing exactly one happens', async (c) => {
  const [a, b] = await c.members(2);
  const id = await c.group(a, b);
  const at = (await now(a, a.start)) + 1500;
  const names = Array.from({ length: 24 }, randomId);
  c.expectAll(await Promise.all(names.map((name) => later(a, id, at, text(id), name))), 200);
  const outcomes = await Promise.all(names.map(async (name, i) => {
    await sleep(1200 + 70 * i);
    const answer = await withdraw(a, id, name);
    if (answer.status !== 204) c.expect(answer, 409, 'delivered');
    return answer;
  }));
  const delivered = names.filter((_name, i) => outcomes[i]?.status === 409);
  assert.ok(delivered.length < names.length, 'none was withdrawn in time');
  await sleep(LATE_MS / 5);
  const seen = (await b.events({ group: id })).filter((e) => e.kind === 'message');
  assert.deepEqual(seen.map((e) => e.id).sort(), delivered.sort());
  for (const { id: name, seq } of seen) assert.equal(outcomes[names.indexOf(name)]?.json.seq, seq);
});

check('a sender who is no member at its time is told, and nobody gets it', async (c) => {
  const [a, b, d] = /** @type {[Device, Device, Device]} */ (await c.members(3));
  const id = await c.group(a, b, d);
  const name = randomId();
  const body = text(id);
  const at = (await now(b, b.start)) + 2000;
  c.expect(await later(b, id, at, body, name), 200);
  c.expect(await a.commit(id, 1, { removed: [b.id] }), 200);
  const [event] = await arrive(b, id, 'undelivered', 1);
  assert.deepEqual({ ...event, seq: 0, at: 0 }, { seq: 0, at: 0, kind: 'undelivered', group: b64u(id), id: name, reason: 'forbidden' });
  assert.deepEqual(c.expect(await later(b, id, at, body, name), 200), { seq: null, deliver_at: at });
  c.expect(await withdraw(b, id, name), 204);
  assert.deepEqual((await d.events({ group: id })).filter((e) => e.kind !== 'welcome' && e.kind !== 'commit'), []);
});

check('who joined since gets it, who was removed does not; what a revoked device sent is dropped', async (c) => {
  const [a, b, joins, leaves] = /** @type {[Device, Device, Device, Device]} */ (await c.members(4));
  const id = await c.group(a, b, leaves);
  const [name, dropped] = [randomId(), randomId()];
  const at = (await now(a, a.start)) + 2500;
  c.expect(await later(b, id, at - 500, text(id), dropped), 200);
  c.expect(await later(a, id, at, text(id), name), 200);
  c.expect(await a.commit(id, 1, { added: [joins.id], removed: [leaves.id] }), 200);
  c.expect(await b.ask('DELETE', `/v1/devices/${b.id}`), 204);
  const [event] = await arrive(joins, id, 'message', 1);
  assert.equal(event?.id, name);
  for (const device of [a, joins]) assert.deepEqual((await device.events({ group: id })).filter((e) => e.id === dropped), []);
  assert.deepEqual((await leaves.events({ group: id })).map((e) => e.kind), ['welcome', 'commit']);
});

check('a time that is past, too far or no number is refused, and so are proposals, strangers and one too many', async (c) => {
  const [a, b, stranger] = /** @type {[Device, Device, Device]} */ (await c.members(3));
  const id = await c.group(a, b);
  const time = await now(a, a.start);
  for (const at of [0, 1, time - 1000, time + 367 * 86_400_000]) c.expect(await later(a, id, at, text(id)), 400, 'malformed');
  for (const at of ['x', '', '-1', `${time}.5`]) c.expect(await a.ask('POST', `/v1/groups/${b64u(id)}/messages?id=${randomId()}&deliver_at=${at}`, text(id)), 400, 'malformed');
  const at = time + 3_600_000;
  c.expect(await later(a, id, at, privateMessage(id, 1, CONTENT.proposal)), 400, 'malformed');
  c.expect(await later(stranger, id, at, text(id)), 403, 'forbidden');
  c.expect(await later(a, id, at, privateMessage(id, 9, CONTENT.application)), 409, 'wrong-epoch');
  const limit = c.description.limits.scheduled;
  const names = Array.from({ length: limit }, randomId);
  for (let i = 0; i < limit; i += 20) c.expectAll(await Promise.all(names.slice(i, i + 20).map((name) => later(a, id, at, text(id), name))), 200);
  assert.equal(c.expect(await later(a, id, at, text(id)), 413, 'too-large').limit, limit);
  c.expect(await withdraw(a, id, /** @type {string} */ (names[0])), 204);
  c.expect(await later(a, id, at, text(id)), 200);
  c.expect(await later(b, id, at, text(id)), 200);
});
