// exchange.mjs memory|disk: a clinic and a patient with the real client, in one process, against a real relay. Writes JSON:
// what each command costs (processor time, and time on the clock), and the memory it all takes.
//
// A message is: `message.send`, the relay's answer, the receiver's inbox, his receipt, its answer, the sender's inbox.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadCore } from '../../glue/core.mjs';
import { Sotto } from '../../glue/client.mjs';
import { openFiles } from '../../glue/files-node.mjs';
import { Host } from '../../glue/host.mjs';
import { RelayProcess } from '../node/support/relay-client.mjs';
import { tempFolder } from '../node/support/relay.mjs';
import { ROOT, median } from './support.mjs';

const MESSAGES = 200;
const TEXT = 'It still hurts when I climb stairs, a little less than last week. '.repeat(16).slice(0, 1000);
const BIRTH_DATE = '1956-04-12';
const PIN = '271828';

const onDisk = process.argv[2] === 'disk';
const module = await WebAssembly.compile(readFileSync(`${ROOT}build/sotto.wasm`));
const folder = await tempFolder('bench');

/** @typedef {{ command: string, cpu: number, wall: number }} Call microseconds */

/** A client whose core tells what each call cost. */
class Timed {
  /** @type {Call[]} */
  calls = [];
  memoryAtStart = 0;
  /** @type {Awaited<ReturnType<typeof loadCore>> | null} */
  #core = null;

  /** @param {string} name */
  constructor(name) {
    const store = onDisk ? join(folder.path, name) : '';
    const backend = {
      onevent: (/** @type {import('../../glue/host.mjs').SottoEvent} */ _event) => {},
      get storage() {
        return host.storage;
      },
      run: (/** @type {string} */ command, /** @type {Record<string, unknown>} */ args, /** @type {readonly Uint8Array[]} */ attachments) =>
        host.run(command, args, attachments),
      caughtUp: (/** @type {number} */ timeout) => host.caughtUp(timeout),
      close: () => host.close(),
    };
    const host = new Host({
      store: onDisk ? 'account' : '',
      start: async () => {
        const files = onDisk ? await openFiles(store) : null;
        const core = await loadCore({ wasm: module, ...(files === null ? {} : { files }) });
        this.#core = core;
        this.memoryAtStart = core.memory.length;
        return { core: this.#timed(core), files };
      },
      emit: (event) => backend.onevent(event),
      log: (level, text) => {
        if (level >= 2) console.error(text);
      },
    });
    this.sotto = new Sotto(backend);
  }

  get memory() {
    return this.#core?.memory.length ?? 0;
  }

  /** @param {Awaited<ReturnType<typeof loadCore>>} core */
  #timed(core) {
    const calls = this.calls;
    return {
      get dead() {
        return core.dead;
      },
      open: (/** @type {string} */ name) => core.open(name),
      close: (/** @type {number} */ handle) => core.close(handle),
      call: (/** @type {number} */ handle, /** @type {{ command: string }} */ header, /** @type {readonly Uint8Array[]} */ attachments) => {
        const cpu = process.cpuUsage();
        const begin = performance.now();
        const reply = core.call(handle, header, attachments);
        const wall = (performance.now() - begin) * 1000;
        const { user, system } = process.cpuUsage(cpu);
        calls.push({ command: header.command, cpu: user + system, wall });
        return reply;
      },
    };
  }
}

const relay = await RelayProcess.start({ clinics: 'open' });
const clinic = new Timed('clinic');
const patient = new Timed('patient');
try {
  const pin = onDisk ? { pin: PIN } : {};
  await clinic.sotto.call('clinic.create', { relay: relay.origin, clinic_name: 'Sunrise Clinic', name: 'Clinic agent', kind: 'agent', ...pin });
  await clinic.sotto.caughtUp();
  const { link } = await clinic.sotto.call('invitation.create', { enrols: 'patient', name: 'Ada Park', check: 'birth_date', factor: BIRTH_DATE });
  await clinic.sotto.caughtUp();
  await patient.sotto.acceptInvitation(link, { factor: BIRTH_DATE, ...pin });
  const mine = await patient.sotto.when(async () => (await patient.sotto.call('conversation.list')).find((c) => c.state === 'active'));
  await patient.sotto.caughtUp();
  await clinic.sotto.caughtUp();

  /** @type {Call[]} */
  const sent = [];
  const totals = [patient, clinic].map(() => /** @type {Call[]} */ ([]));
  for (let i = 0; i < MESSAGES; i++) {
    patient.calls.length = clinic.calls.length = 0;
    const { message } = await patient.sotto.call('message.send', { conversation: mine.conversation, text: TEXT });
    // Delivered: it went there and its receipt came back.
    await patient.sotto.when(async () => ['delivered', 'read'].includes((await patient.sotto.call('message.get', { message })).state));
    if (i < MESSAGES / 4) continue; // until the code is optimised
    sent.push(...patient.calls.filter((c) => c.command === 'message.send'));
    [patient, clinic].forEach((side, k) => {
      const own = side.calls.filter((c) => c.command !== 'message.get');
      totals[k].push({ command: 'all', cpu: own.reduce((sum, c) => sum + c.cpu, 0), wall: own.reduce((sum, c) => sum + c.wall, 0) });
    });
  }
  const summary = (/** @type {Call[]} */ calls) => ({ cpu: median(calls.map((c) => c.cpu)), wall: median(calls.map((c) => c.wall)) });
  const status = readFileSync(`/proc/${relay.child.pid}/status`, 'utf8');
  const kB = (/** @type {string} */ field) => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) * 1024;
  console.log(
    JSON.stringify({
      send: summary(sent),
      sender: summary(totals[0]),
      receiver: summary(totals[1]),
      memory: {
        start: patient.memoryAtStart,
        patient: patient.memory,
        clinic: clinic.memory,
        node: process.resourceUsage().maxRSS * 1024,
        relay: kB('VmRSS'),
        relayPeak: kB('VmHWM'),
      },
    }),
  );
} finally {
  await patient.sotto.close();
  await clinic.sotto.close();
  await relay.stop();
  await folder.remove();
}
