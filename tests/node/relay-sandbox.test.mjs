// The filter of system calls around a serving relay. What it refuses is tested by tests/unit/relay_sandbox_test.c; that all else goes on, by
// every test of a relay, for it is there unless said otherwise.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Clinic, ON_POSTGRES, RELAY, RelayProcess, b64u, postgres, privateMessage, sleep } from './support/relay-client.mjs';

/** Of the process, or of one of its threads. @param {RelayProcess} relay @returns {Record<string, number>} */
function statusOf(relay, thread = relay.child.pid) {
    const text = readFileSync(`/proc/${relay.child.pid}/task/${thread}/status`, 'utf8'), value = (/** @type {string} */ name) => Number(new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(text)?.[1]);
    return { seccomp: value('Seccomp'), filters: value('Seccomp_filters'), noNewPrivileges: value('NoNewPrivs') };
}

const probe = await RelayProcess.start();
const without = /event=sandbox/.exec(probe.log) ? 'there is no filter in this build, or the kernel takes none' : false;
await probe.stop();

test('a serving relay is in a filter, unless it is told not to', { skip: without }, async () => {
    const plain = await RelayProcess.start({ sandbox: 'off' }), relay = await RelayProcess.start({ sandbox: 'on' }), usual = await RelayProcess.start();
    try {
        const [off, on] = [statusOf(plain), statusOf(relay)];
        assert.equal(on.seccomp, 2);
        assert.equal(on.noNewPrivileges, 1);
        // A container may have put a filter around everything.
        assert.equal(on.filters, off.filters + 1);
        assert.deepEqual(statusOf(usual), on);
        for (const thread of readdirSync(`/proc/${relay.child.pid}/task`)) assert.deepEqual(statusOf(relay, Number(thread)), on);
        for (const one of [plain, relay, usual]) assert.equal((await (await Clinic.create(one.origin)).enrolStaff()).answer.status, 201);
    } finally {
        for (const one of [plain, relay, usual]) await one.stop();
    }
});

test('a word that is neither on nor off is no option', () => {
    const { status, stderr } = spawnSync(RELAY, ['serve', '--data', '/nowhere', '--sandbox', 'maybe'], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, /"--sandbox" is no option/);
});

test('the log of writes is folded into the database, and a restart finds it', { skip: without || (ON_POSTGRES && 'it is for SQLite') }, async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), group = randomBytes(32);
        await device.commit(group, 0);
        for (let i = 0; i < 80; i++) assert.equal((await device.message(group, privateMessage(group, 1, 1, 250_000))).status, 200);
        const main = statSync(join(relay.folder, 'relay.db')).size;
        assert.ok(main > 10_000_000, `${main} bytes, so nothing was folded in yet`);
        relay.child.kill('SIGHUP');
        await relay.restart('SIGTERM');
        assert.equal(statusOf(relay).seccomp, 2);
        device.origin = relay.origin;
        assert.equal((await device.message(group, privateMessage(group, 1, 1))).status, 200);
    } finally {
        await relay.stop();
    }
});

test('a database by its name is found again when its connections were ended', { skip: without || (!ON_POSTGRES && 'it is for PostgreSQL') }, async () => {
    const relay = await RelayProcess.start();
    try {
        relay.database[1] = relay.database[1].replace('127.0.0.1', 'localhost');
        await relay.restart('SIGTERM');
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff();
        postgres.query(relay.database[1], "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()");
        const end = Date.now() + 15_000;
        let answer;
        do {
            answer = await device.ask('POST', '/v1/audit', { id: b64u(randomBytes(16)), sealed: 'AAAA' });
            if (answer.status !== 201) await sleep(100);
        } while (answer.status !== 201 && Date.now() < end);
        assert.equal(answer.status, 201);
    } finally {
        await relay.stop();
    }
});
