// What was acknowledged is there after kill -9; what is sent again appears once; no cursor sees a gap or a repeat.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CONTENT, Clinic, RelayProcess, b64u, problemName, privateMessage, sleep } from './support/relay-client.mjs';

/** Tries until the relay answers; a message is sent under one id until it has a number. */
async function insist(ask) {
    for (;;) {
        try {
            const answer = await ask();
            if (answer.status !== 503) return answer;
        } catch { /* the relay is down */ }
        await sleep(20);
    }
}

test('kill -9 while many write: nothing acknowledged is lost, nothing appears twice, order is kept', { timeout: 120_000 }, async () => {
    const ROUNDS = 12, WRITERS = 6;
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), reader = await clinic.enrolStaff({ rights: 1 });
        const writers = await Promise.all(Array.from({ length: WRITERS }, () => clinic.enrolStaff({ rights: 1 })));
        const group = randomBytes(32);
        const made = await reader.commit(group, 0, { added: writers.map((w) => w.keyid) });
        let writing = true, resent = 0;
        const acknowledged = new Map();
        const work = writers.map(async (writer) => {
            while (writing) {
                const id = b64u(randomBytes(16)), bytes = privateMessage(group, 1, CONTENT.application);
                let tries = 0;
                const answer = await insist(() => (tries++, writer.message(group, bytes, { id })));
                assert.equal(answer.status, 200, JSON.stringify(answer.json));
                if (tries > 1) resent++;
                acknowledged.set(id, { seq: answer.json.seq, data: b64u(bytes) });
            }
        });
        for (let round = 0; round < ROUNDS; round++) {
            await sleep(40 + Math.random() * 200);
            await relay.restart('SIGKILL');
        }
        writing = false;
        await Promise.all(work);
        const seen = [];
        let next = made.json.seq;
        for (;;) {
            const page = (await reader.inbox(next, { limit: 17 })).json;
            if (page.events.length === 0) break;
            seen.push(...page.events);
            next = page.next;
        }
        const messages = seen.filter((e) => e.kind === 'message');
        assert.ok(acknowledged.size > WRITERS * 2, `only ${acknowledged.size} were acknowledged`);
        assert.equal(messages.length, acknowledged.size);
        for (const event of messages) assert.deepEqual({ seq: event.seq, data: event.data }, acknowledged.get(event.id));
        for (let i = 1; i < seen.length; i++) assert.ok(seen[i].seq > seen[i - 1].seq);
        console.log(`# ${acknowledged.size} acknowledged over ${ROUNDS} kills, ${resent} sent again`);
    } finally {
        await relay.stop();
    }
});

test('a resend after the kill gets the number of the first time', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), group = randomBytes(32);
        const commit = privateMessage(group, 0, CONTENT.commit), text = privateMessage(group, 1, CONTENT.application), id = b64u(randomBytes(16));
        const first = [(await device.commit(group, 0, { commit })).json, (await device.message(group, text, { id })).json];
        await relay.restart('SIGKILL');
        assert.deepEqual([(await device.commit(group, 0, { commit })).json, (await device.message(group, text, { id })).json], first);
        const again = await device.message(group, privateMessage(group, 1, CONTENT.application), { id });
        assert.equal(problemName(again), 'id-reused');
    } finally {
        await relay.stop();
    }
});

test('no cursor sees a gap or a repeat while writers write', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), first = await clinic.enrolStaff({ rights: 1 });
        const writers = await Promise.all(Array.from({ length: 4 }, () => clinic.enrolStaff({ rights: 1 })));
        const readers = await Promise.all(Array.from({ length: 4 }, () => clinic.enrolStaff({ rights: 1 })));
        const group = randomBytes(32), EACH = 60;
        const start = (await first.commit(group, 0, { added: [...writers, ...readers].map((d) => d.keyid) })).json.seq;
        const numbers = [];
        const writing = writers.map(async (writer) => {
            for (let i = 0; i < EACH; i++) numbers.push((await writer.message(group, privateMessage(group, 1, 1))).json.seq);
        });
        const total = EACH * writers.length;
        const reading = readers.map(async (reader, k) => {
            const got = [];
            let next = start;
            while (got.length < total) {
                const page = (await reader.inbox(next, { wait: 5, limit: 1 + k * 7 })).json;
                // the same cursor again gives the same events first
                const again = k === 0 ? (await reader.inbox(next, { limit: 1 })).json : page;
                assert.deepEqual(again.events[0], page.events[0]);
                got.push(...page.events.filter((e) => e.kind === 'message').map((e) => e.seq));
                next = page.next;
            }
            return got;
        });
        await Promise.all(writing);
        const wanted = [...numbers].sort((a, b) => a - b);
        assert.equal(new Set(wanted).size, total);
        for (const got of await Promise.all(reading)) assert.deepEqual(got, wanted);
    } finally {
        await relay.stop();
    }
});

test('SIGTERM answers those who wait, keeps what was sent, and ends with 0', async () => {
    const relay = await RelayProcess.start();
    const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff({ rights: 1 });
    const waiting = device.inbox(device.answer.json.seq, { wait: 25 });
    await sleep(100);
    const begun = Date.now(), ended = relay.kill('SIGTERM');
    const answer = await waiting;
    assert.deepEqual([answer.status, answer.json.events], [200, []]);
    assert.deepEqual(await ended, { code: 0, signal: null });
    assert.ok(Date.now() - begun < 4000);
    await relay.launch();
    assert.equal((await device.inbox(device.answer.json.seq)).status, 200);
    await relay.stop();
});

test('one relay a data directory', async () => {
    const relay = await RelayProcess.start();
    try {
        await assert.rejects(RelayProcess.start({}, relay.folder), /another relay/);
        const clinic = await Clinic.create(relay.origin);
        assert.equal(clinic.answer.status, 201);
    } finally {
        await relay.stop();
    }
});
