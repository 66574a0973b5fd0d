// More requests than the relay takes: the rest are refused plainly and at once, nothing that was accepted is lost, nothing that was refused
// happened, and afterwards all are served.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:http';
import { test } from 'node:test';
import { CONTENT, Clinic, RELAY, RelayProcess, b64u, exchange, privateMessage, problemName } from './support/relay-client.mjs';

const SENDERS = 40, ROUNDS_MAX = 100;

async function refusedSoFar(relay) {
    const page = await exchange(`http://127.0.0.1:${/event=metrics port=(\d+)/.exec(relay.log)[1]}/metrics`);
    return Number(/^sotto_overload_refused_total (\d+)$/m.exec(page.bytes.toString())[1]);
}

/** The ids of all messages after `after`, in order, and where to go on. */
async function readAfter(party, after) {
    const ids = [];
    for (;;) {
        const { status, json } = await party.inbox(after, { limit: 256 });
        assert.equal(status, 200);
        if (json.events.length === 0) return { ids, after };
        ids.push(...json.events.filter((e) => e.kind === 'message').map((e) => e.id));
        after = json.next;
    }
}

test('of more requests than may wait some are refused, all others are kept, and the refused ones are served later', async () => {
    const relay = await RelayProcess.start({ queue: 4, metrics: 0 });
    const agents = Array.from({ length: SENDERS }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
    try {
        const clinic = await Clinic.create(relay.origin);
        const [reader, sender] = [await clinic.enrolStaff(), await clinic.enrolStaff()];
        const group = randomBytes(32);
        const { seq } = (await sender.commit(group, 0, { added: [reader.keyid] })).json;
        assert.equal(await refusedSoFar(relay), 0, 'one request at a time is never too many');
        // Somebody who waits does not stand in the way, is not refused while he waits, and hears of the first message.
        const wait = reader.inbox(seq + 1, { wait: 25 });

        const accepted = new Map(), refused = new Map();
        for (let round = 0; round < ROUNDS_MAX && (refused.size < SENDERS || accepted.size < SENDERS); round++) {
            const answers = await Promise.all(
                agents.map(async (agent) => {
                    const id = b64u(randomBytes(16)), content = privateMessage(group, 1, CONTENT.application, 1000);
                    return { id, content, answer: await sender.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${id}`, content, { agent }) };
                }),
            );
            for (const { id, content, answer } of answers) {
                if (answer.status === 200) {
                    accepted.set(id, answer.json.seq);
                    continue;
                }
                assert.equal(answer.status, 503);
                assert.equal(problemName(answer), 'unavailable');
                assert.match(answer.headers['retry-after'], /^[1-4]$/);
                assert.notEqual(answer.headers.connection, 'close', 'the connection can be used again');
                refused.set(id, content);
            }
        }
        assert.ok(refused.size >= SENDERS, `only ${refused.size} of ${refused.size + accepted.size} were refused`);
        assert.ok(accepted.size >= SENDERS, `only ${accepted.size} of ${refused.size + accepted.size} were accepted`);
        const counted = await refusedSoFar(relay), heard = await wait;
        assert.equal(counted, refused.size, 'the operator sees each');
        assert.equal(heard.status, 200);
        assert.ok(heard.json.events.length > 0);

        const inOrder = [...accepted].sort((a, b) => a[1] - b[1]).map(([id]) => id);
        const first = await readAfter(reader, seq + 1);
        assert.deepEqual(first.ids, inOrder, 'what was accepted arrived, once and in order, and nothing else');

        for (const [id, content] of refused) assert.equal((await sender.message(group, content, { id })).status, 200);
        assert.deepEqual((await readAfter(reader, first.after)).ids, [...refused.keys()], 'and these arrive as they were sent again');
        assert.equal(await refusedSoFar(relay), counted, 'and no more were refused');
    } finally {
        for (const agent of agents) agent.destroy();
        await relay.stop();
    }
});

test('a wrong length of the queue is refused', () => {
    for (const wrong of ['0', '-1', 'many', '', '1e3']) assert.equal(spawnSync(RELAY, ['serve', '--data', '/nonexistent', '--queue', wrong]).status, 2, wrong);
});
