// run.mjs PROGRAM: runs the program under valgrind's memcheck and passes on its TAP; what memcheck said of a path that failed
// stands below it. All of it is in PROGRAM.log.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [program] = process.argv.slice(2);
if (program === undefined) throw new Error('usage: run.mjs PROGRAM');
if (spawnSync('valgrind', ['--version']).error !== undefined) {
  console.log('ok 1 - ctcheck # SKIP no valgrind here\n1..1');
  process.exit(0);
}
const log = `${program}.log`;
const options = ['-q', '--error-limit=no', '--num-callers=16', '--suppressions=tests/ctcheck/sodium.supp', `--log-file=${log}`];
const { stdout, status } = spawnSync('valgrind', [...options, program], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});

/** What was reported during each path: the log has a line `-- NAME` where one begins. */
const reports = new Map(
  readFileSync(log, 'utf8')
    .replace(/^(==|\*\*)\d+\1 ?/gm, '')
    .split(/^-- /m)
    .map((part) => {
      const end = part.indexOf('\n');
      return [part.slice(0, end), part.slice(end + 1)];
    }),
);
for (const line of stdout.split('\n')) {
  console.log(line);
  const failed = /^not ok \d+ - (.*)$/.exec(line);
  // memcheck reports a place once, under the path that came there first.
  if (failed !== null) console.log(`# ${(reports.get(failed[1] ?? '') || `see ${log}`).trim().split('\n').slice(0, 60).join('\n# ')}`);
}
process.exit(status ?? 1);
