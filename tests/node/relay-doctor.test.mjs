// sotto-relay doctor: a fault that is made on purpose is named in plain words, and the exit status says so.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CONTENT, Clinic, ON_POSTGRES, RELAY, RelayProcess, b64u, postgres, privateMessage } from './support/relay-client.mjs';

let relay, staff, group;

/** Its outcome: exit status, verdicts, words. */
function doctor(...options) {
    const { status, stdout, stderr } = spawnSync(RELAY, ['doctor', ...relay.database, ...options], { encoding: 'utf8' });
    const lines = stdout.trim().split('\n');
    assert.equal(lines.length, 1, 'one JSON object');
    return { status, ...JSON.parse(stdout), words: stderr };
}

function change(sql) {
    if (postgres) return postgres.query(relay.database[1], sql);
    const { status, stderr } = spawnSync('sqlite3', [join(relay.folder, 'relay.db'), sql], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
}
const bytes = (hex) => (ON_POSTGRES ? `'\\x${hex}'` : `x'${hex}'`);

before(async () => {
    relay = await RelayProcess.start();
    const clinic = await Clinic.create(relay.origin);
    staff = await clinic.enrolStaff();
    const other = await clinic.enrolStaff({ rights: 1 });
    group = randomBytes(32);
    await staff.commit(group, 0, { added: [other.keyid] });
    await staff.message(group, privateMessage(group, 1, CONTENT.application));
    await staff.ask('GET', '/v1/audit/checkpoint');
    const blob = await staff.ask('PUT', `/v1/blobs/${b64u(randomBytes(32))}?length=5&offset=0`, Buffer.from('hello'), { headers: { 'content-type': 'application/octet-stream' } });
    assert.equal(blob.status, 200);
});
after(() => relay.stop());

test('a relay that is well, also while it serves', () => {
    const { status, checks, tables, words } = doctor();
    assert.equal(status, 0, words);
    const { clock, disk, ...rest } = checks; // these are the machine's, not ours
    assert.ok(clock !== 'fault');
    if (!ON_POSTGRES) assert.ok(disk !== undefined);
    assert.deepEqual(rest, { ...(ON_POSTGRES ? {} : { permissions: 'ok' }), version: 'ok', storage: 'ok', consistency: 'ok', time: 'ok', audit: 'ok' });
    assert.equal(tables.devices.rows, 2);
    assert.match(words, /^ok +consistency: inboxes, events and attachments fit together$/m);
});

const FAULTS = [
    ['an inbox without its event', 'consistency', /entries of inboxes have no event/, 'DELETE FROM events WHERE kind = 1'],
    ['a wrong count of those who wait', 'consistency', /counted wrongly/, 'UPDATE events SET waiting = waiting + 1 WHERE kind = 2'],
    ['numbers that were not given out', 'consistency', /not given out/, 'UPDATE clinics SET seq = 1'],
    ['a piece of an attachment that is gone', 'consistency', /attachments have other sizes/, 'DELETE FROM blob_pieces'],
    ['a log that was cut', 'audit', /audit verify/, 'DELETE FROM audit_entries WHERE number = (SELECT MAX(number) FROM audit_entries)'],
    ['a checkpoint that was changed', 'audit', /audit verify/, `UPDATE audit_checkpoints SET signature = ${bytes('00'.repeat(64))}`],
    ['a clock that went back', 'time', /ahead of this machine's clock/, 'UPDATE audit_heads SET signed_at = signed_at + 9000000'],
];

for (const [name, check, says, sql] of FAULTS) {
    test(`${name} is found`, () => {
        // Undone by what stood there: each fault alone.
        const table = /(?:FROM|UPDATE) (\w+)/.exec(sql)?.[1];
        change(`CREATE TABLE kept AS SELECT * FROM ${table}`);
        try {
            change(sql);
            const { status, checks, words } = doctor();
            assert.equal(status, 1);
            assert.equal(checks[check], 'fault');
            assert.match(words, says);
        } finally {
            change(`DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM kept; DROP TABLE kept`);
        }
        assert.equal(doctor().status, 0);
    });
}

test('files open to others, and a directory that is not there', { skip: ON_POSTGRES && 'it is about the data directory' }, () => {
    const file = join(relay.folder, 'relay.db'), mode = statSync(file).mode & 0o777;
    chmodSync(file, 0o644);
    const found = doctor();
    assert.equal(found.status, 1);
    assert.match(found.words, /^fault +permissions: relay\.db is open to other users/m);
    chmodSync(file, mode);
    const { status, stdout, stderr } = spawnSync(RELAY, ['doctor', '--data', join(relay.folder, 'nowhere')], { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /^fault +permissions: the data directory can't be looked at: No such file/m);
    assert.equal(JSON.parse(stdout).checks.database, 'fault');
});

test('certificates: expired, soon to be, of another key, unreadable', { skip: spawnSync('openssl', ['version']).status !== 0 && 'there is no openssl' }, () => {
    const at = (name) => join(relay.folder, name);
    const make = (name, days) => spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=relay.example', '-days', String(days),
        '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`)]);
    make('good', 90);
    make('soon', 5);
    const look = (certificate, key) => {
        const { status, checks, words } = doctor('--tls-cert', at(certificate), '--tls-key', at(key));
        return [status, checks.tls, /tls: (.*)/.exec(words.replace(/^time=.*\n/gm, ''))?.[1]];
    };
    assert.deepEqual(look('good.pem', 'good.key').slice(0, 2), [0, 'ok']);
    const soon = look('soon.pem', 'soon.key');
    assert.deepEqual(soon.slice(0, 2), [0, 'warning']);
    assert.match(String(soon[2]), /good for [45] days/);
    assert.deepEqual(look('good.pem', 'soon.key').slice(0, 2), [1, 'fault']);
    writeFileSync(at('bad.pem'), 'nothing');
    assert.deepEqual(look('bad.pem', 'good.key').slice(0, 2), [1, 'fault']);
});

test('an older version, a newer one, and a damaged file', async () => {
    const to = (version) => change(ON_POSTGRES ? `UPDATE schema_version SET version = ${version}` : `PRAGMA user_version = ${version}`);
    const { schema } = doctor();
    await relay.kill('SIGTERM');
    to(schema - 1);
    assert.match(doctor().words, /^fault +version: the database is of an older version: sotto-relay init/m);
    to(schema + 1);
    const newer = doctor();
    assert.equal(newer.status, 1);
    assert.equal(newer.checks.version, 'fault');
    to(schema);
    if (!ON_POSTGRES) {
        const file = join(relay.folder, 'relay.db'), f = openSync(file, 'r+');
        const size = statSync(file).size;
        for (let page = 3; page * 4096 < size; page += 2) writeSync(f, randomBytes(600), 0, 600, page * 4096);
        closeSync(f);
        const { status, checks, words } = doctor();
        assert.equal(status, 1);
        assert.ok(checks.storage === 'fault' || checks.database === 'fault', words);
        assert.match(words, /damaged/);
    }
    relay = await RelayProcess.start();
});
