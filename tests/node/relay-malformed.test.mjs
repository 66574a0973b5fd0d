// Whatever is wrong with a request, the answer names it and nothing changes. A table over every call; after each row the database is
// compared with what it was.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { CONTENT, Clinic, RelayProcess, b64u, chainOf, enrol, exchange, privateMessage, problemName, register } from './support/relay-client.mjs';

let relay, clinic, staff, group, invite, state;
before(async () => {
    relay = await RelayProcess.start({ 'push-contact': 'mailto:operator@relay.example' });
    clinic = await Clinic.create(relay.origin);
    staff = await clinic.enrolStaff();
    group = randomBytes(32);
    await staff.commit(group, 0);
    invite = clinic.invite(staff);
    await register(staff, invite);
    await staff.ask('PUT', '/v1/key-packages', { key_packages: [b64u(randomBytes(50))] });
    state = relay.tables();
});
after(() => relay.stop());

const ID = b64u(randomBytes(16)), LONG = 'A'.repeat(2_000_000 / 2);
const commit = (change = {}) => ({ epoch: 1, commit: b64u(privateMessage(group, 1, CONTENT.commit)), added: [], removed: [], ...change });
const POLICY = { staff: 'off', staff_idle_s: 900, staff_overall_s: 43200, patients: 'local', patient_idle_s: 1800, patient_overall_s: 86400 };
const ASSERTION = { method: 'webauthn', credential: 'AAAA', client_data: 'AAAA', authenticator_data: 'AAAA', signature: 'AAAA' };
/** An object without one of its members. */
const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));
const chain = () => b64u(chainOf(clinic.staff().certificates));

/** Rows: what is asked, status, problem, and a word that the detail must hold. `who` defaults to the staff device. */
const ROWS = () => [
    // paths and methods
    ['GET', '/v1/nothing', undefined, 404, 'not-found', 'call'],
    ['GET', '/v1/', undefined, 404, 'not-found', 'call'],
    ['POST', '/v1/inbox', {}, 404, 'not-found', 'call'],
    ['GET', '/v1/devices/', undefined, 400, 'malformed', 'id in the path'],
    ['GET', `/v1/devices/${ID}/more`, undefined, 404, 'not-found', 'call'],
    ['GET', '/v1/devices/short', undefined, 400, 'malformed', '16 bytes'],
    ['GET', `/v1/devices/${ID}A`, undefined, 400, 'malformed', '16 bytes'],
    ['GET', `/v1/devices/${ID.slice(0, 21)}!`, undefined, 400, 'malformed', '16 bytes'],
    ['DELETE', '/v1/devices/short', undefined, 400, 'malformed', '16 bytes'],
    ['DELETE', '/v1/invitations/short', undefined, 400, 'malformed', '16 bytes'],
    ['POST', '/v1/groups/short/commits', commit(), 400, 'malformed', '32 bytes'],
    ['POST', `/v1/groups/short/messages?id=${ID}`, privateMessage(group, 1, 1), 400, 'malformed', '32 bytes'],
    // messages with a time, and blobs
    ...['x', '', '0', '-1', '1e3', '1', '99999999999999999999', '9007199254740991', '5&deliver_at=5'].map((at) =>
        ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}&deliver_at=${at}`, privateMessage(group, 1, 1), 400, 'malformed', 'deliver_at']),
    ['DELETE', `/v1/groups/${b64u(group)}/messages/short`, undefined, 400, 'malformed', '16 bytes'],
    ['DELETE', `/v1/groups/short/messages/${ID}`, undefined, 400, 'malformed', '32 bytes'],
    ['DELETE', `/v1/groups/${b64u(group)}/messages/${ID}/x`, undefined, 404, 'not-found', 'call'],
    ['DELETE', `/v1/groups/${b64u(group)}/messages/${ID}?sender=x`, undefined, 400, 'malformed', 'sender'],
    ['DELETE', `/v1/groups/${b64u(group)}/messages/${ID}`, undefined, 404, 'not-found', 'message'],
    ['PUT', `/v1/blobs/short?length=9&offset=0`, undefined, 400, 'malformed', '32 bytes'],
    ...['', '?length=9', '?offset=0', '?length=0&offset=0', '?length=x&offset=0', '?length=9&offset=-1', '?length=9&length=9&offset=0'].map((query) =>
        ['PUT', `/v1/blobs/${b64u(group)}${query}`, undefined, 400, 'malformed', 'query parameter']),
    ['PUT', `/v1/blobs/${b64u(group)}?length=9&offset=0`, undefined, 400, 'malformed', 'body is missing'],
    ['PUT', `/v1/blobs/${b64u(group)}?length=9&offset=0`, randomBytes(9), 400, 'malformed', 'octet-stream'],
    ['PUT', `/v1/blobs/${b64u(group)}?length=67108865&offset=0`, undefined, 413, 'too-large', 'blob'],
    ['GET', '/v1/blobs/short', undefined, 400, 'malformed', '32 bytes'],
    ['GET', `/v1/blobs/${b64u(group)}`, undefined, 404, 'not-found', 'blob'],
    ['GET', '/v1/blobs/short/state', undefined, 400, 'malformed', '32 bytes'],
    ['DELETE', `/v1/blobs/${b64u(group)}`, undefined, 404, 'not-found', 'blob'],
    // JSON as such, on each call that has some
    ...[['PUT', '/v1/key-packages'], ['POST', '/v1/key-packages/claim'], ['POST', `/v1/groups/${b64u(group)}/commits`], ['POST', '/v1/invitations'],
        ['PUT', '/v1/roster'], ['PUT', '/v1/push'], ['POST', '/v1/devices'], ['POST', '/v1/clinics'], ['PUT', '/v1/retention'], ['PUT', '/v1/policy'], ['POST', '/v1/verifiers'], ['POST', '/v1/session']].flatMap(([method, path]) => [
        [method, path, 'x', 400, 'malformed', 'JSON'],
        [method, path, '[]', 400, 'malformed', 'object'],
        [method, path, 'null', 400, 'malformed', 'object'],
        [method, path, '{"a":1', 400, 'malformed', 'JSON'],
        [method, path, '{}{}', 400, 'malformed', 'JSON'],
        [method, path, `{"a":${'['.repeat(100_000)}`, 400, 'malformed', 'nests'],
        [method, path, '{}', 400, 'malformed', 'missing'],
        [method, path, undefined, 400, 'malformed', 'body is missing'],
        [method, path, randomBytes(10), 400, 'malformed', 'Content-Type'],
    ]),
    // clinics and devices
    ['POST', '/v1/clinics', { root_key: 'AAAA' }, 400, 'malformed', 'root_key'],
    ['POST', '/v1/clinics', { root_key: 7 }, 400, 'malformed', 'root_key'],
    ['POST', '/v1/clinics', `{"root_key":"${b64u(clinic.root.raw)}","root_key":"AAAA"}`, 400, 'malformed', 'twice'],
    ['POST', '/v1/devices', { chain: 5 }, 400, 'malformed', 'chain'],
    ['POST', '/v1/devices', { chain: '' }, 400, 'malformed', 'chain'],
    ['POST', '/v1/devices', { chain: 'AA==' }, 400, 'malformed', 'chain'],
    ['POST', '/v1/devices', { chain: 'AA' }, 400, 'malformed', 'empty'],
    ['POST', '/v1/devices', { chain: b64u(chainOf(clinic.staff().certificates).subarray(0, -3)) }, 400, 'malformed', 'too early'],
    ['POST', '/v1/devices', { chain: `${chain()}AAAA` }, 400, 'malformed', 'chain'],
    ['POST', '/v1/devices', { chain: 'A'.repeat(8000) }, 400, 'malformed', 'longer than 4096'],
    ['POST', '/v1/devices', { chain: chain() }, 401, 'bad-signature', 'keyid'],
    // key packages
    ['PUT', '/v1/key-packages', { key_packages: 'AAAA' }, 400, 'malformed', 'array'],
    ['PUT', '/v1/key-packages', { key_packages: [1] }, 400, 'malformed', 'element 0'],
    ['PUT', '/v1/key-packages', { key_packages: [''] }, 400, 'malformed', 'element 0'],
    ['PUT', '/v1/key-packages', { key_packages: ['AAAA', 'A A'] }, 400, 'malformed', 'element 1'],
    ['PUT', '/v1/key-packages', { key_packages: ['A'.repeat(30_000)] }, 400, 'malformed', 'longer than 16384'],
    ['PUT', '/v1/key-packages', { key_packages: Array(101).fill('AAAA') }, 400, 'malformed', 'more than 100'],
    ['PUT', '/v1/key-packages', { key_packages: Array.from({ length: 100 }, () => b64u(randomBytes(9))) }, 413, 'too-large', 'limit'],
    ['PUT', '/v1/key-packages', { key_packages: ['AAAA'], last_resort: 4 }, 400, 'malformed', 'last_resort'],
    ['POST', '/v1/key-packages/claim', { devices: [ID, 'AAAA'] }, 400, 'malformed', 'element 1'],
    ['POST', '/v1/key-packages/claim', { devices: Array(65).fill(ID) }, 400, 'malformed', 'more than 64'],
    // commits
    ...['epoch', 'commit', 'added', 'removed'].map((name) => ['POST', `/v1/groups/${b64u(group)}/commits`, without(commit(), name), 400, 'malformed', `"${name}" is missing`]),
    ...[{ epoch: '1' }, { epoch: -1 }, { epoch: 1.5 }, { epoch: 2 ** 60 }].map((change) => ['POST', `/v1/groups/${b64u(group)}/commits`, commit(change), 400, 'malformed', '"epoch" must be']),
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ commit: '!' }), 400, 'malformed', '"commit"'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ commit: b64u(randomBytes(90)) }), 400, 'malformed', 'no MLSMessage'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ commit: b64u(Buffer.concat([privateMessage(group, 1, 3), Buffer.from([0])])) }), 400, 'malformed', 'after the end'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ commit: b64u(privateMessage(randomBytes(32), 1, 3)) }), 400, 'malformed', 'another group'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ commit: b64u(privateMessage(group, 2, 3)) }), 400, 'malformed', 'another epoch'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ commit: b64u(privateMessage(group, 1, 1)) }), 400, 'malformed', 'no commit'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ added: [ID] }), 400, 'malformed', 'welcome'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ welcome: 'AAAA' }), 400, 'malformed', 'added'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ welcome: 'AAAA', added: [ID] }), 404, 'not-found', 'element 0'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ removed: Array(257).fill(ID) }), 400, 'malformed', 'more than 256'],
    ['POST', `/v1/groups/${b64u(group)}/commits`, commit({ removed: ID }), 400, 'malformed', 'array'],
    // messages
    ['POST', `/v1/groups/${b64u(group)}/messages`, privateMessage(group, 1, 1), 400, 'malformed', '"id"'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=AAAA`, privateMessage(group, 1, 1), 400, 'malformed', '"id"'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}&id=${ID}`, privateMessage(group, 1, 1), 400, 'malformed', '"id"'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, undefined, 400, 'malformed', 'body is missing'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, {}, 400, 'malformed', 'Content-Type'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, randomBytes(40), 400, 'malformed', 'no MLSMessage'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, privateMessage(group, 1, 3), 400, 'malformed', 'commits'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, privateMessage(group, 1, 9), 400, 'malformed', ''],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, privateMessage(randomBytes(32), 1, 1), 400, 'malformed', 'another group'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, Buffer.from([0, 1, 0, 1, ...randomBytes(60)]), 400, 'malformed', ''],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, privateMessage(group, 1, 1, 256 * 1024), 413, 'too-large', 'larger'],
    ['POST', `/v1/groups/${b64u(group)}/messages?id=${ID}`, Buffer.alloc(1_100_000), 413, 'too-large', 'larger'],
    // the inbox
    ['GET', '/v1/inbox', undefined, 400, 'malformed', '"after" is missing'],
    ...['-1', '1.5', 'x', '', '01', '99999999999999999999', '9007199254740992', '1&after=2', '0x1'].map((v) => ['GET', `/v1/inbox?after=${v}`, undefined, 400, 'malformed', 'after']),
    ['GET', '/v1/inbox?after=1000000', undefined, 400, 'malformed', 'beyond'],
    ['GET', '/v1/inbox?after=0&wait=26', undefined, 400, 'malformed', '"wait"'],
    ['GET', '/v1/inbox?after=0&limit=0', undefined, 400, 'malformed', '"limit"'],
    ['GET', '/v1/inbox?after=0&limit=257', undefined, 400, 'malformed', '"limit"'],
    // invitations
    ['POST', '/v1/invitations', { chain: b64u(chainOf(invite.certificates)) }, 400, 'malformed', '"sealed" is missing'],
    ['POST', '/v1/invitations', { sealed: 'AAAA' }, 400, 'malformed', '"chain" is missing'],
    ['POST', '/v1/invitations', { chain: b64u(chainOf(invite.certificates)), sealed: 'A'.repeat(30_000) }, 400, 'malformed', 'longer than 16384'],
    ['POST', '/v1/invitations', { chain: b64u(chainOf(invite.certificates)), sealed: 'AAAA', check: 'AAAA' }, 400, 'malformed', '"check"'],
    ['POST', '/v1/invitations', { chain: 'AAAA', sealed: 'AAAA' }, 400, 'malformed', 'chain'],
    ['POST', '/v1/invitations', { chain: chain(), sealed: 'AAAA' }, 403, 'bad-certificate', 'invite'],
    // roster
    ['PUT', '/v1/roster', { number: 0, roster: 'AAAA' }, 400, 'malformed', '"number"'],
    ['PUT', '/v1/roster', { number: 1, roster: '' }, 400, 'malformed', '"roster"'],
    ['PUT', '/v1/roster', { number: 1, roster: 'AAAA' }, 403, 'bad-certificate', 'root'],
    // pushes; more endpoints in relay-push
    ...[7, null, '', 'x', ['x'], 'http://push.example/x', 'https://localhost/x', `https://push.example/${'a'.repeat(2048)}`].map((endpoint) => ['PUT', '/v1/push', { endpoint }, 400, 'malformed', '"endpoint"']),
    ['PUT', '/v1/push', '{"endpoint":"https://a.example/","endpoint":"https://b.example/"}', 400, 'malformed', 'twice'],
    ['GET', '/v1/push', undefined, 404, 'not-found', 'call'],
    ['DELETE', '/v1/push', {}, 400, 'malformed', 'no content'],
    // the clinic's period
    ...[29, 36601, 0, -30, 40.5, '40', null, 1e30].map((days) => ['PUT', '/v1/retention', { days }, 400, 'malformed', '"days"']),
    ['PUT', '/v1/retention', {}, 400, 'malformed', '"days" is missing'],
    ['DELETE', '/v1/retention', {}, 400, 'malformed', 'no content'],
    // sessions
    ...Object.keys(POLICY).map((name) => ['PUT', '/v1/policy', without(POLICY, name), 400, 'malformed', `"${name}" is missing`]),
    ...[{ staff_idle_s: 59 }, { staff_idle_s: 3601 }, { staff_overall_s: 86401 }, { patient_idle_s: 0 }, { patient_overall_s: -1 }, { staff_idle_s: 900.5 }, { staff_idle_s: '900' },
        { staff: 'on' }, { staff: '' }, { staff: 1 }, { staff: 'x'.repeat(900) }, { patients: 'webauthn' }].map((change) => ['PUT', '/v1/policy', { ...POLICY, ...change }, 400, 'malformed', `"${Object.keys(change)[0]}"`]),
    ...[5, '', 'sms', 'local', 'x'.repeat(99)].map((method) => ['POST', '/v1/verifiers', { method }, 400, 'malformed', '"method"']),
    ['POST', '/v1/verifiers', { method: 'webauthn', client_data: 'AAAA' }, 400, 'malformed', '"authenticator_data" is missing'],
    ['POST', '/v1/verifiers', { method: 'webauthn', client_data: 'A'.repeat(2800), authenticator_data: 'AAAA' }, 400, 'malformed', 'longer than 2048'],
    ...['credential', 'client_data', 'authenticator_data', 'signature'].flatMap((name) => [
        ['POST', '/v1/session', without(ASSERTION, name), 400, 'malformed', `"${name}" is missing`],
        ['POST', '/v1/session', { ...ASSERTION, [name]: 'A'.repeat(3000) }, 400, 'malformed', `"${name}" is longer`],
        ['POST', '/v1/session', { ...ASSERTION, [name]: 'A=' }, 400, 'malformed', `"${name}" must be`],
    ]),
    ['POST', '/v1/session', ASSERTION, 403, 'bad-assertion', 'challenge'],
    ...[undefined, 123456, '', '12345', '1234567', '12345x', '١٢٣'].map((code) => ['POST', '/v1/session', { method: 'totp', code }, 400, 'malformed', '"code"']),
    ['POST', '/v1/session', { method: 'totp', code: '123456' }, 404, 'not-found', 'secret'],
    ['POST', '/v1/session', { method: 'pin' }, 400, 'malformed', '"method"'],
    ['DELETE', '/v1/verifiers/short', undefined, 400, 'malformed', '16 bytes'],
    ['DELETE', '/v1/devices/short/verifiers', undefined, 400, 'malformed', '16 bytes'],
    ['DELETE', `/v1/devices/${ID}/verifiers`, undefined, 404, 'not-found', 'device'],
    ['POST', '/v1/session/challenge', {}, 400, 'malformed', 'no content'],
    // content where there is none
    ['DELETE', `/v1/devices/${ID}`, {}, 400, 'malformed', 'no content'],
    ['GET', '/v1/inbox?after=0', {}, 400, 'malformed', 'no content'],
];

test('every malformed request is named and changes nothing', async (t) => {
    for (const [method, path, content, status, name, word] of ROWS()) {
        const label = `${method} ${path.slice(0, 90)} ${JSON.stringify(content)?.slice(0, 60)}`;
        await t.test(label, async () => {
            const answer = await staff.ask(method, path, content);
            assert.deepEqual([answer.status, problemName(answer)], [status, name], answer.bytes.toString());
            assert.equal(answer.headers['content-type'], 'application/problem+json');
            assert.equal(answer.json.status, status);
            assert.ok(answer.json.detail.includes(word), `"${answer.json.detail}" does not name ${word}`);
            assert.deepEqual(relay.tables(), state);
        });
    }
});

test('enrolment by an invite with a missing or malformed check costs no attempt', async () => {
    const by = await clinic.enrolStaff(), own = clinic.invite(by);
    await register(by, own, { check: b64u(randomBytes(32)) });
    const before = relay.tables();
    for (const more of [{}, { check: 5 }, { check: 'AAAA' }, { check: null }]) {
        const answer = await enrol(clinic.invited(own), more);
        assert.deepEqual([answer.status, problemName(answer)], [400, 'malformed']);
        assert.ok(answer.json.detail.includes('check'));
    }
    assert.deepEqual(relay.tables(), before);
});

test('heads that are too long or not plain are refused', async () => {
    const before = relay.tables();
    for (const path of [`/v1/${'a'.repeat(400)}`, `/v1/inbox?after=0&x=${'a'.repeat(400)}`, '/v1/inbox?after=0&x=%26after=5', '/v1/inbox?after=0&x=a+b']) {
        const answer = await staff.ask('GET', path);
        assert.deepEqual([answer.status, problemName(answer)], [400, 'malformed'], path);
    }
    // these the HTTP library ends without a word
    await assert.rejects(exchange(`${relay.origin}/v1/inbox?after=0&x=%00`), /hang up|reset/);
    const huge = await exchange(`${relay.origin}/v1/inbox?after=0`, { headers: { 'x-filler': LONG.slice(0, 12_000) } }).catch((error) => ({ status: 0, error }));
    assert.ok(huge.status === 0 || huge.status >= 400);
    const longSignature = await staff.ask('GET', '/v1/key-packages', undefined, { headers: { signature: `sotto=:${'A'.repeat(2000)}:` } });
    assert.equal(longSignature.status, 400);
    assert.deepEqual(relay.tables(), before);
    assert.equal((await exchange(`${relay.origin}/.well-known/sotto`)).status, 200);
});
