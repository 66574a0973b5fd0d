// Commits and messages: one order, one winner for each epoch, members only.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { CONTENT, RIGHT, b64u, privateMessage, publicMessage, randomId } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('groups');
/** @param {Buffer} group @param {number} epoch @param {number} [size] */
const text = (group, epoch, size) => privateMessage(group, epoch, CONTENT.application, size);
/** Without the time, which is the server's affair. @param {any[]} events */
const plain = (events) => events.map(({ at: _at, ...event }) => event);

check('made by a commit for epoch 0; members get what was sent, byte for byte', async (c) => {
  const [a, b] = await c.members(2);
  const group = randomBytes(32);
  const id = randomId();
  const [commit, welcome, message] = [privateMessage(group, 0, CONTENT.commit), randomBytes(75), text(group, 1)];
  const made = c.expect(await a.commit(group, 0, { added: [b.id], commit, welcome }), 200);
  assert.equal(made.epoch, 1);
  const sent = c.expect(await b.message(group, message, id), 200);
  assert.ok(sent.seq > made.seq);
  const heardByBoth = { seq: sent.seq, kind: 'message', group: b64u(group), sender: b.id, id, data: b64u(message) };
  assert.deepEqual(plain(await a.events()), [{ seq: made.seq, kind: 'commit', group: b64u(group), sender: a.id, epoch: 0, data: b64u(commit) }, heardByBoth]);
  const [first, ...others] = plain(await b.events());
  assert.deepEqual({ ...first, seq: 0 }, { seq: 0, kind: 'welcome', group: b64u(group), sender: a.id, epoch: 1, data: b64u(welcome) });
  assert.ok(first.seq > made.seq && first.seq < sent.seq, 'a welcome has its own number, after the commit');
  assert.deepEqual(others, [heardByBoth]);
});

check('of commits for one epoch exactly one is accepted, and all members see that one', async (c) => {
  const members = await c.members(6);
  const group = await c.group(.../** @type {[any, ...any[]]} */ (members));
  const won = [];
  for (let epoch = 1; epoch <= 6; epoch++) {
    const commits = members.map(() => privateMessage(group, epoch, CONTENT.commit));
    const answers = await Promise.all(members.map((m, i) => m.commit(group, epoch, { commit: commits[i] })));
    const winners = answers.flatMap((a, i) => (a.status === 200 ? [i] : []));
    assert.equal(winners.length, 1, `${winners.length} commits were accepted for epoch ${epoch}`);
    for (const loser of answers.filter((a) => a.status !== 200)) assert.equal(c.expect(loser, 409, 'wrong-epoch').epoch, epoch + 1);
    won.push(b64u(/** @type {Buffer} */ (commits[/** @type {number} */ (winners[0])])));
  }
  for (const member of members) {
    const seen = (await member.events({ group })).filter((e) => e.kind === 'commit' && e.epoch > 0);
    assert.deepEqual(seen.map((e) => [e.epoch, e.data]), won.map((data, i) => [i + 1, data]));
  }
});

check('a commit for an epoch that is past, or not reached, is refused with the epoch', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  c.expect(await b.commit(group, 1), 200);
  for (const epoch of [0, 1, 3, 7]) assert.equal(c.expect(await a.commit(group, epoch), 409, 'wrong-epoch').epoch, 2);
  assert.equal(c.expect(await a.commit(randomBytes(32), 4), 409, 'wrong-epoch').epoch, 0);
  assert.equal((await a.events({ group })).filter((e) => e.kind === 'commit').length, 2);
});

check('a group is created by one of those who try at once', async (c) => {
  const members = await c.members(4);
  const group = randomBytes(32);
  const answers = await Promise.all(members.map((m) => m.commit(group, 0)));
  assert.equal(answers.filter((a) => a.status === 200).length, 1);
  for (const loser of answers.filter((a) => a.status !== 200)) c.expect(loser, 403, 'forbidden');
});

check('the same commit again gets the same answer, also when the group has moved on', async (c) => {
  const [a, b] = await c.members(2);
  const group = randomBytes(32);
  const what = { commit: privateMessage(group, 0, CONTENT.commit), added: [b.id], welcome: randomBytes(50) };
  const answers = await Promise.all(Array.from({ length: 5 }, () => a.commit(group, 0, what)));
  assert.equal(new Set(answers.map((x) => JSON.stringify(c.expect(x, 200)))).size, 1);
  c.expect(await a.commit(group, 1), 200);
  assert.deepEqual(c.expect(await a.commit(group, 0, what), 200), answers[0]?.json);
  assert.deepEqual((await b.events({ group })).map((e) => e.kind), ['welcome', 'commit']);
});

check('a commit is known again for 64 epochs', async (c) => {
  const a = await c.member();
  const group = randomBytes(32);
  const commit = privateMessage(group, 0, CONTENT.commit);
  const first = c.expect(await a.commit(group, 0, { commit }), 200);
  for (let epoch = 1; epoch < 64; epoch++) c.expect(await a.commit(group, epoch), 200);
  assert.deepEqual(c.expect(await a.commit(group, 0, { commit }), 200), first);
  assert.equal((await a.events({ group })).length, 64);
});

check('the same message again has the same number and is delivered once', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const id = randomId();
  const message = text(group, 1);
  const answers = await Promise.all(Array.from({ length: 8 }, () => b.message(group, message, id)));
  assert.equal(new Set(answers.map((x) => c.expect(x, 200).seq)).size, 1);
  c.expect(await b.message(group, text(group, 1), id), 409, 'id-reused');
  c.expect(await b.commit(group, 1), 200);
  assert.equal(c.expect(await b.message(group, message, id), 200).seq, answers[0]?.json.seq);
  const heard = (await a.events({ group })).filter((e) => e.kind === 'message');
  assert.deepEqual(heard.map((e) => e.data), [b64u(message)]);
});

check("message ids are each sender's own", async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const id = randomId();
  c.expect(await a.message(group, text(group, 1), id), 200);
  c.expect(await b.message(group, text(group, 1), id), 200);
  assert.equal((await a.events({ group })).filter((e) => e.kind === 'message').length, 2);
});

check('messages of epochs gone by are delivered, of epochs to come refused', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  c.expect(await a.commit(group, 1), 200);
  c.expect(await b.message(group, text(group, 1)), 200);
  c.expect(await b.message(group, privateMessage(group, 2, CONTENT.proposal)), 200);
  assert.equal(c.expect(await b.message(group, text(group, 3)), 409, 'wrong-epoch').epoch, 2);
});

check('who is no member is refused', async (c) => {
  const [a, b, stranger] = await c.members(3);
  const group = await c.group(a, b);
  c.expect(await stranger.message(group, text(group, 1)), 403, 'forbidden');
  c.expect(await stranger.commit(group, 1), 403, 'forbidden');
  const nowhere = randomBytes(32);
  c.expect(await a.message(nowhere, text(nowhere, 0)), 404, 'not-found');
  assert.deepEqual((await a.events({ group })).map((e) => e.kind), ['commit']);
  assert.deepEqual(await stranger.events(), []);
});

check('a device that was removed gets the commit that removes it and nothing after', async (c) => {
  const [a, b, gone] = await c.members(3);
  const group = await c.group(a, b, gone);
  c.expect(await a.message(group, text(group, 1)), 200);
  c.expect(await a.commit(group, 1, { removed: [gone.id] }), 200);
  for (let i = 0; i < 5; i++) c.expect(await b.message(group, text(group, 2)), 200);
  c.expect(await a.commit(group, 2), 200);
  assert.deepEqual((await gone.events({ group })).map((e) => [e.kind, e.epoch ?? '']), [['welcome', 1], ['message', ''], ['commit', 1]]);
  assert.equal((await b.events({ group })).length, 9);
  c.expect(await gone.message(group, text(group, 2)), 403, 'forbidden');
  c.expect(await gone.commit(group, 3), 403, 'forbidden');
});

check('one who is added later gets nothing from before', async (c) => {
  const [a, b, late] = await c.members(3);
  const group = await c.group(a, b);
  for (let i = 0; i < 3; i++) c.expect(await a.message(group, text(group, 1)), 200);
  c.expect(await a.commit(group, 1, { added: [late.id] }), 200);
  c.expect(await a.message(group, text(group, 2)), 200);
  assert.deepEqual((await late.events({ group })).map((e) => e.kind), ['welcome', 'message']);
});

check('changes of members that make no sense are refused whole', async (c) => {
  const [a, b, other] = await c.members(3);
  const group = await c.group(a, b);
  c.expect(await a.commit(group, 1, { added: [b.id] }), 400, 'malformed');
  c.expect(await a.commit(group, 1, { added: [other.id, other.id] }), 400, 'malformed');
  c.expect(await a.commit(group, 1, { removed: [a.id] }), 400, 'malformed');
  c.expect(await a.commit(group, 1, { removed: [other.id] }), 404, 'not-found');
  c.expect(await a.commit(group, 1, { removed: [b.id, b.id] }), 404, 'not-found');
  c.expect(await a.commit(group, 1, { added: [other.id, randomId()] }), 404, 'not-found');
  assert.deepEqual(await other.events(), []);
  assert.deepEqual((await b.events({ group })).map((e) => e.kind), ['welcome']);
  // Nothing moved: the group still stands at 1, and b is a member.
  c.expect(await b.commit(group, 1), 200);
});

check('a member may be removed and added by one commit', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  c.expect(await a.commit(group, 1, { removed: [b.id], added: [b.id] }), 200);
  assert.deepEqual((await b.events({ group })).map((e) => [e.kind, e.epoch]), [['welcome', 1], ['commit', 1], ['welcome', 2]]);
  c.expect(await b.message(group, text(group, 2)), 200);
});

check('only PrivateMessages of this group, epoch and kind are taken', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const good = privateMessage(group, 1, CONTENT.commit);
  for (const commit of [
    text(group, 1),
    privateMessage(group, 2, CONTENT.commit),
    privateMessage(randomBytes(32), 1, CONTENT.commit),
    Buffer.concat([good, Buffer.from([0])]),
    good.subarray(0, -1),
    publicMessage(group, 1),
    randomBytes(80),
  ]) c.expect(await a.commit(group, 1, { commit }), 400, 'malformed');
  const words = text(group, 1);
  for (const message of [
    good,
    privateMessage(group, 1, 9),
    text(randomBytes(32), 1),
    Buffer.concat([words, Buffer.from([0])]),
    words.subarray(0, -1),
    publicMessage(group, 1),
    Buffer.concat([Buffer.from([0, 2]), words.subarray(2)]),
    randomBytes(80),
  ]) c.expect(await a.message(group, message), 400, 'malformed');
  c.expect(await a.commit(group, 1, { welcome: randomBytes(50) }), 400, 'malformed');
  const without = { epoch: 1, commit: b64u(good), added: [(await c.member()).id], removed: [] };
  c.expect(await a.ask('POST', `/v1/groups/${b64u(group)}/commits`, without), 400, 'malformed');
  assert.deepEqual((await b.events({ group })).map((e) => e.kind), ['welcome']);
});

check('writing needs the right to take part in conversations', async (c) => {
  const mute = await c.clinic.enrolStaff(RIGHT.roster);
  const group = randomBytes(32);
  c.expect(await mute.commit(group, 0), 403, 'forbidden');
  c.expect(await mute.message(group, text(group, 0)), 403, 'forbidden');
});
