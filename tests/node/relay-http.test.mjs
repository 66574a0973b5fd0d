// The relay's front: waiting, event streams, static pages, and those who misuse HTTP.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Clinic, RelayProcess, b64u, enrol, exchange, privateMessage, problemName, register, signedHeaders, sleep } from './support/relay-client.mjs';
import { freePort } from './support/relay.mjs';

const CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; " +
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types sotto lit-html";

let relay, clinic, staff, group, folder, pages;
before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sotto-static-'));
    pages = join(folder, 'pages');
    mkdirSync(join(pages, 'assets'), { recursive: true });
    mkdirSync(join(pages, 'staff'));
    writeFileSync(join(folder, 'secret.txt'), 'outside');
    writeFileSync(join(pages, 'index.html'), '<!doctype html>patient');
    writeFileSync(join(pages, 'staff/index.html'), '<!doctype html>staff');
    writeFileSync(join(pages, '.hidden'), 'hidden');
    symlinkSync(join(folder, 'secret.txt'), join(pages, 'link.txt'));
    const script = Buffer.from('export const a = 1;\n'.repeat(8000));
    writeFileSync(join(pages, 'assets/app-1.js'), script);
    writeFileSync(join(pages, 'assets/app-1.js.gz'), gzipSync(script));
    writeFileSync(join(pages, 'assets/app-1.js.br'), 'brotli bytes');
    writeFileSync(join(pages, 'assets/core-1.wasm'), randomBytes(300_000));
    relay = await RelayProcess.start({ static: pages });
    clinic = await Clinic.create(relay.origin);
    staff = await clinic.enrolStaff();
    group = randomBytes(32);
    await staff.commit(group, 0);
});
after(async () => {
    await relay.stop();
    rmSync(folder, { recursive: true, force: true });
});

/** Writes bytes to the relay and returns all it says until it closes, or after `ms`. */
function raw(text, { ms = 1500, pieces = [] } = {}) {
    return new Promise((resolve) => {
        const socket = net.connect(relay.port, '127.0.0.1', () => socket.write(text));
        const begun = Date.now();
        let said = '';
        const timer = setTimeout(() => socket.destroy(), ms);
        socket.on('data', (part) => (said += part));
        socket.on('error', () => {});
        socket.on('close', () => (clearTimeout(timer), resolve({ said, ms: Date.now() - begun, closedByRelay: Date.now() - begun < ms - 20 })));
        (async () => {
            for (const [wait, piece] of pieces) {
                await sleep(wait);
                if (socket.destroyed) return;
                socket.write(piece);
            }
        })();
    });
}

// ---- waiting

test('a waiting inbox is answered within milliseconds of the message', async () => {
    let next = (await staff.inbox(0)).json.next;
    const delays = [];
    for (let i = 0; i < 10; i++) {
        const waiting = staff.inbox(next, { wait: 20 });
        await sleep(30);
        const sent = await staff.message(group, privateMessage(group, 1, 1));
        const at = performance.now();
        const page = (await waiting).json;
        delays.push(performance.now() - at);
        assert.deepEqual(page.events.map((e) => e.seq), [sent.json.seq]);
        next = page.next;
    }
    delays.sort((a, b) => a - b);
    assert.ok(delays[5] < 50, `median ${delays[5]} ms after the sender's own answer`);
});

test('with nothing to say it waits as long as asked, then answers empty with the same cursor', async () => {
    const next = (await staff.inbox((await staff.inbox(0)).json.next)).json.next, begun = Date.now();
    const answer = await staff.inbox(next, { wait: 1 });
    const took = Date.now() - begun;
    assert.deepEqual([answer.status, answer.json.events, answer.json.next], [200, [], next]);
    assert.ok(took >= 950 && took < 2500, `${took} ms`);
});

test('a fifth wait of one device ends its oldest; other devices are untouched', async () => {
    const device = await clinic.enrolStaff({ rights: 1 }), other = await clinic.enrolStaff({ rights: 1 });
    const at = other.answer.json.seq, done = [];
    const wait = (who, name) => who.inbox(at, { wait: 10 }).then((a) => done.push([name, a.status, a.json.events.length]));
    const all = [wait(other, 'other')];
    for (let i = 0; i < 5; i++) {
        all.push(wait(device, i));
        await sleep(60);
    }
    assert.deepEqual(done, [[0, 200, 0]]);
    const id = randomBytes(32);
    await staff.commit(id, 0, { added: [device.keyid, other.keyid] });
    await Promise.all(all);
    assert.deepEqual(done.slice(1).map(([, status, n]) => [status, n]), Array(5).fill([200, 1]));
});

test('one who hangs up while waiting leaves nothing behind', async () => {
    const device = await clinic.enrolStaff({ rights: 1 }), at = device.answer.json.seq;
    for (let i = 0; i < 20; i++) {
        const stop = new AbortController(), gone = device.inbox(at, { wait: 20, signal: stop.signal, agent: new http.Agent() });
        await sleep(10);
        stop.abort();
        await assert.rejects(gone);
    }
    const waiting = device.inbox(at, { wait: 10 });
    await sleep(30);
    await staff.commit(randomBytes(32), 0, { added: [device.keyid] });
    assert.equal((await waiting).json.events[0].kind, 'welcome');
});

test('waits and streams whose end is gone, or that send more, cost nothing; the first are forgotten at once', async () => {
    const metrics = await freePort(), own = await RelayProcess.start({ metrics });
    try {
        const device = await (await Clinic.create(own.origin)).enrolStaff(), url = `${own.origin}/v1/inbox?after=${device.answer.json.seq}`;
        const waiting = async () => Number(/^sotto_waiting (\d+)$/m.exec(await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text())?.[1]);
        const processor = () => readFileSync(`/proc/${own.child.pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13).reduce((sum, n) => sum + Number(n) * 10, 0);
        for (const [query, more] of [['&wait=20', {}], ['', { accept: 'text/event-stream' }]]) {
            for (const send of [false, true]) {
                const asked = url + query, headers = { ...signedHeaders(device.key, device.keyid, 'GET', asked), host: new URL(url).host, ...more };
                const socket = net.connect(own.port, '127.0.0.1', () => socket.write(`GET ${asked.slice(own.origin.length)} HTTP/1.1\r\n${Object.entries(headers).map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`));
                socket.on('error', () => {}).resume();
                while ((await waiting()) !== 1) await sleep(5);
                if (send) socket.write('GET /');
                else socket.end();
                // For the rest of the wait, or until the next comment, it would take a whole processor.
                const before = processor(), begun = performance.now();
                await sleep(1000);
                assert.ok(processor() - before < (performance.now() - begun) / 2, `${query || 'a stream'}, ${send ? 'sends' : 'ends'}`);
                assert.equal(await waiting(), send ? 1 : 0);
                socket.destroy();
                while ((await waiting()) !== 0) await sleep(5);
            }
        }
    } finally {
        await own.stop();
    }
});

// ---- event streams

function stream(party, from) {
    const url = `${party.origin}/v1/inbox?after=${from}`;
    const events = [], comments = [];
    let wake = () => {};
    const request = http.get(url, { headers: { ...signedHeaders(party.key, party.keyid, 'GET', url), accept: 'text/event-stream' }, agent: false });
    const head = new Promise((resolve, reject) => (request.on('response', resolve), request.on('error', reject)));
    let ended = false;
    head.then((response) => {
        let rest = '';
        response.setEncoding('utf8').on('data', (part) => {
            rest += part;
            for (let i; (i = rest.indexOf('\n\n')) >= 0; rest = rest.slice(i + 2)) {
                const frame = rest.slice(0, i), match = /^id: (\d+)\ndata: (.*)$/.exec(frame);
                if (match) events.push([Number(match[1]), JSON.parse(match[2])]);
                else comments.push(frame);
            }
            wake();
        }).on('end', () => ((ended = true), wake())).on('error', () => ((ended = true), wake()));
    }, () => {});
    const until = async (condition) => {
        const deadline = Date.now() + 5000;
        while (!condition()) {
            assert.ok(Date.now() < deadline, 'the stream is silent');
            await Promise.race([new Promise((resolve) => (wake = resolve)), sleep(100)]);
        }
    };
    return { head, events, comments, until, ended: () => ended, close: () => request.destroy() };
}

test('an event stream gives the same events in the same order, at once', async () => {
    const reader = await clinic.enrolStaff({ rights: 1 }), id = randomBytes(32), at = reader.answer.json.seq;
    await staff.commit(id, 0, { added: [reader.keyid] });
    await staff.message(id, privateMessage(id, 1, 1));
    const s = stream(reader, at), response = await s.head;
    assert.deepEqual([response.statusCode, response.headers['content-type'], response.headers['cache-control']], [200, 'text/event-stream', 'no-store']);
    await s.until(() => s.events.length === 2);
    await Promise.all(Array.from({ length: 50 }, (_, i) => staff.message(id, privateMessage(id, 1, 1, i === 7 ? 200_000 : 100))));
    await s.until(() => s.events.length === 52);
    const page = (await reader.inbox(at, { limit: 256 })).json;
    assert.deepEqual(s.events, page.events.map((e) => [e.seq, e]));
    s.close();
});

test('revoking ends a stream', async () => {
    const reader = await clinic.enrolStaff({ rights: 1 }), s = stream(reader, reader.answer.json.seq);
    await s.head;
    await staff.ask('DELETE', `/v1/devices/${reader.keyid}`);
    await s.until(s.ended);
});

test('a stream needs a signature as anything else', async () => {
    const answer = await exchange(`${relay.origin}/v1/inbox?after=0`, { headers: { accept: 'text/event-stream' } });
    assert.equal(problemName(answer), 'unsigned');
});

// ---- static pages

test('pages have the strict headers, and assets are kept for a year', async () => {
    for (const path of ['/', '/staff/', '/index.html']) {
        const { status, headers, bytes } = await exchange(relay.origin + path);
        assert.equal(status, 200);
        assert.equal(headers['content-type'], 'text/html; charset=utf-8');
        assert.equal(headers['cache-control'], 'no-cache');
        assert.equal(headers['content-security-policy'], CSP);
        assert.equal(headers['referrer-policy'], 'no-referrer');
        assert.equal(headers['x-content-type-options'], 'nosniff');
        assert.equal(headers['cross-origin-opener-policy'], 'same-origin');
        assert.equal(headers['cross-origin-embedder-policy'], 'require-corp');
        assert.equal(headers['cross-origin-resource-policy'], 'same-origin');
        assert.ok(headers['permissions-policy']);
        assert.ok(bytes.includes(path === '/staff/' ? 'staff' : 'patient'));
    }
    const moved = await exchange(`${relay.origin}/staff`);
    assert.deepEqual([moved.status, moved.headers.location], [308, '/staff/']);
    const asset = await exchange(`${relay.origin}/assets/app-1.js`);
    assert.equal(asset.headers['cache-control'], 'public, max-age=31536000, immutable');
    assert.equal(asset.headers['content-security-policy'], CSP);
    assert.equal(asset.headers['content-type'], 'text/javascript; charset=utf-8');
    assert.equal(asset.bytes.length, 160_000);
    assert.equal((await exchange(`${relay.origin}/assets/core-1.wasm`)).headers['content-type'], 'application/wasm');
    const head = await exchange(`${relay.origin}/assets/app-1.js`, { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.bytes.length], [200, '160000', 0]);
});

test('the smallest form that the browser takes is sent', async () => {
    const get = (accept) => exchange(`${relay.origin}/assets/app-1.js`, { headers: { 'accept-encoding': accept } });
    const br = await get('gzip, deflate, br'), gz = await get('gzip'), plain = await get('identity'), refused = await get('br;q=0, gzip;q=0');
    assert.deepEqual([br.headers['content-encoding'], br.bytes.toString()], ['br', 'brotli bytes']);
    assert.equal(gz.headers['content-encoding'], 'gzip');
    assert.equal(plain.headers['content-encoding'], undefined);
    assert.equal(refused.headers['content-encoding'], undefined);
    for (const a of [br, gz, plain]) assert.equal(a.headers.vary, 'accept-encoding');
    assert.equal(new Set([br, gz, plain].map((a) => a.headers.etag)).size, 3);
    assert.equal((await exchange(`${relay.origin}/assets/app-1.js.br`)).status, 404);
});

test('an unchanged page costs 304, a changed one is seen', async () => {
    const first = await exchange(`${relay.origin}/`);
    const again = await exchange(`${relay.origin}/`, { headers: { 'if-none-match': first.headers.etag } });
    assert.deepEqual([again.status, again.bytes.length, again.headers.etag], [304, 0, first.headers.etag]);
    writeFileSync(join(pages, 'index.html'), '<!doctype html>patient, anew');
    writeFileSync(join(pages, 'new.html'), 'new');
    await sleep(2100);
    const fresh = await exchange(`${relay.origin}/`, { headers: { 'if-none-match': first.headers.etag } });
    assert.deepEqual([fresh.status, fresh.bytes.toString()], [200, '<!doctype html>patient, anew']);
    assert.equal((await exchange(`${relay.origin}/new.html`)).status, 200);
});

test('no path leads out of the folder', async () => {
    const paths = ['/../secret.txt', '/assets/../../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/assets/..%5c..%5csecret.txt', '//../secret.txt', '/./../secret.txt',
        '/link.txt', '/.hidden', '/%2ehidden', '/assets', '/assets/', '/etc/passwd', '/index.html%00.js', '/index.html/', '/INDEX.HTML', '/staff/../../secret.txt'];
    for (const path of paths) {
        const { said } = await raw(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
        assert.ok(!said.includes('outside') && !said.includes('hidden'), path);
        assert.ok(said === '' || /^HTTP\/1\.1 (404|400|308)/.test(said), `${path}: ${said.slice(0, 60)}`);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'CONNECT']) {
        const { said } = await raw(`${method} /index.html HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
        assert.ok(said === '' || /^HTTP\/1\.[01] 40[0-9]/.test(said), `${method}: ${said.slice(0, 60)}`);
    }
});

test('answers of the API are not kept by anybody and give other origins nothing', async () => {
    const { headers } = await exchange(`${relay.origin}/.well-known/sotto`, { headers: { origin: 'https://elsewhere.example' } });
    assert.equal(headers['cache-control'], 'no-store');
    assert.equal(headers['content-security-policy'], "default-src 'none'; frame-ancestors 'none'");
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.ok(!Object.keys(headers).some((name) => name.startsWith('access-control')));
});

// ---- misuse

test('content without one clear length is refused and the connection ended', async () => {
    const ask = (lines, body = '') => raw(`POST /v1/clinics HTTP/1.1\r\nHost: x\r\n${lines}\r\n\r\n${body}`);
    for (const [lines, body] of [['Transfer-Encoding: chunked', '0\r\n\r\n'], ['Content-Length: 5\r\nTransfer-Encoding: chunked', '0\r\n\r\n'],
        ['Content-Length: 5\r\nContent-Length: 6', 'aaaaaa'], ['Content-Length: -1', ''], ['Content-Length: 5x', 'aaaaa'], ['Content-Length: 0x5', 'aaaaa'],
        ['Content-Length: 99999999999999999999', '']]) {
        const smuggled = `${body}GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n`;
        const { said } = await ask(lines, smuggled);
        assert.ok(said === '' || /^HTTP\/1\.1 400/.test(said), `${lines}: ${said.slice(0, 60)}`);
        assert.equal(said.split('HTTP/1.1 ').length - 1, said === '' ? 0 : 1, `${lines}: the rest was taken for a request`);
    }
});

/** A request's bytes; `headers` stand before those of the signature, which is over `signed` as a call of `staff`. */
function bytesOf(method, target, { signed = target, headers = '', after = '', content, version = 'HTTP/1.1', end = '\r\n' } = {}) {
    const own = signedHeaders(staff.key, staff.keyid, method, relay.origin + signed, content), host = new URL(relay.origin).host;
    const lines = [`${method} ${target} ${version}`, `Host: ${host}`, ...(headers ? [headers] : []), ...Object.entries(own).map(([name, value]) => `${name}: ${value}`), ...(after ? [after] : []), '', ''];
    return Buffer.concat([Buffer.from(lines.join(end), 'latin1'), content ?? Buffer.alloc(0)]);
}
const answersOf = (said) => said.split(/(?=HTTP\/1\.[01] \d)/).filter(Boolean).map((text) => Number(text.slice(9, 12)));
/** Refused: one answer 4xx, or none; never a second one. */
function refused(said, name) {
    const answers = answersOf(said);
    assert.ok(answers.length === 0 || (answers.length === 1 && answers[0] >= 400 && answers[0] < 500), `${name}: ${answers}`);
}
const MARK = 'GET /.well-known/sotto HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

// Each of these is a signed request that would be taken if it were plain, with what two servers in a row could read in two ways. Behind it stands a
// second request, which must not be answered.
test('heads that can be read in two ways are refused, and the connection with them', { timeout: 120_000 }, async () => {
    const content = Buffer.from('{"key_packages":["AAAA"]}'), length = `Content-Length: ${content.length}`, type = 'Content-Type: application/json';
    const put = (headers, more = {}) => bytesOf('PUT', '/v1/key-packages', { content, headers: `${type}\r\n${headers}`, ...more });
    const get = (headers, more = {}) => bytesOf('GET', '/v1/key-packages', { headers, ...more });
    const good = await raw(put(length), { ms: 300 });
    assert.deepEqual(answersOf(good.said), [200], 'the plain one is taken');
    const before = relay.tables();
    const table = {
        // lengths
        'two lengths': put(`${length}\r\nContent-Length: 3`), 'the same length twice': put(`${length}\r\n${length}`), 'a list of lengths': put(`${length}, ${content.length}`),
        'a length with a sign': put(`Content-Length: +${content.length}`), 'a length in hexadecimal': put('Content-Length: 0x19'), 'a length with a space in it': put('Content-Length: 2 5'),
        'a length below zero': put('Content-Length: -1'), 'a length with a fraction': put(`Content-Length: ${content.length}.0`), 'a space before the colon of the length': put(`Content-Length : ${content.length}`),
        // codings
        'chunked and a length': put(`${length}\r\nTransfer-Encoding: chunked`), 'chunked before a length': put(`Transfer-Encoding: chunked\r\n${length}`), 'identity and a length': put(`Transfer-Encoding: identity\r\n${length}`),
        'a coding nobody knows': put(`Transfer-Encoding: xchunked\r\n${length}`), 'chunked twice': put(`Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n${length}`),
        'chunked in capitals': put(`TRANSFER-ENCODING: CHUNKED\r\n${length}`), 'a space before the colon of chunked': put(`Transfer-Encoding : chunked\r\n${length}`),
        'a tab before the colon of chunked': put(`Transfer-Encoding\t: chunked\r\n${length}`), 'a tab before chunked': put(`Transfer-Encoding:\tchunked\r\n${length}`),
        'a vertical tab before chunked': put(`Transfer-Encoding: \x0bchunked\r\n${length}`), 'chunked in a folded line': put(`Transfer-Encoding:\r\n chunked\r\n${length}`),
        'chunked of a GET': get('Transfer-Encoding: chunked'),
        // content where there is none, and none where there is some
        'a GET with content': Buffer.concat([get('Content-Length: 5'), Buffer.from('aaaaa')]), 'a PUT without a length': put('X: y'),
        // compressed
        'content that is gzip by name': put(`${length}\r\nContent-Encoding: gzip`), 'content that is identity by name': put(`${length}\r\nContent-Encoding: identity`),
    };
    // These are as plain in where they end, so that a server may go on with the next.
    const lines = {
        'a folded line': get('X: a\r\n b'),
        'a carriage return by itself': get('X: a\rb'), 'a zero': get('X: a\0b'), 'a line without a colon': get('XY'),
        'a name of nothing': get(': a'), 'an empty line first': Buffer.concat([Buffer.from('\r\n'), get('')]),
        // names of the host
        'two hosts': get('Host: elsewhere.example'), 'the same host twice': get(`Host: ${new URL(relay.origin).host}`), 'a host with a path': get('', {}).toString('latin1').replace('Host: ', 'Host: a/'),
        'no host': get('').toString('latin1').replace(/Host: .*\r\n/, ''), 'the whole address of another': get('').toString('latin1').replace('GET /', 'GET http://elsewhere.example/'),
        // the request line
        'a version of later': get('', { version: 'HTTP/2.0' }), 'a version with more behind it': get('', { version: 'HTTP/1.1x' }), 'a version of nothing': get('', { version: '' }),
        'a word more': get('', { version: 'x HTTP/1.1' }), 'a tab for a space': get('').toString('latin1').replace('GET ', 'GET\t'), 'a method that is none': get('').toString('latin1').replace('GET ', 'GOT '),
        // sizes
        'one header of 9 kB': get(`X: ${'a'.repeat(9000)}`), 'headers of 12 kB': get('a: b\r\n'.repeat(2000).trimEnd()), 'a path of 9 kB': bytesOf('GET', `/v1/${'a'.repeat(9000)}`), 'a query of 9 kB': bytesOf('GET', `/v1/inbox?after=${'0'.repeat(9000)}`),
    };
    for (const [name, bytes] of Object.entries({ ...table, ...lines })) {
        const { said } = await raw(Buffer.concat([Buffer.from(bytes), Buffer.from(MARK)]), { ms: 250 }), answers = answersOf(said);
        assert.ok(answers.length === 0 || (answers[0] >= 400 && answers[0] < 500), `${name}: ${answers}`);
        assert.ok(answers.length < (name in lines ? 3 : 2), `${name}: what came after it was answered`);
        assert.equal((await exchange(`${relay.origin}/.well-known/sotto`, { agent: false })).status, 200, `after ${name}`);
    }
    assert.deepEqual(relay.tables(), before);
});

test('content that says it is compressed is not unpacked', async () => {
    const content = gzipSync(Buffer.alloc(64 * 1024 * 1024)), resident = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${relay.child.pid}/status`, 'utf8'))[1]), before = resident();
    for (const coding of ['gzip', 'deflate', 'br', 'x-gzip', 'identity, gzip']) {
        const answer = await staff.ask('PUT', '/v1/key-packages', content.toString('latin1'), { headers: { 'content-encoding': coding }, agent: new http.Agent() }).catch(() => undefined);
        if (answer) assert.equal(problemName(answer), 'malformed', coding);
    }
    assert.ok(resident() - before < 16 * 1024, `${resident() - before} kB more`);
});

test('what was signed is what is routed, however the path and the query are spelt', { timeout: 60_000 }, async () => {
    const spellings = [['/v1/key%2Dpackages', '/v1/key-packages'], ['/v1%2Fkey-packages', '/v1/key-packages'], ['/v1/x/../key-packages', '/v1/key-packages'], ['//v1/key-packages', '/v1/key-packages'],
        ['/v1//key-packages', '/v1/key-packages'], ['/v1/./key-packages', '/v1/key-packages'], ['/v1/key-packages%00', '/v1/key-packages'], ['/v1/key-packages%0a', '/v1/key-packages'],
        ['/v1/key-packages%0d%0aX:%20y', '/v1/key-packages'], ['/v1/key-packages/', '/v1/key-packages'], ['/v1/key-packages;x', '/v1/key-packages'], ['/v1/key-packages%3Fx', '/v1/key-packages'],
        ['/v1/key-packages#x', '/v1/key-packages'], ['/v1/KEY-PACKAGES', '/v1/key-packages'], ['/v1/key-packages\\', '/v1/key-packages'], ['/v1/key-packages%c0%af', '/v1/key-packages'], ['/v1/k\xe9y-packages', '/v1/key-packages'],
        ['/v1/inbox?after=%30', '/v1/inbox?after=0'], ['/v1/inbox?after=0&', '/v1/inbox?after=0'], ['/v1/inbox?&after=0', '/v1/inbox?after=0'], ['/v1/inbox?after=0%26limit=2', '/v1/inbox?after=0&limit=2'],
        ['/v1/inbox?after=0&&limit=2', '/v1/inbox?after=0&limit=2'], ['/v1/inbox?after=0;limit=2', '/v1/inbox?after=0&limit=2'], ['/v1/inbox??after=0', '/v1/inbox?after=0'], ['/v1/inbox?after=+0', '/v1/inbox?after=0'],
        ['/v1/inbox?after=0%00', '/v1/inbox?after=0'], ['/v1/inbox?after=0#x', '/v1/inbox?after=0']];
    for (const [spelt, plain] of spellings) {
        const ask = async (signed) => (await raw(bytesOf('GET', spelt, { signed, headers: 'Connection: close' }), { ms: 300 })).said;
        // Over the plain one it may be taken for that; over another, which the same device might have signed, never.
        assert.ok(answersOf(await ask(plain)).every((status) => status === 200 || (status >= 400 && status < 500)), `${spelt} signed as ${plain}`);
        for (const other of ['/v1/roster', '/v1/invitations', '/v1/inbox?after=1', '/v1/audit?after=0']) refused(await ask(other), `${spelt} signed as ${other}`);
    }
});

test('of a signature that is sent twice the first counts, for everything', async () => {
    const content = Buffer.from('{"key_packages":["AAAA"]}'), junk = { 'Signature-Input': 'sotto=()', Signature: `sotto=:${Buffer.alloc(64).toString('base64')}:`, 'Content-Digest': `sha-256=:${Buffer.alloc(32).toString('base64')}:` };
    const length = `Content-Type: application/json\r\nContent-Length: ${content.length}\r\nConnection: close`;
    for (const [name, value] of Object.entries(junk)) {
        const first = await raw(bytesOf('PUT', '/v1/key-packages', { content, headers: `${length}\r\n${name}: ${value}` }), { ms: 500 });
        refused(first.said, `${name} that does not hold, first`);
        const second = await raw(bytesOf('PUT', '/v1/key-packages', { content, headers: length, after: `${name}: ${value}` }), { ms: 500 });
        assert.ok(answersOf(second.said).every((status) => status === 200 || (status >= 400 && status < 500)), name);
    }
});

test('requests sent in one go are answered in order or refused, never mixed up', async () => {
    const one = 'GET /.well-known/sotto HTTP/1.1\r\nHost: x\r\n\r\n', two = 'GET /index.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
    const { said } = await raw(one + two);
    const answers = said.split(/(?=HTTP\/1\.1 )/).filter(Boolean);
    assert.ok(answers.length <= 2);
    if (answers[0]) assert.ok(answers[0].includes('"version":1'));
    if (answers[1]) assert.ok(answers[1].includes('patient'));
    assert.equal((await exchange(`${relay.origin}/.well-known/sotto`)).status, 200);
});

test('an upgrade is not taken', async () => {
    for (const to of ['websocket', 'h2c']) {
        const { said } = await raw(`GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${to}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n` +
            'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n');
        assert.ok(!said.includes('101'), said.slice(0, 80));
    }
    const { said } = await raw('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    assert.ok(!said.startsWith('HTTP/1.1 2'));
});

test('noise does no harm', async () => {
    for (let i = 0; i < 60; i++) await raw(randomBytes(1 + Math.floor(Math.random() * 3000)), { ms: 30 });
    for (const text of ['\r\n\r\n', 'GET\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET  /  HTTP/1.1\r\n\r\n', ': :\r\n\r\n', 'GET / HTTP/1.1\r\n: x\r\nHost\r\n\r\n', `GET /${'a/'.repeat(3000)} HTTP/1.1\r\n\r\n`,
        'GET / HTTP/1.1\r\n' + 'a: b\r\n'.repeat(3000) + '\r\n', 'POST /v1/clinics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n'])
        await raw(text, { ms: 100 });
    assert.equal((await exchange(`${relay.origin}/.well-known/sotto`)).status, 200);
    assert.equal((await staff.ask('GET', '/v1/key-packages')).status, 200);
});

test('one who sends slowly is cut off, and others do not notice', { timeout: 60_000 }, async () => {
    const drip = (text) => Array.from(text, (ch) => [700, ch]);
    const slowHead = raw('GET / HTTP/1.1\r\n', { ms: 40_000, pieces: drip('X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') });
    const slowBody = raw('POST /v1/clinics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n', { ms: 40_000, pieces: drip('{"root_key":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa') });
    const silent = raw('', { ms: 40_000 });
    for (let i = 0; i < 5; i++) {
        const begun = Date.now();
        assert.equal((await exchange(`${relay.origin}/.well-known/sotto`)).status, 200);
        assert.ok(Date.now() - begun < 1000);
        await sleep(100);
    }
    const [head, body, none] = await Promise.all([slowHead, slowBody, silent]);
    assert.ok(head.closedByRelay && head.ms < 15_000, `head: ${head.ms} ms`);
    assert.ok(body.closedByRelay && body.ms < 25_000, `body: ${body.ms} ms`);
    assert.ok(none.closedByRelay && none.ms < 15_000, `silent: ${none.ms} ms`);
});

// ---- rates and connections

test('a device that asks too often is told when to come back; others are not slowed', async () => {
    const own = await RelayProcess.start({ 'rate-device': 20 });
    try {
        const c = await Clinic.create(own.origin), [eager, calm] = [await c.enrolStaff(), await c.enrolStaff()];
        const answers = [];
        for (let i = 0; i < 25; i++) answers.push(await eager.ask('GET', '/v1/key-packages'));
        assert.deepEqual(answers.slice(0, 18).map((a) => a.status), Array(18).fill(200));
        const last = answers.at(-1);
        assert.deepEqual([last.status, problemName(last)], [429, 'too-many']);
        assert.equal(last.headers['retry-after'], String(last.json.retry_after_s));
        assert.ok(last.json.retry_after_s >= 1 && last.json.retry_after_s <= 3);
        assert.equal((await calm.ask('GET', '/v1/key-packages')).status, 200);
        await sleep(last.json.retry_after_s * 1000 + 50);
        assert.equal((await eager.ask('GET', '/v1/key-packages')).status, 200);
    } finally {
        await own.stop();
    }
});

test('enrolments and addresses have rates of their own', async () => {
    const own = await RelayProcess.start({ 'rate-enrol': 8 });
    try {
        const c = await Clinic.create(own.origin), by = await c.enrolStaff(), invite = c.invite(by);
        await register(by, invite, { check: b64u(randomBytes(32)) });
        let slowed;
        for (let i = 0; i < 8 && !slowed; i++) {
            const answer = await enrol(c.invited(c.invite(by)));
            if (answer.status === 429) slowed = answer;
        }
        assert.equal(problemName(slowed), 'too-many');
        assert.equal((await invite.ask('GET', `/v1/invitations/${invite.id}`)).status, 429);
        assert.equal((await by.ask('GET', '/v1/key-packages')).status, 200, 'enrolled devices go on');
    } finally {
        await own.stop();
    }
    const other = await RelayProcess.start({ 'rate-address': 10 });
    try {
        const answers = await Promise.all(Array.from({ length: 14 }, () => exchange(`${other.origin}/.well-known/sotto`)));
        assert.deepEqual(answers.map((a) => a.status).sort(), [...Array(10).fill(200), ...Array(4).fill(429)]);
    } finally {
        await other.stop();
    }
});

test('connections of one address are bounded', async () => {
    const own = await RelayProcess.start({ 'connections-address': 5 });
    try {
        const sockets = await Promise.all(Array.from({ length: 9 }, () => new Promise((resolve) => {
            const socket = net.connect(own.port, '127.0.0.1');
            socket.on('error', () => {}).on('close', () => (socket.gone = true)).resume();
            setTimeout(() => resolve(socket), 400);
        })));
        assert.equal(sockets.filter((s) => !s.gone).length, 5);
        sockets.forEach((s) => s.destroy());
        await sleep(400);
        assert.equal((await exchange(`${own.origin}/.well-known/sotto`)).status, 200);
    } finally {
        await own.stop();
    }
});

test('all contents that are still coming are bounded together; who asks small things is heard all the same', async () => {
    const MIB = 1024 * 1024, bound = 256, announced = `POST /v1/clinics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${MIB}\r\n\r\n{`;
    const asked = Promise.all(Array.from({ length: bound + 20 }, () => raw(announced, { ms: 3000 })));
    await sleep(1000);
    assert.equal((await fetch(`${relay.origin}/healthz`)).status, 200);
    await staff.inbox(0);
    const said = (await asked).map((a) => a.said);
    assert.equal(said.filter((text) => /^HTTP\/1\.1 503 .*retry-after: \d/is.test(text)).length, 20);
    assert.equal(said.filter((text) => text === '').length, bound);
    for (;;) { // their room is free again as soon as the relay has seen them go
        const { said: [...answer] } = await raw(announced, { ms: 300 });
        if (answer.length === 0) break;
    }
});

test('the log names no device, address, path or content', async () => {
    await staff.inbox(0);
    await exchange(`${relay.origin}/canary-path?canary=query`);
    for (const canary of [staff.keyid, clinic.name, 'canary', '127.0.0.1', '/v1/']) assert.ok(!relay.log.includes(canary), canary);
    assert.match(relay.log, /^time=\S+ level=info event=listening port=\d+$/m);
});

test('who sends one request behind another keeps nobody else waiting', { timeout: 20_000 }, async () => {
    const get = 'GET /no-such-page HTTP/1.1\r\nHost: x\r\n\r\n', post = 'POST /v1/clinics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n';
    for (const text of [get + post, get + post + '{"root_key":"a"}', post + '{"root_key":1}\n' + get, post + '{"root_key":1}\n' + post, get.repeat(20)]) {
        const asked = raw(text);
        for (let i = 0; i < 3; i++) assert.equal((await fetch(`${relay.origin}/healthz`)).status, 200);
        await asked;
    }
    assert.equal((await fetch(`${relay.origin}/healthz`)).status, 200);
});
