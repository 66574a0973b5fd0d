// The pages' view models without a page: what they show of what a client says, and what they ask of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SottoError } from '../../glue/error.mjs';
import { Access } from '../../web/common/access.mjs';
import { App } from '../../web/common/app.mjs';
import { ConversationModel, PAGE, TEXT_MAX, bytesOver, mergeNewest } from '../../web/common/conversation.mjs';
import { Inbox } from '../../web/common/inbox.mjs';
import { Model, coalesce, compareNumbers } from '../../web/common/model.mjs';
import { dayName, daysAgo, messageTime } from '../../web/common/time.mjs';
import { access as words, linkProblems } from '../../web/common/text.mjs';
import { InviteDraft } from '../../web/staff/invitations.mjs';
import { access as staffWords } from '../../web/staff/text.mjs';

/** @typedef {import('../../web/common/types.mjs').Message} Message */

/** @param {string} code @param {string} [argument] */
const failure = (code, argument) => new SottoError({ code, class: 'state', message: code, ...(argument === undefined ? {} : { argument }) });
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A client whose commands are functions of this test. */
class Fake {
  /** @type {Record<string, (args: any) => any>} */
  commands;
  /** @type {[string, any][]} */
  asked = [];
  storage = { kind: 'opfs', persistent: true };
  closed = false;
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();

  /** @param {Record<string, (args: any) => any>} commands */
  constructor(commands) {
    this.commands = commands;
  }

  /** @param {string} command @param {any} [args] */
  async call(command, args = {}) {
    this.asked.push([command, args]);
    const run = this.commands[command];
    if (run === undefined) throw new Error(`${command} was not expected`);
    return run(args);
  }

  /** @param {string} name @param {(event: any) => void} listener */
  on(name, listener) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  /** @param {any} event */
  tell(event) {
    for (const listener of [...(this.#listeners.get(event.event) ?? [])]) listener(event);
  }

  get listening() {
    return [...this.#listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }

  takeOver() {}

  async close() {
    this.closed = true;
  }
}

const status = (/** @type {string} */ state, more = {}) => ({ state, kept: true, invited: false, wrong_pins: 0, wait_ms: 0, ...more });
const ME = { kind: 'patient', name: 'Maria', clinic_name: 'Sunrise Clinic', kept: true, online: true, rights: [] };
const VIEW = { opened: true, clinic_name: 'Sunrise Clinic', inviter: '', greeting: '', enrols: 'patient', check: 'birth_date', attempts_left: 5, failure: null, failure_text: null };

/**
 * @param {Fake | Record<string, Fake>} fakes by store
 * @param {string} [fragment]
 */
function accessOf(fakes, fragment = '') {
  const byStore = fakes instanceof Fake ? { patient: fakes } : fakes;
  return new Access({
    stores: {
      first: 'patient',
      list: async () => Object.keys(byStore),
      open: async (name) => /** @type {any} */ (byStore[name] ?? new Fake({ 'account.status': () => status('none'), 'invitation.open': () => ({}) })),
    },
    relay: 'https://relay.example',
    fragment,
    kinds: ['patient'],
  });
}

// ---- the way in -----------------------------------------------------------------------------------------------------

test('access: from a link to an open account', async () => {
  const fake = new Fake({
    'account.status': () => status('none'),
    'invitation.open': () => ({}),
    'invitation.view': () => VIEW,
    'invitation.accept': () => ({}),
    'account.create': () => ME,
    me: () => ME,
  });
  const access = accessOf(fake, 'i=secret');
  await access.start();
  assert.equal(access.step, 'opening');
  assert.deepEqual(fake.asked.at(-1), ['invitation.open', { relay: 'https://relay.example', fragment: 'i=secret' }]);
  fake.tell({ event: 'invitation', code: 'opened' });
  await settle();
  assert.equal(access.step, 'check');
  await access.answer('   ');
  assert.deepEqual([access.step, access.problem], ['check', 'missing']);
  const answered = access.answer(' 04/12/1956 ');
  assert.equal(access.busy, true);
  await access.answer('04/12/1956'); // a second tap does nothing
  await answered;
  assert.deepEqual(fake.asked.filter(([c]) => c === 'invitation.accept'), [['invitation.accept', { factor: '04/12/1956' }]]);
  fake.tell({ event: 'invitation', code: 'accepted' });
  await settle();
  assert.deepEqual([access.step, access.fragment], ['pin', '']);
  await access.keep('123456');
  assert.deepEqual(fake.asked.find(([c]) => c === 'account.create'), ['account.create', { pin: '123456' }]);
  assert.deepEqual([access.step, access.me?.name], ['open', 'Maria']);
});

test('access: a check that fails', async () => {
  const view = { ...VIEW };
  const fake = new Fake({ 'account.status': () => status('none'), 'invitation.open': () => ({}), 'invitation.view': () => view, 'invitation.accept': () => ({}) });
  const access = accessOf(fake, 'i=secret');
  await access.start();
  fake.tell({ event: 'invitation', code: 'opened' });
  await settle();
  const failed = async (/** @type {Partial<typeof VIEW> | object} */ change) => {
    Object.assign(view, change);
    await access.answer('1/1/1980');
    fake.tell({ event: 'invitation', code: 'failed' });
    await settle();
    return [access.step, access.problem];
  };
  assert.deepEqual(await failed({ failure: 'wrong_check', attempts_left: 4 }), ['check', 'wrong']);
  assert.equal(access.attemptsLeft, 4);
  const before = access.problems;
  assert.deepEqual(await failed({ failure: 'wrong_check', attempts_left: 3 }), ['check', 'wrong']);
  assert.equal(access.problems, before + 1, 'the same problem anew is a new one');
  assert.deepEqual(await failed({ failure: 'offline' }), ['check', 'offline']);
  fake.commands['invitation.accept'] = () => {
    throw failure('malformed', 'factor');
  };
  await access.answer('spring');
  assert.deepEqual([access.step, access.problem, access.busy], ['check', 'unreadable', false]);
  fake.commands['invitation.accept'] = () => ({});
  assert.deepEqual(await failed({ failure: 'invitation_locked', attempts_left: 0 }), ['link_problem', 'invitation_locked']);
});

test('access: every failure of a link that the core can name has words', async () => {
  for (const code of ['link_damaged', 'link_unknown', 'invitation_used', 'invitation_locked', 'invitation_gone', 'invitation_forged', 'refused', 'offline']) {
    assert.ok(linkProblems[code]?.title, code);
  }
  const fake = new Fake({
    'account.status': () => status('none'),
    'invitation.open': () => {
      throw failure('malformed');
    },
  });
  const access = accessOf(fake, 'i=sec');
  await access.start();
  assert.deepEqual([access.step, access.problem], ['link_problem', 'link_damaged']);
});

test('access: a link for somebody else is not opened here', async () => {
  const fake = new Fake({ 'account.status': () => status('none'), 'invitation.open': () => ({}), 'invitation.view': () => ({ ...VIEW, enrols: 'staff' }) });
  const access = accessOf(fake, 'i=secret');
  await access.start();
  fake.tell({ event: 'invitation', code: 'opened' });
  await settle();
  assert.deepEqual([access.step, access.fragment], ['wrong_door', 'i=secret']);
});

test('access: PIN, wrong PIN, waiting', async () => {
  let answer = status('locked');
  const fake = new Fake({
    'account.status': () => answer,
    'account.unlock': ({ pin }) => {
      if (pin !== '1234') throw failure(answer.wait_ms > 0 ? 'too_soon' : 'pin');
    },
    'account.lock': () => ({}),
    me: () => ME,
  });
  const access = accessOf(fake);
  await access.start();
  assert.deepEqual([access.step, access.problem], ['unlock', '']);
  await access.unlock('0000');
  assert.deepEqual([access.step, access.problem, access.waitUntil], ['unlock', 'pin', 0]);
  answer = status('locked', { wrong_pins: 5, wait_ms: 10_000 });
  await access.unlock('0000');
  assert.equal(access.problem, 'wait');
  assert.ok(access.waitUntil > Date.now() + 9000);
  await access.unlock('1234');
  assert.equal(access.step, 'open');
  await access.lock();
  assert.deepEqual([access.step, access.me], ['unlock', null]);
});

test('access: a visit that is locked has ended; a lost Worker says so', async () => {
  let kept = false;
  const fake = new Fake({ 'account.status': () => status('open'), me: () => ({ ...ME, kept }), 'account.lock': () => ({}) });
  const visit = accessOf(fake);
  await visit.start();
  assert.equal(visit.step, 'open');
  await visit.lock();
  assert.equal(visit.step, 'ended');
  kept = true;
  const own = accessOf(fake);
  await own.start();
  fake.tell({ event: 'account', code: 'locked' });
  await settle();
  assert.deepEqual([own.step, own.restarted], ['unlock', true]);
});

test('access: what stands in the store decides, never silently anew', async () => {
  for (const [code, step] of [['store_corrupt', 'damaged'], ['store_lost', 'damaged'], ['store_newer', 'newer'], ['host', 'broken']]) {
    const access = accessOf(new Fake({ 'account.status': () => { throw failure(/** @type {string} */ (code)); } }), 'i=secret');
    await access.start();
    assert.equal(access.step, step, code);
  }
  const damaged = accessOf(new Fake({ 'account.status': () => status('damaged') }), 'i=secret');
  await damaged.start();
  assert.equal(damaged.step, 'damaged');
});

test('access: a link beside an account opens into a store of its own', async () => {
  const kept = new Fake({ 'account.status': () => status('locked') });
  const access = accessOf({ patient: kept }, 'i=secret');
  await access.start();
  assert.equal(access.step, 'choose');
  await access.chooseNew();
  assert.equal(access.step, 'opening');
  assert.equal(kept.closed, true);
  assert.deepEqual(kept.asked.map(([c]) => c), ['account.status'], 'the kept account was asked for nothing');
  const old = accessOf({ patient: new Fake({ 'account.status': () => status('locked') }) }, 'i=secret');
  await old.start();
  await old.chooseOld();
  assert.deepEqual([old.step, old.fragment], ['unlock', '']);
});

test('access: storage that does not last is not offered for a PIN', async () => {
  const fake = new Fake({ 'account.status': () => status('none'), 'invitation.open': () => ({}), 'invitation.view': () => VIEW, 'account.create': () => ME, me: () => ({ ...ME, kept: false }) });
  fake.storage = { kind: 'memory', persistent: false };
  const access = accessOf(fake, 'i=secret');
  await access.start();
  fake.tell({ event: 'invitation', code: 'accepted' });
  await settle();
  assert.deepEqual([access.step, access.problem], ['pin', 'storage_denied']);
  await access.keep('123456');
  assert.deepEqual([access.step, access.problem], ['pin', 'storage_denied']);
  assert.equal(fake.asked.some(([c]) => c === 'account.create'), false);
  await access.visit();
  assert.equal(access.step, 'open');
});

test('access: an account that another tab holds', async () => {
  const answers = [status('open')];
  /** @type {(value: any) => void} */
  let answer = () => {};
  const fake = new Fake({ 'account.status': () => answers.shift() ?? new Promise((resolve) => (answer = resolve)), me: () => ME });
  const access = accessOf(fake);
  await access.start();
  assert.equal(access.step, 'open');
  fake.tell({ event: 'account', code: 'elsewhere' });
  fake.tell({ event: 'account', code: 'elsewhere' });
  await settle();
  assert.equal(access.step, 'elsewhere');
  assert.equal(fake.asked.filter(([c]) => c === 'account.status').length, 2);
  answer(status('open'));
  await settle();
  assert.equal(access.step, 'open', 'it was only slow');
});

test('access: interrupted in the middle of something, it looks again', async () => {
  let state = 'locked';
  const fake = new Fake({
    'account.status': () => status(state),
    'account.unlock': () => {
      state = 'locked';
      throw failure('interrupted');
    },
  });
  const access = accessOf(fake);
  await access.start();
  await access.unlock('1234');
  assert.deepEqual([access.step, access.busy], ['unlock', false]);
});

test('every word of the patient’s way in has one on the staff page', () => {
  assert.deepEqual(Object.keys(staffWords).sort(), Object.keys(words).sort());
});

// ---- a conversation -------------------------------------------------------------------------------------------------

/** @param {number} order @param {Partial<Message>} [more] @returns {Message} */
function note(order, more = {}) {
  const own = { subject: 'p', device: 'd', kind: /** @type {const} */ ('patient'), name: 'Maria', own: true };
  return { kind: 'text', id: `m${order}`, order: String(order), sender: own, text: `note ${order}`, code: null, state: 'sent', reason: null, sent_ms: order, received_ms: order, shared: false, ...more };
}

/** A client that holds these messages. @param {Message[]} all */
function holding(all) {
  return new Fake({
    'conversation.get': () => ({ conversation: '7', state: 'active', unread: all.filter((m) => m.state === 'received').length, members: [] }),
    'message.list': ({ before, limit }) => all.filter((m) => before === undefined || compareNumbers(m.order, before) < 0).slice(-limit),
    'message.get': ({ message }) => all.find((m) => m.id === message),
    'message.send': ({ text }) => {
      all.push(note(all.length + 1, { text, state: 'sending', sent_ms: Date.now() }));
      return { message: `m${all.length}` };
    },
    'message.retry': () => ({}),
    'conversation.read': () => ({}),
  });
}

const orders = (/** @type {ConversationModel} */ model) => model.messages.map((m) => Number(m.order));
const upTo = (/** @type {number} */ n) => Array.from({ length: n }, (_, i) => i + 1);

test('conversation: pages, and no gap however many came at once', async () => {
  const all = upTo(120).map((n) => note(n));
  const fake = holding(all);
  const model = new ConversationModel(/** @type {any} */ (fake), '7');
  await model.refresh();
  assert.deepEqual(orders(model), upTo(120).slice(-PAGE));
  assert.equal(model.earlier, true);
  await model.loadEarlier();
  await model.loadEarlier();
  assert.deepEqual(orders(model), upTo(120));
  assert.equal(model.earlier, false);
  for (let n = 121; n <= 300; n += 1) all.push(note(n));
  fake.tell({ event: 'message', conversation: '7', message: 'm300' });
  await settle();
  assert.deepEqual(orders(model), upTo(300));
  assert.equal(model.earlier, false);
});

test('conversation: a receipt for an old message reaches it; other conversations do not matter', async () => {
  const all = upTo(120).map((n) => note(n));
  const fake = holding(all);
  const model = new ConversationModel(/** @type {any} */ (fake), '7');
  await model.refresh();
  await model.loadEarlier();
  all[29] = note(30, { state: 'read' });
  fake.tell({ event: 'message', conversation: '7', message: 'm30' });
  await settle();
  assert.equal(model.messages.find((m) => m.id === 'm30')?.state, 'read');
  const { length } = fake.asked;
  fake.tell({ event: 'message', conversation: '8', message: 'm30' });
  await settle();
  assert.equal(fake.asked.length, length);
  model.close();
  assert.equal(fake.listening, 0);
});

test('conversation: the draft leaves the box only when the core has it', async () => {
  /** @type {Message[]} */
  const all = [];
  const fake = holding(all);
  const model = new ConversationModel(/** @type {any} */ (fake), '7');
  await model.refresh();
  model.write('  hello  ');
  await Promise.all([model.send(), model.send()]);
  assert.deepEqual([all.map((m) => m.text), model.draft, model.sending], [['hello'], '', false]);
  fake.commands['message.send'] = () => {
    throw failure('store_full');
  };
  model.write('more');
  await model.send();
  assert.deepEqual([model.draft, model.problem, model.sending], ['more', 'storage_full', false]);
  model.write('x'.repeat(TEXT_MAX + 1));
  assert.equal(model.problem, 'too_long');
  const { length } = fake.asked;
  await model.send();
  assert.equal(fake.asked.length, length);
});

test('conversation: interrupted while sending, it looks whether the core took the text', async () => {
  for (const taken of [true, false]) {
    /** @type {Message[]} */
    const all = [note(1, { text: 'again', sent_ms: 1 })]; // the same words once before do not count
    const fake = holding(all);
    const send = /** @type {(args: any) => any} */ (fake.commands['message.send']);
    fake.commands['message.send'] = (args) => {
      if (taken) send(args);
      throw failure('interrupted');
    };
    const app = { model: new ConversationModel(/** @type {any} */ (fake), '7') };
    await app.model.refresh();
    app.model.write('again');
    const sending = app.model.send();
    // The account is locked by that: the page lets go, and opens it anew after the PIN.
    const left = { draft: app.model.draft, handedOver: app.model.handedOver };
    app.model.close();
    await sending;
    const next = Object.assign(new ConversationModel(/** @type {any} */ (fake), '7'), left);
    await next.refresh();
    assert.deepEqual([next.draft, next.sending], [taken ? '' : 'again', false]);
  }
});

test('conversation: what is seen is told once', async () => {
  const all = [note(1, { state: 'received', sender: null }), note(2, { state: 'received', sender: null })];
  const fake = holding(all);
  const model = new ConversationModel(/** @type {any} */ (fake), '7');
  await model.refresh();
  await model.seen();
  await model.seen();
  assert.deepEqual(fake.asked.filter(([c]) => c === 'conversation.read'), [['conversation.read', { conversation: '7', order: '2' }]]);
});

test('conversation: small parts', () => {
  assert.equal(bytesOver('x'.repeat(TEXT_MAX)), 0);
  assert.equal(bytesOver('ü'.repeat(TEXT_MAX / 2)), 0);
  assert.equal(bytesOver('ü'.repeat(TEXT_MAX / 2 + 1)), 2);
  assert.deepEqual(mergeNewest([], []), []);
  assert.deepEqual(mergeNewest([note(1), note(2)], [note(2), note(3)]).map((m) => m.order), ['1', '2', '3']);
  assert.ok(compareNumbers('9', '10') < 0 && compareNumbers('10', '9') > 0 && compareNumbers('18446744073709551615', '18446744073709551614') > 0);
});

test('coalesce: never twice at a time, and once more for what came meanwhile', async () => {
  let [runs, now, most] = [0, 0, 0];
  const run = coalesce(async () => {
    runs += 1;
    now += 1;
    most = Math.max(most, now);
    await settle();
    now -= 1;
  });
  await Promise.all([run(), run(), run(), run()]);
  assert.deepEqual([runs, most], [2, 1]);
  const failing = coalesce(async () => {
    throw new Error('once');
  });
  await assert.rejects(failing(), /once/);
  await assert.rejects(failing(), /once/);
});

test('a model tells its listeners until they leave', () => {
  const model = new Model();
  let told = 0;
  const off = model.subscribe(() => (told += 1));
  model.changed();
  off();
  model.changed();
  assert.equal(told, 1);
});

// ---- inbox, app, invitations, time -----------------------------------------------------------------------------------

test('inbox: unread is the core’s count; connection and notices are shown', async () => {
  const list = [{ conversation: '7', unread: 2 }, { conversation: '8', unread: 1 }];
  const fake = new Fake({ 'conversation.list': () => list, 'notice.list': () => [] });
  const inbox = new Inbox(/** @type {any} */ (fake), true);
  await inbox.refresh();
  assert.equal(inbox.unread, 3);
  list[0] = { conversation: '7', unread: 0 };
  fake.tell({ event: 'conversation', conversation: '7' });
  await settle();
  assert.equal(inbox.unread, 1);
  fake.tell({ event: 'connection', code: 'offline' });
  assert.equal(inbox.online, false);
  fake.tell({ event: 'notice', code: 'roster_forged', text: 'The server …' });
  fake.tell({ event: 'notice', code: 'roster_forged', text: 'The server …' });
  fake.tell({ event: 'notice', code: 'missing', text: 'A message …', conversation: '7' });
  assert.deepEqual(inbox.notices.map(({ code }) => code), ['roster_forged']);
  inbox.dismiss('roster_forged');
  assert.deepEqual(inbox.notices, []);
  fake.tell({ event: 'account', code: 'revoked' });
  assert.equal(inbox.revoked, true);
  inbox.close();
  assert.equal(fake.listening, 0);
});

test('inbox: what was told of the access log before the page was opened is shown again', async () => {
  const told = [{ code: 'audit_changed', text: 'The log …' }, { code: 'missing', text: 'A message …' }, { code: 'audit_changed', text: 'The log …' }];
  const inbox = new Inbox(/** @type {any} */ (new Fake({ 'conversation.list': () => [], 'notice.list': () => told })), true);
  await inbox.refresh();
  assert.deepEqual(inbox.notices, [{ code: 'audit_changed', text: 'The log …' }]);
  inbox.dismiss('audit_changed');
  await inbox.refresh();
  assert.deepEqual([inbox.notices, inbox.revoked], [[], false]);
  inbox.close();
});

test('app: drafts stay with their conversation, over a lock too; nothing listens after it', async () => {
  const fake = holding([note(1)]);
  Object.assign(fake.commands, {
    'account.status': () => status('open'),
    'account.unlock': () => ME,
    'account.lock': () => ({}),
    'conversation.list': () => [{ conversation: '7', unread: 0 }],
    'notice.list': () => [],
    me: () => ME,
  });
  const app = new App({
    stores: { first: 'patient', list: async () => ['patient'], open: async () => /** @type {any} */ (fake) },
    kinds: ['patient'],
    fragment: '',
    relay: 'https://relay.example',
    alone: true,
  });
  await app.start();
  await settle();
  assert.equal(app.conversation?.id, '7');
  app.conversation?.write('half a tho');
  const { listening } = fake;
  await app.lock();
  assert.deepEqual([app.conversation, app.inbox, app.me], [null, null, null]);
  assert.ok(fake.listening < listening);
  await app.access.unlock('1234');
  await settle();
  assert.equal(app.conversation?.draft, 'half a tho');
  assert.equal(fake.listening, listening);
});

test('an invitation in the making', async () => {
  const fake = new Fake({ 'invitation.create': () => ({ link: 'https://relay.example/#i=…', code: null, expires_ms: 1 }) });
  const draft = new InviteDraft(/** @type {any} */ (fake), 'patient');
  await draft.make(' ', '');
  assert.equal(draft.problem, 'name');
  await draft.make('Maria', '');
  assert.equal(draft.problem, 'birth_missing');
  await draft.make(' Maria ', ' 4/12/1956 ');
  assert.deepEqual(fake.asked, [['invitation.create', { enrols: 'patient', name: 'Maria', check: 'birth_date', factor: '4/12/1956' }]]);
  assert.equal(draft.birthDate, '', 'not kept');
  const again = new InviteDraft(/** @type {any} */ (fake), 'patient', /** @type {any} */ ({ name: 'Maria', subject: 's', check: 'code' }));
  await again.make('Maria', '');
  assert.deepEqual(fake.asked.at(-1), ['invitation.create', { enrols: 'patient', name: 'Maria', check: 'code', subject: 's' }]);
  fake.commands['invitation.create'] = () => {
    throw failure('malformed', 'factor');
  };
  const bad = new InviteDraft(/** @type {any} */ (fake), 'patient');
  await bad.make('Maria', 'spring');
  assert.deepEqual([bad.problem, bad.made, bad.busy], ['birth_unreadable', null, false]);
});

test('days as people count them', () => {
  const now = new Date(2026, 10, 22, 0, 5).getTime();
  const names = { today: 'Today', yesterday: 'Yesterday' };
  assert.equal(dayName(new Date(2026, 10, 22, 0, 1).getTime(), names, now), 'Today');
  assert.equal(dayName(new Date(2026, 10, 21, 23, 59).getTime(), names, now), 'Yesterday');
  assert.equal(daysAgo(new Date(2026, 10, 1, 12).getTime(), now), 21);
  assert.match(dayName(new Date(2024, 1, 3).getTime(), names, now), /2024/);
});

test('a sender’s clock is believed as far as it can be right', () => {
  assert.equal(messageTime({ sent_ms: 1000, received_ms: 2000 }), 1000);
  assert.equal(messageTime({ sent_ms: 1000, received_ms: 0 }), 1000);
  for (const sent_ms of [0, -1, 1e300, 2 ** 64, NaN, Date.now() * 2]) {
    assert.equal(messageTime({ sent_ms, received_ms: 2000 }), 2000, String(sent_ms));
    assert.ok(Math.abs(messageTime({ sent_ms, received_ms: 0 }) - Date.now()) < 1000);
  }
});
