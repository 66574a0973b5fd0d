#!/usr/bin/env node
// cli.mjs: `npx sotto`: a clinic, staff member, agent or patient from a terminal, over any relay. `sotto help` is the
// reference; each command opens the account, does one thing, waits until it is done, and closes.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Sotto, SottoError } from './node.mjs';

const HELP = `Usage: sotto COMMAND --store DIR [options]

  clinic create --relay URL --clinic-name NAME --name NAME [--agent]
                            make a clinic on a relay; this store holds its root key
  invite --patient NAME (--birth-date YYYY-MM-DD | --code [CODE] | --link-only) [--days N]
  invite (--staff NAME | --agent NAME) [--code [CODE]] [--days N]
                            make a link; it is shown once (NAME may also stand in --name)
  invitations               links issued from this store
  withdraw INVITATION       end a link that was not used
  accept LINK [--factor DATE-OR-CODE] [--name NAME]
                            open a link, pass its check and make the account in DIR
  send --conversation N TEXT|-
                            send a text, or what stdin says, and wait until the relay has it
  list [--conversation N]   conversations, or the messages of one
  follow [--conversation N] [--read]
                            print messages as they come, until interrupted; --read tells their senders
  status                    what the store holds; with a PIN, who it is

PIN     --pin PIN, --pin-env VARIABLE, or asked for on the terminal. Others on this machine can see --pin.
Common  --json     one JSON object a line; errors too, on stderr
        --offline  do not wait for the relay before answering
        --timeout SECONDS  how long to wait for it (default 30)

Exit status  0 done   1 failed   2 wrong usage   3 the account: none, locked, wrong PIN, or in use elsewhere
             4 the relay did not answer in time: what was queued goes out when the store is next opened
             5 the invitation or its check was refused   6 the message will not be sent
`;

export const Exit = { DONE: 0, FAILED: 1, USAGE: 2, ACCOUNT: 3, NETWORK: 4, REFUSED: 5, NOT_SENT: 6 };

class Usage extends Error {}

/**
 * @typedef {import('./client.mjs').Message} Message
 * @typedef {import('./client.mjs').Conversation} Conversation
 * @typedef {import('./client.mjs').Me} Me
 *
 * @typedef {Record<string, string | boolean | undefined>} Options
 * @typedef {object} Context
 * @property {string[]} words what stands behind the command's name
 * @property {Options} options
 * @property {(value: Record<string, unknown>, line: string) => void} print
 * @property {number} timeout
 */

/** @type {Record<string, { type: 'string' | 'boolean', short?: string }>} */
const OPTIONS = {
  store: { type: 'string', short: 's' },
  relay: { type: 'string' },
  'clinic-name': { type: 'string' },
  name: { type: 'string' },
  agent: { type: 'string' },
  patient: { type: 'string' },
  staff: { type: 'string' },
  'birth-date': { type: 'string' },
  code: { type: 'string' },
  'link-only': { type: 'boolean' },
  days: { type: 'string' },
  factor: { type: 'string' },
  conversation: { type: 'string', short: 'c' },
  read: { type: 'boolean' },
  pin: { type: 'string' },
  'pin-env': { type: 'string' },
  json: { type: 'boolean' },
  offline: { type: 'boolean' },
  timeout: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
};

/** These may go without a value; it is '' then. */
const VALUE_OPTIONAL = ['--agent', '--patient', '--staff', '--code'];

/** @type {Record<string, (context: Context) => Promise<number | void>>} */
const COMMANDS = { 'clinic create': clinicCreate, invite, invitations, withdraw, accept, send, list, follow, status };

// ---- commands -----------------------------------------------------------------------------------------------------------

/** @param {Context} context */
async function clinicCreate(context) {
  const { options, print, timeout } = context;
  const relay = required(options, 'relay');
  const args = {
    relay: originOf(relay),
    clinic_name: required(options, 'clinic-name'),
    name: required(options, 'name'),
    kind: /** @type {'agent' | 'staff'} */ (options.agent === undefined ? 'staff' : 'agent'),
  };
  const pin = await newPin(options);
  return withSotto(options, async (sotto) => {
    await expectNone(sotto);
    const me = await sotto.call('clinic.create', { ...args, pin });
    const online = await sotto.caughtUp({ timeout });
    print({ ...me, online }, `${me.clinic_name}: ${me.name} holds its root key ${me.fingerprint}`);
    if (!online) return late('The clinic is made here, but the relay has not answered yet.');
  });
}

/** @param {Context} context */
async function invite(context) {
  const { options, print, timeout } = context;
  nothingMore(context.words);
  const kinds = /** @type {const} */ (['patient', 'staff', 'agent']).filter((kind) => options[kind] !== undefined);
  const [enrols] = kinds;
  if (enrols === undefined || kinds.length > 1) throw new Usage('say one of --patient, --staff, --agent');
  const name = options.name ?? options[enrols];
  if (typeof name !== 'string' || name === '') throw new Usage('--name is missing');
  const { 'birth-date': date, code } = options;
  const checks = [date, code, options['link-only']].filter((option) => option !== undefined).length;
  if (checks > 1) throw new Usage('say only one of --birth-date, --code, --link-only');
  if (checks === 0 && enrols === 'patient') throw new Usage('say one of --birth-date, --code, --link-only');
  const check = date !== undefined ? 'birth_date' : code !== undefined ? 'code' : 'none';
  const factor = typeof date === 'string' ? date : typeof code === 'string' && code !== '' ? code : undefined;
  const days = options.days === undefined ? undefined : wholeNumber(options, 'days');
  return withAccount(context, async (sotto) => {
    const made = await sotto.call('invitation.create', {
      enrols,
      name,
      check,
      ...(factor === undefined ? {} : { factor }),
      ...(days === undefined ? {} : { days }),
    });
    // Shown before anything else can fail: it is shown once.
    print({ ...made, enrols, name, check }, made.link);
    if (made.code !== null && context.options.json !== true) console.log(`code: ${made.code}`);
    const state = await registered(sotto, made.invitation, timeout);
    if (state === 'sending') return late('The link works as soon as the relay has been reached.');
  });
}

/**
 * @param {Sotto} sotto
 * @param {string} invitation
 * @param {number} timeout
 */
async function registered(sotto, invitation, timeout) {
  const find = async () => (await sotto.call('invitation.list')).find((i) => i.invitation === invitation)?.state ?? 'gone';
  return sotto
    .when(async () => {
      const state = await find();
      return state === 'sending' ? undefined : state;
    }, { timeout })
    .catch((error) => {
      if (error.code !== 'timeout') throw error;
      return 'sending';
    });
}

/** @param {Context} context */
async function invitations(context) {
  nothingMore(context.words);
  return withAccount(context, async (sotto) => {
    await newest(sotto, context);
    for (const i of await sotto.call('invitation.list')) {
      const until = i.state === 'open' ? ` until ${new Date(i.expires_ms).toISOString().slice(0, 10)}` : '';
      context.print({ ...i }, `${i.invitation}  ${i.state}${until}, ${i.attempts_left} tries left  ${i.enrols} ${i.name}`);
    }
  });
}

/** @param {Context} context */
async function withdraw(context) {
  const invitation = oneWord(context.words, 'which invitation? `sotto invitations` lists them');
  return withAccount(context, async (sotto) => {
    await sotto.call('invitation.withdraw', { invitation });
    const online = await sotto.caughtUp({ timeout: context.timeout });
    context.print({ invitation, state: 'withdrawn', confirmed: online }, `${invitation} withdrawn`);
    if (!online) return late('The relay has not answered yet.');
  });
}

/** @param {Context} context */
async function accept(context) {
  const { options, print, timeout } = context;
  const link = oneWord(context.words, 'which link?');
  const pin = await newPin(options);
  return withSotto(options, async (sotto) => {
    await expectNone(sotto);
    const me = await sotto.acceptInvitation(link, {
      pin,
      ...(typeof options.factor === 'string' ? { factor: options.factor } : {}),
      ...(typeof options.name === 'string' ? { name: options.name } : {}),
    });
    const active = async () => (await sotto.call('conversation.list')).some((c) => c.state === 'active');
    const ready = me.kind !== 'patient' || (await sotto.when(active, { timeout }).catch(() => false));
    await sotto.caughtUp({ timeout });
    print({ ...(await sotto.call('me')) }, `${me.kind} of ${me.clinic_name}`);
    if (!ready) return late('The conversation is made as soon as the relay can be reached.');
  });
}

/** @param {Context} context */
async function send(context) {
  const { options, print, timeout } = context;
  const conversation = required(options, 'conversation');
  const word = oneWord(context.words, 'what text? `-` reads it from stdin');
  const text = word === '-' ? (await everythingFrom(process.stdin)).replace(/\n$/, '') : word;
  return withAccount(context, async (sotto) => {
    const { message } = await sotto.call('message.send', { conversation, text });
    const sent = await sotto.reached(message, 'sent', { timeout }).catch(async (error) => {
      if (error.code !== 'timeout') throw error;
      return sotto.call('message.get', { message });
    });
    print({ message, conversation, state: sent.state, reason: sent.reason }, `${message} ${sent.state}${sent.reason === null ? '' : `: ${sent.reason}`}`);
    if (sent.state === 'failed') return Exit.NOT_SENT;
    if (sent.state === 'sending') return late('Kept here, and sent when this store is next opened with a network.');
  });
}

/** @param {Context} context */
async function list(context) {
  nothingMore(context.words);
  const { options, print } = context;
  return withAccount(context, async (sotto) => {
    await newest(sotto, context);
    if (options.conversation === undefined) {
      for (const c of await sotto.call('conversation.list')) print({ ...c }, describeConversation(c));
      return;
    }
    const conversation = String(options.conversation);
    /** @type {Message[]} */
    const all = [];
    for (;;) {
      const before = all[0]?.order;
      const page = await sotto.call('message.list', { conversation, limit: 200, ...(before === undefined ? {} : { before }) });
      all.unshift(...page);
      if (page.length < 200) break;
    }
    for (const m of all) print({ ...m }, describeMessage(m));
  });
}

/** @param {Context} context */
async function follow(context) {
  nothingMore(context.words);
  const { options, print } = context;
  const only = options.conversation === undefined ? undefined : String(options.conversation);
  return withAccount(context, async (sotto) => {
    /** States that were printed; a message is told again when its state changes, in JSON only. @type {Map<string, string>} */
    const told = new Map();
    let last = Promise.resolve();
    const show = async (/** @type {string} */ conversation, /** @type {string} */ id) => {
      const m = await sotto.call('message.get', { message: id });
      const first = !told.has(id);
      if (told.get(id) === m.state) return;
      told.set(id, m.state);
      if (first || options.json === true) print({ conversation, ...m }, describeMessage(m));
      if (options.read === true && m.state === 'received') await sotto.call('conversation.read', { conversation, order: m.order });
    };
    sotto.on('message', ({ conversation, message }) => {
      if (message === undefined || conversation === undefined || (only !== undefined && conversation !== only)) return;
      last = last
        .then(() => show(conversation, message))
        .catch((error) => void process.stderr.write(`${SottoError.from(error).message}\n`));
    });
    sotto.on('notice', ({ conversation, code, text }) => print({ notice: code, text, conversation }, `! ${text}`));
    sotto.on('connection', ({ code }) => {
      if (options.json === true) print({ connection: code }, '');
    });
    await new Promise((resolve) => {
      process.once('SIGINT', resolve);
      process.once('SIGTERM', resolve);
      process.stdout.once('error', resolve); // the reader of a pipe has gone
    });
    await last;
  });
}

/** @param {Context} context */
async function status(context) {
  nothingMore(context.words);
  const { options, print } = context;
  const pin = givenPin(options);
  return withSotto(options, async (sotto) => {
    const state = await sotto.call('account.status');
    if (pin === undefined || state.state !== 'locked') {
      print({ ...state }, state.state);
      return;
    }
    await sotto.call('account.unlock', { pin });
    const online = options.offline === true ? false : await sotto.caughtUp({ timeout: context.timeout });
    const me = await sotto.call('me');
    print({ ...state, state: 'open', ...me, online }, `${me.name}, ${me.kind} of ${me.clinic_name}, ${online ? 'online' : 'offline'}`);
  });
}

// ---- around them ----------------------------------------------------------------------------------------------------------

/**
 * @param {Options} options
 * @param {(sotto: Sotto) => Promise<number | void>} work
 */
async function withSotto(options, work) {
  const sotto = await Sotto.open({ store: required(options, 'store') });
  try {
    return await work(sotto);
  } finally {
    await sotto.close();
  }
}

/**
 * @param {Context} context
 * @param {(sotto: Sotto) => Promise<number | void>} work
 */
async function withAccount({ options }, work) {
  return withSotto(options, async (sotto) => {
    const { state } = await sotto.call('account.status');
    if (state === 'none') throw new SottoError({ code: 'none', class: 'state', message: 'There is no account in this store.' });
    const pin = givenPin(options) ?? (await ask('PIN: ', true));
    await sotto.call('account.unlock', { pin });
    return work(sotto);
  });
}

/** @param {Sotto} sotto */
async function expectNone(sotto) {
  const { state } = await sotto.call('account.status');
  if (state === 'none') return;
  throw new SottoError({ code: 'exists', class: 'state', message: 'This store holds an account already.' });
}

/**
 * @param {Sotto} sotto
 * @param {Context} context
 */
async function newest(sotto, { options, timeout }) {
  if (options.offline === true) return;
  if (!(await sotto.caughtUp({ timeout }))) late('The relay did not answer: this is what was here before.');
}

/** @param {string} why */
function late(why) {
  process.stderr.write(`${why}\n`);
  return Exit.NETWORK;
}

/** @param {Conversation} c */
function describeConversation(c) {
  const unread = c.unread > 0 ? `, ${c.unread} unread` : '';
  return `${c.conversation}  ${c.title} (${c.state}${unread})${c.last === null ? '' : `  ${oneLine(c.last.text)}`}`;
}

/** @param {Message} m */
function describeMessage(m) {
  const time = new Date(m.sent_ms).toISOString().slice(0, 16).replace('T', ' ');
  if (m.kind === 'notice') return `${time}  ! ${oneLine(m.text)}`;
  const state = m.sender?.own === true ? ` [${m.state}${m.reason === null ? '' : `: ${m.reason}`}]` : '';
  return `${time}  ${oneLine(m.sender?.name ?? '?')}: ${plain(m.text)}${state}`;
}

/** A terminal obeys escape sequences; a message from elsewhere must not give it orders. @param {string} text */
function plain(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '\u00b7');
}

/** @param {string} text */
function oneLine(text) {
  return plain(text).replace(/\s+/g, ' ');
}

// ---- PINs and other input ---------------------------------------------------------------------------------------------------

/**
 * @param {Options} options
 * @returns {string | undefined}
 */
function givenPin(options) {
  if (typeof options.pin === 'string') return options.pin;
  const variable = options['pin-env'];
  if (typeof variable !== 'string') return undefined;
  const pin = process.env[variable];
  if (pin === undefined || pin === '') throw new Usage(`the variable ${variable} that --pin-env names is not set`);
  return pin;
}

/** @param {Options} options */
async function newPin(options) {
  const given = givenPin(options);
  if (given !== undefined) return given;
  const pin = await ask('Choose a PIN: ', true);
  if ((await ask('Repeat PIN: ', true)) !== pin) throw new Usage('the two PINs differ');
  return pin;
}

/**
 * Asks on the terminal; a secret's characters are not shown.
 * @param {string} question
 * @param {boolean} secret
 * @returns {Promise<string>}
 */
function ask(question, secret) {
  if (!process.stdin.isTTY) throw new Usage('no terminal to ask for the PIN on: use --pin-env or --pin');
  return new Promise((resolve, reject) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: true });
    let answered = false;
    lines.question(question, (answer) => {
      answered = true;
      lines.close();
      if (secret) process.stderr.write('\n');
      resolve(answer);
    });
    // readline echoes through this one function: after the question it says nothing more.
    if (secret) /** @type {any} */ (lines)._writeToOutput = () => {};
    lines.on('close', () => {
      if (!answered) reject(new Usage('nothing was entered'));
    });
  });
}

/** @param {NodeJS.ReadStream} stream */
async function everythingFrom(stream) {
  stream.setEncoding('utf8');
  let text = '';
  for await (const part of stream) text += part;
  return text;
}

/**
 * @param {Options} options
 * @param {string} name
 */
function required(options, name) {
  const value = options[name];
  if (typeof value !== 'string' || value === '') throw new Usage(`--${name} is missing`);
  return value;
}

/**
 * @param {Options} options
 * @param {string} name
 */
function wholeNumber(options, name) {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 0) throw new Usage(`--${name} wants a whole number`);
  return value;
}

/** @param {string} relay */
function originOf(relay) {
  try {
    return new URL(relay).origin;
  } catch {
    throw new Usage('--relay wants an address such as https://chat.clinic.example');
  }
}

/**
 * @param {string[]} words
 * @param {string} missing
 */
function oneWord(words, missing) {
  const [word, ...rest] = words;
  if (word === undefined) throw new Usage(missing);
  nothingMore(rest);
  return word;
}

/** @param {string[]} words */
function nothingMore(words) {
  if (words.length > 0) throw new Usage(`what is ${JSON.stringify(words[0])} for?`);
}

/** @param {unknown} error */
function exitOf(error) {
  if (error instanceof Usage) return Exit.USAGE;
  const { code, class: kind, argument } = SottoError.from(error);
  if (kind === 'invitation') return Exit.REFUSED;
  if (['none', 'exists', 'locked', 'pin', 'too_soon', 'closed'].includes(code) || kind === 'store') return Exit.ACCOUNT;
  if (code === 'timeout' || code === 'unavailable') return Exit.NETWORK;
  // A damaged link is a refused one; any other argument that is not in its form is the caller's.
  if (code === 'malformed') return argument === 'link' ? Exit.REFUSED : Exit.USAGE;
  return Exit.FAILED;
}

/**
 * @param {string[]} argv
 * @returns {Promise<number>}
 */
export async function main(argv) {
  const json = argv.includes('--json');
  try {
    const { values, positionals } = parse(argv);
    const options = /** @type {Options} */ (values);
    if (options.help === true || positionals.length === 0 || positionals[0] === 'help') {
      process.stdout.write(HELP);
      return positionals.length === 0 && options.help !== true ? Exit.USAGE : Exit.DONE;
    }
    const two = positionals.slice(0, 2).join(' ');
    const name = two in COMMANDS ? two : /** @type {string} */ (positionals[0]);
    const command = COMMANDS[name];
    if (command === undefined) throw new Usage(`there is no command ${JSON.stringify(name)}`);
    const print = (/** @type {Record<string, unknown>} */ value, /** @type {string} */ line) =>
      void process.stdout.write(`${json ? JSON.stringify(value) : line}\n`);
    const timeout = options.timeout === undefined ? 30_000 : wholeNumber(options, 'timeout') * 1000;
    return (await command({ words: positionals.slice(name.split(' ').length), options, print, timeout })) ?? Exit.DONE;
  } catch (error) {
    const status = exitOf(error);
    const body = error instanceof Usage ? { code: 'usage', class: 'usage', message: error.message } : SottoError.from(error).toJSON();
    const hint = status === Exit.USAGE ? '\n`sotto help` lists the commands.' : '';
    process.stderr.write(json ? `${JSON.stringify({ error: body })}\n` : `sotto: ${body.message}${attempts(body)}${hint}\n`);
    return status;
  }
}

/** @param {{ attempts_left?: number | null }} body */
function attempts(body) {
  return typeof body.attempts_left === 'number' ? ` (${body.attempts_left} tries left)` : '';
}

/**
 * parseArgs knows no options whose value may be left out: `--code 1234` becomes `--code=1234`, `--code` alone `--code=`.
 * @param {string} word
 * @param {number} i
 * @param {string[]} argv
 * @returns {string[]}
 */
function joinOptional(word, i, argv) {
  const isValue = (/** @type {string | undefined} */ next) => next !== undefined && !next.startsWith('-');
  if (i > 0 && VALUE_OPTIONAL.includes(/** @type {string} */ (argv[i - 1])) && isValue(word)) return [];
  if (!VALUE_OPTIONAL.includes(word)) return [word];
  return [`${word}=${isValue(argv[i + 1]) ? argv[i + 1] : ''}`];
}

/** @param {string[]} argv */
function parse(argv) {
  try {
    return parseArgs({ args: argv.flatMap(joinOptional), options: OPTIONS, allowPositionals: true, strict: true });
  } catch (error) {
    throw new Usage(error instanceof Error ? error.message : String(error));
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(await realPath(process.argv[1])).href) {
  process.exitCode = await main(process.argv.slice(2));
}

/** npx runs a link in node_modules/.bin. @param {string} path */
async function realPath(path) {
  const { realpath } = await import('node:fs/promises');
  return realpath(path).catch(() => path);
}
