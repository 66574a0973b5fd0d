// session.test.mjs: the short form of the live sessions with ts-mls (README.md). INTEROP_SEED chooses other sessions.
import assert from 'node:assert/strict';
import test from 'node:test';
import { OurMember } from './core.mjs';
import { Divergence, Session, runSessions } from './session.mjs';
import { TsMember } from './ts-mls.mjs';

const SEED = Number(process.env.INTEROP_SEED ?? 1);

for (const [suite, steps] of [
  [0x0003, 200],
  [0xf00e, 100],
  [0x0054, 50],
]) {
  test(`random sessions in suite 0x${suite.toString(16).padStart(4, '0')}`, async (t) => {
    const { seeds, epochs, counts, contents, steps: done } = await runSessions({ suite, seed: SEED, steps, each: 50 });
    t.diagnostic(`${done} steps, ${epochs} epochs, seeds ${seeds.join(', ')}: ${JSON.stringify(counts)} ${JSON.stringify(contents)}`);
    assert.equal(done, steps);
    for (const kind of ['application', 'commit', 'propose', 'external join']) assert.ok(counts[kind] > 0, `no step was ${kind}`);
  });
}

test('groups branched and re-initialised', async (t) => {
  const session = new Session({ suite: 0x0003, seed: SEED, most: 6 });
  await session.start();
  for (const kind of ['branch', 're-init', 're-init', 'branch']) {
    assert.ok(await session.tryStep(kind), kind);
    for (let n = 0; n < 3; n++) await session.tryStep('commit');
  }
  t.diagnostic(JSON.stringify(session.contents));
  session.end();
});

test('a member in another epoch is a divergence', async () => {
  const session = new Session({ suite: 0x0003, seed: SEED });
  await session.start();
  const ours = session.members.find((m) => m instanceof OurMember);
  const peer = session.members.find((m) => m instanceof TsMember);
  assert.ok(ours && peer);
  await ours.commit({ forcePath: true });
  await ours.merge(); // and nobody is told
  await assert.rejects(async () => {
    for (let n = 0; n < 50; n++) await session.step();
  }, Divergence);
  session.end();
});
