// What no device fetches within the clinic's period is deleted, by a real relay on a real database; the device that comes back is
// told. Time passes by making what is stored older, as somebody who has the database could. The parts: tests/unit/relay_batch_test.c.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { log } from './support/audit-log.mjs';
import { CONTENT, Clinic, RelayProcess, b64u, enrol, exchange, postgres, privateMessage, problemName, register, sleep } from './support/relay-client.mjs';

const DAY = 86_400_000;
const text = (group) => privateMessage(group, 1, CONTENT.application);

/** @param {RelayProcess} relay @param {string} sql */
function change(relay, sql) {
    if (postgres) return postgres.query(relay.database[1], sql);
    const { status, stderr } = spawnSync('sqlite3', [join(relay.folder, 'relay.db'), sql], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
}

/** The first page of a device's inbox once it begins with a gap; asking `after=from` again acknowledges nothing more. */
async function gapOf(device, from) {
    for (const until = Date.now() + 30_000; ;) {
        const { json } = await device.inbox(from);
        if (json.events[0]?.kind === 'gap') return json.events;
        assert.ok(Date.now() < until, 'no gap came');
        await sleep(100);
    }
}

test('events that nobody fetched in time go; a device that comes back is told and goes on', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start({ 'retention-days': 40 });
    try {
        const { json: said } = await exchange(`${relay.origin}/.well-known/sotto`);
        assert.equal(said.limits.retention_days, 40);
        assert.ok(said.features.includes('retention'));
        const clinic = await Clinic.create(relay.origin);
        const [writer, reader, away] = await Promise.all([1, 1, 1].map((rights) => clinic.enrolStaff({ rights })));
        const group = randomBytes(32);
        const start = (await writer.commit(group, 0, { added: [reader.keyid, away.keyid] })).json.seq;
        const old = [];
        for (let i = 0; i < 5; i++) old.push((await writer.message(group, text(group))).json.seq);
        await reader.inbox(old.at(-1));
        await writer.inbox(old.at(-1));
        await relay.kill('SIGTERM');
        change(relay, `UPDATE events SET at = at - ${41 * DAY}`);
        await relay.launch(0);
        for (const device of [writer, reader, away]) device.origin = relay.origin;
        const young = [];
        for (let i = 0; i < 3; i++) young.push((await writer.message(group, text(group))).json.seq);

        const events = await gapOf(away, start);
        assert.deepEqual(events.map((e) => [e.kind, e.seq]), [['gap', old.at(-1)], ...young.map((seq) => ['message', seq])]);
        assert.deepEqual(Object.keys(events[0]).sort(), ['at', 'kind', 'seq']);
        assert.ok(Math.abs(events[0].at - (Date.now() - 41 * DAY)) < DAY, 'the time of the newest that was deleted');
        // who was there notices nothing
        assert.deepEqual((await reader.inbox(old.at(-1))).json.events.map((e) => e.seq), young);
        // it stands until it is acknowledged, and then no more
        assert.deepEqual((await away.inbox(start)).json.events, events);
        assert.deepEqual((await away.inbox(old.at(-1))).json.events.map((e) => e.seq), young);
        assert.deepEqual((await away.inbox(start)).json.events.map((e) => e.seq), young);
        for (const device of [writer, reader, away]) await device.inbox(young.at(-1));
        assert.equal(relay.tables().deliveries.rows, 0);
        assert.equal(relay.tables().events.rows, 0);
    } finally {
        await relay.stop();
    }
});

test('a clinic has a period of its own: it counts for what waits already, for this clinic alone, and is an access', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start({ 'retention-days': 100 });
    try {
        const [brief, other] = await Promise.all([1, 2].map(() => Clinic.create(relay.origin)));
        const seqs = [];
        for (const clinic of [brief, other]) {
            const [chief, away] = [await clinic.enrolStaff(), await clinic.enrolStaff({ rights: 1 })], group = randomBytes(32);
            const start = (await chief.commit(group, 0, { added: [away.keyid] })).json.seq;
            seqs.push({ chief, away, start, seq: (await chief.message(group, text(group))).json.seq });
        }
        const [{ chief, away, start, seq }, untouched] = seqs;
        assert.deepEqual((await away.ask('GET', '/v1/retention')).json, { days: 100, own: false, bounds: [30, 36600] });
        assert.equal(problemName(await away.ask('PUT', '/v1/retention', { days: 40 })), 'forbidden');
        assert.deepEqual((await chief.ask('PUT', '/v1/retention', { days: 90 })).json, { days: 90, own: true, bounds: [30, 36600] });
        await chief.ask('PUT', '/v1/retention', { days: 40 });
        assert.equal((await away.ask('GET', '/v1/retention')).json.days, 40);
        await relay.kill('SIGTERM');
        change(relay, `UPDATE events SET at = at - ${41 * DAY}`);
        await relay.launch(0);
        for (const device of [chief, away, untouched.away]) device.origin = relay.origin;
        assert.deepEqual((await gapOf(away, start)).map((e) => [e.kind, e.seq]), [['gap', seq]]);
        assert.deepEqual((await untouched.away.inbox(untouched.start)).json.events.map((e) => e.kind), ['welcome', 'message']);
        assert.equal((await chief.ask('DELETE', '/v1/retention')).status, 204);
        assert.deepEqual((await chief.ask('GET', '/v1/retention')).json, { days: 100, own: false, bounds: [30, 36600] });
        const entries = (await log(chief)).filter((e) => e.call === 'set retention');
        assert.deepEqual(entries.map((e) => [e.status, e.object.length > 0 ? Number(Buffer.from(e.object).readBigUInt64BE()) : 0]), [[403, 0], [200, 90], [200, 40], [204, 0]]);
    } finally {
        await relay.stop();
    }
});

test('remembered message ids go after 30 days, what old invitations said after the period; the audit log stays', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), auditor = await clinic.enrolStaff();
        const group = randomBytes(32), [body, id] = [text(group), b64u(randomBytes(16))];
        await auditor.commit(group, 0);
        assert.equal((await auditor.message(group, body, { id })).status, 200);
        const invite = clinic.invite(auditor);
        const asks = clinic.invite(auditor);
        assert.equal((await register(auditor, invite)).status, 201);
        assert.equal((await register(auditor, invite)).status, 200);
        assert.equal((await register(auditor, asks, { check: b64u(randomBytes(32)) })).status, 201);
        await relay.kill('SIGTERM');
        change(relay, 'UPDATE invitations SET expires = 1');
        change(relay, `UPDATE sent SET at = at - ${31 * DAY}`);
        await relay.launch(0);
        auditor.origin = invite.origin = clinic.origin = relay.origin;
        for (const until = Date.now() + 30_000; relay.tables().sent.rows > 0;) {
            assert.ok(Date.now() < until, 'the id is remembered for ever');
            await sleep(100);
        }
        for (const until = Date.now() + 30_000; (await register(auditor, invite)).status !== 409;) {
            assert.ok(Date.now() < until, 'the invitation says for ever what it said');
            await sleep(100);
        }
        assert.equal(problemName(await invite.ask('GET', `/v1/invitations/${invite.id}`)), 'invitation-gone');
        // Emptied by a clock that was ahead, and in its time by its certificate: the check that it asked for is not forgotten.
        while ((await register(auditor, asks)).status !== 409) await sleep(100);
        assert.equal(problemName(await enrol(clinic.invited(asks))), 'malformed');
        assert.equal(problemName(await enrol(clinic.invited(asks), { check: b64u(Buffer.alloc(32)) })), 'wrong-check');
        assert.ok((await auditor.ask('GET', '/v1/audit?after=0')).json.entries.length >= 3);
    } finally {
        await relay.stop();
    }
});
