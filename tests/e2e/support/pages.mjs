// pages.mjs: the real pages from the real relay in a real Chromium: people with a device each, as tests need them. Whatever
// a page complains of (an exception, a broken security policy) fails the test at its end.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { startRelay, tempFolder } from '../../node/support/relay.mjs';

/**
 * @typedef {import('playwright-core').Page} Page
 * @typedef {import('playwright-core').BrowserContext} BrowserContext
 * @typedef {{ after: (fn: () => Promise<void>) => void, diagnostic: (text: string) => void }} Test
 */

const WEB = fileURLToPath(new URL('../../../build/web', import.meta.url));
const AXE = fileURLToPath(import.meta.resolve('axe-core/axe.min.js'));
const CHROMIUM = '/usr/bin/chromium';
const ARGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
];

export const PIN = '2718';
export const BIRTH_DATE = '04/12/1956';
export const PHONE = { width: 360, height: 740 };
export const DESK = { width: 1280, height: 800 };

/** A reason to skip, or false. */
export function notReady() {
  if (!existsSync(`${WEB}/index.html`)) return 'build/web not built';
  return existsSync(CHROMIUM) ? false : `no ${CHROMIUM}`;
}

/** A relay that also serves the pages. @param {Test} t */
export function startSite(t) {
  return startRelay(t, { options: ['--static', WEB] });
}

/** What a browser says when there is no network, which is no fault of the page. */
const NETWORK = /Failed to load resource|net::ERR_|NetworkError|Failed to fetch/;

/** One browser profile of one person: closed and opened again it has what it kept. */
export class Device {
  /** @type {BrowserContext | null} */
  #context = null;
  /** What the pages complained of. @type {string[]} */
  complaints = [];

  /**
   * @param {string} origin
   * @param {string} profile
   * @param {import('playwright-core').BrowserContextOptions} options
   */
  constructor(origin, profile, options) {
    this.origin = origin;
    this.profile = profile;
    this.options = options;
  }

  get context() {
    if (this.#context === null) throw new Error('this browser is closed');
    return this.#context;
  }

  async start() {
    const context = await chromium.launchPersistentContext(this.profile, {
      executablePath: CHROMIUM,
      args: ARGS,
      locale: 'en-US',
      ...this.options,
    });
    this.#context = context;
    context.setDefaultTimeout(20_000);
    await context.addInitScript(() => {
      // So that a test can end them.
      const workers = /** @type {Worker[]} */ ([]);
      const Original = window.Worker;
      window.Worker = class extends Original {
        /** @param {ConstructorParameters<typeof Worker>} args */
        constructor(...args) {
          super(...args);
          workers.push(this);
        }
      };
      Object.assign(window, { workers });
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`security policy: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    context.on('weberror', (error) => this.complaints.push(`exception: ${error.error().stack}`));
    context.on('console', (message) => {
      if (message.type() === 'error' && !NETWORK.test(message.text())) this.complaints.push(message.text());
    });
    return this;
  }

  /** A tab at this address: a path or a whole link. @param {string} where @returns {Promise<Page>} */
  async open(where) {
    const blank = this.context.pages().find((page) => page.url() === 'about:blank');
    const page = blank ?? (await this.context.newPage());
    await page.goto(where.startsWith('http') ? where : this.origin + where);
    return page;
  }

  /** Ends the browser, as one who swipes it away. */
  async close() {
    await this.#context?.close();
    this.#context = null;
  }

  async restart() {
    await this.close();
    await this.start();
  }
}

/**
 * Makes devices in one folder that goes with the test.
 * @param {Test} t
 * @param {string} origin
 */
export async function devices(t, origin) {
  const folder = await tempFolder('profiles');
  /** @type {Device[]} */
  const all = [];
  t.after(async () => {
    for (const device of all) await device.close().catch(() => {});
    await folder.remove();
    assert.deepEqual(
      all.flatMap(({ complaints }) => complaints),
      [],
      'a page complained',
    );
  });
  /** @param {import('playwright-core').BrowserContextOptions} options */
  const make = async (options) => {
    const device = new Device(origin, `${folder.path}/${all.length}`, options);
    all.push(device);
    return device.start();
  };
  return {
    /** @param {import('playwright-core').BrowserContextOptions} [more] */
    phone: (more) => make({ viewport: PHONE, isMobile: true, hasTouch: true, ...more }),
    /** @param {import('playwright-core').BrowserContextOptions} [more] */
    desk: (more) => make({ viewport: DESK, ...more }),
  };
}

// ---- what people do ---------------------------------------------------------------------------------------------------

/** @param {Page} page @param {string} name @param {boolean} [exact] */
export const button = (page, name, exact = true) => page.getByRole('button', { name, exact });
/** @param {Page} page @param {string} name */
export const field = (page, name) => page.getByLabel(name, { exact: true });
/** @param {Page} page */
export const log = (page) => page.getByRole('log', { name: 'Messages' });
/** The message with that text. @param {Page} page @param {string} text */
export const message = (page, text) => log(page).locator('.message', { has: page.getByText(text, { exact: true }) });

/** @param {Page} page @param {string} [date] */
export async function passCheck(page, date = BIRTH_DATE) {
  await field(page, 'Date of birth').fill(date);
  await button(page, 'Continue').click();
}

/** @param {Page} page @param {string} [pin] */
export async function choosePin(page, pin = PIN) {
  await field(page, 'PIN').fill(pin);
  await field(page, 'Repeat PIN').fill(pin);
  await button(page, 'Continue').click();
}

/** @param {Page} page @param {string} [pin] */
export async function unlock(page, pin = PIN) {
  await field(page, 'PIN').fill(pin);
  await button(page, 'Continue').click();
  await page.getByRole('heading', { name: 'locked' }).waitFor({ state: 'detached' });
}

/** @param {Page} page @param {string} text */
export async function send(page, text) {
  await page.getByRole('textbox', { name: 'Message' }).fill(text);
  await button(page, 'Send').click();
  await message(page, text).waitFor();
}

const STATES = ['Sending', 'Sent', 'Delivered', 'Read'];

/** Waits until an own message has come so far, or further. @param {Page} page @param {string} text @param {string} state */
export async function reached(page, text, state) {
  const far = STATES.slice(STATES.indexOf(state)).join('|');
  await message(page, text).locator('.state', { hasText: new RegExp(`^(${far})$`) }).waitFor({ timeout: 30_000 });
}

/** All texts on the page, oldest first. @param {Page} page @returns {Promise<string[]>} */
export function texts(page) {
  return log(page).locator('.bubble').allTextContents();
}

/** A patient who has come as far as the conversation. @param {Device} device @param {string} link */
export async function enter(device, link) {
  const page = await device.open(link);
  await passCheck(page);
  await choosePin(page);
  await page.getByRole('textbox', { name: 'Message' }).waitFor();
  return page;
}

/** A member of staff at the console. @param {Device} device @param {string} link @param {string} name */
export async function join(device, link, name) {
  const page = await device.open(link);
  await field(page, 'Your name').fill(name);
  await button(page, 'Continue').click();
  await choosePin(page);
  await button(page, 'Lock').waitFor();
  return page;
}

/** Ends the page's Worker in the middle of whatever it does, and lets the page know, as a crash does. @param {Page} page */
export function killWorker(page) {
  return page.evaluate(() => {
    const worker = /** @type {any} */ (window).workers.at(-1);
    worker.terminate();
    worker.dispatchEvent(new ErrorEvent('error', { message: 'killed by a test', cancelable: true }));
  });
}

// ---- what a page must be ------------------------------------------------------------------------------------------------

/**
 * Nothing that axe finds, and nothing that has to be scrolled sideways.
 * @param {Page} page
 * @param {string} state
 */
export async function checkPage(page, state) {
  const wide = await page.evaluate(() => ({ scroll: document.documentElement.scrollWidth, width: document.documentElement.clientWidth }));
  assert.ok(wide.scroll <= wide.width, `${state}: ${wide.scroll} pixels wide on ${wide.width}`);
  await page.evaluate(readFileSync(AXE, 'utf8'));
  const violations = await page.evaluate(async () => {
    const { axe } = /** @type {any} */ (window);
    const { violations: found } = await axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    });
    return found.map((/** @type {any} */ v) => `${v.id}: ${v.nodes.map((/** @type {any} */ n) => `${n.html} ${n.failureSummary}`).join(' | ')}`);
  });
  assert.deepEqual(violations, [], state);
}
