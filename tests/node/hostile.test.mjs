// A relay that lies (support/hostile-proxy.mjs), before the real one, with the real core: everything it can try is caught, the
// user is told in plain words, nothing secret leaves, and honest messages go on. What needs a lying member, not only a lying
// relay, is in tests/unit/client_hostile_test.c.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Party, eventually, people, PIN } from './support/clinic.mjs';
import { HostileProxy, json, problem, raw } from './support/hostile-proxy.mjs';
import { notBuilt, startRelay } from './support/relay.mjs';

const skip = notBuilt();
const CLAIM = /^\/v1\/key-packages\/claim$/;
const GROUPS = /^\/v1\/groups\//;
const INBOX = /^\/v1\/inbox$/;
const MESSAGES = /\/messages$/;
const COMMITS = /\/commits$/;

/** @typedef {import('./support/hostile-proxy.mjs').InboxEvent} InboxEvent */
/** @typedef {import('./support/hostile-proxy.mjs').Answer} Answer */
/** @typedef {{ after: (fn: () => Promise<void>) => void }} TestContext */

/**
 * A clinic behind a lying relay. Accounts live in memory: no PIN is stretched.
 * @param {TestContext} t
 */
async function stage(t) {
  const relay = await startRelay(t);
  const proxy = await HostileProxy.start(t, relay);
  const all = await people(t);
  let count = 0;
  const someone = (/** @type {string} */ name) => all.someone(`${name}-${count++}`);
  const stage = {
    relay,
    proxy,
    someone,
    async founder(clinic = 'Sunrise Clinic') {
      const party = await someone('founder');
      await party.sotto.call('clinic.create', { relay: proxy.origin, clinic_name: clinic, name: 'Clinic agent', kind: 'agent' });
      await party.sotto.caughtUp();
      return party;
    },
    /** @param {Party} founder @param {'patient' | 'staff'} enrols @param {string} name */
    link: async (founder, enrols, name) => (await founder.invite({ enrols, name, check: 'none' })).link,
    /** @param {Party} founder @param {'patient' | 'staff'} enrols @param {string} name @param {string} [pin] */
    async enrolled(founder, enrols, name, pin) {
      const party = await someone(enrols);
      await party.sotto.acceptInvitation(await stage.link(founder, enrols, name), { name, ...(pin === undefined ? {} : { pin }) });
      return party;
    },
  };
  return stage;
}

/** @param {Party} party */
const deviceOf = async (party) => (await party.sotto.call('me')).device;

/** Codes of the notices a party was told of, in order. @param {Party} party */
const toldOf = (party) => party.events.filter((e) => e.event === 'notice').map((e) => e.code);

/**
 * Waits until a party was told: by the event, in the list of notices, and in the conversation when it is about one; each
 * time with the same whole sentences.
 * @param {Party} party @param {string} code @param {string} [conversation]
 */
async function told(party, code, conversation) {
  const event = await party.sotto.when(() => party.events.find((e) => e.event === 'notice' && e.code === code), { timeout: 60_000 });
  assert.match(event.text ?? '', /^[A-Z][^{}<>_]{20,}\.$/, `${code} in plain words`);
  const notice = (await party.sotto.call('notice.list')).find((n) => n.code === code);
  assert.equal(notice?.text, event.text);
  assert.equal(event.conversation ?? null, conversation ?? null, `${code} is told where it belongs`);
  assert.equal(notice?.conversation ?? null, conversation ?? null);
  if (conversation === undefined) return;
  const shown = (await party.messages(conversation)).find((m) => m.kind === 'notice' && m.code === code);
  assert.equal(shown?.text, event.text, `${code} stands in the conversation`);
}

/** Codes of a conversation's notices, in order. @param {Party} party @param {string} conversation */
const noticesIn = async (party, conversation) => (await party.messages(conversation)).flatMap((m) => (m.kind === 'notice' ? [m.code] : []));

/** @param {string} bytes base64url @param {number} at @param {number} [mask] */
function flipped(bytes, at, mask = 1) {
  const copy = Buffer.from(bytes, 'base64url');
  copy[at] = /** @type {number} */ (copy[at]) ^ mask;
  return copy.toString('base64url');
}

/**
 * A founder and a patient in conversation, and a gap maker: another patient's messages use up sequence numbers that this
 * patient never sees, so that the relay has room for events of its own making.
 * @param {TestContext} t
 */
async function conversation(t) {
  const s = await stage(t);
  const founder = await s.founder();
  const [patient, other] = await Promise.all([s.enrolled(founder, 'patient', 'Maria Lopez'), s.enrolled(founder, 'patient', 'Jo Park')]);
  const [atPatient, atFounder, gapAt] = await Promise.all(
    [patient.conversation(), founder.conversation('Maria Lopez'), founder.conversation('Jo Park')].map(async (c) => (await c).conversation),
  );
  assert.ok(atPatient !== undefined && atFounder !== undefined && gapAt !== undefined);
  await Promise.all([patient, other, founder].map((party) => party.sotto.caughtUp()));
  const device = await deviceOf(patient);
  const sender = await deviceOf(founder);
  let carriers = 0;
  /** @type {(() => void)[]} */
  const drops = [];
  const all = {
    ...s,
    founder,
    patient,
    atPatient,
    atFounder,
    device,
    sender,
    /** The founder's next text is kept from the patient and given to the test instead: dropped, once `bring` brings more. @param {string} text */
    async caught(text) {
      /** @type {InboxEvent | undefined} */
      let event;
      const off = s.proxy.inbox(device, (events) => {
        event ??= events.find((e) => e.kind === 'message' && e.sender === sender);
        return events.filter((e) => e.id === undefined || e.id !== event?.id);
      });
      drops.push(off);
      await founder.send(atFounder, text);
      await eventually(() => event !== undefined, `${text} is caught`);
      return /** @type {InboxEvent} */ (event);
    },
    /**
     * The patient's inbox brings these events, each under a new sequence number, and after them an honest text, which is
     * waited for.
     * @param {InboxEvent[]} made
     */
    async bring(made) {
      for (const _ of made) await founder.send(gapAt, 'gap');
      await founder.sotto.settled();
      const text = `carrier ${++carriers}`;
      let done = false;
      const off = s.proxy.inbox(device, (events) => {
        const at = events.findIndex((e) => !done && e.kind === 'message' && e.sender === sender);
        if (at < 0) return events;
        done = true;
        const carrier = /** @type {InboxEvent} */ (events[at]);
        return [...events.slice(0, at), ...made.map((e, i) => ({ ...e, seq: carrier.seq - made.length + i })), ...events.slice(at)];
      });
      await founder.send(atFounder, text);
      await patient.received(atPatient, text);
      for (const end of [off, ...drops.splice(0)]) end();
    },
    /** Honest messages pass, both ways. @param {string} mark */
    async works(mark) {
      await founder.send(atFounder, `to the patient ${mark}`);
      await patient.received(atPatient, `to the patient ${mark}`);
      const id = await patient.send(atPatient, `to the clinic ${mark}`);
      await founder.received(atFounder, `to the clinic ${mark}`);
      assert.equal((await patient.sotto.reached(id, 'delivered')).state, 'delivered');
    },
    /** @param {string} text */
    async shownOnce(text) {
      assert.equal((await patient.texts(atPatient)).filter((shown) => shown === text).length, 1, `${text} is shown once`);
    },
  };
  await all.works('before');
  await Promise.all([patient, founder].map((party) => party.sotto.caughtUp()));
  return all;
}

describe('a hostile relay', { skip, concurrency: 3 }, () => {
  test('swaps in keys that are not those of the clinic devices asked for', async (t) => {
    const { proxy, founder: found, enrolled } = await stage(t);
    const [founder, foreign] = [await found(), await found('Another Clinic')];
    const nurse = await enrolled(founder, 'staff', 'Nina Nurse');
    await eventually(() => proxy.seen({ method: 'GET', path: /roster/ }).length > 0, 'the roster goes round');
    await founder.sotto.caughtUp();
    const members = [await deviceOf(founder), await deviceOf(nurse)];
    const foreignDevice = await deviceOf(foreign);
    /** @param {string} device @returns {string[]} what it published */
    const published = (device) => proxy.seen({ method: 'PUT', path: /key-packages/, device }).flatMap((e) => JSON.parse(e.body.toString()).key_packages);
    const foreignPackage = published(foreignDevice)[0];
    assert.ok(foreignPackage !== undefined);
    /** @typedef {{ device: string, key_package: string }} Package */
    /** @type {Record<string, (honest: Package[]) => unknown>} */
    const lies = {
      'another clinic’s package': (honest) => honest.map((p) => ({ ...p, key_package: foreignPackage })),
      'another clinic’s device': () => [{ device: foreignDevice, key_package: foreignPackage }],
      'another device of the clinic': (honest) => honest.map((p, i) => ({ ...p, key_package: honest[(i + 1) % honest.length]?.key_package })),
      'an altered package': (honest) => honest.map((p) => ({ ...p, key_package: flipped(p.key_package, 100) })),
      'a package cut short': (honest) => honest.map((p) => ({ ...p, key_package: p.key_package.slice(0, 400) })),
      'a million things that are none': () => Array(600_000).fill(1),
      'things of other types': () => [null, 1, 'x', [], {}, { device: 1, key_package: 2 }],
    };
    // Each device that asks is told another lie, until it is to be told the truth.
    const names = Object.keys(lies);
    /** @type {Map<string, string>} */
    const liedTo = new Map();
    /** @type {Set<string>} */
    const spared = new Set();
    proxy.when({ method: 'POST', path: CLAIM }, async ({ device }, forward) => {
      const answer = await forward();
      if (spared.has(device)) return answer;
      const name = liedTo.get(device) ?? names[liedTo.size] ?? '';
      liedTo.set(device, name);
      return json({ key_packages: lies[name]?.(JSON.parse(answer.body.toString()).key_packages) });
    });
    await Promise.all(
      names.map(async (_, i) => {
        const patient = await enrolled(founder, 'patient', `Patient ${i}`);
        const device = await deviceOf(patient);
        const [{ conversation: at } = { conversation: '' }] = await patient.sotto.call('conversation.list');
        await patient.send(at, `secret ${i}`);
        await told(patient, 'keys_foreign', at);
        const name = liedTo.get(device);
        assert.equal(proxy.seen({ path: GROUPS, device }).length, 0, `${name}: nothing was sent to anyone`);
        assert.equal((await patient.sotto.call('conversation.get', { conversation: at })).state, 'creating');
        spared.add(device);
        // As soon as the relay is honest, the conversation is made, with the certified devices alone, and what was written goes.
        const made = await patient.conversation();
        assert.deepEqual(made.members.map((m) => m.device).sort(), [...members, device].sort(), name);
        await nurse.received((await nurse.conversation(`Patient ${i}`)).conversation, `secret ${i}`);
      }),
    );
    assert.deepEqual([...liedTo.values()].sort(), names.sort());
    assert.deepEqual(await foreign.sotto.call('conversation.list'), []);
    for (const { answer } of proxy.seen({ path: INBOX, device: foreignDevice })) {
      assert.ok(!/"kind":"(message|commit|welcome)"/.test(answer?.body.toString() ?? ''), 'nothing came to the other clinic');
    }
  });

  test('delivers again: messages, commits, welcomes', async (t) => {
    const c = await conversation(t);
    await c.founder.send(c.atFounder, 'only once');
    await c.patient.received(c.atPatient, 'only once');
    const events = () => c.proxy.seen({ path: INBOX, device: c.device }).flatMap((e) => JSON.parse(e.answer?.body.toString() || '{}').events ?? []);
    const message = events().filter((e) => e.kind === 'message' && e.sender === c.sender).at(-1);
    const own = events().find((e) => e.kind === 'message' && e.sender === c.device);
    const commit = events().find((e) => e.kind === 'commit');
    assert.ok(message !== undefined && own !== undefined && commit !== undefined);
    await c.bring([message]);
    await told(c.patient, 'replayed', c.atPatient);
    await c.shownOnce('only once');
    assert.deepEqual(await noticesIn(c.patient, c.atPatient), ['replayed']);
    await c.bring([commit, own, message]);
    assert.deepEqual(await noticesIn(c.patient, c.atPatient), ['replayed', 'replayed', 'replayed'], 'the commit and the message; one’s own means nothing');
    await c.shownOnce('only once');

    // The founder joined by a welcome: it comes again in place of the echo of its next receipt.
    const welcome = c.proxy
      .seen({ path: INBOX, device: c.sender })
      .flatMap((e) => JSON.parse(e.answer?.body.toString() || '{}').events ?? [])
      .find((e) => e.kind === 'welcome');
    assert.ok(welcome !== undefined);
    const before = (await c.founder.sotto.call('conversation.list')).length;
    let done = false;
    const off = c.proxy.inbox(c.sender, (list) =>
      list.map((e) => {
        if (done || e.sender !== c.sender) return e;
        done = true;
        return { ...welcome, seq: e.seq };
      }),
    );
    await c.patient.send(c.atPatient, 'makes a receipt');
    await told(c.founder, 'replayed');
    off();
    assert.equal((await c.founder.sotto.call('conversation.list')).length, before);
    await c.works('after');
  });

  test('changes the order', async (t) => {
    const c = await conversation(t);
    const first = await c.caught('first');
    const second = await c.caught('second');
    // Swapped, each under the other's number: the later one comes first.
    await c.bring([second, first]);
    assert.deepEqual((await noticesIn(c.patient, c.atPatient)).slice(0, 2), ['missing', 'late']);
    await told(c.patient, 'missing', c.atPatient);
    await told(c.patient, 'late', c.atPatient);
    for (const text of ['first', 'second']) await c.shownOnce(text);
    assert.ok(!toldOf(c.patient).includes('order'));
    // An answer whose numbers fall.
    let done = false;
    const off = c.proxy.inbox(c.device, (events) => {
      if (done || events.length === 0) return events;
      done = true;
      return [...events, { seq: 1, kind: 'roster', at: 1, number: 1 }];
    });
    await c.founder.send(c.atFounder, 'third');
    await told(c.patient, 'order');
    off();
    await c.patient.received(c.atPatient, 'third');
    await c.shownOnce('third');
    await c.works('after');
  });

  test('drops a message, and brings it when it was thought lost', async (t) => {
    const c = await conversation(t);
    const event = await c.caught('the result is positive');
    assert.deepEqual(await noticesIn(c.patient, c.atPatient), [], 'nothing shows it yet');
    await c.bring([]);
    await told(c.patient, 'missing', c.atPatient);
    assert.ok(!(await c.patient.texts(c.atPatient)).includes('the result is positive'));
    await c.works('meanwhile');
    await c.bring([event]);
    await told(c.patient, 'late', c.atPatient);
    await c.shownOnce('the result is positive');
    assert.deepEqual(await noticesIn(c.patient, c.atPatient), ['missing', 'late']);
    await c.bring([event]);
    await told(c.patient, 'replayed', c.atPatient);
    await c.shownOnce('the result is positive');
    await c.works('after');
  });

  test('alters messages, wherever, and what stands beside them', async (t) => {
    const c = await conversation(t);
    const event = await c.caught('take one a day');
    const size = Buffer.from(event.data, 'base64url').length;
    // version, format, group id, epoch, content type, authenticated data, sender data, ciphertext, tag
    const places = [1, 3, 4, 5, 20, 36, 44, 45, 46, 47, 60, 75, 90, Math.floor(size / 2), size - 17, size - 1];
    await c.bring(places.map((at) => ({ ...event, data: flipped(event.data, at) })));
    const shown = await noticesIn(c.patient, c.atPatient);
    // All are told; the carrier behind them shows that a message is missing.
    assert.equal(shown.length, places.length + 1, shown.join(' '));
    assert.equal(shown.at(-1), 'missing');
    assert.ok(shown.slice(0, -1).every((code) => ['altered', 'newer_version', 'epoch_missing', 'too_old'].includes(code ?? '')), shown.join(' '));
    assert.ok(shown.filter((code) => code === 'altered').length >= places.length - 4, shown.join(' '));
    await told(c.patient, 'altered', c.atPatient);
    assert.ok(!(await c.patient.texts(c.atPatient)).some((text) => text.includes('a day')));
    const bytes = Buffer.from(event.data, 'base64url');
    await c.bring([
      { ...event, data: bytes.subarray(0, -1).toString('base64url') },
      { ...event, data: Buffer.concat([bytes, Buffer.from([0])]).toString('base64url') },
      { ...event, data: '' },
    ]);
    assert.deepEqual((await noticesIn(c.patient, c.atPatient)).slice(-3), ['altered', 'altered', 'altered']);
    // The name of the sender, the id and the time are the relay's word, and count for nothing: who wrote is in the ciphertext.
    await c.bring([{ ...event, sender: 'A'.repeat(22), id: 'A'.repeat(22), at: 1 }]);
    const [message] = (await c.patient.messages(c.atPatient)).filter((m) => m.text === 'take one a day');
    assert.equal(message?.sender?.device, c.sender);
    assert.equal(message?.id, event.id);
    assert.equal((await noticesIn(c.patient, c.atPatient)).at(-1), 'late');
    // Told to be of another group, or one's own: not shown, and missed as soon as the next one comes.
    const next = await c.caught('two a day');
    await c.bring([{ ...next, group: 'A'.repeat(43) }, { ...next, sender: c.device }]);
    assert.equal((await noticesIn(c.patient, c.atPatient)).at(-1), 'missing');
    // As a commit or welcome it opens nothing, and spends nothing.
    await c.bring([{ ...next, kind: 'commit' }, { ...next, kind: 'welcome' }, { ...next, kind: 'welcome', group: 'A'.repeat(43) }, next]);
    await c.shownOnce('two a day');
    await told(c.patient, 'welcome_refused');
    await told(c.patient, 'replayed');
    await c.works('after');
  });

  test('holds back a commit, then alters it, then repeats it', async (t) => {
    const c = await conversation(t);
    /** @type {InboxEvent | undefined} */
    let commit;
    const off = c.proxy.inbox(c.device, (events) => {
      commit ??= events.find((e) => e.kind === 'commit');
      return events.filter((e) => e.kind !== 'commit');
    });
    const nurse = await c.enrolled(c.founder, 'staff', 'Nina Nurse');
    const atNurse = await nurse.conversation('Maria Lopez');
    await nurse.send(atNurse.conversation, 'hello from Nina');
    await told(c.patient, 'epoch_missing', c.atPatient);
    off();
    assert.ok(commit !== undefined);
    assert.equal((await c.patient.sotto.call('conversation.get', { conversation: c.atPatient })).members.length, 2);
    const altered = flipped(commit.data, Math.floor(Buffer.from(commit.data, 'base64url').length / 2));
    // The patient is an epoch behind and cannot read the carrier, so the events go in before one of the next messages.
    let made = [{ ...commit, data: altered }, commit, commit];
    const change = c.proxy.inbox(c.device, (events) => {
      const at = events.findIndex((e) => made.length > 0 && e.kind === 'message' && e.sender === c.sender);
      if (at < 0) return events;
      const seq = /** @type {InboxEvent} */ (events[at]).seq;
      const put = made.map((e, i) => ({ ...e, seq: seq - made.length + i }));
      made = [];
      return [...events.slice(0, at), ...put, ...events.slice(at)];
    });
    const gap = (await c.founder.conversation('Jo Park')).conversation;
    for (const n of [1, 2, 3, 4]) await c.founder.send(gap, `gap ${n}`);
    await c.founder.sotto.settled();
    await c.founder.send(c.atFounder, 'now you can read');
    await c.patient.received(c.atPatient, 'now you can read');
    change();
    const codes = await noticesIn(c.patient, c.atPatient);
    assert.ok(codes.includes('altered') && codes.includes('replayed'), codes.join(' '));
    assert.equal((await c.patient.sotto.call('conversation.get', { conversation: c.atPatient })).members.length, 3);
    await c.works('after');
    const id = await c.patient.send(c.atPatient, 'for all of you');
    await nurse.received(atNurse.conversation, 'for all of you');
    assert.equal((await c.patient.sotto.reached(id, 'delivered')).state, 'delivered');
  });

  // No lie but what an honest relay says to a device that was away for longer than it keeps things.
  test('no longer has what the device never fetched', async (t) => {
    const c = await conversation(t);
    let lost = 0;
    const off = c.proxy.inbox(c.device, (events) => {
      const messages = events.filter((e) => e.kind === 'message' && e.sender === c.sender);
      const last = messages.at(-1);
      if (last === undefined) return events;
      lost += messages.length;
      return [...events.filter((e) => !messages.includes(e) && e.seq < last.seq), /** @type {any} */ ({ kind: 'gap', seq: last.seq, at: last.at }), ...events.filter((e) => e.seq > last.seq)];
    });
    await c.founder.send(c.atFounder, 'never seen');
    await told(c.patient, 'gap');
    off();
    assert.ok(lost > 0);
    await c.works('after');
    assert.ok((await noticesIn(c.patient, c.atPatient)).includes('missing'));
  });

  test('offers a staff list that is forged, altered or old', async (t) => {
    const { proxy, founder: found, enrolled } = await stage(t);
    const [founder, foreign] = [await found(), await found('Another Clinic')];
    const rosterOf = async (/** @type {Party} */ party) => {
      const device = await deviceOf(party);
      return JSON.parse(/** @type {any} */ (proxy.seen({ method: 'PUT', path: /roster/, device }).at(-1)).body.toString());
    };
    const [honest, forged] = [await rosterOf(founder), await rosterOf(foreign)];
    /** @type {unknown[]} */
    const lies = [
      forged,
      { ...forged, number: 99 },
      ...[0, 5, 25, 30, 100, 200].map((at) => ({ ...honest, roster: flipped(honest.roster, at) })),
      { ...honest, roster: flipped(honest.roster, Buffer.from(honest.roster, 'base64url').length - 1) },
      { ...honest, roster: '' },
      { number: 1 },
      [],
    ];
    await Promise.all(
      lies.map(async (lie, i) => {
        const off = proxy.when({ method: 'GET', path: /roster/ }, () => json(lie));
        const patient = await enrolled(founder, 'patient', `Patient ${i}`);
        const device = await deviceOf(patient);
        await told(patient, 'roster_forged');
        assert.equal(proxy.seen({ path: GROUPS, device }).length + proxy.seen({ path: CLAIM, device }).length, 0, 'nothing is asked for or sent by it');
        off();
      }),
    );
    // An older one in place of the newer that was seen. Each opening asks for the list.
    const patient = await enrolled(founder, 'patient', 'Maria Lopez', PIN);
    const { conversation: at } = await patient.conversation();
    await enrolled(founder, 'staff', 'Nina Nurse');
    await patient.sotto.when(async () => (await patient.sotto.call('conversation.get', { conversation: at })).members.length === 3);
    await patient.reopen();
    await patient.sotto.caughtUp();
    const off = proxy.when({ method: 'GET', path: /roster/ }, () => json(honest));
    await patient.reopen();
    await told(patient, 'roster_old');
    assert.equal((await patient.sotto.call('conversation.get', { conversation: at })).members.length, 3);
    off();
    const id = await patient.send(at, 'still here');
    assert.equal((await patient.sotto.reached(id, 'delivered')).state, 'delivered');
  });

  test('puts another invitation in the place of the one that was asked for', async (t) => {
    const { proxy, founder: found, link, someone } = await stage(t);
    const [founder, foreign] = [await found(), await found('Another Clinic')];
    const [mine, theirs, another] = [await link(founder, 'patient', 'Maria Lopez'), await link(foreign, 'patient', 'Maria Lopez'), await link(founder, 'patient', 'Jo Park')];
    const sealed = proxy.seen({ method: 'POST', path: /^\/v1\/invitations$/ }).map((e) => JSON.parse(e.body.toString()).sealed);
    assert.equal(sealed.length, 3);
    const patient = await someone('patient');
    const other = { state: 'open', attempts_left: 5, checked: false };
    /** @type {Answer[]} */
    const lies = [
      json({ ...other, sealed: sealed[1] }),
      json({ ...other, sealed: sealed[2] }),
      json({ ...other, sealed: flipped(sealed[0], 60) }),
      json({ ...other, sealed: sealed[0].slice(0, -4) }),
      json({ ...other, sealed: '' }),
      json({ ...other, sealed: 7 }),
      json({ ...other }),
      json([]),
      raw(''),
      raw('{'),
      raw('['.repeat(100_000)),
      raw('<html>', 200, 'text/html'),
    ];
    for (const lie of lies) {
      const off = proxy.when({ method: 'GET', path: /^\/v1\/invitations\// }, () => lie);
      await assert.rejects(patient.sotto.acceptInvitation(mine, {}), { code: 'invitation_forged', class: 'invitation' });
      const view = await patient.sotto.call('invitation.view');
      assert.deepEqual([view.opened, view.clinic_name], [false, '']);
      assert.match(view.failure_text ?? '', /does not come from the clinic.*Nothing was sent/);
      await assert.rejects(patient.sotto.call('invitation.accept', {}), { class: 'state' });
      off();
    }
    // Another link's answer may not come to this one: the first answer is held until the second link was opened.
    /** @type {() => void} */
    let release = () => {};
    const held = new Promise((resolve) => (release = () => resolve(undefined)));
    let holding = true;
    const off = proxy.when({ method: 'GET', path: /^\/v1\/invitations\// }, async (_asked, forward) => {
      const answer = await forward();
      if (holding) {
        holding = false;
        await held;
      }
      return answer;
    });
    const { fragment } = { fragment: theirs.split('#')[1] ?? '' };
    await patient.sotto.call('invitation.open', { relay: proxy.origin, fragment });
    await eventually(() => !holding, 'the first answer is held');
    await patient.sotto.call('invitation.open', { relay: proxy.origin, fragment: mine.split('#')[1] ?? '' });
    await patient.sotto.when(async () => (await patient.sotto.call('invitation.view')).opened);
    release();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const view = await patient.sotto.call('invitation.view');
    assert.deepEqual([view.opened, view.clinic_name, view.failure], [true, 'Sunrise Clinic', null]);
    off();
    const enrolled = proxy.seen({ method: 'POST', path: /^\/v1\/devices$/ }).length;
    assert.equal(enrolled, 2, 'nobody but the founders was enrolled');
    assert.ok(another.length > 0);
    await patient.sotto.acceptInvitation(mine, {});
    await patient.conversation();
  });

  test('says that it took a message and drops it: sent, and never more', async (t) => {
    const c = await conversation(t);
    const off = c.proxy.when({ method: 'POST', path: MESSAGES, device: c.device }, () => json({ seq: 9999 }));
    const id = await c.patient.send(c.atPatient, 'into the void');
    assert.equal((await c.patient.sotto.reached(id, 'sent')).state, 'sent');
    off();
    await c.works('after');
    // What the relay cannot fake is the receipt. The clinic is told that something is missing.
    assert.equal((await c.patient.sotto.call('message.get', { message: id })).state, 'sent');
    await told(c.founder, 'missing', c.atFounder);
    assert.ok(!(await c.founder.texts(c.atFounder)).includes('into the void'));
  });

  test('answers nonsense', async (t) => {
    const c = await conversation(t);
    const state = async () => {
      const [me, list, messages] = await Promise.all([c.patient.sotto.call('me'), c.patient.sotto.call('conversation.list'), c.patient.messages(c.atPatient)]);
      return JSON.stringify([{ ...me, online: true }, list.map((k) => ({ ...k, last: null })), messages.filter((m) => m.kind === 'text')]);
    };
    const before = await state();
    /** @type {Answer[]} */
    const lies = [
      json({ events: Array(100_000).fill({}) }),
      json({ events: Array(300).fill({ seq: 1e300, kind: 'message', group: 1, data: [] }) }),
      raw(`{"events":${'['.repeat(500_000)}`),
      json({ events: { length: 5 } }),
      raw(''),
      raw(Buffer.alloc(3 * 1024 * 1024, 0x20)),
      problem(404, 'not-found'),
      raw('<!doctype html>', 200, 'text/html'),
    ];
    let given = 0;
    const off = c.proxy.when({ path: INBOX, device: c.device }, async () => {
      // Slowly, as news come; what comes at once is asked for again ever more slowly (below).
      await new Promise((resolve) => setTimeout(resolve, 1_050));
      return lies[given++] ?? json({ events: [], next: 0 });
    });
    await c.founder.send(c.atFounder, 'ends the wait');
    await eventually(() => given > lies.length, 'every lie was told', 60_000);
    off();
    await told(c.patient, 'answer_malformed');
    await c.patient.received(c.atPatient, 'ends the wait');
    assert.ok((await c.patient.sotto.call('notice.list')).length <= 20, 'a relay that repeats itself fills no list');
    const after = JSON.parse(await state());
    after[2] = after[2].filter((/** @type {{ text: string }} */ m) => m.text !== 'ends the wait');
    assert.equal(JSON.stringify(after.slice(0, 1)), JSON.stringify(JSON.parse(before).slice(0, 1)));
    assert.equal(JSON.stringify(after[2]), JSON.stringify(JSON.parse(before)[2]));
    await c.works('after');
  });

  test('answers at once, again and again, with nothing: it is not asked at that rate', async (t) => {
    const c = await conversation(t);
    for (const lie of [json({ events: [], next: 0 }), json({}), problem(404, 'not-found'), problem(400, 'malformed')]) {
      let asked = 0;
      const off = c.proxy.when({ path: INBOX, device: c.device }, () => {
        asked += 1;
        return lie;
      });
      await c.founder.send(c.atFounder, 'wakes the wait');
      await eventually(() => asked > 0, 'the lie is told');
      const from = asked;
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      assert.ok(asked - from <= 3, `asked ${asked - from} times in 1.5 s`);
      off();
    }
    await c.patient.sotto.call('network', { online: true });
    await c.works('after');
  });

  test('names a sequence number of the far future: its inbox is found again', async (t) => {
    const c = await conversation(t);
    let done = false;
    const off = c.proxy.inbox(c.device, (events) => {
      if (done) return events;
      done = true;
      return [...events, { seq: 2 ** 53, kind: 'roster', at: 1, number: 1 }];
    });
    await c.founder.send(c.atFounder, 'before the jump');
    await c.patient.received(c.atPatient, 'before the jump');
    off();
    await c.founder.send(c.atFounder, 'after the jump');
    await c.patient.received(c.atPatient, 'after the jump');
    await told(c.patient, 'answer_malformed');
    for (const text of ['before the jump', 'after the jump']) await c.shownOnce(text);
    await c.works('after');
  });

  test('refuses, breaks off and lies about the time: all is sent once in the end', async (t) => {
    const s = await stage(t);
    const founder = await s.founder();
    const tries = new Map();
    const wild = [0, 1, 2 ** 53, -5, 'now', 1e300, Date.now() + 10 * 365 * 864e5];
    /** Each call fails in one way after the other before it succeeds. @type {import('./support/hostile-proxy.mjs').Rule} */
    const storm = async (asked, forward) => {
      const key = `${asked.method} ${asked.path}${MESSAGES.test(asked.path) ? asked.query : ''}`;
      const n = tries.get(key) ?? 0;
      tries.set(key, n + 1);
      if (INBOX.test(asked.path)) return n < 2 ? problem(503, 'unavailable') : forward();
      switch (n) {
        case 0: return COMMITS.test(asked.path) ? problem(409, 'wrong-epoch', { epoch: 7 }) : problem(401, 'clock-skew', { now: wild[tries.size % wild.length] });
        case 1: return (await forward(), null);
        case 2: return { ...problem(429, 'too-many', { retry_after_s: 1 }), headers: { 'retry-after': '1' } };
        default: return forward();
      }
    };
    const link = await s.link(founder, 'patient', 'Maria Lopez');
    const patient = await s.someone('patient');
    await patient.sotto.acceptInvitation(link, {});
    const device = await deviceOf(patient);
    const off = s.proxy.when({ device }, storm);
    const [{ conversation: at } = { conversation: '' }] = await patient.sotto.call('conversation.list');
    for (const n of [1, 2, 3]) await patient.send(at, `through the storm ${n}`);
    // The same storm on every call would go on for minutes: it ends, as storms do.
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    off();
    await patient.sotto.call('network', { online: true });
    assert.deepEqual(await patient.sotto.settled({ timeout: 60_000 }), []);
    const list = await founder.sotto.when(async () => {
      const all = (await founder.sotto.call('conversation.list')).filter((k) => k.title === 'Maria Lopez');
      for (const one of all) if ((await founder.texts(one.conversation)).includes('through the storm 3')) return all;
      return undefined;
    }, { timeout: 60_000 });
    const shown = (await Promise.all(list.map((k) => founder.texts(k.conversation)))).flat();
    assert.deepEqual(shown, [1, 2, 3].map((n) => `through the storm ${n}`), 'each once, in order');
    const created = s.proxy.seen({ device }).map((e) => Number(/created=(\d+)/.exec(String(e.headers['signature-input']))?.[1]) * 1000);
    const last = created.at(-1) ?? 0;
    assert.ok(Math.abs(last - Date.now()) < 300_000, 'and the clock is right again');
  });

  test('every command refuses malformed arguments by name at an open account, and changes nothing', async (t) => {
    const c = await conversation(t);
    const run = (/** @type {string} */ command, /** @type {any} */ args) => c.patient.sotto.call(/** @type {any} */ (command), args);
    const { commands } = await c.patient.sotto.call('manifest');
    const state = async () => JSON.stringify(await Promise.all([run('me', {}), run('account.status', {}), run('conversation.list', {}), run('invitation.list', {}), run('notice.list', {}), c.patient.messages(c.atPatient)]));
    const message = (await c.patient.messages(c.atPatient))[0]?.id ?? '';
    const before = await state();
    const requests = c.proxy.exchanges.filter((e) => e.device === c.device && !INBOX.test(e.path)).length;
    /** @typedef {{ name: string, type: string, required: boolean, min?: number, max?: number, words?: string[] }} Param */
    /** @param {Param} p */
    const good = ({ name, type, min = 0, words = [] }) => {
      if (name === 'conversation') return c.atPatient;
      if (name === 'message') return message;
      if (type === 'INT') return Math.max(min, 1);
      if (type === 'BOOL') return true;
      if (type === 'NUMBER_TEXT') return '1';
      if (type === 'ID16') return 'A'.repeat(22);
      if (type === 'WORD') return words[0];
      return name === 'relay' ? c.proxy.origin : 'x'.repeat(Math.max(min, 8));
    };
    /** Values out of its form, of each type. @param {Param} p @returns {unknown[]} */
    const bad = ({ type, min = 0, max = 0 }) => {
      /** @type {unknown[]} */
      const always = [null, [], {}, { toString: 1 }, [[1]]];
      if (type === 'TEXT' || type === 'SECRET_TEXT') return [...always, 1, true, ...(min > 0 ? ['x'.repeat(min - 1)] : []), 'x'.repeat(max + 1), 'é'.repeat(max)];
      if (type === 'INT') return [...always, '1', 1.5, -1, min - 1, max + 1, 2 ** 53, 1e300, true];
      if (type === 'BOOL') return [...always, 0, 1, 'true'];
      if (type === 'NUMBER_TEXT') return [...always, 1, '', '-1', '1.5', '01', '0x1', ' 1', '1 ', '9223372036854775808', '9'.repeat(400), 'one', ...(min > 0 ? [String(min - 1)] : [])];
      if (type === 'ID16' || type === 'ID32') return [...always, 1, '', 'A', 'A'.repeat(21), 'A'.repeat(23), `${'A'.repeat(21)}=`, `${'A'.repeat(21)}B`, '+'.repeat(22), 'A'.repeat(43) + 'A'];
      if (type === 'WORD') return [...always, 1, '', 'no', 'PATIENT', 'patient ', 'patient|staff'];
      return [...always, 1.5, -1, 99, '0'];
    };
    let tried = 0;
    for (const { name, params } of /** @type {{ name: string, params: Param[] }[]} */ (commands)) {
      const fine = Object.fromEntries(params.filter((p) => p.required && p.type !== 'BYTES').map((p) => [p.name, good(p)]));
      for (const param of params) {
        if (param.required && param.type !== 'BYTES') {
          const { [param.name]: _, ...without } = fine;
          await assert.rejects(run(name, without), { argument: param.name }, `${name} without ${param.name}`);
        }
        for (const wrong of bad(param)) {
          const error = await run(name, { ...fine, [param.name]: wrong }).then(() => null, (e) => e);
          assert.ok(error instanceof Error, `${name} took ${param.name} = ${JSON.stringify(wrong)?.slice(0, 60)}`);
          assert.equal(/** @type {any} */ (error).argument, param.name, `${name} ${param.name} = ${JSON.stringify(wrong)?.slice(0, 60)}: ${error.message}`);
          assert.ok(error.message.length > 10, error.message);
          tried += 1;
        }
      }
    }
    assert.ok(tried > 200, `${tried} tried`);
    // In their form, and about nothing that there is.
    for (const [name, args] of /** @type {[string, object][]} */ ([
      ['conversation.get', { conversation: '77' }],
      ['conversation.read', { conversation: '77', order: '1' }],
      ['message.send', { conversation: '77', text: 'x' }],
      ['message.get', { message: 'A'.repeat(22) }],
      ['message.retry', { message }],
      ['invitation.withdraw', { invitation: 'A'.repeat(22) }],
      ['invitation.create', { enrols: 'patient', name: 'x', check: 'none' }],
      ['invitation.open', { relay: c.proxy.origin, fragment: 'i=x' }],
      ['invitation.accept', {}],
      ['account.create', {}],
      ['clinic.create', { relay: c.proxy.origin, clinic_name: 'x', name: 'x' }],
      ['account.change_pin', { old: '1234', new: '5678' }],
    ])) {
      const error = await run(name, args).then(() => null, (e) => e);
      assert.ok(error instanceof Error, `${name} did something`);
    }
    assert.equal(await state(), before);
    assert.equal(c.proxy.exchanges.filter((e) => e.device === c.device && !INBOX.test(e.path)).length, requests, 'and nothing was sent');
    await c.works('after');
  });
});
