// Every state of both pages, light and dark, at 320 pixels and with text twice as large: axe finds nothing, nothing has to be
// scrolled sideways, what can be pressed is large enough for a finger, and the page can be worked by its roles and keys.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { people } from '../node/support/clinic.mjs';
import { PIN, button, checkPage, choosePin, devices, field, join, log, message, notReady, passCheck, send, startSite, unlock } from './support/pages.mjs';

/** @typedef {import('playwright-core').Page} Page */

const skip = notReady();
const MINUTE = 60_000;
const PATIENT = /** @type {const} */ ({ enrols: 'patient', name: 'Maria Lopez', check: 'birth_date', factor: '1956-04-12' });

/**
 * Checks the page as it is in light and dark, narrow, and with large text.
 * @param {Page} page
 * @param {string} state
 */
async function inAllLooks(page, state) {
  const size = page.viewportSize() ?? { width: 360, height: 740 };
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await checkPage(page, `${state}, ${colorScheme}`);
  }
  await page.setViewportSize({ width: 320, height: 640 });
  await checkPage(page, `${state}, 320 pixels`);
  await page.evaluate(() => (document.documentElement.style.fontSize = '200%'));
  await checkPage(page, `${state}, text at 200 % on 320 pixels`);
  await page.setViewportSize(size);
  await checkPage(page, `${state}, text at 200 %`);
  await page.evaluate(() => (document.documentElement.style.fontSize = ''));
  await page.emulateMedia({ colorScheme: 'light' });
  const small = await page.evaluate(() =>
    [...document.querySelectorAll('button, input:not(.quiet), textarea, .check')]
      .map((e) => ({ html: e.outerHTML, box: e.getBoundingClientRect() }))
      .filter(({ html, box }) => box.width > 0 && !/type="(checkbox|radio)"/.test(html) && (box.height < 44 || box.width < 44))
      .map(({ html, box }) => `${box.width}x${box.height} ${html}`),
  );
  assert.deepEqual(small, [], `${state}: too small for a finger`);
}

test('the patient’s page in every state', { skip, timeout: 6 * MINUTE }, async (t) => {
  const relay = await startSite(t);
  const clinic = await people(t);
  const founder = await clinic.founder(relay.origin);
  const { phone } = await devices(t, relay.origin);
  const her = await phone();

  let page = await her.open('/');
  await page.getByRole('heading', { name: 'Open the link from your clinic' }).waitFor();
  await inAllLooks(page, 'no link');
  page = await her.open('/#i=damaged');
  await page.getByRole('heading', { name: 'This link is not complete' }).waitFor();
  await inAllLooks(page, 'damaged link');

  const { link } = await founder.invite(PATIENT);
  page = await her.open(link);
  await field(page, 'Date of birth').waitFor();
  await inAllLooks(page, 'check');
  await passCheck(page, '1/1/1980');
  await page.getByText('You have 4 tries left.').waitFor();
  await inAllLooks(page, 'wrong check');
  await passCheck(page);
  await field(page, 'Repeat PIN').waitFor();
  await inAllLooks(page, 'choose a PIN');
  await field(page, 'PIN').fill('1234');
  await button(page, 'Continue').click();
  await page.getByText('The two are not the same').waitFor();
  await inAllLooks(page, 'PINs that differ');
  await choosePin(page);
  await page.getByText('Not for emergencies').waitFor();
  await page.getByText('Write your first message').waitFor();
  await inAllLooks(page, 'empty conversation');

  await send(page, 'Hello, my cough is back since Monday, and I feel tired. Should I come in or wait for another week?');
  const { conversation } = await founder.conversation('Maria Lopez');
  await founder.send(conversation, 'averyveryverylongwordwithoutanyspaceatalltoseewhetheritbreaks '.repeat(3).trim());
  await log(page).getByText('averyvery').waitFor();
  for (let n = 0; n < 55; n += 1) await founder.send(conversation, `note ${n}`);
  await message(page, 'note 54').waitFor();
  await inAllLooks(page, 'conversation');
  await log(page).evaluate((e) => e.scrollTo(0, 0));
  await founder.send(conversation, 'more below');
  await button(page, 'New messages').waitFor();
  await inAllLooks(page, 'new messages below');
  await button(page, 'People').click();
  await page.getByRole('dialog').waitFor();
  await inAllLooks(page, 'who is in it');
  await page.keyboard.press('Escape');
  await page.getByRole('textbox', { name: 'Message' }).fill('x'.repeat(16400));
  await page.getByText('This message is too long').waitFor();
  await inAllLooks(page, 'text too long');
  await page.getByRole('textbox', { name: 'Message' }).fill('');
  await relay.stop('SIGKILL');
  await send(page, 'while offline');
  await page.getByText('Offline –').waitFor({ timeout: 40_000 });
  await inAllLooks(page, 'offline');
  await button(page, 'Lock').click();
  await page.getByRole('heading', { name: 'Your messages are locked' }).waitFor();
  await inAllLooks(page, 'locked');
  await field(page, 'PIN').fill('0000');
  await button(page, 'Continue').click();
  await page.getByText('That is not the right PIN').waitFor();
  await inAllLooks(page, 'wrong PIN');
  await relay.start();
  const { link: another } = await founder.invite(PATIENT);
  page = await her.open(another);
  await page.getByRole('heading', { name: 'You already have messages here' }).waitFor();
  await inAllLooks(page, 'link and account');
});

test('the staff page in every state', { skip, timeout: 6 * MINUTE }, async (t) => {
  const relay = await startSite(t);
  const clinic = await people(t);
  const founder = await clinic.founder(relay.origin);
  const { desk } = await devices(t, relay.origin);
  const its = await desk();
  let page = await its.open('/staff/');
  await button(page, 'Create clinic').click();
  await page.getByText('Please write the clinic’s name.').waitFor();
  await inAllLooks(page, 'create a clinic');
  const { link } = await founder.invite({ enrols: 'staff', name: 'Nadia', check: 'code', factor: '4711' });
  page = await its.open(link);
  await field(page, 'Your name').waitFor();
  await inAllLooks(page, 'join');
  const { link: open } = await founder.invite({ enrols: 'staff', name: 'Nadia', check: 'none' });
  page = await join(its, open, 'Nadia Okafor');
  await page.getByText('No conversations yet.').waitFor();
  await inAllLooks(page, 'empty inbox');

  const maria = await clinic.patient(founder, 'Maria Lopez');
  const at = (await maria.conversation()).conversation;
  await maria.send(at, 'May I come on Friday?');
  const item = page.getByRole('button', { name: /^Maria Lopez/ });
  await item.getByText('1 unread').waitFor();
  await inAllLooks(page, 'inbox');
  await item.click();
  await message(page, 'May I come on Friday?').waitFor();
  await send(page, 'Yes, at 9:40.');
  await inAllLooks(page, 'conversation');
  await button(page, 'Invite a patient').click();
  await inAllLooks(page, 'invite');
  await field(page, 'Patient’s name').fill('Wei Chen');
  await page.getByRole('radio', { name: 'One-time code' }).check();
  await button(page, 'Make link').click();
  await page.getByRole('dialog', { name: 'Link for Wei Chen' }).waitFor();
  await inAllLooks(page, 'link');
  await button(page, 'Done').click();
  await button(page, 'Invitations', false).click();
  await page.getByRole('listitem').filter({ hasText: 'Wei Chen' }).getByText('Open', { exact: true }).waitFor();
  await inAllLooks(page, 'invitations');
  await button(page, 'Lock').click();
  await inAllLooks(page, 'locked');
});

test('by keyboard alone, and with names for everything: the patient', { skip, timeout: MINUTE }, async (t) => {
  const relay = await startSite(t);
  const clinic = await people(t);
  const founder = await clinic.founder(relay.origin);
  const { phone } = await devices(t, relay.origin);
  const page = await (await phone()).open((await founder.invite(PATIENT)).link);
  const keys = page.keyboard;
  await field(page, 'Date of birth').waitFor();
  await keys.type('4/12/1956');
  await keys.press('Enter');
  await field(page, 'Repeat PIN').waitFor();
  await page.locator('#pin:focus').waitFor();
  await keys.type(PIN);
  await keys.press('Enter');
  await keys.type(PIN);
  await keys.press('Enter');
  await page.locator('textarea:focus').waitFor();
  await keys.type('line one');
  await keys.press('Enter'); // on a phone this makes a line
  await keys.type('line two');
  await keys.press('Control+Enter');
  await log(page).getByText('line one\nline two').waitFor();

  const list = page.getByRole('log', { name: 'Messages' });
  assert.equal(await list.getAttribute('aria-live'), 'polite');
  assert.equal(await list.getAttribute('tabindex'), '0');
  await page.locator('textarea:focus').waitFor();
  await keys.press('Shift+Tab'); // from the composer back into the list, the sheet, the lock
  assert.equal(await list.evaluate((e) => e === document.activeElement), true);
  await keys.press('Shift+Tab');
  await keys.press('Enter');
  await page.getByRole('heading', { name: 'Your messages are locked' }).waitFor();
  await page.locator('#pin:focus').waitFor();
  await keys.type(PIN);
  await keys.press('Enter');
  await log(page).waitFor();
  await unlockedFocus(page);
});

/** After unlocking with messages there, a phone's focus is on the list: the keyboard must not cover it. @param {Page} page */
async function unlockedFocus(page) {
  await page.locator('[role=log]:focus').waitFor();
  await button(page, 'People').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Who can read this' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(await button(page, 'People').evaluate((e) => e === document.activeElement), true, 'the focus is where it was');
  await button(page, 'Lock').click();
  await unlock(page);
}
