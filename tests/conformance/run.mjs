#!/usr/bin/env node
// run.mjs URL [--clinic-key FILE] [--only REGEXP] [--list]: tests a server by its URL. Exit status 1 when a check failed.
import { readFileSync } from 'node:fs';
import { runSuite } from './suite.mjs';
import { report } from './report.mjs';

const args = process.argv.slice(2);
/** @param {string} name */
const option = (name) => {
  const at = args.indexOf(name);
  return at < 0 ? undefined : args.splice(at, 2)[1];
};
const keyFile = option('--clinic-key') ?? process.env.SOTTO_CLINIC_KEY;
const only = option('--only');
const [url] = args;
if (url === undefined || args.length !== 1 || !/^https?:\/\//.test(url)) {
  console.error('usage: run.mjs http[s]://SERVER [--clinic-key FILE] [--only REGEXP]\n\n  --clinic-key FILE   the 32-byte Ed25519 seed of a known clinic\'s root key in base64url, for a server that is closed to new clinics\n  --only REGEXP       checks whose "group: name" matches');
  process.exit(2);
}
try {
  const clinicSeed = keyFile === undefined ? undefined : Buffer.from(readFileSync(keyFile, 'utf8').trim(), 'base64url');
  if (clinicSeed !== undefined && clinicSeed.length !== 32) throw new Error(`${keyFile} holds no 32 bytes in base64url`);
  const outcome = await runSuite(url, {
    clinicSeed,
    only: only === undefined ? undefined : new RegExp(only),
    onResult: ({ state, group, name, why, ms }) => {
      console.log(`${state === 'passed' ? 'ok  ' : state === 'failed' ? 'FAIL' : 'skip'}  ${group}: ${name}${state === 'passed' ? ` (${ms} ms)` : ''}`);
      if (why !== '') console.log(why.replace(/^/gm, '        '));
    },
  });
  console.log(report(outcome));
  process.exit(outcome.results.some((r) => r.state === 'failed') ? 1 : 0);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
