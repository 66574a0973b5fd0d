// The audit log as PROTOCOL.md describes it, read with node:crypto alone.
import assert from 'node:assert/strict';
import { b64u, sha256 } from './relay-client.mjs';

export const CALLS = ['', 'create clinic', 'enrol', 'read device', 'revoke', 'publish key packages', 'claim key packages', 'commit', 'message', 'inbox', 'invite',
    'list invitations', 'read invitation', 'withdraw', 'publish roster', 'read roster', 'read audit', 'client event', 'withdraw message', 'put blob', 'read blob', 'delete blob'];
export const WHO = ['', 'device', 'invite', 'clinic'];

/** The struct of PROTOCOL.md. */
function decode(text) {
    const bytes = Buffer.from(text, 'base64url');
    let at = 0;
    const take = (n) => bytes.subarray(at, (at += n));
    const opaque = () => {
        const first = take(1)[0];
        return take(first < 0x40 ? first : ((first & 0x3f) << 8) | take(1)[0]);
    };
    const entry = {
        number: Number(take(8).readBigUInt64BE()), at: Number(take(8).readBigUInt64BE()), who: WHO[take(1)[0]], keyid: b64u(take(16)), call: CALLS[take(1)[0]],
        object: opaque(), status: take(2).readUInt16BE(), problem: opaque().toString(), network: opaque(), sealed: opaque(), previous: take(32),
    };
    assert.equal(at, bytes.length);
    return { ...entry, hash: sha256(Buffer.from('Sotto audit 1'), bytes) };
}

/** The whole log as one who may read it gets it, its chain checked. */
export async function log(auditor, { limit = 7, most = 5000 } = {}) {
    const entries = [];
    for (let after = 0; ;) {
        const page = await auditor.ask('GET', `/v1/audit?after=${after}&limit=${limit}`);
        assert.equal(page.status, 200, JSON.stringify(page.json));
        if (page.json.entries.length === 0 || entries.length > most) break;
        entries.push(...page.json.entries.map(decode));
        assert.equal(page.json.next, entries.at(-1).number);
        after = page.json.next;
        if (page.json.entries.length < limit) break;
    }
    let previous = Buffer.alloc(32);
    for (const [i, entry] of entries.entries()) {
        assert.equal(entry.number, i + 1);
        assert.deepEqual(entry.previous, previous);
        previous = entry.hash;
    }
    return entries;
}
