// Events from a cursor on: in order, without gap, without repeat, as soon as they are there.
import assert from 'node:assert/strict';
import { CONTENT, RIGHT, b64u, privateMessage, sleep } from '../client.mjs';
import { checksOf } from '../suite.mjs';

/**
 * @typedef {import('../actors.mjs').Device} Device
 * @typedef {import('../suite.mjs').Context} Context
 */

const check = checksOf('inbox');
/** @param {Buffer} group @param {number} [size] */
const text = (group, size) => privateMessage(group, 1, CONTENT.application, size);
/** @param {any[]} events */
const numbers = (events) => events.map((e) => e.seq);

/** @param {number[]} list @param {string} what */
function assertRising(list, what) {
  list.forEach((seq, i) => assert.ok(i === 0 || seq > /** @type {number} */ (list[i - 1]), `${what}: ${seq} comes after ${list[i - 1]}`));
}

/** Sends `n` messages by all members at once; returns the numbers that were acknowledged. @param {Context} c @param {Device[]} members @param {Buffer} group @param {number} n */
async function write(c, members, group, n) {
  const sent = Array.from({ length: n }, async (_, i) => {
    const by = /** @type {Device} */ (members[i % members.length]);
    return c.expect(await by.message(group, text(group)), 200).seq;
  });
  return /** @type {number[]} */ (await Promise.all(sent)).sort((a, b) => a - b);
}

check('events come in strictly rising order, each once, to every member', async (c) => {
  const members = await c.members(4);
  const group = await c.group(.../** @type {[any, ...any[]]} */ (members));
  const sent = await write(c, members, group, 60);
  assert.equal(new Set(sent).size, sent.length, 'one number was given to two messages');
  for (const member of members) {
    const all = await member.events({ limit: 7 });
    assertRising(numbers(all), 'one device');
    assert.deepEqual(numbers(all.filter((e) => e.kind === 'message')), sent, 'what was acknowledged is what is delivered');
  }
});

check('each sender\'s own messages keep their order', async (c) => {
  const members = await c.members(3);
  const group = await c.group(.../** @type {[any, ...any[]]} */ (members));
  const sent = await Promise.all(
    members.map(async (m) => {
      const own = [];
      for (let i = 0; i < 8; i++) own.push(c.expect(await m.message(group, text(group)), 200).seq);
      return own;
    }),
  );
  sent.forEach((own) => assertRising(own, 'one sender'));
  assert.deepEqual(numbers((await /** @type {Device} */ (members[0]).events()).filter((e) => e.kind === 'message')), sent.flat().sort((a, b) => a - b));
});

check('from every cursor the rest follows: no gap, no repeat', async (c) => {
  // In a clinic of its own no other numbers stand between: each cursor that there can be is asked for.
  const clinic = c.open ? await c.newClinic() : c.clinic;
  const [a, b, other] = [await clinic.enrolStaff(RIGHT.message), await clinic.enrolStaff(RIGHT.message), await clinic.enrolStaff(RIGHT.message)];
  const group = await c.group(a, b);
  await write(c, [a], group, 6);
  await c.group(a, other);
  await write(c, [a], group, 6);
  // The whole, by a cursor that acknowledges nothing.
  const all = c.expect(await b.inbox(b.start, { limit: 256 }), 200).events;
  assert.ok(all.length >= 13, `${all.length} events of 13`);
  assertRising(numbers(all), 'a page');
  const newest = all.at(-1).seq;
  const near = new Set(numbers(all).flatMap((seq) => [seq - 1, seq, seq + 1]));
  for (let after = b.start; after <= newest; after++) {
    if (!c.open && !near.has(after)) continue;
    const rest = all.filter((/** @type {any} */ e) => e.seq > after);
    // The same cursor twice is the same answer, for an answer may be lost on its way; a short page is the beginning of it.
    const short = c.expect(await b.inbox(after, { limit: 3 }), 200);
    assert.deepEqual(short.events, rest.slice(0, 3), `after=${after}`);
    assert.equal(short.next, rest.slice(0, 3).at(-1)?.seq ?? after, `next of after=${after}`);
    const page = c.expect(await b.inbox(after, { limit: 256 }), 200);
    assert.deepEqual(page.events, rest, `after=${after}`);
    assert.equal(page.next, rest.at(-1)?.seq ?? after, `next of after=${after}`);
  }
});

check('a cursor that goes back repeats nothing that is new and skips nothing', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  await write(c, [a], group, 6);
  const all = c.expect(await b.inbox(b.start), 200).events;
  const middle = all[3].seq;
  c.expect(await b.inbox(middle), 200);
  // What was acknowledged may be gone; what was not must be there, once and in order.
  const again = numbers(c.expect(await b.inbox(0, { limit: 256 }), 200).events);
  assertRising(again, 'after going back');
  assert.deepEqual(again.filter((seq) => seq > middle), numbers(all).filter((seq) => seq > middle));
});

check('acknowledging is each device\'s own', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const sent = await write(c, [a], group, 5);
  assert.deepEqual(numbers((await a.events()).filter((e) => e.kind === 'message')), sent);
  assert.deepEqual(numbers((await b.events()).filter((e) => e.kind === 'message')), sent);
});

check('readers who page while others write miss nothing', async (c) => {
  const members = await c.members(3);
  const group = await c.group(.../** @type {[any, ...any[]]} */ (members));
  let writing = true;
  const reading = Promise.all(members.map(async (m, i) => {
    /** @type {number[]} */
    const seen = [];
    for (let next = m.start, idle = 0; writing || idle < 2; ) {
      const page = c.expect(await m.inbox(next, { limit: 1 + i * 3, wait: writing ? 1 : 0 }), 200);
      seen.push(...numbers(page.events.filter((/** @type {any} */ e) => e.kind === 'message')));
      idle = page.events.length === 0 && !writing ? idle + 1 : 0;
      assert.ok(page.events.length === 0 ? page.next === next : page.next > next, `the cursor went from ${next} to ${page.next}`);
      next = page.next;
    }
    return seen;
  }));
  reading.catch(() => (writing = false));
  const sent = [];
  for (let round = 0; round < 5; round++) sent.push(...(await write(c, members, group, 12)));
  writing = false;
  for (const seen of await reading) assert.deepEqual(seen, sent.sort((a, b) => a - b));
});

check('a page has at most as many events as asked for', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  await write(c, [a], group, 5);
  for (const limit of [1, 2, 5]) assert.equal(c.expect(await b.inbox(b.start, { limit }), 200).events.length, limit);
});

check('large messages come too, whole', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  // A header of PrivateMessage is some 100 bytes.
  const large = Array.from({ length: 4 }, () => text(group, c.description.limits.message - 200));
  for (const message of large) c.expect(await a.message(group, message), 200);
  const data = (await b.events()).filter((e) => e.kind === 'message').map((e) => e.data);
  assert.deepEqual(data.map((d) => d.length), large.map((m) => b64u(m).length));
  assert.ok(data.every((d, i) => d === b64u(/** @type {Buffer} */ (large[i]))));
});

check('a wait ends when something comes', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  let next = c.expect(await b.inbox(b.start), 200).next;
  for (let i = 0; i < 3; i++) {
    const waiting = b.inbox(next, { wait: 8 });
    await sleep(60);
    const begun = performance.now();
    const { seq } = c.expect(await a.message(group, text(group)), 200);
    const page = c.expect(await waiting, 200);
    assert.deepEqual(numbers(page.events), [seq]);
    // Not a measurement: one who only looks when the wait is over takes 8 s.
    assert.ok(performance.now() - begun < 6000, 'it came only when the wait was over');
    next = page.next;
  }
});

check('two waits of one device are both answered', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const { next } = c.expect(await b.inbox(b.start), 200);
  const waiting = [b.inbox(next, { wait: 10 }), b.inbox(next, { wait: 10 })];
  await sleep(100);
  const { seq } = c.expect(await a.message(group, text(group)), 200);
  for (const answer of await Promise.all(waiting)) assert.deepEqual(numbers(c.expect(answer, 200).events), [seq]);
});

check('of more waits than a server holds, the newest gets the news and none is lost', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const { next } = c.expect(await b.inbox(b.start), 200);
  const waiting = [];
  for (let i = 0; i < 6; i++) {
    waiting.push(b.inbox(next, { wait: 10 }));
    await sleep(40);
  }
  const { seq } = c.expect(await a.message(group, text(group)), 200);
  const pages = (await Promise.all(waiting)).map((answer) => c.expect(answer, 200));
  assert.deepEqual(numbers(pages.at(-1).events), [seq]);
  for (const page of pages) assert.deepEqual(page.events.length === 0 ? page.next : numbers(page.events)[0], page.events.length === 0 ? next : seq);
});

check('a wait for nothing ends empty, with the same cursor', async (c) => {
  const device = await c.member();
  const { next } = c.expect(await device.inbox(device.start), 200);
  const begun = Date.now();
  const page = c.expect(await device.inbox(next, { wait: 1 }), 200);
  assert.deepEqual({ events: page.events, next: page.next }, { events: [], next });
  assert.ok(Date.now() - begun >= 900, 'it did not wait');
});

check('a cursor beyond the newest number is refused and acknowledges nothing', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const sent = await write(c, [a], group, 3);
  c.expect(await b.inbox(/** @type {number} */ (sent.at(-1)) + 1_000_000), 400, 'malformed');
  c.expect(await b.inbox(Number.MAX_SAFE_INTEGER), 400, 'malformed');
  // The client begins again at 0, and all is there.
  assert.deepEqual(numbers((await b.events({ from: 0 })).filter((e) => e.kind === 'message')), sent);
});

check('cursors, waits and limits are integers in their bounds', async (c) => {
  const device = await c.member();
  for (const query of ['', '?after=', '?after=-1', '?after=1.5', '?after=x', '?after=01', '?after=0x1', '?after=9007199254740992', '?after=99999999999999999999', '?after=0&after=0', '?after=0&wait=-1',
    `?after=0&wait=${c.description.limits.wait_s + 1}`, '?after=0&limit=0', '?after=0&limit=257', '?after=0&limit=1&limit=2', '?wait=1']) {
    c.expect(await device.ask('GET', `/v1/inbox${query}`), 400, 'malformed');
  }
});

check('an event stream gives the same events at once, and goes on', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const stream = await c.session.stream(b, b.start);
  try {
    assert.equal(stream.status, 200);
    await stream.until(() => stream.events.length === 1);
    const sent = await write(c, [a], group, 30);
    c.expect(await a.message(group, text(group, 150_000)), 200);
    await stream.until(() => stream.events.length >= 32);
    assertRising(numbers(stream.events), 'the stream');
    assert.deepEqual(numbers(stream.events).slice(1, 31), sent);
    assert.deepEqual(stream.events, c.expect(await b.inbox(b.start, { limit: 256 }), 200).events);
  } finally {
    stream.close();
  }
}, 'sse');

check('an event stream begins after its cursor, and acknowledges up to it only', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const sent = await write(c, [a], group, 8);
  const after = /** @type {number} */ (sent[2]);
  const stream = await c.session.stream(b, after);
  try {
    await stream.until(() => stream.events.length >= 5);
    assert.deepEqual(numbers(stream.events), sent.slice(3));
  } finally {
    stream.close();
  }
  // It was cut: what it gave was not acknowledged.
  assert.deepEqual(numbers(await b.events({ from: after })), sent.slice(3));
}, 'sse');

check('revoking ends an event stream', async (c) => {
  const device = await c.member();
  const stream = await c.session.stream(device, device.start);
  try {
    assert.equal(stream.status, 200);
    c.expect(await c.staff.ask('DELETE', `/v1/devices/${device.id}`), 204);
    await stream.until(() => stream.ended, 8000);
  } finally {
    stream.close();
  }
}, 'sse');

check('a stream needs a signature as anything else', async (c) => {
  const answer = await c.session.once({ method: 'GET', path: '/v1/inbox?after=0', headers: { accept: 'text/event-stream' } });
  c.expect(answer, 401, 'unsigned');
}, 'sse');

check('an inbox of nobody\'s is empty, not another\'s', async (c) => {
  const [a, b, other] = await c.members(3);
  const group = await c.group(a, b);
  await write(c, [a], group, 3);
  assert.deepEqual(await other.events({ from: 0 }), []);
});
