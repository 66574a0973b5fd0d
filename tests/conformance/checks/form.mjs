// Requests that are not in their form: each is refused with a problem that names what is wrong, and changes nothing.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { CONTENT, b64u, chainOf, privateMessage, randomId } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('form');
const JSON_CALLS = /** @type {[string, string][]} */ ([
  ['PUT', '/v1/key-packages'],
  ['POST', '/v1/key-packages/claim'],
  ['POST', `/v1/groups/${b64u(Buffer.alloc(32, 7))}/commits`],
  ['POST', '/v1/invitations'],
  ['PUT', '/v1/roster'],
  ['POST', '/v1/devices'],
  ['POST', '/v1/clinics'],
]);

check('calls that do not exist are not found', async (c) => {
  const device = await c.member();
  for (const [method, path] of /** @type {[string, string][]} */ ([
    ['GET', '/v1/nothing'],
    ['GET', '/v1/'],
    ['DELETE', '/v1/inbox'],
    ['GET', `/v1/devices/${device.id}/more`],
    ['DELETE', '/v1/roster'],
    ['GET', '/v1/key-packages/claim'],
  ])) c.expect(await device.ask(method, path), 404, 'not-found');
  c.expect(await device.ask('POST', '/v1/inbox', {}), 404, 'not-found');
});

check('ids in paths are base64url of their size', async (c) => {
  const device = await c.member();
  const group = randomBytes(32);
  // The last character of 16 bytes has four spare bits; they are zero.
  for (const id of ['short', `${device.id}A`, device.id.slice(0, 21), `${device.id.slice(0, 21)}!`, `${device.id.slice(0, 21)}B`, `${device.id}==`]) {
    c.expect(await device.ask('GET', `/v1/devices/${id}`), 400, 'malformed');
    c.expect(await device.ask('DELETE', `/v1/devices/${id}`), 400, 'malformed');
    c.expect(await device.ask('DELETE', `/v1/invitations/${id}`), 400, 'malformed');
    c.expect(await device.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${id}`, privateMessage(group, 0, CONTENT.application)), 400, 'malformed');
    c.expect(await device.ask('POST', `/v1/groups/${id}/commits`, { epoch: 0, commit: b64u(privateMessage(group, 0, 3)), added: [], removed: [] }), 400, 'malformed');
  }
});

check('what is no JSON object is refused, on every call that takes one', async (c) => {
  const device = await c.member();
  for (const [method, path] of JSON_CALLS) {
    for (const content of ['x', '[]', 'null', '"text"', '{"a":1', '{}{}', '{"a":01}', "{'a':1}", '{"a":1,}', '']) {
      c.expect(await device.ask(method, path, content === '' ? undefined : content), 400, 'malformed');
    }
    c.expect(await device.ask(method, path, Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), { type: 'application/json' }), 400, 'malformed');
    c.expect(await device.ask(method, path, `{"a":${'['.repeat(20_000)}`), 400, 'malformed');
    c.expect(await device.ask(method, path, `{"a":[[[[1]]]]}`), 400, 'malformed');
  }
});

check('JSON is read as RFC 8259 writes it', async (c) => {
  const device = await c.member();
  const put = (/** @type {string} */ content) => device.ask('PUT', '/v1/key-packages', content);
  // Each is right but for one thing, which some readers let pass and others take for something else.
  for (const content of [
    '{"key_packages":[],"x":01}', '{"key_packages":[],"x":1.}', '{"key_packages":[],"x":.5}', '{"key_packages":[],"x":+1}', '{"key_packages":[],"x":0x10}', '{"key_packages":[],"x":NaN}',
    '{"key_packages":[],"x":"a\nb"}', '{"key_packages":[],"x":"\\x41"}', '{"key_packages":\x0b[]}', '{"key_packages":\x01[]}', '{"key_packages":[,]}', '{"key_packages":[],}', '{"key_packages":[]}}',
    "{'key_packages':[]}", '{"key_packages":["AAAA\\u0000junk"]}', '{"key_packages\\u0000x":[]}', '\ufeff{"key_packages":[]}', '/**/{"key_packages":[]}',
  ]) {
    const answer = await put(content);
    assert.deepEqual([content, answer.status, answer.problem], [content, 400, 'malformed']);
  }
  assert.deepEqual(c.expect(await put(' {\r\n\t"key_packages" : [ "AAA\\u0041" ] , "x":-0.5e+3}\n'), 200), { count: 1 });
});

check('media types have no case, and may have parameters', async (c) => {
  const device = await c.member();
  for (const type of ['Application/JSON', 'application/json;charset=utf-8', 'application/json; charset=utf-8']) c.expect(await device.ask('PUT', '/v1/key-packages', { key_packages: [] }, { type }), 200);
});

check('members that are missing are named', async (c) => {
  const device = await c.member();
  const group = randomBytes(32);
  const chain = chainOf(c.clinic.staff().certificates);
  /** @type {[string, string, Record<string, unknown>, string[]][]} */
  const calls = [
    ['PUT', '/v1/key-packages', { key_packages: [] }, ['key_packages']],
    ['POST', '/v1/key-packages/claim', { devices: [] }, ['devices']],
    ['POST', `/v1/groups/${b64u(group)}/commits`, { epoch: 0, commit: b64u(privateMessage(group, 0, 3)), added: [], removed: [] }, ['epoch', 'commit', 'added', 'removed']],
    ['POST', '/v1/invitations', { chain, sealed: 'AAAA' }, ['chain', 'sealed']],
    ['PUT', '/v1/roster', { number: 1, roster: 'AAAA' }, ['number', 'roster']],
    ['POST', '/v1/devices', { chain }, ['chain']],
    ['POST', '/v1/clinics', { root_key: b64u(randomBytes(32)) }, ['root_key']],
  ];
  for (const [method, path, body, names] of calls) {
    for (const name of names) {
      const { [name]: _gone, ...rest } = body;
      const { detail } = c.expect(await device.ask(method, path, rest), 400, 'malformed');
      assert.ok(detail.includes(name), `"${detail}" does not name ${name}`);
    }
  }
});

check('members of a wrong kind or size are named, and what they hold is not repeated', async (c) => {
  const device = await c.member();
  const group = randomBytes(32);
  const canary = 'CanaryCanaryCanary!';
  const good = { epoch: 0, commit: b64u(privateMessage(group, 0, 3)), added: [], removed: [] };
  const invite = c.clinic.invite(c.staff);
  const chain = chainOf(invite.certificates);
  const id = randomId();
  /** @type {[string, string, object, string][]} */
  const rows = [
    ...[canary, -1, 1.5, '0', null, 2 ** 60, true].map((epoch) => /** @type {[string, string, object, string]} */ (['POST', `/v1/groups/${b64u(group)}/commits`, { ...good, epoch }, 'epoch'])),
    ...[canary, 5, '', 'A', 'AB=='].map((commit) => /** @type {[string, string, object, string]} */ (['POST', `/v1/groups/${b64u(group)}/commits`, { ...good, commit }, 'commit'])),
    ...[canary, [canary], [5], [`${id}A`], Array(257).fill(id), {}].map((removed) => /** @type {[string, string, object, string]} */ (['POST', `/v1/groups/${b64u(group)}/commits`, { ...good, removed }, 'removed'])),
    ...[canary, [canary], [''], [1], ['AB=='], ['A A'], ['A'.repeat(21_848)], Array(101).fill('AAAA')].map((list) => /** @type {[string, string, object, string]} */ (['PUT', '/v1/key-packages', { key_packages: list }, 'key_packages'])),
    ['PUT', '/v1/key-packages', { key_packages: ['AAAA'], last_resort: canary }, 'last_resort'],
    ['POST', '/v1/key-packages/claim', { devices: Array(65).fill(id) }, 'devices'],
    ['POST', '/v1/key-packages/claim', { devices: [canary] }, 'devices'],
    ['POST', '/v1/invitations', { chain, sealed: canary }, 'sealed'],
    ['POST', '/v1/invitations', { chain, sealed: 'A'.repeat(21_848) }, 'sealed'],
    ['POST', '/v1/invitations', { chain, sealed: 'AAAA', check: 'AAAA' }, 'check'],
    ['POST', '/v1/invitations', { chain: 'AA', sealed: 'AAAA' }, 'chain'],
    ['POST', '/v1/invitations', { chain: `${chain}AAAA`, sealed: 'AAAA' }, 'chain'],
    ['POST', '/v1/invitations', { chain: 'A'.repeat(8000), sealed: 'AAAA' }, 'chain'],
    ['PUT', '/v1/roster', { number: 1, roster: canary }, 'roster'],
    ['POST', '/v1/clinics', { root_key: canary }, 'root_key'],
    ['POST', '/v1/devices', { chain: canary }, 'chain'],
  ];
  for (const [method, path, body, name] of rows) {
    const answer = await device.ask(method, path, body);
    const { detail } = c.expect(answer, 400, 'malformed');
    assert.ok(detail.includes(name), `"${detail}" does not name ${name}`);
    assert.ok(!answer.bytes.includes('Canary'), 'the answer repeats what was sent');
  }
  assert.deepEqual(c.expect(await device.ask('GET', '/v1/key-packages'), 200), { count: 0 });
  c.expect(await invite.read(), 404, 'not-found');
  assert.equal(c.expect(await device.commit(group, 0), 200).epoch, 1);
});

check('members and parameters that are not known are ignored', async (c) => {
  const [a, b] = await c.members(2);
  const group = randomBytes(32);
  c.expect(await a.commit(group, 0, { added: [b.id], more: { later: { version: [2] }, note: 'x' } }), 200);
  c.expect(await a.ask('POST', `/v1/groups/${b64u(group)}/messages?later=1&id=${randomId()}`, privateMessage(group, 1, CONTENT.application)), 200);
  const page = c.expect(await b.ask('GET', `/v1/inbox?later=x&after=${b.start}&also`), 200);
  assert.equal(page.events.length, 2);
  assert.deepEqual(c.expect(await a.ask('PUT', '/v1/key-packages', { key_packages: ['AAAA'], later: null }), 200), { count: 1 });
});

check('a member or parameter that stands there twice is refused', async (c) => {
  const device = await c.member();
  const group = b64u(randomBytes(32));
  c.expect(await device.ask('PUT', '/v1/key-packages', '{"key_packages":[],"key_packages":["AAAA"]}'), 400, 'malformed');
  c.expect(await device.ask('POST', '/v1/key-packages/claim', '{"devices":[],"\\u0064evices":[]}'), 400, 'malformed');
  c.expect(await device.ask('POST', `/v1/groups/${group}/messages?id=${randomId()}&id=${randomId()}`, Buffer.from('x')), 400, 'malformed');
  c.expect(await device.ask('GET', '/v1/inbox?after=0&after=1'), 400, 'malformed');
});

check('content of another type is refused', async (c) => {
  const device = await c.member();
  const group = randomBytes(32);
  for (const type of ['text/plain', 'message/mls', 'application/jsonx', 'multipart/form-data']) c.expect(await device.ask('PUT', '/v1/key-packages', { key_packages: [] }, { type }), 400, 'malformed');
  for (const type of ['application/json', 'application/octet-stream']) {
    c.expect(await device.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${randomId()}`, privateMessage(group, 0, CONTENT.application), { type }), 400, 'malformed');
  }
});

check('calls without content take none', async (c) => {
  const device = await c.member();
  c.expect(await device.ask('GET', '/v1/inbox?after=0', {}), 400, 'malformed');
  c.expect(await device.ask('DELETE', `/v1/devices/${device.id}`, {}), 400, 'malformed');
  c.expect(await device.ask('GET', '/v1/key-packages'), 200);
});

check('a message over the limit is too large, one at it is not', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const { message: limit } = c.description.limits;
  const frame = privateMessage(group, 1, CONTENT.application, limit - 1000).length - (limit - 1000);
  c.expect(await a.message(group, privateMessage(group, 1, CONTENT.application, limit - frame)), 200);
  assert.equal(c.expect(await a.message(group, privateMessage(group, 1, CONTENT.application, limit - frame + 1)), 413, 'too-large').limit, limit);
  assert.equal((await b.events({ group })).length, 2);
});

check('content over the limit of all calls is too large', async (c) => {
  const device = await c.member();
  const { body: limit } = c.description.limits;
  const answer = await device.ask('PUT', '/v1/key-packages', `{"key_packages":[],"pad":"${'A'.repeat(limit)}"}`);
  assert.equal(c.expect(answer, 413, 'too-large').limit, limit);
  c.expect(await device.ask('GET', '/v1/key-packages'), 200);
});

check('a commit may be as large as the limit of all calls lets it', async (c) => {
  const [a, b] = await c.members(2);
  const group = randomBytes(32);
  // Three quarters of the content are bytes; the rest of the JSON has its share.
  const welcome = randomBytes(Math.floor((c.description.limits.body * 3) / 4) - 2000);
  c.expect(await a.commit(group, 0, { added: [b.id], welcome }), 200);
  const [event] = await b.events({ group });
  assert.ok(event?.data === b64u(welcome));
});
