// passive.mjs OUTDIR SEED [CASES]: makes files in the format of the official passive-client vectors (mlswg/mls-implementations,
// test-vectors.md) from sessions that ts-mls members create and drive, and that a member of ours only reads: CASES for each
// suite, the first of them over 200 epochs long. Then: make vectors VECTORS=OUTDIR.
//
// A group branched or re-initialised from one of these is a case of its own, with a field more than the official ones have:
// resumption_psks, a list of {group_id, epoch, psk}.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OurMember, hex } from './core.mjs';
import { Session } from './session.mjs';
import { TsMember } from './ts-mls.mjs';

const LONG = 205;
const SHORT = 12;

/** Writes down what it reads. */
class Recorder extends OurMember {
  /** @type {Record<string, any>} */
  case = {};
  /** @type {string[]} */
  proposals = [];
  /** @type {Uint8Array | undefined} */
  heard;

  /** @param {Uint8Array} welcome @param {{ tree?: Uint8Array, parent?: OurMember }} [options] @override */
  async join(welcome, options = {}) {
    await super.join(welcome, options);
    this.case.welcome = hex(welcome);
    this.case.ratchet_tree = options.tree === undefined ? null : hex(options.tree);
    this.case.initial_epoch_authenticator = (await this.state()).authenticator;
    this.case.epochs = [];
  }

  /** @override */
  async keyPackage() {
    const keyPackage = await super.keyPackage();
    const { init, encryption } = /** @type {any} */ (this.privateKeys);
    Object.assign(this.case, {
      key_package: hex(keyPackage),
      signature_priv: hex(this.seed),
      encryption_priv: hex(encryption),
      init_priv: hex(init),
    });
    return keyPackage;
  }

  /** @param {Uint8Array} message @override */
  async process(message) {
    const got = await super.process(message);
    if (got.kind === 'proposal') this.proposals.push(hex(message));
    if (got.kind === 'commit') this.heard = message;
    return got;
  }

  /** @override */
  async merge() {
    await super.merge();
    const { authenticator } = await this.state();
    this.case.epochs.push({ proposals: this.proposals, commit: hex(/** @type {Uint8Array} */ (this.heard)), epoch_authenticator: authenticator });
    this.proposals = [];
  }
}

class RecordedSession extends Session {
  /** @type {Record<string, any>[]} */
  cases = [];

  /** @param {{ name: string, seed: Uint8Array }} [who] @override */
  newPassive(who) {
    const seed = who?.seed ?? this.random.bytes(32);
    const recorder = new Recorder(this.core, { suite: this.suite, name: 'subject', seed, extensionTypes: [0xf0a0, 0xf0a1] });
    for (const { id, value } of this.pskPool) recorder.knowPsk(id, value);
    recorder.case = {
      cipher_suite: this.suite,
      external_psks: this.pskPool.map(({ id, value }) => ({ psk_id: hex(id), psk: hex(value) })),
    };
    if (who !== undefined) {
      // It comes from another group: whose last resumption PSK is asked for, its members know.
      const driver = /** @type {TsMember} */ (this.members.find((m) => m instanceof TsMember));
      const { groupContext, keySchedule } = driver.current;
      recorder.case.resumption_psks = [{ group_id: hex(groupContext.groupId), epoch: Number(groupContext.epoch), psk: hex(keySchedule.resumptionPsk) }];
    }
    this.cases.push(recorder.case);
    return recorder;
  }
}

const [folder, seedText, casesText = '6'] = process.argv.slice(2);
const seed = Number(seedText);
if (folder === undefined || !Number.isInteger(seed)) throw new Error('usage: passive.mjs OUTDIR SEED [CASES]');
mkdirSync(folder, { recursive: true });

for (const suite of [0x0003, 0xf00e, 0x0054]) {
  const cases = [];
  /** @type {Record<string, number>} */
  const contents = {};
  for (let n = 0; n < Number(casesText); n++) {
    const session = new RecordedSession({ suite, seed: seed + n, most: n === 0 ? 6 : 10, kinds: ['ts-mls'], pskEpochs: n === 0 ? 100 : 8 });
    await session.start();
    for (let before = session.random.below(10); before > 0; before--) await session.tryStep('commit');
    await session.addPassive();
    const target = session.epochs + (n === 0 ? LONG : SHORT);
    while (session.epochs < target) {
      await session.tryStep(session.random.pick(['commit', 'commit', 'propose', 'propose', 'external join', 'propose from outside']));
    }
    // Some go on in another group.
    if (n % 2 === 0) {
      await session.tryStep('commit'); // nothing may be pending
      if (!(await session.tryStep(n % 4 === 0 ? 're-init' : 'branch'))) throw new Error('no other group');
      for (let more = 4; more > 0; more--) await session.tryStep('commit');
    }
    cases.push(...session.cases);
    for (const [what, count] of Object.entries(session.contents)) contents[what] = (contents[what] ?? 0) + count;
    session.end();
  }
  const name = join(folder, `passive-client-ts-mls.suite${suite}.json`);
  writeFileSync(name, JSON.stringify(cases, null, 1));
  console.log(`${name}: ${cases.length} cases, epochs ${cases.map((c) => c.epochs.length).join(', ')}\n  ${JSON.stringify(contents)}`);
}

