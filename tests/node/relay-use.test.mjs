// What a clinic takes is counted as it changes, never anew. After whatever clients did, together and against each other, refused or not,
// and after kills, the counters are what is there: doctor compares. A failure names its seed: SOTTO_SEED=N runs it again.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONTENT, Clinic, RELAY, RelayProcess, b64u, enrol, postgres, privateMessage, register } from './support/relay-client.mjs';

const ROUNDS = 24, AT_ONCE = 24, DAY = 86_400_000;
const seed = Number(process.env.SOTTO_SEED ?? Date.now() % 1_000_000);

/** Numbers from 0 to below n (mulberry32). */
let state = seed;
function below(n) {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % n;
}
const one = (list) => list[below(list.length)];

function change(relay, sql) {
    if (postgres) return postgres.query(relay.database[1], sql);
    const { status, stderr } = spawnSync('sqlite3', [join(relay.folder, 'relay.db'), sql], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
}

/** Everything that one clinic's clients know; each action is one request or two. */
async function world(origin) {
    const clinic = await Clinic.create(origin), devices = [];
    for (let i = 0; i < 4; i++) devices.push(Object.assign(await clinic.enrolStaff(), { next: 0 }));
    const groups = [], sent = [], waiting = [], invites = [], blobs = [];
    const text = (group) => privateMessage(group.id, 0, CONTENT.application, 100 + below(6000));
    const later = (by, m) => by.ask('POST', `/v1/groups/${b64u(m.group.id)}/messages?id=${m.id}&deliver_at=${m.at}`, m.body);
    const actions = {
        async found() {
            const by = one(devices), id = randomBytes(32);
            if ((await by.commit(id, 0, { added: below(2) ? [one(devices).keyid] : [] })).status === 200) groups.push({ id, epoch: 1 });
        },
        async commit() {
            const group = one(groups), by = one(devices), epoch = group?.epoch;
            if (group === undefined) return;
            const list = () => Array.from({ length: below(3) }, () => one(devices).keyid);
            const answer = await by.commit(group.id, epoch, { added: list(), removed: below(3) ? [] : list() });
            if (answer.status === 200) group.epoch = Math.max(group.epoch, answer.json.epoch);
        },
        async send() {
            const group = one(groups);
            if (group === undefined) return;
            const m = { by: one(devices), group, body: text(group), id: b64u(randomBytes(16)) };
            sent.push(m);
            await m.by.message(group.id, m.body, m);
        },
        /** The same again, or the id for another: alone, or together with the first time. */
        async again() {
            const m = one(sent);
            if (m !== undefined) await m.by.message(m.group.id, below(4) ? m.body : text(m.group), m);
        },
        async schedule() {
            const group = one(groups);
            if (group === undefined) return;
            const m = { by: one(devices), group, body: text(group), id: b64u(randomBytes(16)), at: Date.now() + (below(2) ? 1500 : DAY) };
            waiting.push(m);
            await later(m.by, m);
        },
        async withdraw() {
            const m = one(waiting);
            if (m === undefined) return;
            await (below(3) ? one(devices).ask('DELETE', `/v1/groups/${b64u(m.group.id)}/messages/${m.id}?sender=${m.by.keyid}`) : later(m.by, m));
        },
        async fetch() {
            const device = one(devices), { status, json } = await device.inbox(device.next, { limit: 1 + below(20) });
            if (status === 200) device.next = Math.max(device.next, json.next);
        },
        async invite() {
            const by = one(devices), invite = below(3) ? clinic.invite(by) : (one(invites)?.invite ?? clinic.invite(by)), check = b64u(randomBytes(32));
            await register(by, invite, { check });
            invites.push({ invite, check });
        },
        async accept() {
            const known = one(invites);
            if (known === undefined) return;
            const device = Object.assign(clinic.invited(known.invite), { next: 0 }), check = below(3) ? known.check : b64u(randomBytes(32));
            if ((await enrol(device, { check })).status === 201) devices.push(device);
        },
        async hire() {
            const device = Object.assign(clinic.staff({ rights: 1 + below(31) }), { next: 0 });
            const [a, b] = await Promise.all([enrol(device), enrol(device)]);
            if (a.status === 201 || b.status === 201) devices.push(device);
        },
        async revoke() {
            const gone = 1 + below(devices.length - 1);
            await devices[0].ask('DELETE', `/v1/devices/${devices[gone].keyid}`);
        },
        async attach() {
            const blob = { id: b64u(randomBytes(32)), by: one(devices), length: 65_536 + below(500_000) };
            blobs.push(blob);
            await blob.by.ask('PUT', `/v1/blobs/${blob.id}?length=${blob.length}&offset=0`, randomBytes(65_536), { headers: { 'content-type': 'application/octet-stream' } });
        },
        async detach() {
            const blob = one(blobs);
            if (blob !== undefined) await one(devices).ask('DELETE', `/v1/blobs/${blob.id}`);
        },
    };
    const often = ['send', 'send', 'send', 'send', 'again', 'again', 'fetch', 'fetch', 'fetch', 'commit', 'commit', 'schedule', 'withdraw'];
    const names = [...Object.keys(actions), ...often];
    return { act: () => actions[one(names)](), move: (to) => [...devices, ...invites.map((i) => i.invite)].forEach((d) => (d.origin = to)), clinic };
}

test('what is counted for quotas is what is there', { timeout: 180_000 }, async () => {
    const relay = await RelayProcess.start({ 'quota-stored': 1, 'quota-groups': 12, 'quota-devices': 40, 'quota-invitations': 25, 'blob-quota': 3, 'blob-share': 50 });
    try {
        const worlds = [await world(relay.origin), await world(relay.origin)];
        for (let round = 0; round < ROUNDS; round++) {
            const all = Promise.allSettled(Array.from({ length: AT_ONCE }, () => one(worlds).act()));
            if (round % 6 === 5) {
                const sudden = round % 12 === 5;
                if (!sudden) await all;
                await relay.kill(sudden ? 'SIGKILL' : 'SIGTERM');
                await all;
                // Some of it is too old when the relay begins again.
                change(relay, `UPDATE events SET at = at - ${400 * DAY} WHERE seq % 3 = ${below(3)}`);
                change(relay, `UPDATE blobs SET created = created - ${2 * DAY} WHERE size % 2 = 0`);
                await relay.launch(0);
                for (const w of worlds) Object.assign(w.clinic, { origin: relay.origin }), w.move(relay.origin);
            } else {
                for (const { status, reason } of await all) assert.equal(status, 'fulfilled', reason);
            }
            const { stdout, stderr } = spawnSync(RELAY, ['doctor', ...relay.database], { encoding: 'utf8' });
            assert.equal(JSON.parse(stdout).checks.consistency, 'ok', `seed ${seed}, round ${round}: ${stderr}`);
        }
        // It was no walk through refusals alone.
        const { events, mls_groups, devices, invitations, sent } = relay.tables();
        for (const [name, { rows }] of Object.entries({ events, mls_groups, devices, invitations, sent })) assert.ok(rows > 0, `seed ${seed}: ${rows} ${name}`);
    } finally {
        await relay.stop();
    }
});
