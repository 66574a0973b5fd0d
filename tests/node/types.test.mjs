// The package's declarations, as a developer's TypeScript sees them: what is right compiles, what is wrong does not.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const skip = existsSync(`${root}/build/types/glue/node.d.mts`) ? false : 'build/types not built';

test('TypeScript against the package', { skip }, () => {
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'nodenext', '--types', 'node'];
  const tsc = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', ...options, 'tests/node/support/consumer.mts'], { cwd: root, encoding: 'utf8' });
  assert.equal(tsc.status, 0, tsc.stdout + tsc.stderr);
});
