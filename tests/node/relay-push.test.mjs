// Web Push against a push service of our own, over real TLS with a CA of our own: what it gets is checked with node:crypto alone.
// That something does not come is told by another device's push, for which there was cause later.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CONTENT, Clinic, ON_POSTGRES, RELAY, RelayProcess, b64u, exchange, nowS, privateMessage, problemName, signedHeaders, sleep } from './support/relay-client.mjs';

const CONTACT = 'mailto:operator@relay.example';
const folder = mkdtempSync(join(tmpdir(), 'sotto-push-'));
const file = (name) => join(folder, name);
const openssl = (...args) => {
    const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
};
/** A CA, and a certificate of it for localhost. */
function authority(name) {
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    writeFileSync(file(`${name}.ext`), 'subjectAltName=DNS:localhost');
    openssl('req', '-x509', ...ec, '-keyout', file(`${name}-ca.key`), '-out', file(`${name}-ca.pem`), '-days', '2', '-subj', `/CN=${name}`);
    openssl('req', ...ec, '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`), '-subj', '/CN=localhost');
    openssl('x509', '-req', '-in', file(`${name}.csr`), '-CA', file(`${name}-ca.pem`), '-CAkey', file(`${name}-ca.key`), '-CAcreateserial', '-days', '2', '-extfile', file(`${name}.ext`), '-out', file(`${name}.pem`));
    return { key: readFileSync(file(`${name}.key`)), cert: readFileSync(file(`${name}.pem`)) };
}

/** A push service. What it does to a push is the first segment of its path; `got` has what came, by path. */
class PushService {
    got = [];
    closed = [];
    /** On one connection. */
    written = 0;
    #wake = () => {};

    static async start(identity) {
        const service = new PushService();
        service.server = https.createServer(identity, (req, res) => service.on(req, res));
        service.server.listen(0, 'localhost');
        await once(service.server, 'listening');
        service.host = `localhost:${service.server.address().port}`;
        service.origin = `https://${service.host}`;
        return service;
    }
    on(req, res) {
        const parts = [], seen = this.of(req.url).length;
        res.on('close', () => {
            this.closed.push(req.url);
            this.written = Math.max(this.written, req.socket.bytesWritten);
            this.#wake();
        });
        req.on('data', (part) => parts.push(part));
        req.on('end', () => {
            this.got.push({ path: req.url, method: req.method, headers: req.headers, body: Buffer.concat(parts) });
            this.#wake();
            switch (req.url.split('/')[1]) {
            case 'gone': return res.writeHead(404).end();
            case 'expired': return res.writeHead(410).end('x');
            case 'busy': return res.writeHead(seen === 0 ? 429 : 201, seen === 0 ? { 'retry-after': '1' } : {}).end();
            case 'down': return res.writeHead(seen === 0 ? 503 : 201).end();
            case 'moved': return res.writeHead(307, { location: `${this.origin}/ok/target` }).end();
            case 'forbids': return res.writeHead(403).end('BadJwtToken');
            case 'hang': return undefined;
            case 'huge': {
                res.writeHead(201);
                const more = () => { while (!res.destroyed && res.write(Buffer.alloc(65536))); };
                res.on('drain', more);
                return more();
            }
            default: return res.writeHead(201, { location: `${this.origin}/receipt` }).end();
            }
        });
    }
    of(path) {
        return this.got.filter((push) => push.path === path);
    }
    async until(condition, what, ms = 25_000) {
        const end = Date.now() + ms;
        while (!condition()) {
            assert.ok(Date.now() < end, `${typeof what === 'function' ? what() : what} did not come; got ${this.got.map(({ path }) => path)}`);
            await Promise.race([new Promise((resolve) => (this.#wake = resolve)), sleep(200)]);
        }
    }
    async came(path, n = 1) {
        await this.until(() => this.of(path).length >= n, path);
        return this.of(path)[n - 1];
    }
    stop() {
        this.server.closeAllConnections?.();
        this.server.close();
    }
}

let service, known, unknown;
before(async () => {
    [known, unknown] = [authority('known'), authority('unknown')];
    process.env.SSL_CERT_FILE = file('known-ca.pem'); // for the relays
    service = await PushService.start(known);
});
after(() => {
    service.stop();
    rmSync(folder, { recursive: true, force: true });
});

async function withRelay(body, { at = service, ...options } = {}) {
    const relay = await RelayProcess.start({ 'push-contact': CONTACT, 'push-allow': at.host, ...options });
    try {
        return await body(relay);
    } finally {
        await relay.stop();
    }
}

/** A writer and readers in one group. A reader's `path` is where the push service takes its pushes. */
async function conversation(relay, kinds, at = service) {
    const clinic = await Clinic.create(relay.origin), writer = await clinic.enrolStaff();
    const readers = await Promise.all(kinds.map(() => clinic.enrolStaff({ rights: 1 })));
    const groups = readers.map(() => randomBytes(32));
    for (const [i, reader] of readers.entries()) {
        reader.group = groups[i];
        reader.path = `/${kinds[i]}/${b64u(randomBytes(12))}`;
        reader.cursor = (await writer.commit(reader.group, 0, { added: [reader.keyid] })).json.seq + 1;
        await reader.inbox(reader.cursor); // the welcome is read
        assert.equal((await reader.ask('PUT', '/v1/push', { endpoint: at.origin + reader.path, expirationTime: null, keys: { p256dh: 'AA', auth: 'AA' } })).status, 204);
    }
    const tell = async (reader, from = writer) => {
        const { status, json } = await from.message(reader.group, privateMessage(reader.group, 1, CONTENT.application));
        assert.equal(status, 200);
        return json.seq;
    };
    return { clinic, writer, readers, tell };
}

const describe = async (relay) => (await exchange(`${relay.origin}/.well-known/sotto`)).json;
async function counts(relay) {
    const port = /event=metrics port=(\d+)/.exec(relay.log)[1];
    const text = (await exchange(`http://127.0.0.1:${port}/metrics`)).bytes.toString();
    return { text, ...Object.fromEntries([...text.matchAll(/sotto_pushes_total\{outcome="(\w+)"\} (\d+)/g)].map(([, outcome, n]) => [outcome, Number(n)])) };
}
async function counted(relay, wanted) {
    const end = Date.now() + 20_000;
    for (;;) {
        const now = await counts(relay);
        if (Object.entries(wanted).every(([name, n]) => now[name] === n)) return now;
        assert.ok(Date.now() < end, JSON.stringify({ ...now, text: undefined }));
        await sleep(100);
    }
}

/** Checks the token of RFC 8292; returns its claims. */
function claims({ headers }, key) {
    const [, token, k] = /^vapid t=([\w-]+\.[\w-]+\.[\w-]+), k=([\w-]+)$/.exec(headers.authorization);
    assert.equal(k, key);
    const point = Buffer.from(key, 'base64url');
    assert.deepEqual([point.length, point[0]], [65, 4]);
    const publicKey = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: b64u(point.subarray(1, 33)), y: b64u(point.subarray(33)) }, format: 'jwk' });
    const [head, body, signature] = token.split('.');
    assert.deepEqual(JSON.parse(Buffer.from(head, 'base64url')), { typ: 'JWT', alg: 'ES256' });
    assert.ok(verify('sha256', Buffer.from(`${head}.${body}`), { key: publicKey, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')), 'the signature');
    return JSON.parse(Buffer.from(body, 'base64url'));
}

test('a push has a token that verifies, and no content', async () => {
    await withRelay(async (relay) => {
        const { features, push_key: key } = await describe(relay);
        assert.ok(features.includes('push'));
        const { writer, readers: [reader], tell } = await conversation(relay, ['ok']);
        await tell(reader);
        const push = await service.came(reader.path), { aud, exp, sub, ...more } = claims(push, key);
        assert.deepEqual([push.method, push.body.length, push.headers['content-length'], push.headers['transfer-encoding']], ['POST', 0, '0', undefined]);
        assert.ok(Number(push.headers.ttl) > 3600 && ['low', 'normal', 'high'].includes(push.headers.urgency));
        assert.match(push.headers.topic, /^[\w-]{1,32}$/);
        for (const name of ['content-type', 'content-encoding', 'user-agent', 'cookie', 'referer']) assert.equal(push.headers[name], undefined, name);
        assert.deepEqual([aud, sub, more], [service.origin, CONTACT, {}]);
        assert.ok(exp > nowS() && exp <= nowS() + 24 * 3600);
        // the thread that talks to push services is in the sandbox as the rest is
        const threads = readdirSync(`/proc/${relay.child.pid}/task`).map((id) => /Seccomp:\s*(\d)/.exec(readFileSync(`/proc/${relay.child.pid}/task/${id}/status`, 'utf8'))?.[1]);
        assert.ok(threads.length > 1);
        assert.deepEqual([...new Set(threads)].length, 1, `Seccomp: ${threads}`);
        // the endpoint is the device's secret
        const { text } = await counted(relay, { sent: 1, failed: 0, retried: 0, dropped: 0, gone: 0 });
        const audit = (await writer.ask('GET', '/v1/audit?after=0')).json.entries.map((e) => Buffer.from(e, 'base64url').toString('latin1')).join();
        for (const [where, content] of Object.entries({ text, audit, log: relay.log })) assert.ok(!content.includes(reader.path.split('/')[2]) && !content.includes('localhost:'), where);
    }, { metrics: 0 });
});

/** An event stream, whose events nothing acknowledges while it is open. */
async function openStream(device) {
    const url = `${device.origin}/v1/inbox?after=${device.cursor}`;
    const request = http.get(url, { headers: { ...signedHeaders(device.key, device.keyid, 'GET', url), accept: 'text/event-stream' } });
    const [response] = await once(request, 'response');
    response.on('error', () => {});
    return { event: once(response, 'data'), close: () => request.destroy() };
}

test('who is there, wrote it himself, or has read it gets none; a welcome and a message ring, and two in a row once', { timeout: 60_000 }, async () => {
    await withRelay(async (relay) => {
        const { clinic, writer, readers: [waits, streams, reads, own, unsubscribed, twice, last], tell } = await conversation(relay, ['ok', 'ok', 'ok', 'ok', 'ok', 'ok', 'ok']);
        const welcomed = await clinic.enrolStaff({ rights: 1 }), path = `/ok/${b64u(randomBytes(12))}`;
        assert.equal((await welcomed.ask('PUT', '/v1/push', { endpoint: service.origin + path })).status, 204);
        assert.equal((await unsubscribed.ask('DELETE', '/v1/push')).status, 204);
        assert.equal((await unsubscribed.ask('DELETE', '/v1/push')).status, 204);
        // one waits, as a client does: it has the message, and asks for what follows
        const waiting = (async () => {
            const { json } = await waits.inbox(waits.cursor, { wait: 20 });
            assert.equal(json.events.length, 1);
            return waits.inbox(json.next, { wait: 8 });
        })();
        const stream = await openStream(streams);
        await Promise.all([waits, streams, reads, unsubscribed, twice].map((reader) => tell(reader)));
        await tell(own, own);
        await writer.commit(own.group, 1); // a commit alone is nothing to ring for
        await tell(twice);
        const { json } = await reads.inbox(reads.cursor);
        assert.equal(json.events.length, 1);
        await reads.inbox(json.next);
        assert.match(String(await stream.event), /"kind":"message"/);
        await writer.commit(randomBytes(32), 0, { added: [welcomed.keyid] });
        await Promise.all([service.came(twice.path), service.came(path)]);
        await tell(twice);
        await sleep(1000);
        await tell(last);
        await service.came(last.path);
        for (const [name, reader] of Object.entries({ waits, streams, reads, own, unsubscribed })) assert.equal(service.of(reader.path).length, 0, name);
        assert.deepEqual([service.of(twice.path).length, service.of(path).length], [1, 1]);
        assert.deepEqual((await waiting).json.events, []);
        stream.close();
    });
});

test('what push services answer: 404 and 410 end a subscription, 429 and 5xx come again, others do not', { timeout: 60_000 }, async () => {
    await withRelay(async (relay) => {
        const { readers, tell } = await conversation(relay, ['gone', 'expired', 'busy', 'down', 'moved', 'forbids']);
        const [gone, expired, busy, down, moved, forbids] = readers;
        await Promise.all(readers.map((reader) => tell(reader)));
        await Promise.all([service.came(gone.path), service.came(expired.path), service.came(busy.path, 2), service.came(down.path, 2), service.came(moved.path), service.came(forbids.path)]);
        await counted(relay, { sent: 2, gone: 2, retried: 2, failed: 2 });
        assert.equal(relay.tables().push_subscriptions.rows, 4);
        assert.deepEqual([service.of('/ok/target').length, service.of(moved.path).length, service.of(forbids.path).length], [0, 1, 1], 'no redirect is followed');
        assert.match(relay.log, /level=warning event=push-refused status=(403|307)\n/);
        // a new subscription is good at once
        const path = `/ok/${b64u(randomBytes(12))}`;
        assert.equal((await gone.ask('PUT', '/v1/push', { endpoint: service.origin + path })).status, 204);
        await tell(gone);
        await service.came(path);
    }, { metrics: 0 });
});

test('a push service that hangs or answers without end harms nobody', { timeout: 90_000 }, async () => {
    await withRelay(async (relay) => {
        const { writer, readers, tell } = await conversation(relay, [...Array(6).fill('hang'), ...Array(4).fill('huge'), 'ok']);
        const last = readers.pop();
        await Promise.all(readers.map((reader) => tell(reader)));
        await Promise.all(readers.map((reader) => service.came(reader.path)));
        for (let i = 0; i < 200; i++) assert.equal((await writer.ask('GET', '/v1/key-packages')).status, 200);
        await tell(last);
        await service.came(last.path);
        await service.until(() => readers.every((reader) => service.closed.includes(reader.path)), () => readers.filter((r) => !service.closed.includes(r.path)).map((r) => r.path).join());
        await counted(relay, { sent: 5, retried: 6 });
        assert.ok(service.written < 64 * 1024 * 1024, `an answer was read on: ${service.written} bytes`); // what sockets hold is less
    }, { metrics: 0 });
});

test('an untrusted push service, and a name that leads to this machine, get nothing', { timeout: 60_000 }, async () => {
    const impostor = await PushService.start(unknown);
    try {
        await withRelay(async (relay) => {
            const { readers: [reader, inward], tell } = await conversation(relay, ['ok', 'ok'], impostor);
            // libcurl resolves it by RFC 6761; that the connection was not tried is told by its not being tried again
            assert.equal((await inward.ask('PUT', '/v1/push', { endpoint: 'https://relay.localhost/push' })).status, 204);
            await Promise.all([tell(reader), tell(inward)]);
            await counted(relay, { failed: 2, retried: 0, sent: 0 });
            assert.deepEqual(impostor.got, []);
        }, { at: impostor, metrics: 0 });
    } finally {
        impostor.stop();
    }
});

test('endpoints that are refused', async () => {
    await withRelay(async (relay) => {
        const device = await (await Clinic.create(relay.origin)).enrolStaff({ rights: 1 });
        const put = (endpoint) => device.ask('PUT', '/v1/push', { endpoint });
        const good = ['https://push.example.net/a/b?c=d&e=%20', 'https://xn--bcher-kva.example/p', `https://push.example.net/${'a'.repeat(2048 - 25)}`, `${service.origin}/x`];
        const bad = ['', 'x', 'http://push.example.net/x', 'HTTPS://push.example.net/x', 'ftp://push.example.net/x', '//push.example.net/x', 'https://', 'https:///x',
            'https://push.example.net', 'https://push.example.net?x', 'https://push.example.net/x#y', 'https://push.example.net/x y', 'https://push.example.net/\u00e4', 'https://push.example.net/a\\b',
            'https://push.example.net/\r\nHost: x', 'https://push.example.net:443/x', 'https://push.example.net:8443/x', 'https://user@push.example.net/x', 'https://user:pw@push.example.net/x',
            'https://Push.example.net/x', 'https://push.example.net./x', 'https://push..example/x', 'https://.example/x', 'https://-a.example/x', 'https://a-.example/x', 'https://push_a.example/x',
            'https://localhost/x', 'https://intranet/x', 'https://127.0.0.1/x', 'https://10.0.0.1/x', 'https://169.254.169.254/latest', 'https://2130706433/x', 'https://0x7f.1/x', 'https://127.1/x',
            'https://a.0x7f/x', 'https://[::1]/x', 'https://[::ffff:10.0.0.1]/x', 'https://localhost:1/x', `https://${service.host}.example.net/x`, `https://${service.host}@push.example.net/x`,
            `https://${`${'a'.repeat(63)}.`.repeat(4)}net/x`, `https://${'a'.repeat(64)}.net/x`, `https://push.example.net/${'a'.repeat(2049 - 25)}`];
        for (const endpoint of good) assert.equal((await put(endpoint)).status, 204, endpoint);
        const state = relay.tables();
        for (const endpoint of [...bad, 7, null, ['https://push.example.net/x']]) {
            const answer = await put(endpoint);
            assert.deepEqual([answer.status, problemName(answer)], [400, 'malformed'], String(endpoint));
            assert.match(answer.json.detail, /endpoint/);
            assert.ok(typeof endpoint !== 'string' || endpoint.length < 12 || !answer.bytes.includes(endpoint), 'a refusal does not repeat it');
        }
        assert.deepEqual(relay.tables(), state);
        assert.equal(state.push_subscriptions.rows, 1, 'one a device');
        assert.equal((await device.ask('DELETE', `/v1/devices/${device.keyid}`)).status, 204);
        assert.equal(relay.tables().push_subscriptions.rows, 0, 'it goes with the device');
    });
});

test('key and subscriptions outlive kill -9', { timeout: 60_000 }, async () => {
    await withRelay(async (relay) => {
        const { push_key: key } = await describe(relay), { readers: [reader], tell } = await conversation(relay, ['ok']);
        await relay.restart('SIGKILL');
        assert.equal((await describe(relay)).push_key, key);
        await tell(reader);
        claims(await service.came(reader.path), key);
    });
});

test('without --push-contact there are none; a contact that push services refuse is refused', async () => {
    const relay = await RelayProcess.start({ metrics: 0 });
    try {
        const { features, push_key: key } = await describe(relay), device = await (await Clinic.create(relay.origin)).enrolStaff();
        assert.deepEqual([features.includes('push'), key], [false, undefined]);
        assert.equal(problemName(await device.ask('PUT', '/v1/push', { endpoint: 'https://push.example.net/x' })), 'not-found');
        assert.doesNotMatch((await counts(relay)).text, /pushes/);
    } finally {
        await relay.stop();
    }
    for (const contact of ['', 'x', 'operator@relay.example', 'mailto:', 'mailto:operator', 'mailto:x@localhost', 'mailto:@relay.example', 'mailto:x@.', 'http://relay.example', 'https://localhost', 'https://relay.example/"', 'mailto:x y@relay.example']) {
        const { status, stderr } = spawnSync(RELAY, ['serve', '--data', file('never'), '--push-contact', contact], { encoding: 'utf8' });
        assert.deepEqual([status, /--push-contact/.test(stderr)], [2, true], contact);
    }
});

test('several relays: one key; a wait at another keeps a push back', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL', timeout: 60_000 }, async () => {
    await withRelay(async (one) => {
        const two = await RelayProcess.beside(one);
        try {
            assert.equal((await describe(two)).push_key, (await describe(one)).push_key);
            const { readers: [waits, streams, absent, last], tell } = await conversation(one, ['ok', 'ok', 'ok', 'ok']);
            const stream = await openStream(Object.assign(streams.at(two.origin), { cursor: streams.cursor }));
            const waiting = (async () => {
                const there = waits.at(two.origin), { json } = await there.inbox(waits.cursor, { wait: 20 });
                return there.inbox(json.next, { wait: 8 });
            })();
            await Promise.all([tell(waits), tell(streams), tell(absent)]);
            assert.match(String(await stream.event), /"kind":"message"/);
            await service.came(absent.path);
            await sleep(1000);
            await tell(last);
            await service.came(last.path);
            assert.deepEqual([waits, streams, absent].map(({ path }) => service.of(path).length), [0, 0, 1]);
            assert.deepEqual((await waiting).json.events, []);
            stream.close();
        } finally {
            await two.stop();
        }
    });
});
