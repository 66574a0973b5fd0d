// A patient with a phone, from the link to the answer and through what may go wrong on the way.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { eventually, people } from '../node/support/clinic.mjs';
import {
  BIRTH_DATE,
  PIN,
  button,
  choosePin,
  devices,
  enter,
  field,
  join,
  killWorker,
  log,
  message,
  notReady,
  passCheck,
  reached,
  send,
  startSite,
  texts,
  unlock,
} from './support/pages.mjs';

const skip = notReady();
const MINUTE = 60_000;
const PATIENT = /** @type {const} */ ({ enrols: 'patient', name: 'Maria Lopez', check: 'birth_date', factor: '1956-04-12' });

/** A relay with the pages, a clinic's agent in Node, and browsers. @param {import('node:test').TestContext} t */
async function scene(t) {
  const relay = await startSite(t);
  const clinic = await people(t);
  const founder = await clinic.founder(relay.origin);
  return { relay, founder, ...(await devices(t, relay.origin)) };
}

test('from the link to the first message in at most 4 taps, to the answer, and back after closing', { skip, timeout: 3 * MINUTE }, async (t) => {
  const relay = await startSite(t);
  const { phone, desk } = await devices(t, relay.origin);
  const [her, its] = [await phone(), await desk()];

  const staff = await its.open('/staff/');
  await field(staff, 'Clinic name').fill('Sunrise Clinic');
  await field(staff, 'Your name').fill('Nadia Okafor');
  await field(staff, 'PIN').fill(PIN);
  await field(staff, 'Repeat PIN').fill(PIN);
  await button(staff, 'Create clinic').click();
  await button(staff, 'Invite a patient').click();
  await field(staff, 'Patient’s name').fill('Maria Lopez');
  await staff.getByRole('textbox', { name: 'Date of birth' }).fill(BIRTH_DATE);
  await button(staff, 'Make link').click();
  const link = await field(staff, 'Secure link').inputValue();
  await staff.getByRole('img', { name: 'QR code of the link' }).waitFor();
  await button(staff, 'Done').click();
  await button(staff, 'Invitations').click();
  await staff.getByRole('listitem').filter({ hasText: 'Maria Lopez' }).getByText('Open', { exact: true }).waitFor();

  let taps = 0;
  const tap = async (/** @type {import('playwright-core').Locator} */ what) => {
    taps += 1;
    await what.tap();
  };
  const patient = await her.open(link);
  assert.equal(new URL(patient.url()).hash, '', 'the secret left the address bar');
  await patient.getByRole('heading', { name: 'Sunrise Clinic' }).waitFor();
  // What has the focus needs no tap: everything is typed into what the page itself focused.
  await field(patient, 'Date of birth').waitFor();
  await patient.keyboard.type(BIRTH_DATE);
  await tap(button(patient, 'Continue'));
  await field(patient, 'Repeat PIN').waitFor();
  await patient.keyboard.type(PIN);
  await patient.keyboard.press('Enter'); // the keyboard's "next"
  await patient.keyboard.type(PIN);
  await tap(button(patient, 'Continue'));
  await patient.getByText('Not for emergencies. Call your local emergency number.').waitFor();
  await patient.locator('textarea:focus').waitFor();
  await patient.keyboard.type('Good morning, may I come on Friday?');
  await tap(button(patient, 'Send'));
  assert.ok(taps <= 4, `${taps} taps`);
  t.diagnostic(`${taps} taps from the link to the first message`);
  await patient.getByText('Not for emergencies').waitFor({ state: 'detached' });
  await reached(patient, 'Good morning, may I come on Friday?', 'Delivered');

  await button(staff, 'Inbox', false).click();
  const inInbox = staff.getByRole('button', { name: /Maria Lopez/ });
  await inInbox.getByText('Good morning, may I come on Friday?').waitFor();
  await inInbox.getByText('1 unread').waitFor();
  await inInbox.click();
  await message(staff, 'Good morning, may I come on Friday?').waitFor();
  await reached(patient, 'Good morning, may I come on Friday?', 'Read');
  await inInbox.getByText('1 unread').waitFor({ state: 'detached' });

  const before = Date.now();
  await send(patient, 'My cough is back');
  await message(staff, 'My cough is back').waitFor();
  t.diagnostic(`the staff page showed a message ${Date.now() - before} ms after it was typed on the phone`);
  await send(staff, 'Please come at 9:40.');
  await message(patient, 'Please come at 9:40.').waitFor();
  await message(patient, 'Please come at 9:40.').getByText('Nadia Okafor').waitFor();
  await reached(staff, 'Please come at 9:40.', 'Read');

  await button(patient, 'People').click();
  const sheet = patient.getByRole('dialog', { name: 'Who can read this' });
  assert.deepEqual(await sheet.getByRole('listitem').count(), 2);
  await button(patient, 'Close').click();

  const all = ['Good morning, may I come on Friday?', 'My cough is back', 'Please come at 9:40.'];
  await t.test('reload', async () => {
    for (const page of [patient, staff]) {
      await page.reload();
      await unlock(page);
    }
    await message(patient, 'Please come at 9:40.').waitFor();
    assert.deepEqual(await texts(patient), all);
    await staff.getByRole('button', { name: /Maria Lopez/ }).click();
    await message(staff, 'Please come at 9:40.').waitFor();
    assert.deepEqual(await texts(staff), all);
  });
  await t.test('close and reopen', async () => {
    await Promise.all([her.restart(), its.restart()]);
    const [p, s] = [await her.open('/'), await its.open('/staff/')];
    for (const page of [p, s]) await unlock(page);
    await message(p, 'Please come at 9:40.').waitFor();
    assert.deepEqual(await texts(p), all);
    await s.getByRole('button', { name: /Maria Lopez/ }).click();
    await send(s, 'Still here');
    await message(p, 'Still here').waitFor();
    await send(p, 'Me too');
    await message(s, 'Me too').waitFor();
  });
});

test('five wrong dates of birth: locked, said kindly; staff see it and make a new link', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { founder, phone, desk } = await scene(t);
  const { link: staffLink } = await founder.invite({ enrols: 'staff', name: 'Nadia', check: 'none' });
  const staff = await join(await desk(), staffLink, 'Nadia Okafor');
  await button(staff, 'Invite a patient').click();
  await field(staff, 'Patient’s name').fill('Maria Lopez');
  await staff.getByRole('textbox', { name: 'Date of birth' }).fill(BIRTH_DATE);
  await button(staff, 'Make link').click();
  const link = await field(staff, 'Secure link').inputValue();
  await button(staff, 'Done').click();
  await button(staff, 'Invitations').click();
  const row = staff.getByRole('listitem').filter({ hasText: 'Maria Lopez' });
  await row.getByText('Open', { exact: true }).waitFor();

  const her = await phone();
  const page = await her.open(link);
  await field(page, 'Date of birth').fill('my birthday');
  await button(page, 'Continue').click();
  await page.getByText('We could not read this date').waitFor();
  for (const left of [4, 3, 2, 1]) {
    await passCheck(page, '1/1/1980');
    await page.getByText(left === 1 ? 'You have 1 try left.' : `You have ${left} tries left.`).waitFor();
    assert.equal(await field(page, 'Date of birth').evaluate((e) => e === document.activeElement), true, 'the focus is back in the field');
    assert.equal(await field(page, 'Date of birth').getAttribute('aria-invalid'), 'true');
    assert.match(await field(page, 'Date of birth').getAttribute('aria-describedby') ?? '', /factor-error/);
    if (left === 3) await row.getByText('3 left').waitFor();
  }
  await passCheck(page, '1/1/1980');
  await page.getByRole('heading', { name: 'This link is locked' }).waitFor();
  await page.getByText('Please call your clinic').waitFor();
  assert.equal(await page.getByRole('textbox').count(), 0);

  await row.getByText('5 wrong tries – make a new link').waitFor();
  await row.getByRole('button', { name: 'New link' }).click();
  assert.equal(await field(staff, 'Patient’s name').inputValue(), 'Maria Lopez');
  await staff.getByRole('textbox', { name: 'Date of birth' }).fill(BIRTH_DATE);
  await button(staff, 'Make link').click();
  const second = await field(staff, 'Secure link').inputValue();
  assert.notEqual(second, link);
  await button(staff, 'Done').click();
  await staff.getByRole('listitem').filter({ hasText: 'Maria Lopez' }).getByText('Open', { exact: true }).waitFor();
  await her.open(second).then((p) => passCheck(p));
});

test('links that do not work say so and what to do', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { relay, founder, phone } = await scene(t);
  const { link } = await founder.invite(PATIENT);
  const first = await phone();
  const page = await enter(first, link);
  await send(page, 'I am in');

  const other = await phone();
  const heading = async (/** @type {string} */ where, /** @type {string} */ title) => {
    const shown = await other.open(where);
    await shown.getByRole('heading', { name: title }).waitFor();
    assert.equal(new URL(shown.url()).hash, '');
    assert.equal(await shown.getByRole('textbox').count(), 0);
  };
  await t.test('used', () => heading(link, 'This link was used already'));
  await t.test('damaged', async () => {
    await heading(link.slice(0, -9), 'This link is not complete');
    await heading(`${relay.origin}/#i=hello`, 'This link is not complete');
    await heading(link.replace('#i=', '#i=x'), 'This link is not complete');
  });
  await t.test('withdrawn', async () => {
    const gone = await founder.invite(PATIENT);
    await founder.sotto.call('invitation.withdraw', { invitation: gone.invitation });
    await eventually(async () => (await founder.invitation(gone.invitation))?.state === 'withdrawn', 'withdrawn');
    await heading(gone.link, 'This link has run out');
  });
  await t.test('of another page', async () => {
    const { link: staffLink } = await founder.invite({ enrols: 'staff', name: 'Nadia', check: 'none' });
    const shown = await other.open(staffLink.replace('/staff/', '/'));
    await shown.getByRole('heading', { name: 'This link is for clinic staff' }).waitFor();
    await button(shown, 'Open it there').click();
    await field(shown, 'Your name').waitFor();
    const { link: patientLink } = await founder.invite(PATIENT);
    const there = await other.open(patientLink.replace('/#', '/staff/#'));
    await button(there, 'Open it there').click();
    await field(there, 'Date of birth').waitFor();
  });
  await t.test('none', async () => {
    const shown = await other.open('/');
    await shown.getByRole('heading', { name: 'Open the link from your clinic' }).waitFor();
  });
  // chatwoot #1976: a cookie was set before anybody had touched anything. Our Worker has looked whether there is an account, and
  // taken its place, which is empty.
  await t.test('looked at, pages leave nothing behind and call nobody', async () => {
    const clean = await phone();
    /** @type {string[]} */
    const asked = [];
    clean.context.on('request', (request) => asked.push(request.url()));
    await (await clean.open('/')).getByRole('heading', { name: 'Open the link from your clinic' }).waitFor();
    assert.deepEqual(asked.filter((url) => !url.startsWith(`${relay.origin}/`) || url.includes('/v1/')), []);
    for (const its of [clean, other]) {
      const left = await (await its.open('/')).evaluate(async () => {
        let bytes = 0;
        /** @param {any} folder */
        const add = async (folder) => {
          for await (const entry of folder.values()) {
            if (entry.kind === 'directory') await add(entry);
            else bytes += (await entry.getFile()).size;
          }
        };
        await add(await navigator.storage.getDirectory());
        let records = 0;
        for (const { name } of await indexedDB.databases()) {
          /** @type {IDBDatabase} */
          const database = await new Promise((resolve, reject) => {
            const request = indexedDB.open(String(name));
            request.onsuccess = () => resolve(request.result);
            request.onerror = () => reject(request.error);
          });
          for (const store of database.objectStoreNames) {
            records += await new Promise((resolve, reject) => {
              const request = database.transaction(store).objectStore(store).count();
              request.onsuccess = () => resolve(request.result);
              request.onerror = () => reject(request.error);
            });
          }
          database.close();
        }
        return { cookies: document.cookie, local: localStorage.length, session: sessionStorage.length, bytes, records };
      });
      assert.deepEqual(left, { cookies: '', local: 0, session: 0, bytes: 0, records: 0 });
    }
  });
  await t.test('no relay', async () => {
    const { link: late } = await founder.invite(PATIENT);
    await other.context.route('**/v1/invitations/**', (route) => route.abort());
    const shown = await other.open(late);
    await shown.getByRole('heading', { name: 'No connection' }).waitFor({ timeout: 40_000 });
    await other.context.unrouteAll();
    await button(shown, 'Try again').click();
    await field(shown, 'Date of birth').waitFor();
    await relay.stop();
    await passCheck(shown);
    await shown.getByText('There is no connection right now').waitFor({ timeout: 40_000 });
    await relay.start();
    await passCheck(shown);
    await field(shown, 'Repeat PIN').waitFor();
  });
});

test('one-time code, and a link that needs no check', { skip, timeout: MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const { link, code } = await founder.invite({ enrols: 'patient', name: 'Ravi Patel', check: 'code' });
  assert.match(String(code), /^\d{6}$/);
  const page = await (await phone()).open(link);
  await field(page, 'One-time code').fill('wrong1');
  await button(page, 'Continue').click();
  await page.getByText('You have 4 tries left.').waitFor();
  await field(page, 'One-time code').fill(` ${String(code).slice(0, 3)} ${String(code).slice(3)} `);
  await button(page, 'Continue').click();
  await field(page, 'PIN').fill('12');
  await button(page, 'Continue').click();
  await page.getByText('Please use at least 4 digits.').waitFor();
  await field(page, 'PIN').fill('1234');
  await field(page, 'Repeat PIN').fill('1235');
  await button(page, 'Continue').click();
  await page.getByText('The two are not the same').waitFor();
  await choosePin(page);
  await page.getByRole('textbox', { name: 'Message' }).waitFor();
});

test('offline is shown and survived', { skip, timeout: 3 * MINUTE }, async (t) => {
  const { relay, founder, phone } = await scene(t);
  const { link } = await founder.invite(PATIENT);
  const her = await phone();
  const page = await enter(her, link);
  await send(page, 'one');
  await reached(page, 'one', 'Delivered');
  const banner = page.getByText('Offline – your messages will be sent when you are back online');
  await t.test('no network', async () => {
    await her.context.setOffline(true);
    await banner.waitFor({ timeout: 30_000 });
    await her.context.setOffline(false);
    await banner.waitFor({ state: 'detached', timeout: 45_000 });
  });
  await t.test('no relay', async () => {
    await relay.stop('SIGKILL');
    await send(page, 'two');
    await banner.waitFor({ timeout: 40_000 });
    await send(page, 'three');
    await message(page, 'three').getByText('Sending').waitFor();
    await relay.start();
    await banner.waitFor({ state: 'detached', timeout: 60_000 });
    for (const text of ['two', 'three']) await reached(page, text, 'Sent');
    assert.deepEqual(await texts(page), ['one', 'two', 'three']);
  });
  await t.test('closed while something was on its way', async () => {
    await relay.stop('SIGKILL');
    await send(page, 'four');
    await her.close();
    await relay.start();
    await her.start();
    const again = await her.open('/');
    await unlock(again);
    await reached(again, 'four', 'Sent');
    assert.deepEqual(await texts(again), ['one', 'two', 'three', 'four']);
  });
  const { conversation } = await founder.conversation('Maria Lopez');
  await founder.received(conversation, 'four');
  assert.deepEqual(await founder.texts(conversation), ['one', 'two', 'three', 'four']);
});

test('this visit only: nothing is left', { skip, timeout: MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  const page = await her.open((await founder.invite(PATIENT)).link);
  await passCheck(page);
  await button(page, 'This visit only').click();
  await page.getByText('This visit only: nothing stays on this phone').waitFor();
  await send(page, 'From the library');
  await reached(page, 'From the library', 'Delivered');
  await button(page, 'End visit').click();
  await page.getByRole('dialog', { name: 'End this visit?' }).getByRole('button', { name: 'End visit' }).click();
  await page.getByRole('heading', { name: 'Your visit has ended' }).waitFor();
  await her.restart();
  const again = await her.open('/');
  await again.getByRole('heading', { name: 'Open the link from your clinic' }).waitFor();
});

test('a browser that refuses storage: the PIN is not offered in vain', { skip, timeout: MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  await her.close();
  await mkdir(`${her.profile}/Default`, { recursive: true });
  await writeFile(`${her.profile}/Default/Preferences`, JSON.stringify({ profile: { default_content_setting_values: { cookies: 2 } } }));
  await her.start();
  const page = await her.open((await founder.invite(PATIENT)).link);
  await passCheck(page);
  await page.getByText('This browser does not let us keep anything').waitFor();
  await button(page, 'This visit only').click();
  await send(page, 'Without storage');
  await reached(page, 'Without storage', 'Delivered');
});

test('PIN: wrong, then right; lock by button and when idle; the draft stays', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  const page = await her.open('/');
  await page.clock.install();
  await enter(her, (await founder.invite(PATIENT)).link).then((opened) => opened.close());
  await page.reload();
  await page.getByRole('heading', { name: 'Your messages are locked' }).waitFor();
  await field(page, 'PIN').fill('0000');
  await button(page, 'Continue').click();
  await page.getByText('That is not the right PIN').waitFor();
  await unlock(page);
  await page.getByRole('textbox', { name: 'Message' }).fill('half a tho');
  await button(page, 'Lock').click();
  await page.getByRole('heading', { name: 'Your messages are locked' }).waitFor();
  assert.equal(await page.getByText('half a tho').count(), 0);
  await unlock(page);
  assert.equal(await page.getByRole('textbox', { name: 'Message' }).inputValue(), 'half a tho');
  await page.clock.fastForward(14 * MINUTE);
  assert.equal(await log(page).count(), 1, 'not yet');
  await page.clock.fastForward(2 * MINUTE);
  await page.getByRole('heading', { name: 'Your messages are locked' }).waitFor();
  for (let n = 1; n <= 5; n += 1) {
    await field(page, 'PIN').fill('0000');
    await button(page, 'Continue').click();
    await button(page, 'Opening…').waitFor({ state: 'detached' });
    await page.getByText('That is not the right PIN').waitFor();
  }
  await page.getByText(/Too many tries. Please wait \d+ seconds/).waitFor();
  assert.equal(await button(page, 'Continue').isEnabled(), false);
  await page.getByText('Too many tries').waitFor({ state: 'detached' });
  await unlock(page);
  assert.equal(await page.getByRole('textbox', { name: 'Message' }).inputValue(), 'half a tho');
});

test('two tabs show the same', { skip, timeout: MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  const one = await enter(her, (await founder.invite(PATIENT)).link);
  await send(one, 'from the first tab');
  const two = await her.context.newPage();
  await two.goto(`${her.origin}/`);
  await message(two, 'from the first tab').waitFor();
  await send(two, 'from the second tab');
  await message(one, 'from the second tab').waitFor();
  await reached(one, 'from the second tab', 'Delivered');
  await one.close(); // the one that held the account
  await unlock(two);
  await message(two, 'from the second tab').waitFor();
  await send(two, 'alone now');
  await reached(two, 'alone now', 'Delivered');
  assert.deepEqual(await texts(two), ['from the first tab', 'from the second tab', 'alone now']);
});

test('a new link beside an account that is kept: nothing is overwritten', { skip, timeout: 2 * MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  const first = await enter(her, (await founder.invite(PATIENT)).link);
  await send(first, 'the first account');
  await first.close();
  const { link } = await founder.invite({ ...PATIENT, name: 'Juan Lopez' });
  let page = await her.open(link);
  await page.getByRole('heading', { name: 'You already have messages here' }).waitFor();
  await button(page, 'Open my messages').click();
  await unlock(page);
  await message(page, 'the first account').waitFor();
  await page.close();
  page = await her.open(link);
  await button(page, 'Use the new link').click();
  await passCheck(page);
  await choosePin(page, '9999');
  await send(page, 'the second account');
  await her.restart();
  page = await her.open('/');
  await unlock(page, '9999');
  await message(page, 'the second account').waitFor();
  await button(page, 'Lock').click();
  await button(page, 'Open other messages on this phone').click();
  await unlock(page);
  await message(page, 'the first account').waitFor();
});

test('the Worker is killed between any two steps: nothing is lost, none is there twice', { skip, timeout: 4 * MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  const page = await enter(her, (await founder.invite(PATIENT)).link);
  await send(page, 'first');
  const expected = ['first'];
  let taken = 0;
  // -1: before the Worker has looked at it.
  for (const ms of [-1, 0, 2, 5, 10, 15, 25, 40, 60, 90, 150]) {
    const text = `killed after ${ms} ms`;
    await page.getByRole('textbox', { name: 'Message' }).fill(text);
    await page.evaluate((after) => {
      const worker = /** @type {any} */ (window).workers.at(-1);
      if (after < 0) worker.postMessage = () => {};
      /** @type {HTMLElement} */ (document.querySelector('.send')).click();
      const kill = () => {
        worker.terminate();
        worker.dispatchEvent(new ErrorEvent('error', { message: 'killed by a test', cancelable: true }));
      };
      if (after < 0) kill();
      else setTimeout(kill, after);
    }, ms);
    await page.getByText('The page had to restart').waitFor();
    await unlock(page);
    await message(page, expected[0] ?? '').waitFor();
    const box = page.getByRole('textbox', { name: 'Message' });
    // Taken or not: it is in the list, or still in the box; never neither, never both.
    await eventually(async () => ((await texts(page)).includes(text) ? 1 : 0) + ((await box.inputValue()) === text ? 1 : 0) === 1, `${text}: once`);
    if ((await box.inputValue()) === '') taken += 1;
    else await button(page, 'Send').click();
    await reached(page, text, 'Sent');
    expected.push(text);
    assert.deepEqual(await texts(page), expected);
  }
  assert.ok(taken > 0 && taken < expected.length - 1, 'both ways were seen');
  t.diagnostic(`${taken} of ${expected.length - 1} texts had been taken when the Worker was killed`);
  await killWorker(page);
  await unlock(page);
  await message(page, 'first').waitFor();
  assert.deepEqual(await texts(page), expected);
  const { conversation } = await founder.conversation('Maria Lopez');
  await founder.received(conversation, /** @type {string} */ (expected.at(-1)));
  assert.deepEqual(await founder.texts(conversation), expected);
});

test('a long conversation: the place is kept, older ones come on request, new ones are announced', { skip, timeout: 3 * MINUTE }, async (t) => {
  const { founder, phone } = await scene(t);
  const her = await phone();
  const page = await enter(her, (await founder.invite(PATIENT)).link);
  const { conversation } = await founder.conversation('Maria Lopez');
  for (let n = 1; n <= 70; n += 1) await founder.send(conversation, `note ${n}`);
  await message(page, 'note 70').waitFor();
  await page.reload();
  await unlock(page);
  await message(page, 'note 70').waitFor();
  assert.equal(await message(page, 'note 1').count(), 0);
  const list = log(page);
  assert.ok(await list.evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight < 2), 'begins at the end');

  await list.evaluate((e) => e.scrollTo(0, 0));
  const top = async (/** @type {string} */ text) => (await message(page, text).boundingBox())?.y ?? NaN;
  const before = await top('note 21');
  await button(page, 'Earlier messages').click();
  await message(page, 'note 1').waitFor();
  assert.ok(Math.abs((await top('note 21')) - before) < 80, 'the reader stays where she was');
  assert.equal(await button(page, 'Earlier messages').count(), 0);

  await founder.send(conversation, 'something new');
  await button(page, 'New messages').waitFor();
  assert.equal((await founder.received(conversation, 'something new')).state !== 'read', true, 'not read while out of sight');
  await button(page, 'New messages').click();
  await message(page, 'something new').waitFor();
  await eventually(async () => (await founder.received(conversation, 'something new')).state === 'read', 'read once in sight');
  const shown = await texts(page);
  assert.equal(new Set(shown).size, shown.length);
  assert.equal(shown.length, 71);

  await page.getByRole('textbox', { name: 'Message' }).fill('x'.repeat(16384));
  assert.equal(await button(page, 'Send').isEnabled(), true);
  await page.getByRole('textbox', { name: 'Message' }).fill('ü'.repeat(9000));
  await page.getByText('This message is too long').waitFor();
  assert.equal(await button(page, 'Send').isEnabled(), false);
});
