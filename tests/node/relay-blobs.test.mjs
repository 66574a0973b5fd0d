// Blobs on our relay: quota, kill -9 within an upload, several relays. What any server must do is in tests/conformance/checks/blobs.mjs.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Clinic, ON_POSTGRES, RelayProcess, b64u, problemName } from './support/relay-client.mjs';

const KIB = 1024, MIB = 1024 * KIB;
const newId = () => b64u(randomBytes(32));
const put = (device, id, length, offset, piece) =>
    device.ask('PUT', `/v1/blobs/${id}?length=${length}&offset=${offset}`, piece, { headers: { 'content-type': 'application/octet-stream' } });
const get = (device, id, range) => device.ask('GET', `/v1/blobs/${id}`, undefined, { headers: range ? { range } : {} });

test('the quota counts whole lengths from the first piece on, and what is deleted is free again', async () => {
    const relay = await RelayProcess.start({ 'blob-quota': 2, 'blob-share': 100 });
    try {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), piece = randomBytes(64 * KIB);
        const [first, second, third] = [newId(), newId(), newId()];
        assert.equal((await put(device, first, 1.5 * MIB, 0, piece)).status, 200);
        const over = await put(device, second, 0.5 * MIB + 1, 0, piece);
        assert.deepEqual([over.status, problemName(over), over.json.limit], [413, 'over-quota', 2 * MIB]);
        assert.equal((await put(device, second, 0.5 * MIB, 0, piece)).status, 200);
        assert.equal(problemName(await put(device, third, 1, 0, piece.subarray(0, 1))), 'over-quota');
        // What was begun goes on, and it is the clinic's own quota.
        assert.equal((await put(device, first, 1.5 * MIB, piece.length, piece)).status, 200);
        const other = await (await Clinic.create(relay.origin)).enrolStaff();
        assert.equal((await put(other, third, 1, 0, piece.subarray(0, 1))).status, 200);
        assert.equal((await device.ask('DELETE', `/v1/blobs/${second}`)).status, 204);
        assert.equal((await put(device, third, 0.5 * MIB, 0, piece)).status, 200);
        const { blobs, blob_pieces: pieces } = relay.tables();
        assert.deepEqual([blobs.rows, pieces.rows], [3, 4]);
    } finally {
        await relay.stop();
    }
});

test('an upload goes on after kill -9 with every piece that was acknowledged; a large one does not grow the relay', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), id = newId();
        const bytes = randomBytes(24 * MIB + 5);
        let offset = 0;
        for (let n = 0; offset < bytes.length; n++) {
            const piece = bytes.subarray(offset, offset + MIB), answer = put(device, id, bytes.length, offset, piece);
            if (n % 6 === 5) {
                await Promise.allSettled([answer, relay.restart('SIGKILL')]);
                const state = (await device.ask('GET', `/v1/blobs/${id}/state`)).json;
                assert.ok(state.offset === offset || state.offset === offset + piece.length, `${state.offset} after ${offset}`);
                offset = state.offset;
            } else {
                offset = (await answer).json.offset;
            }
        }
        await relay.restart('SIGTERM');
        const parts = [];
        for (let at = 0; at < bytes.length; at += parts.at(-1).length) {
            const { status, bytes: part } = await get(device, id, `bytes=${at}-`);
            assert.equal(status, 206);
            parts.push(part);
        }
        assert.ok(Buffer.concat(parts).equals(bytes));
        // Eight readers at once hold an answer each.
        await Promise.all(Array.from({ length: 8 }, (_, i) => get(device, id, `bytes=${i * MIB}-`)));
        const [, peak] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${relay.child.pid}/status`, 'utf8'));
        assert.ok(Number(peak) < 160 * KIB, `${peak} KiB`);
    } finally {
        await relay.stop();
    }
});

test('pieces go to any relay', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL' }, async () => {
    const one = await RelayProcess.start(), two = await RelayProcess.beside(one);
    try {
        const clinic = await Clinic.create(one.origin), device = await clinic.enrolStaff(), id = newId(), bytes = randomBytes(512 * KIB);
        const at = [device, device.at(two.origin)];
        for (let offset = 0, i = 0; offset < bytes.length; offset += 64 * KIB, i++) {
            const answers = await Promise.all(at.map((d) => put(d, id, bytes.length, offset, bytes.subarray(offset, offset + 64 * KIB))));
            for (const { status, json } of answers) assert.deepEqual([status, json], [200, { offset: offset + 64 * KIB, length: bytes.length }]);
        }
        for (const d of at) assert.ok((await get(d, id)).bytes.equals(bytes));
    } finally {
        await two.stop();
        await one.stop();
    }
});
