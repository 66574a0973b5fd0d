// What tests of failing have in common: a conversation on a relay, and asking until it is as it should be.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { CONTENT, Clinic, RelayProcess, privateMessage, problemName, sleep } from './relay-client.mjs';

/** Runs `body` with a relay and ends it. */
export async function withRelay(options, body) {
    const relay = await RelayProcess.start(options);
    try {
        return await body(relay);
    } finally {
        await relay.stop();
    }
}
/** Asks until the answer is as wanted; a wrong one for a minute fails, so that it ends at all. */
export async function until(ask, wanted) {
    const end = Date.now() + 60_000;
    for (;;) {
        const answer = await ask().catch((error) => error);
        if (wanted(answer)) return answer;
        assert.ok(Date.now() < end, `still ${answer.status ?? answer}`);
        await sleep(50);
    }
}
export async function conversation(relay) {
    const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff({ rights: 1 }), reader = await clinic.enrolStaff({ rights: 1 });
    const group = randomBytes(32);
    await device.commit(group, 0, { added: [reader.keyid] });
    const seq = (await reader.inbox(0)).json.next;
    return { clinic, device, reader, group, seq, say: (size = 100) => device.message(group, privateMessage(group, 1, CONTENT.application, size)) };
}
/** Every message's number in the reader's inbox after `from`. */
export async function inboxOf(reader, from) {
    const seen = [];
    for (let next = from;;) {
        const page = (await reader.inbox(next, { limit: 256 })).json;
        if (page.events.length === 0) return seen;
        seen.push(...page.events.map((e) => e.seq));
        next = page.next;
    }
}

export const isUnavailable = (answer) => answer.status === 503;
export function checkUnavailable(answer) {
    assert.equal([answer.status, problemName(answer)].join(' '), '503 unavailable');
    assert.match(answer.headers['retry-after'], /^\d+$/);
}
