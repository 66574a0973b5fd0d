// What is sent again after a crash appears once; no cursor sees a gap or a repeat. Kills under load are in relay-kills.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CONTENT, Clinic, ON_POSTGRES, RelayProcess, b64u, problemName, postgres, privateMessage, sleep } from './support/relay-client.mjs';

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

test('relays that share a database: one order, and each wakes those who wait at the other', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL', timeout: 60_000 }, async () => {
    const one = await RelayProcess.start(), two = await RelayProcess.beside(one);
    try {
        const clinic = await Clinic.create(one.origin), reader = await clinic.enrolStaff({ rights: 1 }), writer = await clinic.enrolStaff({ rights: 1 });
        const group = randomBytes(32), EACH = 40;
        let next = (await writer.commit(group, 0, { added: [reader.keyid] })).json.seq;
        const there = reader.at(two.origin), writers = [writer, writer.at(two.origin)];
        // A wait at one ends by a message at the other, long before its time.
        next = (await there.inbox(next)).json.next;
        for (let i = 0; i < 5; i++) {
            const waiting = there.inbox(next, { wait: 25 });
            await sleep(50);
            const { seq } = (await writer.message(group, privateMessage(group, 1, CONTENT.application))).json;
            const page = (await waiting).json;
            assert.deepEqual(page.events.filter((e) => e.kind === 'message').map((e) => e.seq), [seq]);
            next = page.next;
        }
        // The database dies; what is written at one afterwards wakes who waits at the other.
        await postgres.crash();
        await postgres.launch();
        const waiting = insist(() => there.inbox(next, { wait: 25 }));
        await sleep(1500);
        const after = (await insist(() => writer.message(group, privateMessage(group, 1, CONTENT.application)))).json.seq;
        assert.deepEqual((await waiting).json.events.map((e) => e.seq), [after]);
        next = after;
        const numbers = (await Promise.all(writers.map(async (at) => {
            const own = [];
            for (let i = 0; i < EACH; i++) own.push((await at.message(group, privateMessage(group, 1, CONTENT.application))).json.seq);
            return own;
        })));
        for (const own of numbers) assert.deepEqual(own, [...own].sort((a, b) => a - b));
        const seen = (await there.inbox(next, { limit: 256 })).json.events.map((e) => e.seq);
        assert.deepEqual(seen, numbers.flat().sort((a, b) => a - b));
        // One epoch has one commit, wherever it was sent.
        for (let epoch = 1; epoch < 6; epoch++) {
            const answers = await Promise.all([writer, writers[1], reader, there].map((at) => at.commit(group, epoch)));
            assert.deepEqual(answers.map((a) => a.status).sort(), [200, 409, 409, 409]);
        }
    } finally {
        await two.stop();
        await one.stop();
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

test('one relay a data directory', { skip: ON_POSTGRES ? 'it is for SQLite' : false }, async () => {
    const relay = await RelayProcess.start();
    try {
        await assert.rejects(RelayProcess.start({}, relay.folder), /another relay/);
        const clinic = await Clinic.create(relay.origin);
        assert.equal(clinic.answer.status, 201);
    } finally {
        await relay.stop();
    }
});
