// The staff console: a clinic is made, patients and colleagues are invited, the inbox is worked through.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, people } from '../node/support/clinic.mjs';
import { BIRTH_DATE, PIN, button, choosePin, devices, enter, field, join, killWorker, log, message, notReady, reached, send, startSite, texts, unlock } from './support/pages.mjs';

const skip = notReady();
const MINUTE = 60_000;

/** @param {import('node:test').TestContext} t */
async function scene(t) {
  const relay = await startSite(t);
  const clinic = await people(t);
  const founder = await clinic.founder(relay.origin);
  const { link } = await founder.invite({ enrols: 'staff', name: 'Nadia', check: 'none' });
  const made = await devices(t, relay.origin);
  const its = await made.desk();
  return { relay, clinic, founder, its, staff: await join(its, link, 'Nadia Okafor'), ...made };
}

test('a clinic is created; its form says what is missing', { skip, timeout: MINUTE }, async (t) => {
  const relay = await startSite(t);
  const { desk } = await devices(t, relay.origin);
  const its = await desk();
  const page = await its.open('/staff/');
  await button(page, 'Create clinic').click();
  await page.getByText('Please write the clinic’s name.').waitFor();
  assert.equal(await field(page, 'Clinic name').evaluate((e) => e === document.activeElement), true);
  await field(page, 'Clinic name').fill('Sunrise Clinic');
  await button(page, 'Create clinic').click();
  await page.getByText('Please write your name.').waitFor();
  await field(page, 'Your name').fill('Nadia Okafor');
  await field(page, 'PIN').fill(PIN);
  await button(page, 'Create clinic').click();
  await page.getByText('The two are not the same').waitFor();
  await field(page, 'Repeat PIN').fill(PIN);
  await button(page, 'Create clinic').click();
  await page.getByRole('heading', { name: 'Sunrise Clinic' }).waitFor();
  await page.getByText('No conversations yet.').waitFor();

  await t.test('a colleague joins by a link and a code', async () => {
    await button(page, 'Invitations', false).click();
    await button(page, 'Invite a colleague').click();
    await field(page, 'Name').fill('Tom');
    await button(page, 'Make link').click();
    const link = await field(page, 'Secure link').inputValue();
    assert.match(link, /\/staff\/#i=/);
    const code = await page.locator('.code').textContent();
    await button(page, 'Done').click();
    await page.getByRole('listitem').filter({ hasText: 'Tom' }).getByText('Open', { exact: true }).waitFor();
    const other = await (await desk()).open(link);
    await field(other, 'Your name').fill('Tom Lindqvist');
    await field(other, 'One-time code').fill(String(code));
    await button(other, 'Continue').click();
    await choosePin(other);
    await button(other, 'Lock').waitFor();
    await page.getByRole('listitem').filter({ hasText: 'Tom' }).getByText('Used').waitFor();
  });
  await t.test('locked and unlocked', async () => {
    await button(page, 'Lock').click();
    await page.getByRole('heading', { name: 'The console is locked' }).waitFor();
    assert.equal(await page.getByText('Tom').count(), 0);
    await unlock(page);
    await button(page, 'Invite a patient').waitFor();
  });
});

test('invitations: what is missing is said; code, copy, withdraw, used', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { its, staff, phone } = await scene(t);
  await its.context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await button(staff, 'Invite a patient').click();
  const dialog = staff.getByRole('dialog', { name: 'Invite a patient' });
  await dialog.getByRole('button', { name: 'Make link' }).click();
  await dialog.getByText('Please write a name.').waitFor();
  await field(staff, 'Patient’s name').fill('Ravi Patel');
  await dialog.getByRole('button', { name: 'Make link' }).click();
  await dialog.getByText('Please fill in the date of birth.').waitFor();
  await dialog.getByRole('textbox', { name: 'Date of birth' }).fill('sometime in spring');
  await dialog.getByRole('button', { name: 'Make link' }).click();
  await dialog.getByText('We could not read this date.').waitFor();
  await dialog.getByRole('radio', { name: 'One-time code' }).check();
  await dialog.getByRole('button', { name: 'Make link' }).click();
  const made = staff.getByRole('dialog', { name: 'Link for Ravi Patel' });
  assert.match((await made.locator('.code').textContent()) ?? '', /^\d{6}$/);
  await button(staff, 'Copy link').click();
  await made.getByText('Copied').waitFor();
  const link = await field(staff, 'Secure link').inputValue();
  assert.equal(await staff.evaluate(() => navigator.clipboard.readText()), link);
  const code = await made.locator('.code').textContent();
  await staff.keyboard.press('Escape');
  await made.waitFor({ state: 'detached' });

  await button(staff, 'Invitations', false).click();
  const row = staff.getByRole('listitem').filter({ hasText: 'Ravi Patel' });
  await row.getByText('Open', { exact: true }).waitFor();
  const her = await phone();
  const page = await her.open(link);
  await field(page, 'One-time code').fill(String(code));
  await button(page, 'Continue').click();
  await choosePin(page);
  await row.getByText('Used').waitFor();

  await button(staff, 'Invite a patient').click();
  await field(staff, 'Patient’s name').fill('Ann Lee');
  await staff.getByRole('textbox', { name: 'Date of birth' }).fill(BIRTH_DATE);
  await button(staff, 'Make link').click();
  const second = await field(staff, 'Secure link').inputValue();
  await button(staff, 'Done').click();
  await button(staff, 'Withdraw: Ann Lee').click();
  await staff.getByRole('listitem').filter({ hasText: 'Ann Lee' }).getByText('Withdrawn').waitFor();
  await eventually(async () => {
    const shown = await (await phone()).open(second);
    return shown.getByRole('heading', { name: 'This link has run out' }).waitFor({ timeout: 5000 }).then(
      () => true,
      () => false,
    );
  }, 'the withdrawn link is refused');
});

test('by keyboard alone: invite, answer, move through the inbox', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { clinic, founder, staff } = await scene(t);
  const keys = staff.keyboard;
  /** Tab until this has the focus. @param {import('playwright-core').Locator} what */
  const tabTo = async (what) => {
    for (let n = 0; n < 40; n += 1) {
      if (await what.evaluate((e) => e === document.activeElement).catch(() => false)) return;
      await keys.press('Tab');
    }
    assert.fail(`not reached by Tab: ${what}`);
  };
  await tabTo(button(staff, 'Invite a patient'));
  await keys.press('Enter');
  await staff.getByRole('dialog').waitFor();
  await keys.type('Wei Chen');
  await tabTo(staff.getByRole('textbox', { name: 'Date of birth' }));
  await keys.type(BIRTH_DATE);
  await keys.press('Enter');
  await staff.getByRole('dialog', { name: 'Link for Wei Chen' }).waitFor();
  await tabTo(button(staff, 'Done'));
  await keys.press('Enter');
  await staff.getByRole('dialog').waitFor({ state: 'detached' });

  const maria = await clinic.patient(founder, 'Maria Lopez');
  const juan = await clinic.patient(founder, 'Juan Diaz');
  await maria.send((await maria.conversation()).conversation, 'Maria’s question');
  await juan.send((await juan.conversation()).conversation, 'Juan’s question');
  const item = (/** @type {string} */ name) => staff.getByRole('button', { name: new RegExp(`^${name}`) });
  await item('Maria Lopez').getByText('Maria’s question').waitFor();
  await item('Juan Diaz').getByText('Juan’s question').waitFor();
  assert.match(await staff.title(), /^\(2\)/);
  await tabTo(item('Juan Diaz'));
  await keys.press('ArrowDown');
  assert.equal(await item('Maria Lopez').evaluate((e) => e === document.activeElement), true);
  await keys.press('Enter');
  await staff.locator('textarea:focus').waitFor();
  await message(staff, 'Maria’s question').waitFor();
  await keys.type('Yes,');
  await keys.press('Shift+Enter');
  await keys.type('at nine.');
  await keys.press('Enter');
  await log(staff).getByText('Yes,\nat nine.').waitFor();
  await maria.received((await maria.conversation()).conversation, 'Yes,\nat nine.');
  await eventually(async () => /^\(1\)/.test(await staff.title()), 'one unread left');
});

test('on a narrow screen one pane at a time; drafts stay with their conversation', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { clinic, founder, staff } = await scene(t);
  const maria = await clinic.patient(founder, 'Maria Lopez');
  await clinic.patient(founder, 'Juan Diaz');
  await staff.setViewportSize({ width: 360, height: 740 });
  const item = (/** @type {string} */ name) => staff.getByRole('button', { name: new RegExp(`^${name}`) });
  await item('Maria Lopez').click();
  assert.equal(await button(staff, 'Invite a patient').isVisible(), false);
  await staff.getByRole('textbox', { name: 'Message' }).fill('Dear Maria');
  await button(staff, 'Back').click();
  assert.equal(await log(staff).count(), 0);
  await item('Juan Diaz').click();
  assert.equal(await staff.getByRole('textbox', { name: 'Message' }).inputValue(), '');
  await button(staff, 'Back').click();
  await item('Maria Lopez').click();
  assert.equal(await staff.getByRole('textbox', { name: 'Message' }).inputValue(), 'Dear Maria');
  await button(staff, 'Send').click();
  await maria.received((await maria.conversation()).conversation, 'Dear Maria');
});

test('the console’s Worker is killed, and the relay: what was sent is there once', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { relay, founder, its, staff, phone } = await scene(t);
  const { link } = await founder.invite({ enrols: 'patient', name: 'Maria Lopez', check: 'birth_date', factor: '1956-04-12' });
  const patient = await enter(await phone(), link);
  await send(patient, 'one');
  const item = (/** @type {import('playwright-core').Page} */ page) => page.getByRole('button', { name: /^Maria Lopez/ });
  await item(staff).click();
  await message(staff, 'one').waitFor();
  await send(staff, 'two');
  await killWorker(staff);
  await unlock(staff);
  await item(staff).click();
  await reached(staff, 'two', 'Sent');
  await relay.stop('SIGKILL');
  await send(staff, 'three');
  await killWorker(staff);
  await relay.start();
  await unlock(staff);
  await item(staff).click();
  await reached(staff, 'three', 'Sent');
  await message(patient, 'three').waitFor({ timeout: 60_000 });
  assert.deepEqual(await texts(patient), ['one', 'two', 'three']);
  assert.deepEqual(await texts(staff), ['one', 'two', 'three']);
  await its.restart();
  const again = await its.open('/staff/');
  await field(again, 'PIN').fill('0000');
  await button(again, 'Continue').click();
  await again.getByText('That is not the right PIN').waitFor();
  await unlock(again);
  await item(again).click();
  await message(again, 'three').waitFor();
  assert.deepEqual(await texts(again), ['one', 'two', 'three']);
});
