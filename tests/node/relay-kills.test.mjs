// Nothing acknowledged is lost, nothing is there twice, order is kept, whatever is killed and whenever. ROUNDS and SEED make it long and
// repeatable: `make kills`.
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { killRounds } from './support/kill-rounds.mjs';
import { ON_POSTGRES } from './support/relay-client.mjs';
import { NO_TRACER } from './support/tracer.mjs';

const ROUNDS = Number(process.env.ROUNDS || 8), SEED = Number(process.env.SEED || randomInt(2 ** 31));
/** Only so that it ends at all. */
const TIMEOUT = 120_000 + ROUNDS * 30_000;

test('32 clients write while relay and database are killed', { timeout: TIMEOUT }, async () => {
    console.log(`# ${await killRounds({ rounds: ROUNDS, seed: SEED })}`);
});

test('and as they enter a system call: within a write, before a flush, between storing and answering', { skip: NO_TRACER, timeout: TIMEOUT }, async () => {
    console.log(`# ${await killRounds({ rounds: ROUNDS, seed: SEED, points: true })}`);
});

test('and through two relays on one database, killed in turn', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL', timeout: TIMEOUT }, async () => {
    console.log(`# ${await killRounds({ rounds: ROUNDS, seed: SEED, relays: 2 })}`);
});
