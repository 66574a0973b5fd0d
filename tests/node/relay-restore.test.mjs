// A database put back from an older copy: what came after the copy is gone, but no number is given a second time, no client loses what
// comes after by a cursor from before, no key package is given twice, and the audit log says what happened.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { audit, checkpoint, log, signed, tamper } from './support/audit-log.mjs';
import { CONTENT, Clinic, ON_POSTGRES, RELAY, RelayProcess, b64u, exchange, postgres, privateMessage, problemName } from './support/relay-client.mjs';

function ran(...args) {
    const { status, stderr } = spawnSync(RELAY, args, { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
}

/** A copy of the relay's database, and how it is put back: `sotto-relay backup` and `restore`, or PostgreSQL's own tools. */
function copy(relay) {
    const file = join(relay.folder, 'copy');
    if (ON_POSTGRES) postgres.dump(relay.database[1], file);
    else ran('backup', '--data', relay.folder, '--to', file);
    return async () => {
        await relay.kill();
        if (ON_POSTGRES) {
            postgres.putBack(relay.database[1], file);
            ran('restore', ...relay.database);
        } else {
            ran('restore', '--data', relay.folder, '--from', file, '--force');
        }
        await relay.launch();
    };
}

async function scene(relay) {
    const clinic = await Clinic.create(relay.origin), [writer, fast, slow] = await Promise.all([1, 2, 3].map(() => clinic.enrolStaff()));
    const group = randomBytes(32), { json } = await writer.commit(group, 0, { added: [fast.keyid, slow.keyid] });
    const say = async () => {
        const bytes = privateMessage(group, 1, CONTENT.application), answer = await writer.message(group, bytes);
        assert.equal(answer.status, 200, JSON.stringify(answer.json));
        return { seq: answer.json.seq, data: b64u(bytes) };
    };
    const messages = async (device, after) => {
        const answer = await device.inbox(after, { limit: 256 });
        assert.equal(answer.status, 200, JSON.stringify(answer.json));
        return answer.json.events.filter((e) => e.kind === 'message').map(({ seq, data }) => ({ seq, data }));
    };
    return { clinic, writer, fast, slow, begin: json.seq + 1, say, messages };
}
const several = async (n, make) => {
    const made = [];
    for (let i = 0; i < n; i++) made.push(await make());
    return made;
};

test('numbers go on above all that were given: a cursor from before loses nothing', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start();
    try {
        const { fast, slow, begin, say, messages } = await scene(relay);
        const kept = await several(3, say), restore = copy(relay), lost = await several(4, say), last = lost.at(-1).seq;
        assert.deepEqual(await messages(fast, begin), [...kept, ...lost]);
        await messages(fast, last); // it has them all, and says so
        await restore();
        // More than were lost, so that numbers that go on from the copy's would reach beyond the fast one's cursor.
        const later = await several(9, say);
        assert.ok(later[0].seq > last);
        assert.deepEqual(await messages(fast, last), later, 'from where it was');
        assert.deepEqual(await messages(slow, begin), [...kept, ...later], 'as if it had never been away');
        assert.equal(problemName(await fast.inbox(later.at(-1).seq + 1)), 'malformed');
        // The same copy once more.
        await restore();
        const again = await say();
        assert.ok(again.seq > later.at(-1).seq && Number.isSafeInteger(again.seq));
        assert.deepEqual(await messages(fast, later.at(-1).seq), [again]);
    } finally {
        await relay.stop();
    }
});

test('a key package that was claimed after the copy was made is not given again', async () => {
    const relay = await RelayProcess.start();
    try {
        const { writer, fast } = await scene(relay);
        const packages = await several(4, async () => b64u(randomBytes(50))), lastResort = b64u(randomBytes(50));
        await fast.ask('PUT', '/v1/key-packages', { key_packages: packages, last_resort: lastResort });
        const restore = copy(relay), claim = async () => (await writer.ask('POST', '/v1/key-packages/claim', { devices: [fast.keyid] })).json.key_packages[0]?.key_package;
        assert.equal(await claim(), packages[0]);
        await restore();
        assert.equal((await fast.ask('GET', '/v1/key-packages')).json.count, 0, 'so that its device publishes others');
        assert.equal(await claim(), lastResort);
        await fast.ask('PUT', '/v1/key-packages', { key_packages: [packages[0], 'AAAA'] });
        assert.equal(await claim(), 'AAAA');
    } finally {
        await relay.stop();
    }
});

test('the audit log says that it was restored, and from where; a checkpoint of what is gone stays proof of that', { timeout: 60_000 }, async () => {
    const relay = await RelayProcess.start(), aMinuteLater = () => tamper(relay, 'UPDATE audit_heads SET signed_at = signed_at - 61000');
    try {
        const { clinic, writer, say } = await scene(relay), key = (await exchange(`${relay.origin}/.well-known/sotto`)).json.audit_key;
        aMinuteLater();
        const old = await checkpoint(writer), before = await log(writer), restore = copy(relay);
        await several(5, say);
        aMinuteLater();
        const seen = await checkpoint(writer), file = join(relay.folder, 'seen');
        assert.ok(seen.number > old.number);
        writeFileSync(file, `${JSON.stringify(seen)}\n`);
        assert.equal(audit(relay, '--checkpoint', file).status, 0);
        await restore();
        await say();
        const after = await log(writer), mark = after.find((e) => e.call === 'restored');
        // The log ended one entry after what was read of it: with that reading itself.
        assert.equal(Number(mark.object.readBigUInt64BE()), before.at(-1).number + 1);
        assert.deepEqual([mark.keyid, mark.status, mark.network.length], [clinic.name, 200, 0]);
        assert.ok(mark.number > seen.number, 'no number is given twice in the log, too');
        assert.deepEqual(after.slice(0, before.length), before);
        // Of honest servers no two checkpoints have one number; the one that is gone is not given, and the newest is of after.
        const newest = await checkpoint(writer);
        assert.ok(newest.number >= mark.number && signed(newest, key));
        assert.equal(problemName(await writer.ask('GET', `/v1/audit/checkpoint?number=${seen.number}`)), 'not-found');
        assert.deepEqual(await checkpoint(writer, old.number), old);
        // The operator's command: whole, with a remark; not so to one who holds a checkpoint of what is gone.
        const whole = audit(relay);
        assert.deepEqual([whole.status, whole.found], [0, ['restored']], whole.text);
        const cut = audit(relay, '--checkpoint', file);
        assert.deepEqual([cut.status, cut.found], [1, ['restored', 'truncation']], cut.text);
        // Nobody hides a cut behind it, nor a deletion.
        const bytes = (text) => { const hex = Buffer.from(text, 'base64url').toString('hex'); return ON_POSTGRES ? `'\\x${hex}'::bytea` : `x'${hex}'`; };
        tamper(relay, `INSERT INTO audit_checkpoints (clinic, number, hash, at, signature) VALUES (${bytes(seen.clinic)}, ${seen.number}, ${bytes(seen.hash)}, ${seen.at}, ${bytes(seen.signature)})`);
        assert.deepEqual([audit(relay).status, audit(relay).found], [1, ['restored', 'truncation']]);
        tamper(relay, `DELETE FROM audit_checkpoints WHERE number = ${seen.number}`);
        tamper(relay, `DELETE FROM audit_entries WHERE number = ${before.length + 1}`);
        assert.deepEqual([audit(relay).status, audit(relay).found], [1, ['deletion']]);
    } finally {
        await relay.stop();
    }
});
