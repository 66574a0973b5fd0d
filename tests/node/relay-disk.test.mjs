// Disks that are full, may not be written, fail or are slow: a clear 503 with Retry-After, nothing torn, and it goes on by itself. After
// each, the database is whole, the audit log too, and everything that was acknowledged is there, once.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkUnavailable, conversation, inboxOf, isUnavailable, until, withRelay } from './support/failing.mjs';
import { CONTENT, ON_POSTGRES, RELAY, RelayProcess, b64u, exchange, postgres, privateMessage, sleep } from './support/relay-client.mjs';
import { Postgres } from './support/postgres.mjs';
import { NO_TRACER, inject } from './support/tracer.mjs';

const folder = mkdtempSync(join(tmpdir(), 'sotto-disk-'));
chmodSync(folder, 0o711); // PostgreSQL is another user
after(() => rmSync(folder, { recursive: true, force: true }));
const run = (program, ...args) => spawnSync(program, args, { encoding: 'utf8' });
function ran(program, ...args) {
    const result = run(program, ...args);
    assert.equal(result.status, 0, `${program} ${args.join(' ')}: ${result.error?.message ?? result.stderr}`);
    return result.stdout;
}

/** A small file system of its own, gone after the tests. */
function smallDisk(name, size) {
    const at = join(folder, name);
    mkdirSync(at);
    ran('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', at);
    after(() => run('umount', '-l', at));
    return at;
}
const NO_MOUNT = (() => {
    const at = mkdtempSync(join(tmpdir(), 'sotto-mount-'));
    const may = run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', at).status === 0;
    if (may) run('umount', at);
    rmSync(at, { recursive: true });
    return may ? false : 'only who may mount can make a small disk';
})();
const NO_IMMUTABLE = (() => {
    const file = join(folder, 'attributes');
    writeFileSync(file, '');
    const may = run('chattr', '+i', file).status === 0;
    run('chattr', '-i', file);
    return may ? false : 'only root, and a file system with attributes, can make a file immutable';
})();
const on = (database, missing) => ({ skip: ON_POSTGRES === (database === 'PostgreSQL') ? missing : `it is for ${database}`, timeout: 180_000 });
const NO_RATES = { 'rate-device': 0, 'rate-address': 0, 'rate-enrol': 0 };
/** Fills a disk; `room` bytes are left. */
function ballast(disk, room) {
    const { bavail, bsize } = statfsSync(disk);
    if (bavail * bsize > room) writeFileSync(join(disk, 'ballast'), Buffer.alloc(bavail * bsize - room));
}

/** One who writes under ids of its own until it is answered, in a conversation; knows what was acknowledged. */
class Writer {
    constructor(relay, { device, reader, group, seq }) {
        Object.assign(this, { relay, device, reader, group, begin: seq, acknowledged: [], pending: undefined });
    }
    static async on(relay) {
        return new Writer(relay, await conversation(relay));
    }
    /** Says something, or what got no number yet. */
    async say(size = 100) {
        this.pending ??= { id: b64u(randomBytes(16)), bytes: privateMessage(this.group, 1, CONTENT.application, size) };
        const answer = await this.device.message(this.group, this.pending.bytes, this.pending);
        if (answer.status !== 200) return answer;
        this.acknowledged.push(answer.json.seq);
        this.pending = undefined;
        return answer;
    }
    async sayUntilRefused(size) {
        checkUnavailable(await until(() => this.say(size), isUnavailable));
    }
    async sayUntilTaken(size) {
        await until(() => this.say(size), (a) => a.status === 200);
    }
    /** All that was acknowledged is there once, as it was; also after a kill. */
    async check() {
        for (const [how, who] of [['as it is', this.reader], ['after a kill', this.device]]) { // who has read has acknowledged
            if (how === 'after a kill') await this.relay.restart('SIGKILL');
            assert.deepEqual(await inboxOf(who, this.begin), this.acknowledged, how);
            assert.equal(run(RELAY, 'audit', 'verify', ...this.relay.database).status, 0, how);
            if (ON_POSTGRES) continue;
            assert.equal(ran('sqlite3', '-readonly', join(this.relay.folder, 'relay.db'), 'PRAGMA integrity_check').trim(), 'ok', how);
        }
        this.begin = this.acknowledged.at(-1);
        this.acknowledged = [];
    }
}
const ready = (relay) => exchange(`${relay.origin}/readyz`);
async function lives(relay) {
    assert.equal((await exchange(`${relay.origin}/healthz`)).status, 200);
}
/** Refused while the fault lasts, taken when it ends. */
async function outage(relay, writer, begin, { size = 100, times = 2 } = {}) {
    for (let i = 0; i < times; i++) {
        await writer.sayUntilTaken();
        const end = await begin();
        await writer.sayUntilRefused(size);
        checkUnavailable(await until(() => ready(relay), isUnavailable));
        await lives(relay);
        await end();
        await writer.sayUntilTaken(size);
        await until(() => ready(relay), (a) => a.status === 200);
    }
}

// ---- SQLite

test('a disk that is full', on('SQLite', NO_MOUNT), async () => {
    const disk = smallDisk('full', '4m'), relay = await RelayProcess.start({}, join(disk, 'data'));
    const writer = await Writer.on(relay);
    for (const room of [200_000, 0]) {
        await outage(relay, writer, () => {
            ballast(disk, room);
            return () => rmSync(join(disk, 'ballast'));
        }, { size: 60_000, times: 1 });
    }
    // Nothing but what clients acknowledge makes room again, where the operator does nothing.
    await writer.check();
    ballast(disk, 0);
    await writer.sayUntilRefused(60_000);
    await relay.restart('SIGKILL').catch(() => {}); // it may need room to begin, and says so then
    if (relay.child.exitCode !== null) assert.match(relay.log, /event=stop error=/);
    rmSync(join(disk, 'ballast'));
    if (relay.child.exitCode !== null) await relay.launch();
    await writer.sayUntilTaken(60_000);
    await writer.check();
    await relay.stop();
});

test('files that may not be written any more', on('SQLite', NO_IMMUTABLE), async () => {
    await withRelay({}, async (relay) => {
        const writer = await Writer.on(relay), files = ['relay.db', 'relay.db-wal'].map((n) => join(relay.folder, n));
        after(() => run('chattr', '-i', ...files));
        await outage(relay, writer, () => {
            ran('chattr', '+i', ...files);
            return async () => {
                for (let i = 0; i < 8; i++) checkUnavailable(await writer.say());
                ran('chattr', '-i', ...files);
            };
        });
        // Told when it begins, not for each of nine transactions or more.
        assert.ok([1, 2].includes(relay.log.match(/event=batch-failed/g)?.length ?? 0), relay.log);
        await writer.check();
    });
});

for (const [calls, error] of [['pwrite64', 'ENOSPC'], ['fsync', 'EIO'], ['ftruncate,pwrite64', 'EROFS']]) {
    test(`${error} of ${calls.replace(',', ' and ')}`, on('SQLite', NO_TRACER), async () => {
        await withRelay({}, async (relay) => {
            const writer = await Writer.on(relay);
            await outage(relay, writer, () => inject(relay.child.pid, calls, `error=${error}`), { size: 20_000 });
            // Now and then only: some transactions fail in their middle, others go through.
            const end = await inject(relay.child.pid, calls, `error=${error}:when=5+${calls === 'fsync' ? 3 : 29}`);
            for (let i = 0; i < 40; i++) {
                const answer = await writer.say(3000);
                if (answer.status !== 200) checkUnavailable(answer);
            }
            await end();
            await writer.sayUntilTaken();
            await writer.check();
        });
    });
}

test('a disk that is slow: all are answered, and what waits is stored together', on('SQLite', NO_TRACER), async () => {
    const WRITERS = 24, EACH = 3;
    await withRelay({ metrics: '0' }, async (relay) => {
        const writers = await Promise.all(Array.from({ length: WRITERS }, () => Writer.on(relay)));
        const metric = async (name) => {
            const { bytes } = await exchange(`http://127.0.0.1:${/event=metrics port=(\d+)/.exec(relay.log)[1]}/metrics`);
            return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(bytes.toString())[1]);
        };
        const before = await metric('sotto_batch_requests_count');
        const end = await inject(relay.child.pid, 'fsync', 'delay_enter=300000');
        await Promise.all(writers.map(async (w) => {
            for (let i = 0; i < EACH; i++) assert.equal((await w.say()).status, 200);
        }));
        await end();
        const batches = (await metric('sotto_batch_requests_count')) - before;
        assert.ok(batches <= (WRITERS * EACH) / 4, `${batches} transactions for ${WRITERS * EACH} messages`);
        for (const w of writers.slice(1)) assert.deepEqual(await inboxOf(w.reader, w.begin), w.acknowledged);
        await writers[0].check();
    });
});

// ---- PostgreSQL

test('a PostgreSQL whose disk is full', on('PostgreSQL', NO_MOUNT), async () => {
    const disk = smallDisk('postgres', '160m'), server = await Postgres.start(join(disk, 'cluster'));
    const relay = Object.assign(new RelayProcess(), { folder: mkdtempSync(join(folder, 'relay-')), options: NO_RATES, database: ['--db', server.database()] });
    await relay.launch(0);
    try {
        const writer = await Writer.on(relay);
        for (const room of [1_000_000, 0]) {
            ballast(disk, room);
            await writer.sayUntilRefused(200_000);
            await lives(relay);
            rmSync(join(disk, 'ballast'));
            // It may have ended itself, for want of room for its log; whoever watches it starts it again.
            if (server.child.exitCode !== null) await server.launch();
            await writer.sayUntilTaken(200_000);
            await until(() => ready(relay), (a) => a.status === 200);
        }
        await writer.check();
        server.check(relay.database[1]);
        await relay.stop();
    } finally {
        await server.stop();
    }
});

test('a PostgreSQL whose disk is slow: all are answered', on('PostgreSQL', NO_TRACER), async () => {
    await withRelay({}, async (relay) => {
        const writers = await Promise.all(Array.from({ length: 12 }, () => Writer.on(relay)));
        const end = await inject(postgres.backends(relay.database[1])[0], 'fdatasync', 'delay_enter=300000');
        await Promise.all(writers.map(async (w) => {
            for (let i = 0; i < 3; i++) assert.equal((await w.say()).status, 200);
        }));
        await end();
        for (const w of writers.slice(1)) assert.deepEqual(await inboxOf(w.reader, w.begin), w.acknowledged);
        await writers[0].check();
    });
});

// ---- the way to PostgreSQL

/** A network of its own, whose one machine passes connections on to the server; what it sends can be made to vanish. */
async function wayTo(server) {
    const space = `sotto${process.pid}`, here = `10.${200 + (process.pid % 50)}.${process.pid % 256}`, [near, far] = ['a', 'b'].map((end) => `so${process.pid}${end}`), ip = (...args) => ran('ip', ...args);
    after(() => run('ip', 'netns', 'del', space));
    ip('netns', 'add', space);
    ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', space);
    ip('addr', 'add', `${here}.1/30`, 'dev', near);
    ip('link', 'set', near, 'up');
    ip('-n', space, 'addr', 'add', `${here}.2/30`, 'dev', far);
    ip('-n', space, 'link', 'set', far, 'up');
    const script = `require('net').createServer((a) => { const b = require('net').connect(${JSON.stringify(server.socket)}); for (const s of [a, b]) s.on('error', () => {});
        a.pipe(b).pipe(a); }).listen(5432, '${here}.2', () => console.log('listens'))`;
    const child = spawn('ip', ['netns', 'exec', space, process.execPath, '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    after(() => child.kill());
    await new Promise((resolve) => child.stdout.once('data', resolve));
    return {
        address: (database) => Object.assign(new URL(database), { hostname: `${here}.2`, port: '5432' }).href,
        cut: () => ip('-n', space, 'route', 'add', 'blackhole', `${here}.1/32`),
        mend: () => ip('-n', space, 'route', 'del', 'blackhole', `${here}.1/32`),
    };
}
const NO_NETWORK = (() => {
    const space = `sottotry${process.pid}`, may = run('ip', 'netns', 'add', space).status === 0;
    if (may) run('ip', 'netns', 'del', space);
    return may ? false : 'only root, with iproute2, can make a network';
})();

test('a PostgreSQL whose network swallows everything: 503, and on by itself; no lock stays behind', on('PostgreSQL', NO_NETWORK), async () => {
    const way = await wayTo(postgres), database = postgres.database();
    const relay = Object.assign(new RelayProcess(), { folder: mkdtempSync(join(folder, 'relay-')), options: NO_RATES, database: ['--db', way.address(database)] });
    await relay.launch(0);
    try {
        const writer = await Writer.on(relay);
        await outage(relay, writer, () => {
            way.cut();
            return way.mend;
        });
        // A relay whose machine vanishes in the middle of a transaction holds up the others for a while only.
        await writer.sayUntilTaken();
        const other = await RelayProcess.beside(Object.assign(new RelayProcess(), { database: ['--db', database], options: NO_RATES }));
        try {
            const pending = [1, 2, 3, 4].map(() => writer.device.message(writer.group, privateMessage(writer.group, 1, CONTENT.application)).catch(() => {}));
            way.cut();
            writer.device = writer.device.at(other.origin);
            await writer.sayUntilTaken();
            await relay.kill();
            await Promise.all(pending);
            way.mend();
        } finally {
            await other.stop();
        }
    } finally {
        await relay.kill();
    }
});

// ---- descriptors

test('no descriptor for a new connection to the database: 503 until there is one', on('PostgreSQL', NO_TRACER), async () => {
    await withRelay({}, async (relay) => {
        const writer = await Writer.on(relay);
        await writer.sayUntilTaken();
        const end = await inject(relay.child.pid, 'socket', 'error=EMFILE');
        await postgres.crash();
        await postgres.launch();
        await writer.sayUntilRefused();
        checkUnavailable(await until(() => ready(relay), isUnavailable));
        await sleep(500);
        checkUnavailable(await writer.say());
        await end();
        await writer.sayUntilTaken();
        await writer.check();
    });
});

test('no descriptor for a file: what needs none goes on, and it recovers', on('SQLite', NO_TRACER), async () => {
    await withRelay({}, async (relay) => {
        const writer = await Writer.on(relay);
        const end = await inject(relay.child.pid, 'openat,open', 'error=EMFILE');
        for (let i = 0; i < 5; i++) await writer.say(20_000);
        await end();
        await writer.sayUntilTaken();
        await writer.check();
    });
});
