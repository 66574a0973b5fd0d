// The audit log: what becomes an entry, that its chain and checkpoints verify with node:crypto alone, and that whatever somebody
// does to it in the database is found by `sotto-relay audit verify`, by name.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { codeOf } from './support/authenticator.mjs';
import { CALLS, WHO, audit, checkpoint, log, signed, tamper } from './support/audit-log.mjs';
import { CONTENT, Clinic, ON_POSTGRES, RIGHT, RelayProcess, b64u, enrol, exchange, postgres, privateMessage, problemName, register, sha256, sleep } from './support/relay-client.mjs';

const short = (e) => `${e.call} ${e.status}${e.problem && ` ${e.problem}`}`;
/** Bytes as a literal. */
const literal = (bytes) => (ON_POSTGRES ? `'\\x${bytes.toString('hex')}'::bytea` : `x'${bytes.toString('hex')}'`);

test('every access is an entry: who, what, when, from where and with what outcome', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff(), weak = await clinic.enrolStaff({ rights: 1 });
        const group = randomBytes(32), begun = Date.now();
        let n = (await log(staff)).length;
        /** What a piece of work added, without what reading the log adds. */
        const added = async (work) => {
            n = (await log(staff)).length;
            await work();
            return (await log(staff)).slice(n).filter((e) => e.call !== 'read audit');
        };
        const first = (await log(staff)).filter((e) => e.call !== 'read audit');
        assert.deepEqual(first.map(short), ['create clinic 201', 'enrol 201', 'enrol 201']);
        assert.deepEqual(first.map((e) => [e.who, e.keyid]), [['clinic', clinic.name], ['device', staff.keyid], ['device', weak.keyid]]);
        const [commit] = await added(() => staff.commit(group, 0, { added: [weak.keyid] }));
        assert.deepEqual([short(commit), commit.who, commit.keyid, commit.object, commit.network], ['commit 200', 'device', staff.keyid, group, Buffer.from([127, 0, 0])]);
        assert.ok(Math.abs(commit.at - begun) < 60_000);
        const [message, ...noMore] = await added(() => weak.message(group, privateMessage(group, 1, CONTENT.application)));
        assert.deepEqual([short(message), message.object, noMore], ['message 200', group, []]);
        // An inbox: what gives or takes is an access, looking in vain is none.
        assert.deepEqual((await added(() => weak.inbox(0))).map(short), ['inbox 200']);
        const { next } = (await weak.inbox(0)).json;
        assert.deepEqual((await added(() => weak.inbox(next))).map((e) => Number(e.object.readBigUInt64BE())), [next]);
        assert.deepEqual(await added(() => weak.inbox(next)), []);
        assert.deepEqual(await added(() => weak.inbox(next, { wait: 1 })), []);
        // A refusal undoes what it changed, and not its entry.
        assert.deepEqual((await added(() => weak.message(group, privateMessage(group, 9, CONTENT.application)))).map(short), ['message 409 wrong-epoch']);
        assert.deepEqual((await added(() => weak.ask('PUT', '/v1/roster', { number: 1, roster: 'AAAA' }))).map(short), ['publish roster 403 forbidden']);
        assert.deepEqual((await added(() => weak.ask('PUT', '/v1/roster', '{'))).map(short), ['publish roster 400 malformed']);
        assert.equal(problemName(await weak.ask('GET', '/v1/audit')), 'forbidden');
        assert.equal(short((await log(staff)).at(-1)), 'read audit 200');
        assert.ok((await log(staff)).some((e) => short(e) === 'read audit 403 forbidden' && e.keyid === weak.keyid));
        // A wrong check, and an invite that reads.
        const invite = clinic.invite(staff), check = b64u(randomBytes(32));
        assert.deepEqual((await added(() => register(staff, invite, { check }))).map((e) => [short(e), b64u(e.object)]), [['invite 201', invite.id]]);
        assert.deepEqual((await added(() => invite.ask('GET', `/v1/invitations/${invite.id}`))).map((e) => [short(e), e.who, e.keyid]), [['read invitation 200', 'invite', invite.id]]);
        const patient = clinic.invited(invite);
        assert.deepEqual((await added(() => enrol(patient, { check: b64u(randomBytes(32)) }))).map((e) => [short(e), e.keyid]), [['enrol 403 wrong-check', patient.keyid]]);
        assert.deepEqual((await added(() => staff.ask('POST', '/v1/key-packages/claim', { devices: [weak.keyid] }))).map((e) => [short(e), b64u(e.object)]), [['claim key packages 200', weak.keyid]]);
        assert.deepEqual((await added(() => staff.ask('DELETE', `/v1/devices/${weak.keyid}`))).map((e) => [short(e), b64u(e.object)]), [['revoke 204', weak.keyid]]);
        assert.deepEqual((await added(() => weak.inbox(next))).map(short), ['inbox 403 revoked']);
        // Who can't sign for a device writes nothing; a replay is by the device's own signature.
        const nonce = b64u(randomBytes(16)), created = Math.floor(Date.now() / 1000);
        const replay = () => staff.ask('GET', '/v1/roster', undefined, { change: { nonce, created } });
        assert.deepEqual((await added(async () => { await replay(); await replay(); })).map(short), ['read roster 404 not-found', 'read roster 401 replayed']);
        assert.deepEqual(await added(() => staff.ask('GET', '/v1/roster', undefined, { key: weak.key })), []);
        assert.deepEqual(audit(relay).found, []);
        assert.equal(audit(relay).status, 0);
    } finally {
        await relay.stop();
    }
});

test('a client\'s own events are entries, once each', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff(), weak = await clinic.enrolStaff({ rights: 1 });
        const id = b64u(randomBytes(16)), sealed = randomBytes(4096), put = (more) => weak.ask('POST', '/v1/audit', { id, sealed: b64u(sealed), ...more });
        const made = await put();
        assert.equal(made.status, 201);
        const again = await put();
        assert.deepEqual([again.status, again.json], [200, made.json]);
        assert.equal(problemName(await put({ sealed: 'AAAA' })), 'id-reused');
        assert.equal(problemName(await put({ sealed: b64u(randomBytes(4097)) })), 'malformed');
        const entry = (await log(staff)).find((e) => e.number === made.json.number);
        assert.deepEqual([short(entry), entry.keyid, b64u(entry.object), entry.sealed], ['client event 201', weak.keyid, id, sealed]);
        assert.equal((await log(staff)).filter((e) => e.call === 'client event' && e.status < 400).length, 1);
    } finally {
        await relay.stop();
    }
});

test('sessions are entries with the verifier as object, and no secret of theirs is', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff(), other = await clinic.enrolStaff(), n = (await log(staff)).length;
        const { verifier, secret } = (await other.ask('POST', '/v1/verifiers', { method: 'totp' })).json;
        await other.ask('GET', '/v1/verifiers');
        await other.ask('POST', '/v1/session/challenge');
        const code = codeOf(Buffer.from(secret, 'base64url'), Date.now() / 1000);
        await other.ask('POST', '/v1/session', { method: 'totp', code: codeOf(randomBytes(20), 0) });
        await other.ask('POST', '/v1/session', { method: 'totp', code });
        await other.ask('PUT', '/v1/session');
        await other.ask('PUT', '/v1/policy', { staff: 'webauthn-or-totp', staff_idle_s: 900, staff_overall_s: 43200, patients: 'off', patient_idle_s: 1800, patient_overall_s: 86400 });
        await other.ask('DELETE', `/v1/verifiers/${verifier}`);
        await other.ask('DELETE', '/v1/session');
        await other.ask('GET', '/v1/roster');
        await staff.ask('POST', '/v1/verifiers', { method: 'totp' }).then(({ json }) => staff.ask('POST', '/v1/session', { method: 'totp', code: codeOf(Buffer.from(json.secret, 'base64url'), Date.now() / 1000) }));
        await staff.ask('DELETE', `/v1/devices/${other.keyid}/verifiers`);
        const entries = (await log(staff)).slice(n).filter((e) => e.call !== 'read audit'), own = entries.filter((e) => e.keyid === other.keyid);
        assert.deepEqual(own.map((e) => [short(e), b64u(e.object)]), [['register verifier 201', verifier], ['begin session 403 wrong-check', verifier], ['begin session 201', verifier],
            ['set policy 200', ''], ['remove verifier 204', verifier], ['end session 204', ''], ['read roster 401 step-up', '']]);
        assert.deepEqual(entries.slice(own.length).map((e) => short(e)), ['register verifier 201', 'begin session 201', 'reset verifiers 204']);
        assert.equal(b64u(entries.at(-1).object), other.keyid);
        const text = Buffer.concat((await staff.ask('GET', '/v1/audit')).json.entries.map((e) => Buffer.from(e, 'base64url')));
        for (const hidden of [Buffer.from(secret, 'base64url'), Buffer.from(code)]) assert.ok(!text.includes(hidden));
        assert.equal(audit(relay).status, 0);
    } finally {
        await relay.stop();
    }
});

test('checkpoints verify with the key in the description, are the same for all, and stay', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff(), other = await clinic.enrolStaff({ rights: 1 });
        const described = async () => (await exchange(`${relay.origin}/.well-known/sotto`)).json;
        const { audit_key: key, features } = await described();
        assert.ok(features.includes('audit'));
        const p = await checkpoint(staff);
        assert.equal(p.clinic, clinic.name);
        assert.ok(signed(p, key));
        assert.ok(!signed({ ...p, number: p.number + 1 }, key));
        assert.deepEqual(await checkpoint(other), p);
        assert.deepEqual(await checkpoint(other, p.number), p);
        assert.equal(b64u((await log(staff))[p.number - 1].hash), p.hash);
        assert.equal(problemName(await staff.ask('GET', '/v1/audit/checkpoint?number=999999')), 'not-found');
        const foreign = await (await Clinic.create(relay.origin)).enrolStaff();
        assert.notEqual((await checkpoint(foreign)).clinic, clinic.name);
        await relay.restart('SIGKILL');
        assert.equal((await described()).audit_key, key);
        assert.deepEqual(await checkpoint(staff, p.number), p);
        // A minute later, as far as the relay can tell.
        tamper(relay, 'UPDATE audit_heads SET signed_at = signed_at - 61000');
        const later = await checkpoint(staff);
        assert.ok(later.number > p.number && signed(later, key));
        assert.deepEqual(audit(relay).found, []);
    } finally {
        await relay.stop();
    }
});

test('whatever is done to the log in the database, audit verify names it', { timeout: 120_000 }, async (t) => {
    const FILL = 12;
    /** A log of a few entries, something done to it; verify before, and after. */
    const when = (name, change, found, { given } = {}) => t.test(name, async () => {
        const relay = await RelayProcess.start();
        try {
            const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff();
            for (let i = 0; i < FILL; i++) await staff.ask('GET', '/v1/roster');
            tamper(relay, 'UPDATE audit_heads SET signed_at = signed_at - 61000');
            const newest = await checkpoint(staff), entries = await log(staff);
            const good = join(relay.folder, 'good.json');
            writeFileSync(good, `${JSON.stringify(await checkpoint(staff))}\n`);
            const before = audit(relay, '--checkpoint', good);
            assert.deepEqual([before.status, before.found], [0, []], before.text);
            const file = join(relay.folder, 'given.json');
            writeFileSync(file, `${JSON.stringify(given ? given(newest) : newest)}\n`);
            tamper(relay, ...change({ entries, newest, last: entries.length }));
            const after = audit(relay, ...(given ? ['--checkpoint', file] : []), '--clinic', clinic.name);
            assert.deepEqual([after.status, after.found], [1, found], after.text);
            assert.equal(audit(relay, ...(given ? ['--checkpoint', file] : [])).status, 1);
        } finally {
            await relay.stop();
        }
    });
    await when('an entry deleted', () => ['DELETE FROM audit_entries WHERE number = 5'], ['deletion']);
    await when('the first ones deleted', () => ['DELETE FROM audit_entries WHERE number <= 3'], ['deletion']);
    const edited = (n) => ({ entries, last }) => {
        const number = n ?? last, { keyid } = entries[0];
        return [`UPDATE audit_entries SET entry = ${literal(rewritten(entries, number, Buffer.from(keyid, 'base64url')))} WHERE number = ${number}`];
    };
    await when('an entry edited', edited(6), ['edit']);
    await when('bytes that are no entry', () => [`UPDATE audit_entries SET entry = ${literal(randomBytes(40))} WHERE number = 6`], ['edit']);
    await when('the last entries cut off', ({ last }) => [`DELETE FROM audit_entries WHERE number > ${last - 1}`], ['truncation']);
    await when('cut off, and the end of the chain set back', ({ entries, newest }) => [`DELETE FROM audit_entries WHERE number > ${newest.number - 1}`,
        `UPDATE audit_heads SET number = ${newest.number - 1}, hash = ${literal(entries[newest.number - 2].hash)}`], ['truncation']);
    await when('cut off with its checkpoints, one of them is given', ({ entries, newest }) => [`DELETE FROM audit_entries WHERE number > 4`, 'DELETE FROM audit_checkpoints WHERE number > 4',
        `UPDATE audit_heads SET number = 4, hash = ${literal(entries[3].hash)}, signed_number = 1`], ['truncation'], { given: (p) => p });
    await when('two entries in each other\'s place', () => ['UPDATE audit_entries SET number = 1000 WHERE number = 5', 'UPDATE audit_entries SET number = 5 WHERE number = 6',
        'UPDATE audit_entries SET number = 6 WHERE number = 1000'], ['reorder']);
    await when('the whole chain made anew', ({ entries }) => anew(entries, 3), ['rewrite']);
    await when('made anew with the checkpoints gone, one of them is given', ({ entries }) => [...anew(entries, 3), 'DELETE FROM audit_checkpoints'], ['rewrite'], { given: (p) => p });
    await when('a checkpoint that is not the relay\'s', () => [`UPDATE audit_checkpoints SET hash = ${literal(randomBytes(32))}`], ['forgery', 'rewrite']);
});

/** The entry's bytes as PROTOCOL.md has them. */
function encode(e) {
    const u64 = (v) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(v)); return b; };
    const opaque = (b) => Buffer.concat([Buffer.from(b.length < 0x40 ? [b.length] : [0x40 | (b.length >> 8), b.length & 0xff]), b]);
    return Buffer.concat([u64(e.number), u64(e.at), Buffer.from([WHO.indexOf(e.who)]), Buffer.from(e.keyid, 'base64url'), Buffer.from([CALLS.indexOf(e.call)]), opaque(e.object),
        Buffer.from([e.status >> 8, e.status & 0xff]), opaque(Buffer.from(e.problem)), opaque(e.network), opaque(e.sealed), e.previous]);
}
const rewritten = (entries, number, keyid) => encode({ ...entries[number - 1], keyid: b64u(keyid), status: 299 });

/** Statements that change entry `from` and make everything after it fit, the end of the chain too: entries that came since are cut off. */
function anew(entries, from) {
    const statements = [`DELETE FROM audit_entries WHERE number > ${entries.length}`];
    let previous = entries[from - 2].hash;
    for (const e of entries.slice(from - 1)) {
        const bytes = encode({ ...e, previous, status: e.number === from ? 299 : e.status });
        statements.push(`UPDATE audit_entries SET entry = ${literal(bytes)} WHERE number = ${e.number}`);
        previous = sha256(Buffer.from('Sotto audit 1'), bytes);
    }
    return [...statements, `UPDATE audit_heads SET number = ${entries.length}, hash = ${literal(previous)}`];
}

test('two checkpoints with one number are a fork', async () => {
    const relay = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff();
        for (let i = 0; i < 3; i++) await staff.ask('GET', '/v1/roster');
        tamper(relay, 'UPDATE audit_heads SET signed_at = signed_at - 61000');
        const p = await checkpoint(staff), entries = await log(staff), file = join(relay.folder, 'given.json');
        // The relay itself signs another history: its log is changed behind its back, and a minute passes.
        const changed = entries.slice(0, p.number);
        tamper(relay, ...anew(changed, p.number).filter((s) => !s.startsWith('UPDATE audit_heads')), 'DELETE FROM audit_checkpoints',
            `UPDATE audit_heads SET number = ${p.number}, hash = ${literal(sha256(Buffer.from('Sotto audit 1'), encode({ ...changed.at(-1), status: 299 })))}, signed_number = 0, signed_at = 0`);
        const other = await checkpoint(staff);
        assert.equal(other.number, p.number);
        assert.notEqual(other.hash, p.hash);
        writeFileSync(file, `${JSON.stringify(p)}\n`);
        const one = audit(relay, '--checkpoint', file);
        assert.deepEqual([one.status, one.found.includes('fork')], [1, true], one.text);
        writeFileSync(file, `${JSON.stringify(p)}\n${JSON.stringify(other)}\n`);
        assert.ok(audit(relay, '--checkpoint', file).found.includes('fork'));
        assert.equal(audit(relay).status, 0); // by itself the new history holds: this is what gossip is for
        writeFileSync(file, `${JSON.stringify({ ...p, at: p.at + 1 })}\n`);
        assert.ok(audit(relay, '--checkpoint', file).found.includes('forgery'));
        writeFileSync(file, 'nonsense\n');
        assert.equal(audit(relay, '--checkpoint', file).status, 2);
        assert.equal(audit(relay, '--checkpoint', join(relay.folder, 'none')).status, 2);
    } finally {
        await relay.stop();
    }
});

test('kill -9 while many write leaves a whole chain, with an entry for all that was answered', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    let writing = true, answered = 0;
    try {
        const clinic = await Clinic.create(relay.origin), staff = await clinic.enrolStaff();
        const writers = await Promise.all(Array.from({ length: 5 }, () => clinic.enrolStaff()));
        const work = writers.map(async (w) => {
            while (writing) {
                try {
                    if ((await w.ask('GET', '/v1/roster')).status === 404) answered++;
                } catch { await sleep(20); }
            }
        });
        for (let i = 0; i < 5; i++) {
            await sleep(100 + Math.random() * 150);
            if (postgres !== undefined && i % 2 === 1) {
                await postgres.crash();
                await postgres.launch();
            } else {
                await relay.restart('SIGKILL');
            }
            let seen = audit(relay); // while it serves; 2: a database that was killed does not answer yet
            for (let tries = 0; seen.status === 2 && tries < 200; tries++) {
                await sleep(50);
                seen = audit(relay);
            }
            assert.equal(seen.status, 0, seen.text);
        }
        writing = false;
        await Promise.all(work);
        assert.ok(answered > 10);
        const noted = (await log(staff)).filter((e) => e.call === 'read roster').length;
        assert.ok(noted >= answered, `${noted} of ${answered}`);
    } finally {
        writing = false;
        await relay.stop();
    }
});

test('two relays on one database keep one chain', { skip: ON_POSTGRES ? false : 'it is for PostgreSQL', timeout: 60_000 }, async () => {
    const one = await RelayProcess.start(), two = await RelayProcess.beside(one);
    try {
        const clinic = await Clinic.create(one.origin), staff = await clinic.enrolStaff(), EACH = 40;
        const keys = await Promise.all([one, two].map(async (r) => (await exchange(`${r.origin}/.well-known/sotto`)).json.audit_key));
        assert.equal(keys[0], keys[1]);
        const writers = await Promise.all(Array.from({ length: 3 }, () => clinic.enrolStaff()));
        await Promise.all(writers.flatMap((w) => [w, w.at(two.origin)]).map(async (w) => {
            for (let i = 0; i < EACH; i++) assert.equal((await w.ask('GET', '/v1/roster')).status, 404);
        }));
        assert.equal((await log(staff)).filter((e) => e.call === 'read roster').length, EACH * 6);
        assert.deepEqual(await checkpoint(staff), await checkpoint(staff.at(two.origin)));
        assert.deepEqual(audit(one).found, []);
    } finally {
        await two.stop();
        await one.stop();
    }
});
