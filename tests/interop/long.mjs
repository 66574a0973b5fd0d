// long.mjs [STEPS] [SEED]: the long form of the live sessions with ts-mls: STEPS random steps in all, half of them in suite 0x0003, the
// others in 0xF00E and, an eighth, in 0x0054, in sessions of 250 with seeds that count up from SEED. Ends at the first divergence.
import { Divergence, runSessions } from './session.mjs';

const steps = Number(process.argv[2] ?? 10_000);
const seed = Number(process.argv[3] ?? 1);
if (!Number.isInteger(steps) || !Number.isInteger(seed) || steps < 1) throw new Error('usage: long.mjs [STEPS] [SEED]');

try {
  for (const [suite, share] of [
    [0x0003, steps - 4 * Math.floor(steps / 8)],
    [0xf00e, 3 * Math.floor(steps / 8)],
    [0x0054, Math.floor(steps / 8)],
  ]) {
    if (share === 0) continue;
    const name = `suite 0x${suite.toString(16).padStart(4, '0')}`;
    const run = await runSessions({
      suite,
      seed,
      steps: share,
      progress: (s) => console.log(`${name}, seed ${s.seed}: ${s.steps} steps, ${s.members.length} members, epoch ${s.epoch}`),
    });
    console.log(`${name}: ${run.steps} steps, seeds ${run.seeds[0]} to ${run.seeds.at(-1)}, ${run.epochs} epochs, no divergence`);
    console.log(`  ${JSON.stringify(run.counts)}\n  ${JSON.stringify(run.contents)}`);
    if (run.lenient > 0) console.log(`  altered messages that ts-mls took in and our members refused: ${run.lenient}`);
  }
} catch (error) {
  if (!(error instanceof Divergence)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
