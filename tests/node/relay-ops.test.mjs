// What an operator relies on: probes and metrics, TLS of the relay's own, proxies, copies of the database, and failing well.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import tls from 'node:tls';
import { checkUnavailable, conversation, inboxOf, isUnavailable, until, withRelay } from './support/failing.mjs';
import { CONTENT, ON_POSTGRES, RELAY, RelayProcess, b64u, exchange, newKey, postgres, privateMessage, problemName, signedHeaders, sleep } from './support/relay-client.mjs';

const AS_ROOT = process.getuid() === 0;
const SQLITE_ONLY = { skip: ON_POSTGRES ? 'it is for SQLite' : false };
const ANY_FOLDER = { skip: ON_POSTGRES ? 'it has nothing to do with the database' : false };
const folder = mkdtempSync(join(tmpdir(), 'sotto-ops-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const run = (...args) => spawnSync(RELAY, args, { encoding: 'utf8' });
/** A command that must end well. */
function ran(...args) {
    const result = run(...args);
    assert.equal(result.status, 0, result.stderr);
    return result;
}
// ---- probes and metrics

const metricsOf = (relay) => `http://127.0.0.1:${/event=metrics port=(\d+)/.exec(relay.log)[1]}/metrics`;
/** The samples by name and labels; every line must be a comment or a sample. */
function samples(text) {
    const found = new Map();
    for (const line of text.trimEnd().split('\n')) {
        if (/^# (HELP|TYPE) sotto_\w+ ./.test(line)) continue;
        const [, name, value] = /^(sotto_\w+(?:\{(?:\w+="[^"\\]*",?)+\})?) (\d+(?:\.\d+)?)$/.exec(line) ?? assert.fail(`no sample: ${line}`);
        assert.ok(!found.has(name), name);
        found.set(name, Number(value));
    }
    return found;
}

test('probes: it lives, it can store', async () => {
    await withRelay({}, async (relay) => {
        for (const path of ['/healthz', '/readyz']) {
            const answer = await exchange(relay.origin + path);
            assert.equal(answer.status, 200);
            assert.equal(answer.bytes.toString(), 'ok\n');
            assert.equal(answer.headers['cache-control'], 'no-store');
            assert.equal((await exchange(relay.origin + path, { method: 'HEAD' })).bytes.length, 0);
            assert.equal((await exchange(relay.origin + path, { method: 'POST' })).status, 404);
        }
    });
});

test('metrics count what was done, on a listener of their own, and name nobody', async () => {
    await withRelay({ metrics: '0' }, async (relay) => {
        const { device, clinic, say, reader, seq } = await conversation(relay);
        for (let i = 0; i < 5; i++) assert.equal((await say()).status, 200);
        assert.equal((await device.ask('GET', '/v1/no-such-call')).status, 404);
        assert.equal((await exchange(`${relay.origin}/v1/inbox`)).status, 401);
        const waiting = reader.inbox(seq + 5, { wait: 20 });
        const page = await until(() => exchange(metricsOf(relay)), (a) => samples(a.bytes.toString()).get('sotto_waiting') === 1);
        assert.match(page.headers['content-type'], /^text\/plain; version=0\.0\.4/);
        const text = page.bytes.toString(), found = samples(text);
        assert.equal(found.get('sotto_requests_total{method="POST",call="/v1/groups/{}/messages",status="2xx"}'), 5);
        assert.equal(found.get('sotto_requests_total{method="POST",call="/v1/groups/{}/commits",status="2xx"}'), 1);
        assert.equal(found.get('sotto_requests_total{method="POST",call="/v1/devices",status="2xx"}'), 2);
        assert.equal(found.get('sotto_requests_total{method="GET",call="/v1/inbox",status="4xx"}'), 1);
        assert.equal(found.get('sotto_requests_total{method="GET",call="other",status="4xx"}'), 1);
        assert.equal(found.get('sotto_database_errors_total'), 0);
        assert.ok(found.get('sotto_connections') >= 1);
        assert.equal(found.has('sotto_database_bytes'), !ON_POSTGRES);
        if (!ON_POSTGRES) assert.ok(found.get('sotto_database_bytes') > 4096);
        assert.match(text, /^sotto_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
        for (const name of ['batch_requests', 'commit_seconds']) {
            const buckets = [...found].filter(([k]) => k.startsWith(`sotto_${name}_bucket`)).map(([, v]) => v);
            assert.deepEqual(buckets, [...buckets].sort((a, b) => a - b));
            assert.equal(buckets.at(-1), found.get(`sotto_${name}_count`));
        }
        assert.equal(found.get('sotto_batch_requests_sum'), 13, 'clinic, 2 devices, commit, 1 read, 5 messages, 2 refused, 1 that waits');
        for (const canary of [device.keyid, clinic.name, '127.0.0.1', relay.folder, 'no-such-call']) assert.ok(!text.includes(canary), canary);
        // Each listener has its own alone.
        assert.equal((await exchange(`${relay.origin}/metrics`)).status, 404);
        const other = new URL(metricsOf(relay)).origin;
        for (const path of ['/.well-known/sotto', '/healthz', '/', '/v1/inbox', '/metrics/']) assert.equal((await exchange(other + path)).status, 404, path);
        await say();
        assert.equal((await waiting).json.events.length, 1);
    });
});

test('each listener is where it is said to be, and by itself on the loopback only', ANY_FOLDER, async () => {
    const outside = Object.values(networkInterfaces()).flat().find((i) => i.family === 'IPv4' && !i.internal)?.address;
    const at = (host, url) => exchange(Object.assign(new URL(url), { hostname: host }).href);
    await withRelay({ metrics: '0', host: '0.0.0.0' }, async (relay) => {
        assert.equal((await exchange(metricsOf(relay))).status, 200);
        if (!outside) return;
        assert.equal((await at(outside, `${relay.origin}/healthz`)).status, 200);
        await assert.rejects(at(outside, metricsOf(relay)), /ECONNREFUSED/);
    });
    await withRelay({}, async (relay) => {
        assert.equal((await exchange(`${relay.origin}/healthz`)).status, 200);
        assert.doesNotMatch(relay.log, /metrics/);
        if (outside) await assert.rejects(at(outside, `${relay.origin}/healthz`), /ECONNREFUSED/);
    });
    for (const wrong of ['', ':1', 'host:', '70000', '1.2.3.4:x']) assert.equal(run('serve', '--data', join(folder, 'none'), '--metrics', wrong).status, 2, wrong);
    for (const where of [['--host', '198.51.100.1'], ['--metrics', '198.51.100.1:0']]) {
        const { status, stderr } = run('serve', '--data', join(folder, 'nowhere'), '--port', '0', ...where);
        assert.equal(status, 1);
        assert.match(stderr, /can't listen there/);
    }
});

// ---- TLS

function makeCertificate(name, dir, algorithm = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']) {
    const files = { cert: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
    const { status, stderr } = spawnSync('openssl', ['req', '-x509', '-newkey', ...algorithm, '-nodes', '-keyout', files.key, '-out', files.cert,
        '-days', '2', '-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return files;
}
/** One exchange over TLS: its answer, and the name in the certificate. Without an agent each has a connection of its own. */
function secure(relay, path, { ca, method = 'GET', agent = false, headers = {} }) {
    return new Promise((resolve, reject) => {
        const request = https.request(`https://localhost:${relay.port}${path}`, { method, ca, agent, headers, host: '127.0.0.1', servername: 'localhost', ALPNProtocols: ['h2', 'http/1.1'] }, (response) => {
            const { subject } = response.socket.getPeerCertificate(), socket = response.socket, { alpnProtocol } = socket, version = socket.getProtocol();
            let said = '';
            response.on('data', (part) => (said += part)).on('end', () => resolve({ status: response.statusCode, headers: response.headers, said, name: subject?.CN, alpnProtocol, version, socket }));
        });
        request.on('error', reject).end();
    });
}
const handshake = (relay, options) => new Promise((resolve, reject) => {
    const socket = tls.connect({ port: relay.port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false, ...options }, () => {
        resolve({ version: socket.getProtocol(), cipher: socket.getCipher().name });
        socket.destroy();
    });
    socket.on('error', reject);
});

test('TLS: served, renewed without dropping a connection, and a bad file changes nothing', ANY_FOLDER, async () => {
    const first = makeCertificate('first', folder), second = makeCertificate('second', folder, ['rsa:2048']), third = makeCertificate('third', folder);
    const own = { cert: join(folder, 'own.pem'), key: join(folder, 'own.key') };
    /** As an operator's tool does it: each file appears whole. */
    const install = (from) => ['cert', 'key'].forEach((part) => (copyFileSync(from[part], `${own[part]}.new`), renameSync(`${own[part]}.new`, own[part])));
    const ca = [first, second, third].map(({ cert }) => readFileSync(cert));
    const pages = join(folder, 'pages');
    mkdirSync(pages);
    writeFileSync(join(pages, 'index.html'), '<!doctype html>page');
    install(first);
    await withRelay({ 'tls-cert': own.cert, 'tls-key': own.key, static: pages }, async (relay) => {
        const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
        const page = await secure(relay, '/', { ca, agent });
        assert.deepEqual([page.status, page.said, page.name, page.alpnProtocol, page.version], [200, '<!doctype html>page', 'first', 'http/1.1', 'TLSv1.3']);
        assert.match(page.headers['strict-transport-security'], /^max-age=\d{7,}$/);
        // The same connection, a signed request.
        const signed = signedHeaders(newKey(), b64u(randomBytes(16)), 'GET', `https://localhost:${relay.port}/v1/inbox?after=0`, undefined);
        const refused = await secure(relay, '/v1/inbox?after=0', { ca, agent, headers: signed });
        assert.equal(JSON.parse(refused.said).type, 'urn:sotto:problem:unknown-device');
        assert.equal(refused.socket, page.socket);
        // Old versions and ciphers without forward secrecy are not spoken.
        assert.equal((await handshake(relay, { maxVersion: 'TLSv1.2' })).version, 'TLSv1.2');
        await assert.rejects(handshake(relay, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
        await assert.rejects(handshake(relay, { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256:AES256-SHA256:ECDHE-ECDSA-AES128-SHA256' }));
        // Plain HTTP is not answered.
        await assert.rejects(exchange(`http://127.0.0.1:${relay.port}/healthz`));
        // A new certificate with a key of another kind; the old connection goes on.
        install(second);
        relay.child.kill('SIGHUP');
        await until(() => secure(relay, '/', { ca }), (a) => a.name === 'second');
        const still = await secure(relay, '/', { ca, agent });
        assert.equal(still.status, 200);
        assert.equal(still.socket, page.socket);
        await assert.rejects(handshake(relay, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }), 'the first certificate is not given any more');
        // Bad files: no PEM; a key of another certificate; none at all.
        const bad = [() => writeFileSync(own.cert, 'no certificate'), () => (install(second), copyFileSync(third.key, own.key)), () => rmSync(own.cert)];
        for (const spoil of bad) {
            const before = relay.log.length;
            spoil();
            relay.child.kill('SIGHUP');
            await until(async () => relay.log.slice(before), (log) => /level=error event=tls message="the certificate in use stays"/.test(log));
            assert.equal((await secure(relay, '/', { ca })).name, 'second');
        }
        install(third);
        relay.child.kill('SIGHUP');
        await until(() => secure(relay, '/', { ca }), (a) => a.name === 'third');
        // Who says nothing, or noise, hurts nobody.
        const noise = net.connect(relay.port, '127.0.0.1', () => noise.write(randomBytes(3000)));
        await new Promise((resolve) => noise.on('error', () => {}).on('close', resolve));
        assert.equal((await secure(relay, '/healthz', { ca })).status, 200);
        agent.destroy();
    });
    const unusable = run('serve', '--data', join(folder, 'never'), '--port', '0', '--tls-cert', first.cert, '--tls-key', third.key);
    assert.equal(unusable.status, 1);
    assert.match(unusable.stderr, /event=tls message="can't use the key with this certificate/);
    assert.equal(run('serve', '--data', join(folder, 'never'), '--tls-cert', first.cert).status, 2);
});

test('SIGHUP without TLS ends nothing', ANY_FOLDER, async () => {
    await withRelay({}, async (relay) => {
        relay.child.kill('SIGHUP');
        await sleep(400);
        assert.equal((await exchange(`${relay.origin}/healthz`)).status, 200);
    });
});

// ---- proxies

test('a proxy says who asks; nobody else can, and nonsense counts for the proxy', ANY_FOLDER, async () => {
    const ask = (relay, forwarded) => exchange(`${relay.origin}/.well-known/sotto`, { headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } });
    /** How many of n requests are let through. */
    const through = async (relay, n, forwarded) => {
        let passed = 0;
        for (let i = 0; i < n; i++) if ((await ask(relay, typeof forwarded === 'function' ? forwarded(i) : forwarded)).status === 200) passed++;
        return passed;
    };
    await withRelay({ 'rate-address': 3, proxy: '10.1.2.3,127.0.0.1,2001:db8::1', 'connections-address': 2 }, async (relay) => {
        assert.equal(await through(relay, 5, '192.0.2.1'), 3);
        assert.equal(await through(relay, 5, '192.0.2.2'), 3, 'another client has rates of his own');
        assert.equal(await through(relay, 3, (i) => `192.0.2.${50 + i}, 192.0.2.1`), 0, 'only the last entry counts: the rest is the client\'s word');
        assert.equal(await through(relay, 3, (i) => [`192.0.2.${60 + i}`, '192.0.2.1']), 0, 'also when it comes in a line of its own');
        assert.equal(await through(relay, 3, (i) => ['192.0.2.1', `192.0.2.${70 + i}`]), 3);
        assert.equal(await through(relay, 5, '2001:db8:1:2::1'), 3);
        assert.equal(await through(relay, 3, '[2001:db8:1:2::7]'), 0, 'an IPv6 network is one client');
        const nonsense = ['', 'unknown', '1.2.3', '1.2.3.4.5', '192.0.2.9:80', '192.0.2.9, ', 'fe80::1%eth0', `192.0.2.9,${'1'.repeat(300)}`];
        assert.equal(await through(relay, nonsense.length, (i) => nonsense[i]), 3, 'together they have what the proxy itself has');
        // The proxy's connections are many people's.
        const sockets = Array.from({ length: 8 }, () => net.connect(relay.port, '127.0.0.1'));
        await sleep(300);
        assert.equal((await ask(relay, '192.0.2.77')).status, 200);
        sockets.forEach((s) => s.destroy());
    });
    await withRelay({ 'rate-address': 3, proxy: '10.1.2.3' }, async (relay) => {
        assert.equal(await through(relay, 6, (i) => `192.0.2.${i}`), 3, 'from one who is no proxy it is ignored');
    });
    await withRelay({ 'rate-address': 3 }, async (relay) => assert.equal(await through(relay, 6, (i) => `192.0.2.${i}`), 3));
    for (const wrong of ['', 'localhost', '127.0.0.1,', '10.0.0.0/8', Array(17).fill('10.0.0.1').join()]) assert.equal(run('serve', '--data', join(folder, 'none'), '--proxy', wrong).status, 2, wrong);
});

// ---- copies

test('init makes the database once and again', async () => {
    const dir = join(folder, 'init'), database = ON_POSTGRES ? ['--db', postgres.database()] : ['--data', dir];
    ran('init', ...database);
    const before = run('doctor', ...database).stdout;
    assert.match(before, /"clinics":\{"rows":0/);
    ran('init', ...database);
    assert.equal(run('doctor', ...database).stdout, before);
    if (!ON_POSTGRES) assert.equal(statSync(join(dir, 'relay.db')).mode & 0o077, 0);
});

test('PostgreSQL is copied by its own tools, and the relay says so', async () => {
    for (const args of [['backup', '--to', join(folder, 'x')], ['restore', '--from', join(folder, 'x')]]) { // and restore without --from: relay-restore
        const { status, stderr } = run(args[0], '--db', 'postgres://nowhere', ...args.slice(1));
        assert.equal(status, 2);
        assert.match(stderr, /pg_dump .* pg_restore/);
    }
});

test('a backup under load has everything that was acknowledged before it began, and is put back elsewhere', { ...SQLITE_ONLY, timeout: 120_000 }, async () => {
    await withRelay({}, async (relay) => {
        const { say, reader, seq, device, group } = await conversation(relay), acknowledged = [];
        let writing = true;
        const writers = Promise.all(Array.from({ length: 8 }, async () => {
            while (writing) {
                const answer = await say(3000);
                assert.equal(answer.status, 200, JSON.stringify(answer.json));
                acknowledged.push(answer.json.seq);
            }
        }));
        try {
            for (let round = 0; round < 4; round++) {
                await sleep(150);
                const before = [...acknowledged], file = join(folder, 'copy.db');
                const child = spawn(RELAY, ['backup', '--data', relay.folder, '--to', file], { stdio: 'ignore' });
                assert.equal(await new Promise((resolve) => child.on('exit', resolve)), 0);
                const wrote = acknowledged.length - before.length;
                assert.equal(statSync(file).mode & 0o077, 0);
                assert.deepEqual(readdirSync(folder).filter((n) => n.startsWith('copy.db')), ['copy.db']);
                const elsewhere = mkdtempSync(join(tmpdir(), 'sotto-relay-'));
                ran('restore', '--data', elsewhere, '--from', file);
                const other = await RelayProcess.start({}, elsewhere);
                try {
                    const there = new Set(await inboxOf(reader.at(other.origin), seq));
                    for (const n of before) assert.ok(there.has(n), `${n} is missing`);
                    const numbers = [...there].sort((a, b) => a - b);
                    assert.deepEqual(numbers, Array.from(numbers, (_, i) => numbers[0] + i), 'no gap');
                    assert.equal((await device.at(other.origin).message(group, privateMessage(group, 1, CONTENT.application))).status, 200);
                    console.log(`# round ${round}: ${before.length} acknowledged before, ${wrote} during, ${there.size} in the copy`);
                } finally {
                    await other.stop();
                }
            }
        } finally {
            writing = false;
            await writers;
        }
        assert.ok(acknowledged.length > 8);
        const still = await inboxOf(reader, seq);
        assert.deepEqual(still, [...acknowledged].sort((a, b) => a - b));
    });
});

test('restore refuses what would harm: a relay that serves, data that is there, a damaged or foreign copy', SQLITE_ONLY, async () => {
    const file = join(folder, 'small.db'), target = join(folder, 'target');
    let tables;
    await withRelay({}, async (relay) => {
        const { say } = await conversation(relay);
        for (let i = 0; i < 30; i++) await say(3000);
        ran('backup', '--data', relay.folder, '--to', file);
        tables = relay.tables();
        const { status, stderr } = run('restore', '--data', relay.folder, '--from', file, '--force');
        assert.equal(status, 1);
        assert.match(stderr, /another relay serves it/);
        assert.deepEqual(relay.tables(), tables);
    });
    const digest = () => JSON.parse(ran('doctor', '--data', target).stdout).tables.clinics;
    ran('init', '--data', target);
    const empty = digest();
    const refused = (from, why, ...more) => {
        const { status, stderr } = run('restore', '--data', target, '--from', from, ...more);
        assert.equal(status, 1);
        assert.match(stderr, why);
        assert.deepEqual(digest(), empty);
        assert.ok(!existsSync(join(target, 'relay.db.part')));
    };
    refused(file, /there is a database already/);
    const bytes = readFileSync(file), damaged = join(folder, 'damaged.db');
    for (let page = 2; page * 4096 + 4096 < bytes.length; page += 3) bytes.fill(0x5a, page * 4096, page * 4096 + 60);
    writeFileSync(damaged, bytes);
    refused(damaged, /damaged/, '--force');
    copyFileSync(file, damaged);
    truncateSync(damaged, 4096 * 5);
    refused(damaged, /damaged|malformed/, '--force');
    writeFileSync(damaged, 'no database at all'.repeat(1000));
    refused(damaged, /not a database/, '--force');
    writeFileSync(damaged, '');
    refused(damaged, /not a relay's/, '--force');
    refused(join(folder, 'absent.db'), /unable to open/, '--force');
    // The log of the old database, which a kill left, must not be played into the new one.
    const old = await RelayProcess.start({}, target);
    const { say } = await conversation(old);
    for (let i = 0; i < 10; i++) await say(3000);
    await old.kill();
    assert.ok(statSync(join(target, 'relay.db-wal')).size > 30_000);
    ran('restore', '--data', target, '--from', file, '--force');
    assert.deepEqual(readdirSync(target).filter((n) => n.startsWith('relay.db')), ['relay.db']);
    // What restoring itself changes is looked at in relay-restore.
    const untouched = ({ nonces, clinics, audit_entries, audit_heads, audit_checkpoints, ...others }) => others;
    assert.deepEqual(untouched(JSON.parse(ran('doctor', '--data', target).stdout).tables), untouched(tables));
    // What can't be written leaves nothing, and what stood there stays.
    assert.equal(run('backup', '--data', join(folder, 'absent'), '--to', file).status, 1);
    assert.equal(readFileSync(file).length, statSync(file).size);
    const dirless = join(folder, 'no-such-folder', 'x.db');
    assert.equal(run('backup', '--data', target, '--to', dirless).status, 1);
    const limited = spawnSync('prlimit', ['--fsize=20000', RELAY, 'backup', '--data', target, '--to', file], { encoding: 'utf8' });
    assert.notEqual(limited.status, 0);
    const again = join(folder, 'again');
    ran('restore', '--data', again, '--from', file);
});

// ---- failing well

/** Changes limits of a running process: Debian's util-linux. */
function limit(relay, what) {
    const { status, stderr } = spawnSync('prlimit', ['--pid', String(relay.child.pid), what], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
}
test('a full disk: 503 and not ready, nothing torn, and it goes on by itself when there is room', { ...SQLITE_ONLY, timeout: 60_000 }, async () => {
    await withRelay({ metrics: '0' }, async (relay) => {
        const { say, reader, seq } = await conversation(relay), numbers = [];
        for (let i = 0; i < 10; i++) numbers.push((await say()).json.seq);
        // The files may grow by a little, then not at all: the failure comes in the middle of a transaction too.
        const size = Math.max(...['relay.db', 'relay.db-wal'].map((n) => statSync(join(relay.folder, n)).size));
        for (const room of [9_000, 30_001, 0]) {
            limit(relay, `--fsize=${size + room}:unlimited`);
            checkUnavailable(await until(async () => {
                const answer = await say(100_000);
                if (answer.status === 200) numbers.push(answer.json.seq);
                return answer;
            }, isUnavailable));
            checkUnavailable(await until(() => exchange(`${relay.origin}/readyz`), isUnavailable));
            assert.equal((await exchange(`${relay.origin}/healthz`)).status, 200);
            assert.ok(samples((await exchange(metricsOf(relay))).bytes.toString()).get('sotto_database_errors_total') > 0);
            limit(relay, '--fsize=unlimited');
            const answer = await until(() => say(50_000), (a) => a.status === 200);
            numbers.push(answer.json.seq);
            await until(() => exchange(`${relay.origin}/readyz`), (a) => a.status === 200);
        }
        // And over a kill in that state.
        limit(relay, `--fsize=${size}:unlimited`);
        await until(() => say(100_000), isUnavailable);
        await relay.restart('SIGKILL');
        numbers.push((await say()).json.seq);
        assert.deepEqual(await inboxOf(reader, seq), numbers);
        const check = join(folder, 'after-full.db');
        ran('backup', '--data', relay.folder, '--to', check);
        ran('restore', '--data', join(folder, 'after-full'), '--from', check);
    });
});

test('a database that is away: not ready, then ready again', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL', timeout: 60_000 }, async () => {
    await withRelay({}, async (relay) => {
        assert.equal((await exchange(`${relay.origin}/readyz`)).status, 200);
        await postgres.crash();
        checkUnavailable(await until(() => exchange(`${relay.origin}/readyz`), isUnavailable));
        assert.equal((await exchange(`${relay.origin}/healthz`)).status, 200);
        await postgres.launch();
        await until(() => exchange(`${relay.origin}/readyz`), (a) => a.status === 200);
    });
});

test('descriptors run out: connections beyond are told to come again, those there go on, and it recovers', { timeout: 60_000 }, async () => {
    await withRelay({ 'connections-address': 0, metrics: '0' }, async (relay) => {
        const { say, device } = await conversation(relay);
        // Below what is open already: nobody new gets in, whoever is in goes on.
        const open = readdirSync(`/proc/${relay.child.pid}/fd`).length;
        assert.equal((await say()).status, 200);
        limit(relay, `--nofile=${open}:`);
        const sockets = Array.from({ length: 12 }, () => net.connect(relay.port, '127.0.0.1').on('error', () => {}));
        await sleep(300);
        for (let i = 0; i < 5; i++) assert.equal((await say()).status, 200);
        sockets.forEach((s) => s.destroy());
        limit(relay, '--nofile=4096:');
        assert.equal((await device.inbox(0, { agent: false })).status, 200);
        assert.equal((await exchange(`${relay.origin}/readyz`, { agent: false })).status, 200);
    });
    // Started with few: it takes no more than it can serve, and says so.
    const relay = new RelayProcess();
    Object.assign(relay, { folder: mkdtempSync(join(tmpdir(), 'sotto-relay-')), options: { 'connections-address': 0, metrics: '0' } });
    relay.database = postgres ? ['--db', postgres.database()] : ['--data', relay.folder];
    await relay.launch(0, ['prlimit', '--nofile=100:100']);
    try {
        const sockets = await Promise.all(Array.from({ length: 80 }, () => new Promise((resolve) => {
            const socket = net.connect(relay.port, '127.0.0.1');
            socket.said = '';
            socket.on('error', () => {}).on('data', (part) => (socket.said += part)).on('close', () => (socket.gone = true));
            setTimeout(() => resolve(socket), 1000);
        })));
        const gone = sockets.filter((s) => s.gone);
        assert.equal(sockets.length - gone.length, 50, 'half of what it may open');
        for (const socket of gone) assert.match(socket.said, /^HTTP\/1\.1 503 .*\r\nretry-after: 1\r\n/s);
        assert.equal(samples((await exchange(metricsOf(relay))).bytes.toString()).get('sotto_connections_refused_total'), 30, 'and the operator sees it');
        sockets.forEach((s) => s.destroy());
        await until(() => exchange(`${relay.origin}/readyz`, { agent: false }), (a) => a.status === 200);
        await conversation(relay);
    } finally {
        await relay.stop();
    }
});

const NOBODY = AS_ROOT ? Number(spawnSync('id', ['-u', 'nobody'], { encoding: 'utf8' }).stdout) : -1;

test('a data directory that can\'t be written is said plainly at the start', SQLITE_ONLY, async () => {
    const dir = join(folder, 'read-only');
    mkdirSync(dir);
    chmodSync(folder, 0o755);
    chmodSync(dir, 0o500);
    if (AS_ROOT) chownSync(dir, NOBODY, NOBODY);
    const { status, stderr } = run('serve', '--data', dir, '--port', '0', ...(AS_ROOT ? ['--user', 'nobody'] : []));
    assert.equal(status, 1);
    assert.match(stderr, /can't lock the data directory: Permission denied/);
    assert.deepEqual(readdirSync(dir), []);
});

test('--user: the port is bound as root, everything else done as that user, and there is no way back', { skip: !AS_ROOT ? 'only root can become another user' : ON_POSTGRES ? 'it is for SQLite' : false }, async () => {
    chmodSync(folder, 0o777);
    const dir = join(folder, 'users'), file = join(folder, 'users.db');
    const relay = await RelayProcess.start({ user: 'nobody' }, dir);
    try {
        const status = readFileSync(`/proc/${relay.child.pid}/status`, 'utf8');
        assert.match(status, new RegExp(`^Uid:\\s+${NOBODY}\\s+${NOBODY}\\s+${NOBODY}\\s+${NOBODY}$`, 'm'));
        assert.doesNotMatch(status, /^Groups:.*\b0\b/m);
        assert.match(status, /^CapEff:\s+0+$/m);
        assert.match(status, /^NoNewPrivs:\s+1$/m);
        for (const name of readdirSync(dir)) assert.equal(statSync(join(dir, name)).uid, NOBODY, name);
        const { say } = await conversation(relay);
        assert.equal((await say()).status, 200);
        ran('backup', '--data', dir, '--to', file, '--user', 'nobody');
        assert.equal(statSync(file).uid, NOBODY);
    } finally {
        await relay.stop();
    }
    assert.match(run('serve', '--data', dir, '--user', 'no-such-user').stderr, /no such user/);
});
