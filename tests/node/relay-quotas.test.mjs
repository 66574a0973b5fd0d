// What one clinic may take, and how often it, its invitations and devices may ask.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CONTENT, Clinic, ON_POSTGRES, RelayProcess, b64u, enrol, privateMessage, problemName, register } from './support/relay-client.mjs';

async function withRelay(options, body) {
    const relay = await RelayProcess.start(options);
    try {
        return await body(relay);
    } finally {
        await relay.stop();
    }
}
const MIB = 1024 * 1024;
/** @param {any} answer @param {number} limit */
const overQuota = (answer, limit) => assert.deepEqual([answer.status, answer.json.type, answer.json.limit], [413, 'urn:sotto:problem:over-quota', limit]);

test('what devices do not fetch is bounded; fetching, withdrawing and revoking make room, and are never refused', async () => {
    await withRelay({ 'quota-stored': 1 }, async (relay) => {
        const clinic = await Clinic.create(relay.origin), sender = await clinic.enrolStaff(), reader = await clinic.enrolStaff({ rights: 1 }), group = randomBytes(32);
        assert.equal((await sender.commit(group, 0, { added: [reader.keyid] })).status, 200);
        const full = async () => {
            for (let sent = 0; ; sent++) {
                const answer = await sender.message(group, privateMessage(group, 1, CONTENT.application, 200_000));
                if (answer.status === 413) return overQuota(answer, MIB), sent;
                assert.equal(answer.status, 200);
                assert.ok(sent < 10);
            }
        };
        // A body counts once, whoever waits for it: five fit, and at first what enrolling and committing told.
        assert.equal(await full(), 5);
        overQuota(await sender.commit(group, 1, { commit: privateMessage(group, 1, CONTENT.commit, 200_000) }), MIB);
        const later = `/v1/groups/${b64u(group)}/messages?id=${b64u(randomBytes(16))}&deliver_at=`;
        overQuota(await sender.ask('POST', later + (Date.now() + 3_600_000), privateMessage(group, 1, CONTENT.application, 200_000)), MIB);
        // Another clinic is another matter, and so is what is small enough; it goes with the rest.
        const other = await (await Clinic.create(relay.origin)).enrolStaff(), own = randomBytes(32);
        assert.equal((await other.commit(own, 0)).status, 200);
        assert.equal((await other.message(own, privateMessage(own, 1, CONTENT.application, 200_000))).status, 200);
        // One of two has fetched all: the bodies stay for the other.
        const newest = async (device) => {
            let next = 0;
            for (let page; (page = (await device.inbox(next)).json).events.length > 0; next = page.next);
            return next;
        };
        await newest(sender);
        assert.equal(await full(), 0);
        await newest(reader);
        assert.equal(await full(), 5);
        await newest(sender);
        assert.equal((await reader.ask('DELETE', `/v1/devices/${reader.keyid}`)).status, 204);
        assert.equal(await full(), 5);
        await newest(sender);
        // What waits for its time counts too, until it is withdrawn.
        const ids = Array.from({ length: 5 }, () => b64u(randomBytes(16))), at = Date.now() + 3_600_000;
        for (const id of ids)
            assert.equal((await sender.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${id}&deliver_at=${at}`, privateMessage(group, 1, CONTENT.application, 200_000))).status, 200);
        assert.equal(await full(), 0);
        assert.equal((await sender.ask('DELETE', `/v1/groups/${b64u(group)}/messages/${ids[0]}`)).status, 204);
        assert.equal(await full(), 1);
        await relay.restart();
        sender.origin = relay.origin;
        assert.equal(await full(), 0, 'it is remembered');
    });
});

test('small messages to many count by those who are to fetch them', async () => {
    await withRelay({ 'quota-stored': 1 }, async (relay) => {
        const clinic = await Clinic.create(relay.origin), sender = await clinic.enrolStaff(), readers = [], group = randomBytes(32);
        for (let i = 0; i < 24; i++) readers.push(await clinic.enrolStaff({ rights: 1 }));
        assert.equal((await sender.commit(group, 0, { added: readers.map((r) => r.keyid) })).status, 200);
        let sent = 0, answer;
        while ((answer = await sender.message(group, privateMessage(group, 1, CONTENT.application, 100))).status === 200) assert.ok(++sent < 200);
        overQuota(answer, MIB);
        for (const reader of readers) await reader.inbox((await reader.inbox(0, { limit: 100 })).json.next);
        assert.equal((await sender.message(group, privateMessage(group, 1, CONTENT.application, 100))).status, 200, 'fetching makes room');
    });
});

test('groups, devices and invitations of a clinic are bounded, each by itself; what is known is not refused', async () => {
    await withRelay({ 'quota-groups': 2, 'quota-devices': 3, 'quota-invitations': 2 }, async (relay) => {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), first = randomBytes(32), commit = privateMessage(first, 0, CONTENT.commit);
        assert.equal((await device.commit(first, 0, { commit })).status, 200);
        assert.equal((await device.commit(randomBytes(32), 0)).status, 200);
        overQuota(await device.commit(randomBytes(32), 0), 2);
        assert.equal((await device.commit(first, 0, { commit })).status, 200, 'again is the same');
        assert.equal((await device.commit(first, 1)).status, 200);
        const invites = [clinic.invite(device), clinic.invite(device), clinic.invite(device)];
        for (const invite of invites.slice(0, 2)) assert.equal((await register(device, invite)).status, 201);
        overQuota(await register(device, invites[2]), 2);
        assert.equal((await register(device, invites[0])).status, 200);
        assert.equal((await enrol(clinic.invited(invites[0]))).status, 201);
        const last = await clinic.enrolStaff();
        assert.equal(last.answer.status, 201);
        overQuota(await enrol(clinic.staff()), 3);
        overQuota(await enrol(clinic.invited(invites[1])), 3);
        assert.equal((await enrol(last)).status, 200);
        // The refused enrolment has not used its invitation up.
        const mine = (await device.ask('GET', '/v1/invitations')).json.invitations;
        assert.deepEqual(mine.map((i) => i.state).sort(), ['open', 'used']);
        assert.equal((await (await Clinic.create(relay.origin)).enrolStaff()).answer.status, 201);
    });
});

test('one device has a share of the quota of blobs', async () => {
    await withRelay({ 'blob-quota': 4, 'blob-share': 25 }, async (relay) => {
        const clinic = await Clinic.create(relay.origin), [one, two] = [await clinic.enrolStaff(), await clinic.enrolStaff()], piece = randomBytes(64 * 1024);
        const put = (device, id, length) => device.ask('PUT', `/v1/blobs/${id}?length=${length}&offset=0`, piece, { headers: { 'content-type': 'application/octet-stream' } });
        const [first, second] = [b64u(randomBytes(32)), b64u(randomBytes(32))], share = MIB;
        assert.equal((await put(one, first, share)).status, 200);
        overQuota(await put(one, second, piece.length), share);
        assert.equal((await put(two, second, piece.length)).status, 200);
        assert.equal((await put(one, first, share)).status, 200, 'the same piece again');
        assert.equal((await one.ask('DELETE', `/v1/blobs/${first}`)).status, 204);
        assert.equal((await put(one, b64u(randomBytes(32)), share)).status, 200);
    });
});

test('an invitation is slowed by itself: others and devices go on', async () => {
    await withRelay({ 'rate-invite': 6 }, async (relay) => {
        const clinic = await Clinic.create(relay.origin), by = await clinic.enrolStaff(), [one, two] = [clinic.invite(by), clinic.invite(by)];
        for (const invite of [one, two]) await register(by, invite, { check: b64u(randomBytes(32)) });
        for (let i = 0; i < 4; i++) assert.equal((await one.ask('GET', `/v1/invitations/${one.id}`)).status, 200);
        // Enrolments by it, right or wrong, are of the same rate.
        for (let i = 0; i < 2; i++) assert.equal(problemName(await enrol(clinic.invited(one), { check: b64u(randomBytes(32)) })), 'wrong-check');
        const slowed = [await enrol(clinic.invited(one), { check: b64u(randomBytes(32)) }), await one.ask('GET', `/v1/invitations/${one.id}`)];
        for (const answer of slowed) {
            assert.deepEqual([answer.status, problemName(answer)], [429, 'too-many']);
            assert.equal(answer.headers['retry-after'], String(answer.json.retry_after_s));
            assert.ok(answer.json.retry_after_s >= 1 && answer.json.retry_after_s <= 10);
        }
        assert.equal((await two.ask('GET', `/v1/invitations/${two.id}`)).status, 200);
        const { json } = await by.ask('GET', '/v1/invitations');
        assert.equal(json.invitations.find((i) => i.invitation === one.id).attempts_left, 3, 'what was refused for its rate is no attempt');
        assert.equal((await enrol(clinic.staff())).status, 201);
    });
});

test('a clinic is slowed by itself, and only by who can sign for it', async () => {
    await withRelay({ 'rate-clinic': 20 }, async (relay) => {
        const clinic = await Clinic.create(relay.origin), devices = [await clinic.enrolStaff(), await clinic.enrolStaff()], calm = await (await Clinic.create(relay.origin)).enrolStaff();
        // Forged ones use nothing up.
        for (let i = 0; i < 30; i++) assert.equal((await devices[0].ask('GET', '/v1/key-packages', undefined, { key: calm.key })).status, 401);
        const answers = [];
        for (let i = 0; i < 24; i++) answers.push(await devices[i % 2].ask('GET', '/v1/key-packages'));
        assert.deepEqual(answers.slice(0, 17).map((a) => a.status), Array(17).fill(200));
        const last = answers.at(-1);
        assert.deepEqual([last.status, problemName(last), last.headers['retry-after']], [429, 'too-many', String(last.json.retry_after_s)]);
        assert.equal((await calm.ask('GET', '/v1/key-packages')).status, 200);
    });
});

test('one device with much in its inbox costs a relay no more than a page', { skip: !ON_POSTGRES && 'SQLite gives one row after the other' }, async () => {
    await withRelay({}, async (relay) => {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), group = randomBytes(32), sizes = [];
        const most = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${relay.child.pid}/status`, 'utf8'))[1]) * 1024;
        for (let epoch = 0; epoch < 120; epoch++) {
            sizes.push(epoch % 3 === 2 ? 100 : 700_000);
            assert.equal((await device.commit(group, epoch, { commit: privateMessage(group, epoch, CONTENT.commit, sizes.at(-1)) })).status, 200);
        }
        const before = most(), epochs = [];
        for (let next = 0, page; (page = (await device.inbox(next, { limit: 256 })).json).events.length > 0; next = page.next) {
            assert.ok(page.events.length === 1 || page.events.reduce((n, e) => n + e.data.length, 0) <= 1.1 * MIB);
            epochs.push(...page.events.map((e) => e.epoch));
        }
        assert.deepEqual(epochs, sizes.map((_, i) => i), 'each once and in order');
        assert.ok(most() - before < 16 * MIB, `${(most() - before) / MIB} MiB more`);
    });
});
