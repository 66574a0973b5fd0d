// The client class in a page, without the pages: its Worker killed at any moment, the account in several tabs, offline. The
// other side is the clinic's agent in Node, over the real relay, under the relay's own security policy.
import assert from 'node:assert/strict';
import { copyFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PIN, people } from '../node/support/clinic.mjs';
import { notBuilt, startRelay, tempFolder } from '../node/support/relay.mjs';
import { launchChromium } from './support/static.mjs';

/** @typedef {import('playwright-core').Page} Page */

const skip = notBuilt();
const long = process.env.SOTTO_LONG === '1';
const GLUE = fileURLToPath(new URL('../../glue/', import.meta.url));
const WASM = fileURLToPath(new URL('../../build/sotto.wasm', import.meta.url));

/** @type {import('playwright-core').Browser} */
let browser;
before(async () => {
  if (skip === false) browser = await launchChromium();
});
after(() => browser?.close());

/** The glue as it is, beside the module and an empty page. @param {{ after: (fn: () => Promise<void>) => void }} t */
async function site(t) {
  const folder = await tempFolder('static');
  t.after(folder.remove);
  for (const name of await readdir(GLUE)) if (name.endsWith('.mjs')) await copyFile(join(GLUE, name), join(folder.path, name));
  await copyFile(WASM, join(folder.path, 'sotto.wasm'));
  await writeFile(join(folder.path, 'index.html'), '<!doctype html><html lang="en"><meta charset="utf-8"><title>test</title>');
  return startRelay(t, { options: ['--static', folder.path] });
}

/** What stands in the page's globalThis. @typedef {{ sotto: import('../../glue/browser.mjs').Sotto, events: any[] }} InPage */

/**
 * A tab with the client open.
 * @param {import('playwright-core').BrowserContext} context
 * @param {string} origin
 */
async function tab(context, origin) {
  const page = await context.newPage();
  /** @type {string[]} */
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error.stack)));
  await page.goto(`${origin}/`);
  await page.evaluate(async () => {
    const { Sotto } = await import(/** @type {any} */ (`${location.origin}/browser.mjs`));
    const page = /** @type {InPage} */ (/** @type {unknown} */ (globalThis));
    page.sotto = await Sotto.open({ store: 'patient' });
    page.events = [];
    page.sotto.on('*', (event) => page.events.push(event));
  });
  return Object.assign(page, { complaints });
}

/**
 * @param {Page} page
 * @param {string} command
 * @param {Record<string, unknown>} [args]
 * @returns {Promise<any>} the result, or { code } of the error
 */
function call(page, command, args = {}) {
  return page.evaluate(
    ([name, values]) =>
      /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).sotto.call(/** @type {any} */ (name), /** @type {any} */ (values)).catch((error) => ({ code: error.code })),
    /** @type {const} */ ([command, args]),
  );
}

/** All of a conversation, oldest first. @param {Page} page @param {string} conversation @returns {Promise<string[]>} */
async function texts(page, conversation) {
  /** @type {any[]} */
  const all = [];
  for (;;) {
    const before = all[0]?.order;
    const older = await call(page, 'message.list', { conversation, limit: 200, ...(before === undefined ? {} : { before }) });
    all.unshift(...older);
    if (older.length < 200) return all.filter((m) => m.kind === 'text').map((m) => m.text);
  }
}

/** A patient enrolled in a page. @param {Page} page @param {import('../node/support/clinic.mjs').Party} founder */
async function enrol(page, founder) {
  const { link } = await founder.invite({ enrols: 'patient', name: 'Maria Lopez', check: 'none' });
  return page.evaluate(
    async ([address, pin]) => {
      const { sotto } = /** @type {InPage} */ (/** @type {unknown} */ (globalThis));
      await sotto.acceptInvitation(/** @type {string} */ (address), { pin: /** @type {string} */ (pin) });
      const { conversation } = await sotto.when(async () => (await sotto.call('conversation.list')).find((c) => c.state === 'active'));
      return conversation;
    },
    [link, PIN],
  );
}

/** @param {() => Promise<unknown>} condition @param {string} what */
async function eventually(condition, what) {
  for (let i = 0; i < 300; i += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`never: ${what}`);
}

/** @param {Page} page @param {string} code */
const sawAccount = (page, code) =>
  page.evaluate((c) => /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).events.some((e) => e.event === 'account' && e.code === c), code);

test('a Worker killed at any moment of sending loses nothing that was confirmed, and doubles nothing', { skip }, async (t) => {
  const relay = await site(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await tab(context, relay.origin);
  const conversation = await enrol(page, founder);
  const { kind, persistent } = await page.evaluate(() => /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).sotto.storage);
  assert.deepEqual([kind, persistent], ['opfs', true]);

  /** @type {string[]} */
  const confirmed = [];
  const rounds = long ? 60 : 8;
  for (let round = 1; round <= rounds; round += 1) {
    const done = await page.evaluate(
      async ([id, n, wait]) => {
        const { sotto } = /** @type {InPage} */ (/** @type {unknown} */ (globalThis));
        /** @type {string[]} */
        const sent = [];
        const sending = [1, 2, 3, 4].map(async (i) => {
          const text = `round ${n}.${i}`;
          await sotto.call('message.send', { conversation: String(id), text });
          sent.push(text);
        });
        await new Promise((resolve) => setTimeout(resolve, Number(wait)));
        sotto.kill();
        const results = await Promise.allSettled(sending);
        const codes = results.flatMap((r) => (r.status === 'rejected' ? [r.reason.code] : []));
        if (codes.some((c) => c !== 'interrupted')) throw new Error(`rejected with ${codes}`);
        return sent;
      },
      [conversation, round, (round - 1) * (long ? 2 : 12)],
    );
    confirmed.push(...done);
    assert.ok(await sawAccount(page, 'locked'));
    assert.equal((await call(page, 'account.status')).state, 'locked');
    assert.equal((await call(page, 'conversation.list')).code, 'locked');
    assert.equal((await call(page, 'account.unlock', { pin: PIN })).kind, 'patient');
    // No more than four new Workers a minute: the limit is for a Worker that dies by itself, so the test starts afresh.
    if (round % 4 === 0) {
      await page.evaluate(() => /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).sotto.close());
      await page.evaluate(async () => {
        const { Sotto } = await import(/** @type {any} */ (`${location.origin}/browser.mjs`));
        /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).sotto = await Sotto.open({ store: 'patient' });
        const own = /** @type {InPage} */ (/** @type {unknown} */ (globalThis));
        own.sotto.on('*', (/** @type {any} */ event) => own.events.push(event));
      });
      await call(page, 'account.unlock', { pin: PIN });
    }
  }
  const failed = await page.evaluate(() => /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).sotto.settled());
  assert.deepEqual(failed, []);
  const shown = await texts(page, conversation);
  t.diagnostic(`${rounds} kills, ${confirmed.length} confirmed, ${shown.length} kept of ${rounds * 4}`);
  for (const text of confirmed) assert.ok(shown.includes(text), `${text} was confirmed and is gone`);
  assert.equal(new Set(shown).size, shown.length, 'none twice');
  const at = (await founder.conversation('Maria Lopez')).conversation;
  await eventually(async () => (await founder.texts(at)).length === shown.length, 'all arrived');
  assert.deepEqual(await founder.texts(at), shown);
  assert.deepEqual(page.complaints, []);
});

test('two tabs: one owner, the other asks it; the account goes on when the owner closes', { skip }, async (t) => {
  const relay = await site(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const context = await browser.newContext();
  t.after(() => context.close());
  const first = await tab(context, relay.origin);
  const conversation = await enrol(first, founder);
  const at = (await founder.conversation('Maria Lopez')).conversation;

  const second = await tab(context, relay.origin);
  assert.equal((await call(second, 'account.status')).state, 'open', 'unlocked in one tab is unlocked in all');
  await call(second, 'message.send', { conversation, text: 'from the second tab' });
  await founder.received(at, 'from the second tab');
  await founder.send(at, 'to both');
  for (const page of [first, second]) {
    await eventually(async () => (await texts(page, conversation)).includes('to both'), 'in both tabs');
    await eventually(
      () => page.evaluate(() => /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).events.some((e) => e.event === 'message')),
      'events in both tabs',
    );
  }

  await first.close();
  await eventually(() => sawAccount(second, 'locked'), 'the other tab hears that it is locked');
  assert.equal((await call(second, 'account.unlock', { pin: PIN })).kind, 'patient');
  assert.deepEqual(await texts(second, conversation), ['from the second tab', 'to both']);
  await call(second, 'message.send', { conversation, text: 'alone now' });
  await founder.received(at, 'alone now');

  const third = await tab(context, relay.origin);
  await third.evaluate(() => /** @type {InPage} */ (/** @type {unknown} */ (globalThis)).sotto.takeOver());
  await eventually(() => sawAccount(second, 'locked'), 'taken over');
  await eventually(async () => (await call(third, 'account.status')).state === 'locked', 'the new owner asks for the PIN');
  assert.equal((await call(third, 'account.unlock', { pin: PIN })).kind, 'patient');
  assert.deepEqual(await texts(third, conversation), ['from the second tab', 'to both', 'alone now']);
  assert.deepEqual(await texts(second, conversation), ['from the second tab', 'to both', 'alone now'], 'and the former owner asks it');
  assert.deepEqual([...second.complaints, ...third.complaints], []);
});

test('offline and back; reload', { skip }, async (t) => {
  const relay = await site(t);
  const all = await people(t);
  const founder = await all.founder(relay.origin);
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await tab(context, relay.origin);
  const conversation = await enrol(page, founder);
  const at = (await founder.conversation('Maria Lopez')).conversation;
  await context.setOffline(true);
  await eventually(async () => !(await call(page, 'me')).online, 'told to be offline');
  const { message } = await call(page, 'message.send', { conversation, text: 'written offline' });
  assert.equal((await call(page, 'message.get', { message })).state, 'sending');
  await context.setOffline(false);
  await founder.received(at, 'written offline');
  await page.close();
  const again = await tab(context, relay.origin);
  assert.equal((await call(again, 'account.status')).state, 'locked');
  await call(again, 'account.unlock', { pin: PIN });
  assert.deepEqual(await texts(again, conversation), ['written offline']);
  assert.deepEqual(again.complaints, []);
});
