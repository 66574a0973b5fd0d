// The audit log as PROTOCOL.md describes it, read with node:crypto alone; what the operator's command says of it, and those who change it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { join } from 'node:path';
import { ON_POSTGRES, RELAY, b64u, postgres, sha256 } from './relay-client.mjs';

export const CALLS = ['', 'create clinic', 'enrol', 'read device', 'revoke', 'publish key packages', 'claim key packages', 'commit', 'message', 'inbox', 'invite',
    'list invitations', 'read invitation', 'withdraw', 'publish roster', 'read roster', 'read audit', 'client event', 'withdraw message', 'put blob', 'read blob', 'delete blob', 'put push', 'delete push'];
Object.assign(CALLS, { 32: 'set policy', 33: 'register verifier', 34: 'remove verifier', 35: 'reset verifiers', 36: 'begin session', 37: 'end session', 38: 'set retention', 128: 'restored' });
export const WHO = ['', 'device', 'invite', 'clinic', 'operator'];

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
    let last = 0;
    for (const entry of entries) {
        if (entry.call === 'restored') assert.deepEqual([entry.who, Number(entry.object.readBigUInt64BE()), entry.number > last], ['operator', last, true]);
        else assert.equal(entry.number, last + 1);
        assert.deepEqual(entry.previous, previous);
        previous = entry.hash;
        last = entry.number;
    }
    return entries;
}

export const checkpoint = async (device, number) => (await device.ask('GET', `/v1/audit/checkpoint${number === undefined ? '' : `?number=${number}`}`)).json;

export function signed(p, key) {
    const u64 = (v) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(v)); return b; };
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), Buffer.from(key, 'base64url')]);
    const content = Buffer.concat([Buffer.from('Sotto checkpoint 1'), Buffer.from(p.clinic, 'base64url'), u64(p.number), Buffer.from(p.hash, 'base64url'), u64(p.at)]);
    return verify(null, content, createPublicKey({ key: spki, format: 'der', type: 'spki' }), Buffer.from(p.signature, 'base64url'));
}

/** `audit verify`: { status, text, found: the kinds of faults }. */
export function audit(relay, ...more) {
    const { status, stdout, stderr } = spawnSync(RELAY, ['audit', 'verify', ...relay.database, ...more], { encoding: 'utf8' });
    return { status, text: stdout + stderr, found: [...new Set([...stdout.matchAll(/^\S{22} (\w+) at /gm)].map((m) => m[1]))] };
}

/** Statements of somebody who has the database; ? stands for a value. */
export function tamper(relay, ...statements) {
    if (ON_POSTGRES) {
        postgres.query(relay.database[1], statements.join(';'));
        return;
    }
    const { status, stderr, error } = spawnSync('sqlite3', ['-bail', '-cmd', '.timeout 5000', join(relay.folder, 'relay.db')], { input: `BEGIN;${statements.join(';')};COMMIT;`, encoding: 'utf8' });
    if (status !== 0) throw new Error(`sqlite3 failed: ${error?.message ?? stderr}`);
}
