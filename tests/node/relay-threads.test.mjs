// Everything at once, as nothing else asks for it: while batches are under way, connections come and break off, probes and metrics are
// asked for, devices are revoked, streams begin, signals arrive. Made for the relay that ThreadSanitizer watches; what was taken is there on any.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CONTENT, Clinic, RelayProcess, exchange, privateMessage, sleep } from './support/relay-client.mjs';

const WRITERS = 16, EACH = 12;

test('writers, readers, streams, probes, broken connections and signals at once: what was taken is there, in order', { timeout: 120_000 }, async () => {
    const relay = await RelayProcess.start({ metrics: '0' });
    try {
        const metrics = `http://127.0.0.1:${/event=metrics port=(\d+)/.exec(relay.log)[1]}/metrics`;
        const clinic = await Clinic.create(relay.origin), lead = await clinic.enrolStaff();
        const writers = await Promise.all(Array.from({ length: WRITERS }, () => clinic.enrolStaff({ rights: 1 })));
        const group = randomBytes(32), message = () => privateMessage(group, 1, CONTENT.application);
        const start = (await lead.commit(group, 0, { added: writers.map((w) => w.keyid) })).json.seq;
        let writing = true;
        const until = async (act) => {
            while (writing) await act();
        };
        const taken = [];
        const written = Promise.all(writers.map(async (writer) => {
            for (let i = 0; i < EACH; i++) {
                const answer = await writer.message(group, message());
                assert.equal(answer.status, 200);
                taken.push(answer.json.seq);
            }
        })).finally(() => (writing = false));
        await Promise.all([
            written,
            // A wait that a message ends; a stream, broken off.
            ...writers.slice(0, 4).map((reader) => until(() => reader.inbox(start + taken.length, { wait: 1 }))),
            ...writers.slice(4, 6).map((reader) => until(() => reader.ask('GET', `/v1/inbox?after=${start}`,
                undefined, { headers: { accept: 'text/event-stream' }, signal: AbortSignal.timeout(30) }).catch(() => undefined))),
            // Requests whose connection is gone before the answer; they are not counted as taken.
            until(async () => {
                await Promise.allSettled(writers.slice(0, 4).map((w) => w.ask('GET', `/v1/inbox?after=0`, undefined, { signal: AbortSignal.timeout(3) })));
            }),
            until(async () => {
                const [ready, health, counted] = await Promise.all([exchange(`${relay.origin}/readyz`), exchange(`${relay.origin}/healthz`), exchange(metrics)]);
                assert.deepEqual([ready.status, health.status, counted.status], [200, 200, 200]);
            }),
            // What others remember of the clinic changes.
            until(async () => {
                const device = await clinic.enrolStaff({ rights: 1 });
                assert.equal(device.answer.status, 201);
                assert.equal((await lead.ask('DELETE', `/v1/devices/${device.keyid}`)).status, 204);
            }),
            until(async () => {
                relay.child.kill('SIGHUP');
                await sleep(10);
            }),
        ]);
        const got = [];
        for (let after = start; ;) {
            const { events, next } = (await lead.inbox(after)).json;
            if (events.length === 0) break;
            got.push(...events.filter((e) => e.kind === 'message').map((e) => e.seq));
            after = next;
        }
        assert.deepEqual(got, taken.sort((a, b) => a - b));
        assert.equal(got.length, WRITERS * EACH);
        // A stop amid requests.
        const last = Promise.allSettled(writers.map((w) => w.message(group, message())));
        await relay.kill('SIGTERM');
        await last;
        assert.equal((await relay.ended).code, 0, relay.log);
    } finally {
        await relay.stop();
    }
});
