// member.mjs: a process that opens an account, does something with it, says each thing it was told on stdout, and can kill
// itself at a given step of the host loop. For kill.test.mjs. Its one argument is JSON:
//
//     { store, pin, task: 'send', conversation, texts: [...] } | { store, pin, task: 'receive', quiet: ms }
//     killAt: n    SIGKILL itself at step n, counted from 1, of those that come after the account was unlocked
import { writeSync } from 'node:fs';
import { Sotto } from '../../../glue/node.mjs';

const { store, pin, task, conversation, texts = [], killAt = 0 } = JSON.parse(process.argv[2] ?? '{}');

/** Written before anything else can happen. @param {string[]} words */
const say = (...words) => writeSync(1, `${words.join('\t')}\n`);

let steps = 0;
let counting = false;
/** @param {string} step */
const trace = (step) => {
  if (!counting) return;
  steps += 1;
  if (steps !== killAt) return;
  say('killed at', String(steps), step.split('?')[0] ?? '');
  process.kill(process.pid, 'SIGKILL');
  // The signal is delivered before the next step: nothing runs after it.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};

const sotto = await Sotto.open({ store, trace });
counting = true;
await sotto.call('account.unlock', { pin });
let last = Promise.resolve();
sotto.on('message', ({ message }) => {
  if (message === undefined) return;
  last = last
    .then(async () => {
      const { state, text } = await sotto.call('message.get', { message });
      say(state, message, text);
    })
    .catch(() => {});
});
if (task === 'send') {
  for (const text of texts) {
    const { message } = await sotto.call('message.send', { conversation, text });
    say('queued', message, text);
  }
  await sotto.settled();
}
await sotto.caughtUp({ timeout: 15_000 });
await last;
await sotto.close();
say('done', String(steps), '');
