// Messages with a time of delivery, across kill -9 and several relays; what any server must do is in tests/conformance/checks/schedule.mjs.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CONTENT, Clinic, ON_POSTGRES, RIGHT, RelayProcess, b64u, certificate, chainOf, KIND, nowS, privateMessage, problemName, sleep } from './support/relay-client.mjs';

const later = (device, group, at, body, id) => device.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${id}&deliver_at=${at}`, body);
const text = (group) => privateMessage(group, 1, CONTENT.application);
const newId = () => b64u(randomBytes(16));

/** Reads an inbox until `n` events of a kind came. */
async function arrive(device, from, kind, n, ms = 20_000) {
    const found = [], until = Date.now() + ms;
    for (let next = from; found.length < n;) {
        assert.ok(Date.now() < until, `${found.length} of ${n} came`);
        const { json } = await device.inbox(next, { wait: 2 });
        found.push(...json.events.filter((e) => e.kind === kind));
        next = json.next;
    }
    return found;
}

test('what was scheduled survives kill -9, before its time and while it is delivered, and comes once', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), writer = await clinic.enrolStaff({ rights: 1 }), reader = await clinic.enrolStaff({ rights: 1 });
        const group = randomBytes(32), start = (await writer.commit(group, 0, { added: [reader.keyid] })).json.seq;
        const at = Date.now() + 2500, ids = Array.from({ length: 90 }, newId), wanted = new Map();
        for (const [i, id] of ids.entries()) {
            const body = text(group), time = at + i * 20;
            wanted.set(id, { data: b64u(body), time });
            assert.deepEqual((await later(writer, group, time, body, id)).json, { seq: null, deliver_at: time });
            if (i % 30 === 29) await relay.restart('SIGKILL');
        }
        // while they come due, at least one a kill
        while (Date.now() < at + 2000) {
            await sleep(300);
            await relay.restart('SIGKILL');
        }
        const seen = await arrive(reader, start, 'message', ids.length);
        assert.deepEqual(seen.map((e) => e.id), ids, 'in the order of their times, each once');
        for (const { id, data, at: delivered } of seen) {
            assert.equal(data, wanted.get(id).data);
            assert.ok(delivered >= wanted.get(id).time);
        }
        await sleep(1500);
        assert.deepEqual((await reader.inbox(seen.at(-1).seq)).json.events, []);
        assert.equal(relay.tables().scheduled.rows, 0);
    } finally {
        await relay.stop();
    }
});

test('one whose time passed while the relay was down comes when it is up', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), writer = await clinic.enrolStaff({ rights: 1 });
        const group = randomBytes(32), id = newId(), { seq } = (await writer.commit(group, 0)).json;
        await later(writer, group, Date.now() + 500, text(group), id);
        await relay.kill();
        await sleep(700);
        await relay.launch();
        assert.equal((await arrive(writer, seq, 'message', 1))[0].id, id);
    } finally {
        await relay.stop();
    }
});

test('a sender whose certificate has expired or lost the right by then is told why', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin);
        const brief = await clinic.enrolStaff({ rights: 1, notAfter: nowS() + 2 }), demoted = await clinic.enrolStaff({ rights: 3 }), reader = await clinic.enrolStaff({ rights: 1 });
        const group = randomBytes(32), { seq } = (await reader.commit(group, 0, { added: [brief.keyid, demoted.keyid] })).json;
        const at = Date.now() + 4000;
        assert.equal((await later(brief, group, at, text(group), newId())).status, 200);
        assert.equal((await later(demoted, group, at, text(group), newId())).status, 200);
        const renew = (device, rights) => device.ask('POST', '/v1/devices', { chain: b64u(chainOf([certificate(clinic.root, { clinic: clinic.name, kind: KIND.staff, key: device.key.raw, subject: randomBytes(16), rights })])) });
        assert.equal((await renew(demoted, RIGHT.invitePatient)).status, 200);
        assert.equal((await arrive(demoted, seq, 'undelivered', 1))[0].reason, 'forbidden');
        assert.equal(problemName(await brief.inbox(seq)), 'bad-certificate');
        assert.equal((await renew(brief, 1)).status, 200);
        assert.equal((await arrive(brief, seq, 'undelivered', 1))[0].reason, 'bad-certificate');
        assert.deepEqual((await reader.inbox(seq)).json.events, []);
    } finally {
        await relay.stop();
    }
});

test('two relays on one database: each message once, and those who wait at either are woken', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL', timeout: 60_000 }, async () => {
    const one = await RelayProcess.start(), two = await RelayProcess.beside(one);
    try {
        const clinic = await Clinic.create(one.origin), writer = await clinic.enrolStaff({ rights: 1 }), reader = await clinic.enrolStaff({ rights: 1 });
        const second = await clinic.enrolStaff({ rights: 1 }), group = randomBytes(32);
        const { seq } = (await writer.commit(group, 0, { added: [reader.keyid, second.keyid] })).json;
        const at = Date.now() + 2000, ids = Array.from({ length: 60 }, newId), there = writer.at(two.origin);
        await Promise.all(ids.map((id, i) => later(i % 2 === 0 ? writer : there, group, at + (i % 10) * 100, text(group), id)));
        const answers = Promise.all(ids.slice(0, 20).map(async (id, i) => {
            await sleep(1500 + i * 80);
            return [id, (await (i % 2 === 0 ? there : writer).ask('DELETE', `/v1/groups/${b64u(group)}/messages/${id}`)).status];
        }));
        const [seen, alsoSeen] = await Promise.all([arrive(reader, seq, 'message', 40), arrive(second.at(two.origin), seq, 'message', 40)]);
        const gone = (await answers).filter(([, status]) => status === 204).map(([id]) => id);
        await sleep(2500);
        const rest = (await reader.inbox(seen.at(-1).seq)).json.events;
        const all = [...seen, ...rest].map((e) => e.id);
        assert.deepEqual(all.toSorted(), ids.filter((id) => !gone.includes(id)).toSorted());
        assert.deepEqual(alsoSeen.map((e) => e.id), all.slice(0, alsoSeen.length));
    } finally {
        await two.stop();
        await one.stop();
    }
});
