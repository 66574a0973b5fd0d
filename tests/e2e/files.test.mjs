// The browser's file back ends in a real Chromium, each in a Worker: OPFS and IndexedDB, and the choice between them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, serveCheckout } from './support/static.mjs';

/** @type {Awaited<ReturnType<typeof serveCheckout>>} */
let server;
/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  server = await serveCheckout();
  browser = await launchChromium();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** @param {import('node:test').TestContext} t @returns {Promise<import('playwright-core').Page>} */
async function newPage(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(server.origin);
  await page.evaluate(() => {
    // In the page: workers by name, and tasks given to them.
    const workers = /** @type {Record<string, Worker>} */ ({});
    let last = 0;
    Object.assign(globalThis, {
      /** @param {string} name @param {any} task */
      work(name, task) {
        workers[name] ??= new Worker('/tests/e2e/support/files-worker.mjs', { type: 'module' });
        const id = (last += 1);
        return new Promise((resolve, reject) => {
          workers[name].addEventListener('message', ({ data }) => {
            if (data.id !== id) return;
            resolve(data.error ? { error: data.error } : { result: data.result });
          });
          workers[name].addEventListener('error', (event) => reject(new Error(event.message)));
          workers[name].postMessage({ ...task, id });
        });
      },
      /** @param {string} name */
      kill(name) {
        workers[name].terminate();
        delete workers[name];
      },
      /** Lets a worker append, ends it after `ms`; gives the number of records that it reported. @param {any} task @param {number} ms */
      appendAndKill(task, ms) {
        const worker = new Worker('/tests/e2e/support/files-worker.mjs', { type: 'module' });
        let reported = -1;
        return new Promise((resolve) => {
          worker.onmessage = ({ data }) => {
            if (data.open) {
              setTimeout(() => {
                worker.terminate();
                // Messages that are under way still come: they were reported.
                setTimeout(() => resolve({ reported }), 30);
              }, ms);
            }
            if (data.reported !== undefined) reported = data.reported;
            if (data.error) resolve({ error: data.error });
          };
          worker.postMessage({ ...task, task: 'append', id: 0 });
        });
      },
    });
  });
  return page;
}

/**
 * @param {import('playwright-core').Page} page
 * @param {string} worker
 * @param {Record<string, unknown>} task
 * @returns {Promise<{ result?: any, error?: { code: string, message: string, name: string } }>}
 */
function work(page, worker, task) {
  return page.evaluate(([name, what]) => /** @type {any} */ (globalThis).work(name, what), /** @type {const} */ ([worker, task]));
}

/** @param {Awaited<ReturnType<typeof work>>} answer */
function done(answer) {
  assert.equal(answer.error, undefined, JSON.stringify(answer.error));
  return answer.result;
}

for (const kind of ['opfs', 'indexeddb']) {
  test(`${kind}: the contract`, { timeout: 120_000 }, async (t) => {
    const page = await newPage(t);
    done(await work(page, 'a', { task: 'contract', kind, name: 'a' }));
  });

  test(`${kind}: a Worker that is terminated at any moment loses nothing that was reported`, { timeout: 240_000 }, async (t) => {
    const page = await newPage(t);
    let reported = 0;
    // In Chromium a Worker that is busy is ended 2 s later, and holds its files so long.
    const rounds = kind === 'opfs' ? 8 : 25;
    for (let round = 0; round < rounds; round += 1) {
      const outcome = await page.evaluate(
        ([task, ms]) => /** @type {any} */ (globalThis).appendAndKill(task, ms),
        /** @type {const} */ ([{ kind, name: 'log' }, (round * 29) % 50]),
      );
      assert.equal(outcome.error, undefined, JSON.stringify(outcome.error));
      reported = Math.max(reported, outcome.reported + 1);
      done(await work(page, 'checker', { task: 'check', kind, name: 'log', reported }));
    }
    assert.ok(reported > 10, `${reported} records`);
    t.diagnostic(`${reported} records over ${rounds} Workers`);
  });

  test(`${kind}: a page that is closed or reloaded finds its files again`, { timeout: 60_000 }, async (t) => {
    const page = await newPage(t);
    done(await work(page, 'a', { task: 'hold', kind, name: 'a' }));
    done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'sealed' }));
    const other = await page.context().newPage();
    await page.close();
    await other.goto(server.origin);
    const text = await other.evaluate(async (which) => {
      const worker = new Worker('/tests/e2e/support/files-worker.mjs', { type: 'module' });
      const ask = (/** @type {any} */ task) =>
        new Promise((resolve) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.postMessage(task);
        });
      await ask({ task: 'hold', kind: which, name: 'a' });
      return ask({ task: 'get', path: 'account.key' });
    }, kind);
    assert.equal(text.result, 'sealed');
  });

  test(`${kind}: accounts of different names are apart, whatever the names`, { timeout: 60_000 }, async (t) => {
    const page = await newPage(t);
    const names = ['account', 'Account', '..', 'a/b', 'a%2Fb', 'Praxis Dr. Müller 😀'];
    for (const [i, name] of names.entries()) {
      done(await work(page, `w${i}`, { task: 'hold', kind, name }));
      done(await work(page, `w${i}`, { task: 'put', path: 'account.key', text: `of ${name}` }));
    }
    for (const [i, name] of names.entries()) {
      assert.equal(done(await work(page, `w${i}`, { task: 'get', path: 'account.key' })), `of ${name}`);
    }
    done(await work(page, 'w0', { task: 'destroy' }));
    assert.equal(done(await work(page, 'w1', { task: 'get', path: 'account.key' })), 'of Account');
  });

  test(`${kind}: a full quota is said and what was there stays`, { timeout: 120_000 }, async (t) => {
    const page = await newPage(t);
    const session = await page.context().newCDPSession(page);
    // Before anything is stored: Chromium remembers for a while how much room IndexedDB has.
    await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: 8_000_000 });
    done(await work(page, 'a', { task: 'hold', kind, name: 'a' }));
    done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'sealed' }));
    const answer = await work(page, 'a', { task: 'fill', size: 1_000_000 });
    if (kind === 'opfs') assert.equal(done(answer).code, -3);
    else assert.equal(answer.error?.code, 'store_full', JSON.stringify(answer));
    await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin });
    done(await work(page, 'a', { task: 'release' }));
    done(await work(page, 'b', { task: 'hold', kind, name: 'a' }));
    assert.equal(done(await work(page, 'b', { task: 'get', path: 'account.key' })), 'sealed');
  });
}

test('opfs: another tab is told that the account is open elsewhere', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  done(await work(page, 'a', { task: 'hold', kind: 'opfs', name: 'a' }));
  const refused = await work(page, 'b', { task: 'hold', kind: 'opfs', name: 'a' });
  assert.equal(refused.error?.code, 'store_busy');
  done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'still mine' }));
  await page.evaluate(() => /** @type {any} */ (globalThis).kill('a'));
  done(await work(page, 'b', { task: 'hold', kind: 'opfs', name: 'a' }));
  assert.equal(done(await work(page, 'b', { task: 'get', path: 'account.key' })), 'still mine');
});

test('indexeddb: whoever opens the account takes it over, and nothing more of the other is written', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  done(await work(page, 'a', { task: 'hold', kind: 'indexeddb', name: 'a' }));
  done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'one' }));
  done(await work(page, 'b', { task: 'hold', kind: 'indexeddb', name: 'a' }));
  const late = await work(page, 'a', { task: 'put', path: 'account.key', text: 'late' });
  assert.equal(late.error?.code, 'store_busy');
  const again = await work(page, 'a', { task: 'put', path: 'account.key', text: 'later' });
  assert.equal(again.error?.code, 'store_busy');
  assert.equal(done(await work(page, 'b', { task: 'get', path: 'account.key' })), 'one');
  done(await work(page, 'b', { task: 'put', path: 'account.key', text: 'two' }));
  done(await work(page, 'c', { task: 'hold', kind: 'indexeddb', name: 'a' }));
  assert.equal(done(await work(page, 'c', { task: 'get', path: 'account.key' })), 'two');
});

for (const what of ['manifest', 'chunk', 'chunks', 'file']) {
  test(`indexeddb: a lost ${what} is said, never answered by a new account`, { timeout: 60_000 }, async (t) => {
    const page = await newPage(t);
    done(await work(page, 'a', { task: 'hold', kind: 'indexeddb', name: 'a' }));
    done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'sealed' }));
    done(await work(page, 'a', { task: 'put', path: 'account.db', text: 'x'.repeat(40_000) }));
    done(await work(page, 'a', { task: 'release' }));
    done(await work(page, 'a', { task: 'lose', kind: 'indexeddb', name: 'a', what }));
    for (const kind of ['indexeddb', 'any']) {
      const answer = await work(page, 'a', { task: 'hold', kind, name: 'a' });
      assert.equal(answer.error?.code, 'store_lost', JSON.stringify(answer));
    }
    done(await work(page, 'a', { task: 'destroyAny', name: 'a' }));
    done(await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' }));
    assert.equal(done(await work(page, 'a', { task: 'get', path: 'account.key' })), null);
  });
}

test('a new account is made in OPFS and found there again', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  for (let visit = 0; visit < 3; visit += 1) {
    const held = done(await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' }));
    assert.deepEqual(held, { kind: 'opfs', persistent: true, refused: [] });
    assert.equal(done(await work(page, 'a', { task: 'get', path: 'account.key' })), visit === 0 ? null : 'sealed');
    if (visit === 0) done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'sealed' }));
    done(await work(page, 'a', { task: 'release' }));
  }
});

test('where OPFS is refused the account is in IndexedDB, and stays there when it no longer is', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  done(await work(page, 'private', { task: 'refuseOpfs' }));
  const held = done(await work(page, 'private', { task: 'hold', kind: 'any', name: 'a' }));
  assert.equal(held.kind, 'indexeddb');
  assert.equal(held.persistent, true);
  assert.match(held.refused[0], /opfs.*SecurityError/);
  done(await work(page, 'private', { task: 'put', path: 'account.key', text: 'sealed' }));
  done(await work(page, 'private', { task: 'release' }));
  assert.equal(done(await work(page, 'b', { task: 'hold', kind: 'any', name: 'a' })).kind, 'indexeddb');
  assert.equal(done(await work(page, 'b', { task: 'get', path: 'account.key' })), 'sealed');
});

test('where both are refused it is this visit only', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  done(await work(page, 'a', { task: 'refuseOpfs' }));
  done(await work(page, 'a', { task: 'refuseIndexedDb' }));
  const held = done(await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' }));
  assert.equal(held.kind, 'memory');
  assert.equal(held.persistent, false);
  assert.equal(held.refused.length, 2);
});

test('where only IndexedDB is refused, OPFS still is used', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  done(await work(page, 'a', { task: 'refuseIndexedDb' }));
  assert.equal(done(await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' })).kind, 'opfs');
  assert.equal(done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'sealed' })), 0);
});

test('an account that was in OPFS is not looked for elsewhere', { timeout: 60_000 }, async (t) => {
  const page = await newPage(t);
  done(await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' }));
  done(await work(page, 'a', { task: 'put', path: 'account.key', text: 'sealed' }));
  done(await work(page, 'a', { task: 'release' }));
  done(await work(page, 'private', { task: 'refuseOpfs' }));
  assert.equal((await work(page, 'private', { task: 'hold', kind: 'any', name: 'a' })).error?.code, 'store_denied');
  assert.equal((await work(page, 'private', { task: 'hold', kind: 'indexeddb', name: 'a' })).error?.code, 'store_lost');
  done(await work(page, 'a', { task: 'lose', kind: 'opfs', name: 'a' }));
  assert.equal((await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' })).error?.code, 'store_lost');
  done(await work(page, 'a', { task: 'destroyAny', name: 'a' }));
  assert.equal(done(await work(page, 'a', { task: 'hold', kind: 'any', name: 'a' })).kind, 'opfs');
});
