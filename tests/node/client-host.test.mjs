// The host loop by itself: what it does with replies, with failing networks and storage, and when the core stops. The
// core here is a script of replies, so that it can trap on demand; the relay is a small HTTP server that misbehaves.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { requestUrl, retryAfter } from '../../glue/http.mjs';
import { Host } from '../../glue/host.mjs';

/** @typedef {{ command: string, args: any, attachments: Uint8Array[] }} Seen */

/**
 * A core that answers by a function, and files whose flush can be held or broken.
 * @param {(seen: Seen) => any} answer gives a reply's header, or { header, attachments }; throwing 'trap' is a trap
 * @param {Partial<import('../../glue/host.mjs').HostOptions>} [options]
 */
function scripted(answer, options = {}) {
  /** @type {Seen[]} */
  const seen = [];
  /** @type {any[]} */
  const events = [];
  /** @type {string[]} */
  const log = [];
  const state = { started: 0, filesClosed: 0, coreClosed: 0, flush: async () => {} };
  const host = new Host({
    store: 'account',
    start: async () => {
      state.started += 1;
      const core = {
        dead: false,
        open: () => 7,
        call(/** @type {number} */ handle, /** @type {any} */ header, /** @type {readonly Uint8Array[]} */ attachments = []) {
          assert.equal(handle, 7);
          const one = { ...header, attachments: attachments.map((a) => new Uint8Array(a)) };
          seen.push(one);
          try {
            const reply = answer(one) ?? {};
            return 'header' in reply ? reply : { header: { result: {}, ...reply }, attachments: [] };
          } catch (error) {
            this.dead = true;
            throw error;
          }
        },
        close: () => void (state.coreClosed += 1),
      };
      return { core, files: { flush: () => state.flush(), close: () => void (state.filesClosed += 1), kind: 'test', persistent: true } };
    },
    emit: (event) => events.push(event),
    log: (_, text) => log.push(text),
    ...options,
  });
  const replies = () => seen.filter((s) => s.command === 'http.reply');
  return { host, seen, events, log, state, replies };
}

/** @param {() => unknown} condition */
async function eventually(condition) {
  for (let i = 0; i < 400; i += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never: ${condition}`);
}

/** @type {import('node:http').Server} */
let server;
let origin = '';
/** @type {import('node:http').IncomingMessage[]} */
const requests = [];
let open = 0;
let openMost = 0;
/** @type {(() => void)[]} */
const held = [];

before(async () => {
  server = createServer((request, response) => {
    requests.push(request);
    open += 1;
    openMost = Math.max(openMost, open);
    response.on('close', () => (open -= 1));
    const path = request.url ?? '';
    if (path.startsWith('/echo')) {
      response.writeHead(200, { 'content-type': request.headers['content-type'] ?? 'text/plain' });
      request.pipe(response);
    } else if (path.startsWith('/hold')) held.push(() => response.end('late'));
    else if (path.startsWith('/redirect')) response.writeHead(302, { location: '/echo' }).end();
    else if (path.startsWith('/long')) {
      response.writeHead(200, { 'content-length': String(3 * 1024 * 1024) });
      response.end(Buffer.alloc(3 * 1024 * 1024));
    } else if (path.startsWith('/endless')) {
      const more = () => !response.destroyed && response.write(Buffer.alloc(65536), () => setImmediate(more));
      more();
    } else if (path.startsWith('/busy')) response.writeHead(429, { 'retry-after': '7' }).end('{}');
    else response.writeHead(204).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  origin = `http://127.0.0.1:${address.port}`;
});

after(() => {
  for (const end of held) end();
  server.closeAllConnections?.();
  server.close();
});

/** A core that answers `go` with requests. @param {any[]} http @param {Uint8Array[]} [attachments] */
const asking = (http, attachments = []) =>
  scripted(({ command }) => (command === 'go' ? { header: { result: { relay: origin }, http }, attachments } : {}));

test('a request is carried out as the core says, and its answer comes back', async () => {
  const body = new TextEncoder().encode('padlock');
  const { host, replies } = asking([{ id: '1', method: 'POST', path: '/echo?x=1', headers: { 'content-type': 'message/mls', 'x-test': 'y' }, body: 0 }], [body]);
  await host.run('go');
  await eventually(() => replies().length === 1);
  const [{ args, attachments }] = /** @type {[Seen]} */ (replies());
  assert.deepEqual(args, { id: '1', status: 200, body: 0 });
  assert.deepEqual(attachments[0], body);
  const request = requests.at(-1);
  assert.equal(request?.method, 'POST');
  assert.equal(request?.url, '/echo?x=1');
  assert.equal(request?.headers['content-type'], 'message/mls');
  assert.equal(request?.headers['x-test'], 'y');
  assert.equal(request?.headers.cookie, undefined);
  assert.equal(request?.headers.referer, undefined);
  await host.close();
});

test('Retry-After is passed on; an answer without a body has none', async () => {
  const { host, replies } = asking([{ id: '1', method: 'GET', path: '/busy' }, { id: '2', method: 'DELETE', path: '/nothing' }]);
  await host.run('go');
  await eventually(() => replies().length === 2);
  const byId = Object.fromEntries(replies().map(({ args }) => [args.id, args]));
  assert.deepEqual(byId['1'], { id: '1', status: 429, retry_after_s: 7, body: 0 });
  assert.deepEqual(byId['2'], { id: '2', status: 204 });
  await host.close();
});

test('Retry-After as a number, as a date, as nonsense', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  assert.equal(retryAfter('3', now), 3);
  assert.equal(retryAfter('Sun, 22 Nov 2026 12:01:00 GMT', now), 60);
  assert.equal(retryAfter('Sun, 22 Nov 2026 11:00:00 GMT', now), 0);
  assert.equal(retryAfter('999999999', now), 86_400);
  assert.equal(retryAfter('soon', now), undefined);
  assert.equal(retryAfter(null, now), undefined);
});

test('a path cannot lead away from the relay', () => {
  assert.equal(requestUrl('https://a.example', '/v1/inbox?after=1'), 'https://a.example/v1/inbox?after=1');
  for (const path of ['//b.example/x', 'https://b.example/', '/\\b.example/x', 'x', '']) {
    assert.throws(() => requestUrl('https://a.example', path), path);
  }
});

test('redirects, over-long bodies, closed ports and paths that lead away are status 0', async () => {
  const { host, replies } = asking([
    { id: '1', method: 'GET', path: '/redirect' },
    { id: '2', method: 'GET', path: '/long' },
    { id: '3', method: 'GET', path: '/endless' },
    { id: '4', method: 'GET', path: '//127.0.0.1:1/' },
  ]);
  await host.run('go');
  await eventually(() => replies().length === 4);
  for (const { args } of replies()) assert.equal(args.status, 0, `request ${args.id}`);
  await host.close();

  const dead = scripted(({ command }) => (command === 'go' ? { result: { relay: 'http://127.0.0.1:1' }, http: [{ id: '9', method: 'GET', path: '/' }] } : {}));
  await dead.host.run('go');
  await eventually(() => dead.replies().length === 1);
  assert.deepEqual(dead.replies()[0]?.args, { id: '9', status: 0 });
  await dead.host.close();
});

test('at most six requests at once; the rest follow', async () => {
  openMost = open;
  const { host, replies } = asking(Array.from({ length: 10 }, (_, i) => ({ id: String(i + 1), method: 'GET', path: '/hold' })));
  await host.run('go');
  await eventually(() => held.length === 6);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(held.length, 6);
  while (replies().length < 10) {
    for (const end of held.splice(0)) end();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(openMost <= 6, `${openMost} at once`);
  await host.close();
});

test('commands run one at a time, and nothing leaves before the flush', async () => {
  let flushing = false;
  /** @type {(() => void)[]} */
  const release = [];
  const { host, seen, events, state } = scripted(({ command, args }) => {
    assert.equal(flushing, false, 'a command began while another was being flushed');
    return command === 'go' ? { result: { n: args.n }, events: [{ event: 'message', message: String(args.n) }] } : {};
  });
  state.flush = () => {
    flushing = true;
    return new Promise((resolve) =>
      release.push(() => {
        flushing = false;
        resolve();
      }),
    );
  };
  const first = host.run('go', { n: 1 });
  const second = host.run('go', { n: 2 });
  await eventually(() => release.length === 1);
  assert.equal(events.length, 0);
  assert.equal(seen.length, 1);
  release.shift()?.();
  assert.deepEqual((await first).result, { n: 1 });
  await eventually(() => release.length === 1);
  release.shift()?.();
  assert.deepEqual((await second).result, { n: 2 });
  assert.deepEqual(events.map((e) => e.message), ['1', '2']);
  state.flush = async () => {};
  await host.close();
});

test('the earliest timer asked for calls tick, once', async () => {
  let ticks = 0;
  const { host } = scripted(({ command, args }) => {
    if (command === 'tick') ticks += 1;
    return command === 'go' ? { timer: args.ms } : {};
  });
  await host.run('go', { ms: 60_000 });
  await host.run('go', { ms: 20 });
  await host.run('go', { ms: 5_000 });
  await eventually(() => ticks === 1);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.equal(ticks, 1);
  await host.close();
});

test('locking ends requests, and the core hears no more of them', async () => {
  const { host, replies } = asking([{ id: '1', method: 'GET', path: '/hold', waits: true }]);
  await host.run('go');
  await eventually(() => held.length === 1);
  await host.run('account.lock');
  await eventually(() => open === 0);
  assert.equal(replies().length, 0);
  held.length = 0;
  await host.close();
});

test('going offline ends requests, and the core is told that they failed', async () => {
  const { host, replies, seen } = asking([{ id: '1', method: 'GET', path: '/hold', waits: true }]);
  await host.run('go');
  await eventually(() => held.length === 1);
  await host.run('network', { online: false });
  await eventually(() => replies().length === 1);
  assert.equal(replies()[0]?.args.status, 0);
  assert.ok(seen.some((s) => s.command === 'network'));
  held.length = 0;
  await host.close();
});

test('an error is a SottoError, and its effects are still carried out', async () => {
  const { host, events } = scripted(() => ({
    result: undefined,
    error: { code: 'pin', class: 'state', message: 'the PIN is wrong', argument: 'pin' },
    events: [{ event: 'notice', code: 'x' }],
  }));
  await assert.rejects(host.run('account.unlock', { pin: '0000' }), { name: 'SottoError', code: 'pin', class: 'state', argument: 'pin' });
  assert.equal(events.length, 1);
  await host.close();
});

test('a failed flush is an error of the store; the core starts over from what is on the medium', async () => {
  const { host, events, state } = scripted(({ command }) => (command === 'send' ? { events: [{ event: 'message' }] } : {}));
  await host.run('account.unlock', { pin: '1234' });
  state.flush = () => Promise.reject(new Error('quota'));
  await assert.rejects(host.run('send'), { code: 'store', class: 'store' });
  assert.deepEqual(events.map((e) => `${e.event} ${e.code}`), ['account locked'], 'what was not kept is not told');
  assert.equal(state.filesClosed, 1);
  state.flush = async () => {};
  await host.run('account.status');
  assert.equal(state.started, 2);
  await host.close();
});

test('a trap costs one command: the next runs on a new instance, and the user is told to unlock', async () => {
  const { host, events, state } = scripted(({ command }) => {
    if (command === 'bad') throw new Error('unreachable');
    return {};
  });
  await host.run('account.unlock', { pin: '1234' });
  const [bad, next] = await Promise.allSettled([host.run('bad'), host.run('account.status')]);
  assert.equal(bad.status, 'rejected');
  assert.equal(bad.reason.code, 'trap');
  assert.equal(next.status, 'fulfilled');
  assert.equal(state.started, 2);
  assert.equal(state.coreClosed, 0, 'a core that stopped half way is not called again');
  const [{ event, code, text }] = events;
  assert.deepEqual([event, code], ['account', 'locked']);
  assert.match(text, /PIN/);
  await host.close();
});

test('a machine that was given the PIN unlocks again by itself, but not for ever', async () => {
  const { host, seen } = scripted(
    ({ command }) => {
      if (command === 'bad') throw new Error('unreachable');
      return {};
    },
    { pin: '1234' },
  );
  const unlocks = () => seen.filter((s) => s.command === 'account.unlock').length;
  await host.run('account.unlock', { pin: '1234' });
  for (let i = 1; i <= 5; i += 1) {
    await assert.rejects(host.run('bad'), { code: 'trap' });
    await host.run('account.status');
  }
  assert.equal(unlocks(), 1 + 3);
  await host.close();
});

test('answers to requests of an instance that is gone are not given to the new one', async () => {
  const { host, replies } = scripted(({ command }) => {
    if (command === 'bad') throw new Error('unreachable');
    return command === 'account.unlock' ? { result: { relay: origin }, http: [{ id: '1', method: 'GET', path: '/hold' }] } : {};
  });
  await host.run('account.unlock', { pin: '1234' });
  await eventually(() => held.length === 1);
  await assert.rejects(host.run('bad'), { code: 'trap' });
  await host.run('account.status');
  for (const end of held.splice(0)) end();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(replies().length, 0);
  await host.close();
});

test('closing ends requests, closes core and files, and refuses what comes later', async () => {
  const { host, state } = asking([{ id: '1', method: 'GET', path: '/hold', waits: true }]);
  await host.run('go');
  await eventually(() => held.length === 1);
  const running = host.run('account.status');
  await host.close();
  await running;
  await eventually(() => open === 0);
  assert.deepEqual([state.coreClosed, state.filesClosed], [1, 1]);
  await assert.rejects(host.run('account.status'), { code: 'closed' });
  await host.close();
  held.length = 0;
});

test('caught up: once only a long poll is left, and it waits', async () => {
  const poll = (/** @type {string} */ id) => ({ id, method: 'GET', path: '/hold', waits: true });
  const { host } = scripted(({ command, args }) => {
    if (command === 'go') return { result: { relay: origin }, http: [poll('1')] };
    return command === 'http.reply' && args.id === '1' ? { http: [poll('2')] } : {};
  });
  assert.equal(await host.caughtUp(50), false, 'nothing asked yet');
  await host.run('go');
  assert.equal(await host.caughtUp(600), false, 'a relay that has not answered once may not be there');
  held.shift()?.();
  const begun = Date.now();
  assert.equal(await host.caughtUp(5_000), true);
  assert.ok(Date.now() - begun >= 200);
  await host.close();
  held.length = 0;
});
