// consumer.mts: what a developer writes in TypeScript against the package. Compiled by types.test.mjs, never run.
import { Sotto, SottoError } from 'sotto';

const sotto: Sotto = await Sotto.open({ store: './reception', pin: '1234' });
const { name, kind } = await sotto.call('me');
const title: string = name;
const isPatient: boolean = kind === 'patient';
const off: () => void = sotto.on('message', ({ conversation, message }) => console.log(conversation?.length, message?.length));
const { message } = await sotto.call('message.send', { conversation: '1', text: 'hello' });
const { state } = await sotto.reached(message, 'sent', { timeout: 1000 });
const found = await sotto.when(async () => (await sotto.call('conversation.list')).find((c) => c.title === title));
const unread: number = found.unread;
const failed: string[] = (await sotto.settled()).map((m) => m.id);
off();
const { alarms, checkpoint } = await sotto.call('audit.status');
const fork: boolean = alarms.some((a) => a.fault === 'fork' && a.kept !== a.other);
sotto.on('audit', async ({ code }) => code === 'page' && console.log((await sotto.call('audit.page')).entries.map((e) => e.call), fork, checkpoint));
await sotto.call('audit.walk', { after: '0' });

// @ts-expect-error: no such fault
alarms.find((a) => a.fault === 'spoon');
// @ts-expect-error: no such command
await sotto.call('message.sned', { conversation: '1', text: 'hello' });
// @ts-expect-error: an argument of another type
await sotto.call('message.send', { conversation: 1, text: 'hello' });
// @ts-expect-error: no such event
sotto.on('massage', () => {});
// @ts-expect-error: no such state
if (state === 'lost') console.log(isPatient, unread, failed);

export const code = (error: unknown): string => (error instanceof SottoError ? error.code : 'none');
