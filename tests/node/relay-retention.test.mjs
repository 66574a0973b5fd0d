// What no device fetches within the clinic's period is deleted, by a real relay on a real database; the device that comes back is
// told. Time passes by making what is stored older, as somebody who has the database could. The parts: tests/unit/relay_batch_test.c.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONTENT, Clinic, RelayProcess, b64u, exchange, postgres, privateMessage, problemName, register, sleep } from './support/relay-client.mjs';

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

test('remembered message ids go after 30 days, what old invitations said after the period; the audit log stays', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), auditor = await clinic.enrolStaff();
        const group = randomBytes(32), [body, id] = [text(group), b64u(randomBytes(16))];
        await auditor.commit(group, 0);
        assert.equal((await auditor.message(group, body, { id })).status, 200);
        const invite = clinic.invite(auditor);
        assert.equal((await register(auditor, invite)).status, 201);
        assert.equal((await register(auditor, invite)).status, 200);
        await relay.kill('SIGTERM');
        change(relay, 'UPDATE invitations SET expires = 1');
        change(relay, `UPDATE sent SET at = at - ${31 * DAY}`);
        await relay.launch(0);
        auditor.origin = invite.origin = relay.origin;
        for (const until = Date.now() + 30_000; relay.tables().sent.rows > 0;) {
            assert.ok(Date.now() < until, 'the id is remembered for ever');
            await sleep(100);
        }
        for (const until = Date.now() + 30_000; (await register(auditor, invite)).status !== 409;) {
            assert.ok(Date.now() < until, 'the invitation says for ever what it said');
            await sleep(100);
        }
        assert.equal(problemName(await invite.ask('GET', `/v1/invitations/${invite.id}`)), 'invitation-gone');
        assert.ok((await auditor.ask('GET', '/v1/audit?after=0')).json.entries.length >= 3);
    } finally {
        await relay.stop();
    }
});
