// The C test of the schema's migrations (tests/unit/relay_schema_test.c) over a real PostgreSQL; over SQLite it runs by itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ON_POSTGRES, postgres } from './support/relay-client.mjs';

const PROGRAM = fileURLToPath(new URL('../../build/tests/relay_schema', import.meta.url));
const SKIP = !ON_POSTGRES ? 'it is for PostgreSQL' : existsSync(PROGRAM) ? false : 'build/tests/relay_schema not built';

test('a database of every released schema is brought up to date, its rows kept', { skip: SKIP }, () => {
    const { status, stdout, stderr } = spawnSync(PROGRAM, [], { encoding: 'utf8', env: { ...process.env, SOTTO_SCHEMA_DATABASE: postgres.database() } });
    assert.equal(status, 0, stdout + stderr);
    assert.doesNotMatch(stdout + stderr, /SKIPPED/);
});
