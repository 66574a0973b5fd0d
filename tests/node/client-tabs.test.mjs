// One owner per account among tabs: chosen by a lock, spoken to over a channel, replaced when it goes or is taken over.
// The channel is Node's own BroadcastChannel; the locks follow the Web Locks specification as far as they are used.
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { test } from 'node:test';
import { SottoError } from '../../glue/error.mjs';
import { Tabs } from '../../glue/tabs.mjs';

// Every browser has it; Node 18 does not.
if (globalThis.crypto === undefined) Object.defineProperty(globalThis, 'crypto', { value: webcrypto });

/** navigator.locks of one origin: exclusive locks in order of request, with `signal` and `steal`. */
function lockManager() {
  /** @type {Map<string, { held: { reject: (e: Error) => void } | null, queue: (() => void)[] }>} */
  const all = new Map();
  return {
    /**
     * @param {string} name
     * @param {{ steal?: boolean, signal?: AbortSignal }} options
     * @param {() => Promise<void>} run
     */
    request(name, options, run) {
      const lock = all.get(name) ?? { held: null, queue: [] };
      all.set(name, lock);
      return new Promise((resolve, reject) => {
        const grant = () => {
          const mine = { reject };
          lock.held = mine;
          run().then(resolve, reject).finally(() => {
            if (lock.held !== mine) return;
            lock.held = null;
            lock.queue.shift()?.();
          });
        };
        if (options.steal === true) {
          lock.held?.reject(new DOMException('stolen', 'AbortError'));
          grant();
          return;
        }
        options.signal?.addEventListener('abort', () => {
          lock.queue = lock.queue.filter((g) => g !== grant);
          reject(new DOMException('given up', 'AbortError'));
        });
        if (lock.held === null) grant();
        else lock.queue.push(grant);
      });
    },
  };
}

let accounts = 0;

/** One browser: tabs of the same account. */
function browser() {
  const account = `test-${process.pid}-${(accounts += 1)}`;
  const locks = lockManager();
  /** Who has the files; a second one would be the bug. @type {string | null} */
  let holder = null;
  /** @param {string} name @param {{ slow?: (command: string) => Promise<void>, deaf?: boolean }} [how] */
  const tab = (name, how = {}) => {
    /** @type {any[]} */
    const events = [];
    /** @type {string[]} */
    const ran = [];
    const tabs = new Tabs({
      account,
      locks,
      emit: (event) => events.push(event),
      open: async () => {
        if (holder !== null) throw new SottoError({ code: 'store_busy', class: 'store', message: `held by ${holder}` });
        holder = name;
        const host = {
          storage: { kind: 'test', persistent: true },
          run: async (/** @type {string} */ command, /** @type {any} */ args, /** @type {readonly Uint8Array[]} */ attachments) => {
            ran.push(command);
            await how.slow?.(command);
            if (command === 'fails') throw new SottoError({ code: 'limit', class: 'limit', message: 'no' });
            if (command === 'tells') tabs.told({ event: 'message', message: args.message });
            return { result: { by: name, ...args }, attachments: [...attachments] };
          },
          caughtUp: async () => true,
          close: async () => void (holder = null),
          halt: async () => void (holder = null),
        };
        return /** @type {any} */ (host);
      },
    });
    return { tabs, events, ran };
  };
  return { tab, held: () => holder };
}

/** @param {() => unknown} condition */
async function eventually(condition) {
  for (let i = 0; i < 1000; i += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never: ${condition}`);
}

test('the second tab asks the first; results, errors and attachments come back', async () => {
  const { tab } = browser();
  const [a, b] = [tab('a'), tab('b')];
  assert.equal((await a.tabs.run('me', { n: 1 })).result.by, 'a');
  const { result, attachments } = await b.tabs.run('echo', { n: 2 }, [new Uint8Array([1, 2, 3])]);
  assert.deepEqual(result, { by: 'a', n: 2 });
  assert.deepEqual(attachments[0], new Uint8Array([1, 2, 3]));
  await assert.rejects(b.tabs.run('fails', {}), { name: 'SottoError', code: 'limit' });
  assert.equal(await b.tabs.caughtUp(100), true);
  assert.equal(b.tabs.owner, false);
  await Promise.all([a.tabs.close(), b.tabs.close()]);
});

test('events reach every tab, once', async () => {
  const { tab } = browser();
  const [a, b, c] = [tab('a'), tab('b'), tab('c')];
  await b.tabs.run('me', {});
  await c.tabs.run('tells', { message: 'm1' });
  for (const { events } of [a, b, c]) {
    await eventually(() => events.length > 0);
    assert.deepEqual(events, [{ event: 'message', message: 'm1' }]);
  }
  await Promise.all([a.tabs.close(), b.tabs.close(), c.tabs.close()]);
});

test("when the owner's tab closes, another goes on, and both others hear that the account is locked", async () => {
  const { tab, held } = browser();
  const [a, b, c] = [tab('a'), tab('b'), tab('c')];
  await Promise.all([b.tabs.run('me', {}), c.tabs.run('me', {})]);
  await a.tabs.close();
  assert.equal((await b.tabs.run('me', {})).result.by, 'b');
  assert.equal((await c.tabs.run('me', {})).result.by, 'b');
  assert.equal(held(), 'b');
  for (const { events } of [b, c]) {
    assert.deepEqual(events.map(({ event, code }) => [event, code]), [['account', 'locked']]);
  }
  await Promise.all([b.tabs.close(), c.tabs.close()]);
  assert.equal(held(), null);
});

test('a command whose owner went away is refused as interrupted; a mere question is asked again', async () => {
  const { tab } = browser();
  const a = tab('a', { slow: () => new Promise(() => {}) });
  const b = tab('b');
  await new Promise((resolve) => setTimeout(resolve, 20));
  const sent = b.tabs.run('message.send', { text: 'x' });
  const asked = b.tabs.run('message.list', {});
  await eventually(() => a.ran.length === 2);
  const refused = assert.rejects(sent, { code: 'interrupted' });
  void a.tabs.close();
  await refused;
  assert.equal((await asked).result.by, 'b');
  assert.deepEqual(b.ran, ['message.list']);
  await b.tabs.close();
});

test('take-over: the former owner lets go at once and becomes one who asks', async () => {
  const { tab, held } = browser();
  const [a, b] = [tab('a'), tab('b')];
  await b.tabs.run('me', {});
  b.tabs.takeOver();
  await eventually(() => b.tabs.owner);
  assert.equal(held(), 'b');
  assert.equal(a.tabs.owner, false);
  assert.equal((await a.tabs.run('me', {})).result.by, 'b');
  assert.ok(a.events.some(({ event, code }) => event === 'account' && code === 'locked'));
  await b.tabs.close();
  assert.equal((await a.tabs.run('me', {})).result.by, 'a');
  await a.tabs.close();
});

test('without Web Locks a tab is on its own', async () => {
  const tabs = new Tabs({
    account: `alone-${process.pid}`,
    locks: undefined,
    emit: () => {},
    open: async () => /** @type {any} */ ({ storage: {}, run: async () => ({ result: 1, attachments: [] }), close: async () => {} }),
  });
  assert.equal((await tabs.run('me', {})).result, 1);
  await tabs.close();
  await assert.rejects(tabs.run('me', {}), { code: 'closed' });
});

test('files that cannot be opened are told to whoever asks, and tried again', async () => {
  let broken = true;
  const tabs = new Tabs({
    account: `broken-${process.pid}`,
    locks: lockManager(),
    emit: () => {},
    open: async () => {
      if (broken) throw new SottoError({ code: 'store_denied', class: 'store', message: 'no' });
      return /** @type {any} */ ({ storage: {}, run: async () => ({ result: 1, attachments: [] }), close: async () => {} });
    },
  });
  await assert.rejects(tabs.run('me', {}), { code: 'store_denied' });
  await assert.rejects(tabs.run('me', {}), { code: 'store_denied' });
  broken = false;
  assert.equal((await tabs.run('me', {})).result, 1);
  await tabs.close();
});
