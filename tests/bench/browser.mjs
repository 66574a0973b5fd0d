// browser.mjs: what is measured in Chromium. Writes JSON:
//   cold    milliseconds from `new Worker` to the first key, and within the Worker, in new browser contexts
//   page    the bytes of the patient's first load by a real link from the real relay, until she is asked who she is
import { existsSync } from 'node:fs';
import { launchChromium, serveCheckout } from '../e2e/support/static.mjs';
import { Relay, freePort, tempFolder } from '../node/support/relay.mjs';
import { Sotto } from '../../glue/node.mjs';
import { ROOT } from './support.mjs';

const RUNS = 9;
const FIELD_TIMEOUT = 30_000;

/** @param {import('playwright-core').Browser} browser */
async function coldStarts(browser) {
  const checkout = await serveCheckout();
  const runs = [];
  try {
    for (let i = 0; i < RUNS; i++) {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(checkout.origin);
      runs.push(
        await page.evaluate(
          () =>
            new Promise((resolve, reject) => {
              const begin = performance.now();
              const worker = new Worker('/tests/bench/cold-worker.mjs', { type: 'module' });
              worker.onerror = (event) => reject(new Error(event.message || 'the Worker did not start'));
              worker.onmessage = ({ data }) => resolve({ ...data, page: performance.now() - begin });
            }),
        ),
      );
      await context.close();
    }
  } finally {
    await checkout.close();
  }
  return runs;
}

/** @param {import('playwright-core').Browser} browser */
async function firstLoad(browser) {
  if (!existsSync(`${ROOT}build/web/index.html`)) return null;
  const folder = await tempFolder('bench');
  const relay = await new Relay(await freePort(), folder.path, ['--static', `${ROOT}build/web`]).start();
  const clinic = await Sotto.open({ store: '' });
  const context = await browser.newContext({ viewport: { width: 360, height: 740 }, locale: 'en-US' });
  try {
    await clinic.call('clinic.create', { relay: relay.origin, clinic_name: 'Sunrise Clinic', name: 'Reception', kind: 'staff' });
    const { link } = await clinic.call('invitation.create', { enrols: 'patient', name: 'Ada Park', check: 'birth_date', factor: '1956-04-12' });
    await clinic.caughtUp();
    const page = await context.newPage();
    /** @type {Promise<{ path: string, body: number, head: number }>[]} */
    const parts = [];
    context.on('requestfinished', (request) => {
      parts.push(
        request.sizes().then(({ responseBodySize, responseHeadersSize }) => {
          return { path: new URL(request.url()).pathname, body: responseBodySize, head: responseHeadersSize };
        }),
      );
    });
    const begin = performance.now();
    await page.goto(link);
    await page.getByLabel(/Date of birth/i).first().waitFor({ timeout: FIELD_TIMEOUT });
    return { ms: performance.now() - begin, parts: await Promise.all(parts) };
  } finally {
    await context.close();
    await clinic.close();
    await relay.stop();
    await folder.remove();
  }
}

const browser = await launchChromium();
try {
  const page = await firstLoad(browser);
  console.log(JSON.stringify({ cold: await coldStarts(browser), page }));
} finally {
  await browser.close();
}
