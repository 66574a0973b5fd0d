// Each call of server/PROTOCOL.md against a real relay, by a client that shares no code with it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ALL_RIGHTS, CONTENT, Clinic, KIND, Party, RIGHT, RelayProcess, b64u, certificate, chainOf, clinicName, deviceName, enrol, exchange, newKey, nowS,
    privateMessage, problemName, register, sha256, sleep, vector } from './support/relay-client.mjs';
import { sign } from 'node:crypto';

let relay, clinic, staff;
before(async () => {
    relay = await RelayProcess.start();
    clinic = await Clinic.create(relay.origin);
    staff = await clinic.enrolStaff();
});
after(() => relay.stop());

const status = (answer, wanted, name) => assert.deepEqual([answer.status, problemName(answer)], [wanted, name], JSON.stringify(answer.json));
/** Events after a cursor, all of them. */
async function drain(party, from) {
    const events = [];
    for (let next = from; ;) {
        const answer = await party.inbox(next);
        status(answer, 200);
        events.push(...answer.json.events);
        if (answer.json.events.length === 0) return events;
        next = answer.json.next;
    }
}
async function group(...members) {
    const id = randomBytes(32);
    status(await members[0].commit(id, 0, { added: members.slice(1).map((m) => m.keyid) }), 200);
    return id;
}

test('the relay says what it is', async () => {
    const { status: code, json } = await exchange(`${relay.origin}/.well-known/sotto`);
    assert.equal(code, 200);
    assert.equal(json.version, 1);
    assert.ok(json.limits.body >= json.limits.message);
    assert.ok(Math.abs(json.now - Date.now()) < 5000);
});

test('a clinic is made once', async () => {
    const made = await Clinic.create(relay.origin);
    status(made.answer, 201);
    assert.equal(made.answer.json.clinic, clinicName(made.root.raw));
    status(await made.party.ask('POST', '/v1/clinics', { root_key: b64u(made.root.raw) }), 200);
    const stranger = newKey();
    status(await new Party(relay.origin, stranger, clinicName(stranger.raw)).ask('POST', '/v1/clinics', { root_key: b64u(made.root.raw) }), 401, 'bad-signature');
});

test('a closed relay takes no new clinics, and knows the old', async () => {
    const own = await RelayProcess.start();
    try {
        const old = await Clinic.create(own.origin);
        own.options.clinics = 'closed';
        await own.restart('SIGTERM');
        old.party.origin = own.origin;
        status(await old.party.ask('POST', '/v1/clinics', { root_key: b64u(old.root.raw) }), 200);
        status((await Clinic.create(own.origin)).answer, 403, 'forbidden');
    } finally {
        await own.stop();
    }
});

test('a staff device enrols by a certificate of the root, and again to the same answer', async () => {
    const device = clinic.staff();
    const first = await enrol(device);
    status(first, 201);
    assert.equal(first.json.device, deviceName(device.key.raw));
    assert.equal(first.json.clinic, clinic.name);
    await clinic.enrolStaff();
    const again = await enrol(device);
    status(again, 200);
    assert.equal(again.json.seq, first.json.seq, 'its inbox still begins where it was enrolled');
    const heard = (await drain(staff, staff.answer.json.seq)).filter((e) => e.kind === 'device' && e.device === device.keyid);
    assert.equal(heard.length, 1);
    assert.equal(heard[0].chain, b64u(chainOf(device.certificates)));
    const looked = await staff.ask('GET', `/v1/devices/${device.keyid}`);
    assert.deepEqual(looked.json, { device: device.keyid, chain: b64u(chainOf(device.certificates)), revoked: false });
});

test('only devices with the right hear of devices', async () => {
    const patient = await clinic.enrolPatient(staff), nurse = await clinic.enrolStaff({ rights: RIGHT.message });
    const at = nurse.answer.json.seq;
    await clinic.enrolStaff();
    assert.deepEqual((await nurse.inbox(at)).json.events, []);
    assert.deepEqual((await patient.inbox(patient.answer.json.seq)).json.events, []);
});

test('a renewed certificate of the root replaces the old, a chain by another way does not', async () => {
    const device = await clinic.enrolStaff({ rights: RIGHT.message });
    status(await device.ask('PUT', '/v1/roster', { number: 1, roster: b64u(randomBytes(70)) }), 403, 'forbidden');
    const renewed = certificate(clinic.root, { clinic: clinic.name, kind: KIND.staff, key: device.key.raw, subject: randomBytes(16), rights: ALL_RIGHTS });
    status(await device.ask('POST', '/v1/devices', { chain: b64u(chainOf([renewed])) }), 200);
    status(await device.ask('PUT', '/v1/roster', { number: 1, roster: b64u(randomBytes(70)) }), 403, 'bad-certificate');
});

test('chains that the clinic did not make are refused', async () => {
    const device = clinic.staff();
    const foreign = certificate(newKey(), { clinic: clinic.name, kind: KIND.staff, key: device.key.raw, subject: randomBytes(16), rights: 1 });
    status(await device.ask('POST', '/v1/devices', { chain: b64u(chainOf([foreign])) }), 403, 'bad-certificate');
    const expired = certificate(clinic.root, { clinic: clinic.name, kind: KIND.staff, key: device.key.raw, subject: randomBytes(16), rights: 1, notAfter: nowS() - 1 });
    status(await device.ask('POST', '/v1/devices', { chain: b64u(chainOf([expired])) }), 403, 'bad-certificate');
    const unknown = new Clinic();
    Object.assign(unknown, { origin: relay.origin, root: newKey() });
    unknown.name = clinicName(unknown.root.raw);
    status(await enrol(unknown.staff()), 403, 'bad-certificate');
    const other = await Clinic.create(relay.origin);
    const both = other.staff();
    both.key = staff.key;
    both.keyid = staff.keyid;
    both.certificates = [certificate(other.root, { clinic: other.name, kind: KIND.staff, key: staff.key.raw, subject: randomBytes(16), rights: 1 })];
    status(await enrol(both), 403, 'forbidden');
});

test('a certificate that expires ends the device', async () => {
    const device = await clinic.enrolStaff({ notAfter: nowS() + 1 });
    status(device.answer, 201);
    status(await device.inbox(device.answer.json.seq), 200);
    await sleep(2100);
    status(await device.inbox(device.answer.json.seq), 403, 'bad-certificate');
});

test('an invitation without a check enrols one device, and its issuer hears of it', async () => {
    const at = (await drain(staff, 0)).at(-1)?.seq ?? 0;
    const invite = clinic.invite(staff);
    status(await register(staff, invite), 201);
    status(await register(staff, invite), 200);
    status(await register(staff, invite, { check: b64u(randomBytes(32)) }), 409, 'id-reused');
    const read = await invite.ask('GET', `/v1/invitations/${invite.id}`);
    assert.deepEqual(read.json, { sealed: b64u(Buffer.from('sealed')), state: 'open', attempts_left: 5, checked: false });
    const patient = clinic.invited(invite);
    status(await enrol(patient), 201);
    status(await enrol(patient), 200);
    status(await enrol(clinic.invited(invite)), 410, 'invitation-used');
    status(await invite.ask('GET', `/v1/invitations/${invite.id}`), 410, 'invitation-used');
    const events = (await drain(staff, at)).filter((e) => e.kind === 'invitation');
    assert.deepEqual(events.map(({ invitation, state, attempts_left, device }) => ({ invitation, state, attempts_left, device })),
        [{ invitation: invite.id, state: 'used', attempts_left: 5, device: patient.keyid }]);
});

test('the check is counted, locks at five, and the count outlives a kill', async () => {
    const own = await RelayProcess.start();
    try {
        const c = await Clinic.create(own.origin), by = await c.enrolStaff(), check = b64u(randomBytes(32));
        const invite = c.invite(by), patient = c.invited(invite);
        status(await register(by, invite, { check }), 201);
        status(await enrol(patient), 400, 'malformed');
        for (let left = 4; left >= 1; left--) {
            const wrong = await enrol(patient, { check: b64u(randomBytes(32)) });
            status(wrong, 403, 'wrong-check');
            assert.equal(wrong.json.attempts_left, left);
            await own.restart();
            assert.equal((await invite.ask('GET', `/v1/invitations/${invite.id}`)).json.attempts_left, left);
        }
        status(await enrol(patient, { check: b64u(randomBytes(32)) }), 403, 'invitation-locked');
        status(await enrol(patient, { check }), 403, 'invitation-locked');
        status(await invite.ask('GET', `/v1/invitations/${invite.id}`), 403, 'invitation-locked');
        const events = (await drain(by, by.answer.json.seq)).map(({ state, attempts_left }) => [state, attempts_left]);
        assert.deepEqual(events, [['wrong-check', 4], ['wrong-check', 3], ['wrong-check', 2], ['wrong-check', 1], ['locked', 0]]);
        const second = c.invite(by), welcome = c.invited(second);
        status(await register(by, second, { check }), 201);
        status(await enrol(welcome, { check: b64u(randomBytes(32)) }), 403, 'wrong-check');
        status(await enrol(welcome, { check }), 201);
    } finally {
        await own.stop();
    }
});

test('invitations: who may, what is listed, what is withdrawn', async () => {
    const nurse = await clinic.enrolStaff({ rights: RIGHT.message | RIGHT.invitePatient });
    const [first, second] = [clinic.invite(nurse), clinic.invite(nurse)];
    status(await register(nurse, first), 201);
    status(await register(nurse, second), 201);
    status(await register(nurse, clinic.invite(nurse, { enrols: KIND.staff })), 403, 'bad-certificate');
    status(await register(staff, clinic.invite(nurse)), 403, 'forbidden');
    status(await register(nurse, clinic.invite(nurse, { notAfter: nowS() - 1 })), 403, 'bad-certificate');
    // a renewed certificate without the right ends invitations that the old one would have allowed
    const demoted = certificate(clinic.root, { clinic: clinic.name, kind: KIND.staff, key: nurse.key.raw, subject: randomBytes(16), rights: RIGHT.message });
    status(await nurse.ask('POST', '/v1/devices', { chain: b64u(chainOf([demoted])) }), 200);
    status(await register(nurse, clinic.invite(nurse)), 403, 'forbidden');
    status(await nurse.ask('DELETE', `/v1/invitations/${first.id}`), 204);
    const list = await nurse.ask('GET', '/v1/invitations');
    assert.deepEqual(list.json.invitations.map((i) => [i.invitation, i.state, i.attempts_left, i.enrols]),
        [[second.id, 'open', 5, 'patient'], [first.id, 'withdrawn', 5, 'patient']]);
    status(await enrol(clinic.invited(first)), 410, 'invitation-gone');
    status(await first.ask('GET', `/v1/invitations/${first.id}`), 410, 'invitation-gone');
    const other = await clinic.enrolStaff({ rights: RIGHT.message });
    status(await other.ask('DELETE', `/v1/invitations/${second.id}`), 403, 'forbidden');
    status(await staff.ask('DELETE', `/v1/invitations/${second.id}`), 204);
    status(await staff.ask('DELETE', `/v1/invitations/${b64u(randomBytes(16))}`), 404, 'not-found');
    status(await second.ask('GET', `/v1/invitations/${first.id}`), 403, 'forbidden');
    const unknown = clinic.invite(staff);
    status(await unknown.ask('GET', `/v1/invitations/${unknown.id}`), 404, 'not-found');
    status(await enrol(clinic.invited(unknown)), 404, 'not-found');
    const brief = clinic.invite(staff, { notAfter: nowS() + 1 });
    status(await register(staff, brief), 201);
    await sleep(2100);
    status(await enrol(clinic.invited(brief, { notBefore: nowS() - 3 })), 410, 'invitation-gone');
    status(await brief.ask('GET', `/v1/invitations/${brief.id}`), 410, 'invitation-gone');
});

test('staff invite staff, who invite patients', async () => {
    const invite = clinic.invite(staff, { enrols: KIND.staff, rights: RIGHT.message | RIGHT.invitePatient });
    status(await register(staff, invite), 201);
    const nurse = clinic.invited(invite);
    status(await enrol(nurse), 201);
    status((await clinic.enrolPatient(nurse)).answer, 201);
});

test('key packages: each once, oldest first, then the last resort; never twice', async () => {
    const [a, b, c, last] = Array.from({ length: 4 }, () => b64u(randomBytes(200)));
    const owner = await clinic.enrolStaff(), asks = await clinic.enrolPatient(staff);
    assert.deepEqual((await owner.ask('PUT', '/v1/key-packages', { key_packages: [a, b], last_resort: last })).json, { count: 2 });
    assert.deepEqual((await owner.ask('PUT', '/v1/key-packages', { key_packages: [b, c] })).json, { count: 3 });
    assert.deepEqual((await owner.ask('GET', '/v1/key-packages')).json, { count: 3 });
    const claim = async () => (await asks.ask('POST', '/v1/key-packages/claim', { devices: [owner.keyid, asks.keyid] })).json.key_packages;
    const got = [];
    for (let i = 0; i < 5; i++) got.push(...await claim());
    assert.deepEqual(got, [a, b, c, last, last].map((key_package) => ({ device: owner.keyid, key_package })));
    assert.deepEqual((await owner.ask('PUT', '/v1/key-packages', { key_packages: [a] })).json, { count: 0 }, 'a claimed one can not come back');
    const others = await Clinic.create(relay.origin), foreign = await others.enrolStaff();
    assert.deepEqual((await foreign.ask('POST', '/v1/key-packages/claim', { devices: [owner.keyid] })).json, { key_packages: [] });
    const many = Array.from({ length: 100 }, () => b64u(randomBytes(8)));
    assert.equal((await owner.ask('PUT', '/v1/key-packages', { key_packages: many })).json.count, 100);
    const over = await owner.ask('PUT', '/v1/key-packages', { key_packages: [b64u(randomBytes(8))] });
    status(over, 413, 'too-large');
    assert.equal(over.json.limit, 100);
    assert.deepEqual((await owner.ask('GET', '/v1/key-packages')).json, { count: 100 });
});

test('claimed at the same time, no key package goes to two', async () => {
    const owner = await clinic.enrolStaff();
    await owner.ask('PUT', '/v1/key-packages', { key_packages: Array.from({ length: 40 }, () => b64u(randomBytes(50))) });
    const got = await Promise.all(Array.from({ length: 60 }, () => staff.ask('POST', '/v1/key-packages/claim', { devices: [owner.keyid] })));
    const packages = got.flatMap((a) => a.json.key_packages.map((k) => k.key_package));
    assert.equal(packages.length, 40);
    assert.equal(new Set(packages).size, 40);
});

test('a group: made, joined, written in, left', async () => {
    const [patient, nurse, doctor] = [await clinic.enrolPatient(staff), await clinic.enrolStaff({ rights: 1 }), await clinic.enrolStaff({ rights: 1 })];
    const id = randomBytes(32), at = doctor.answer.json.seq;
    const welcome = randomBytes(90), commit = privateMessage(id, 0, CONTENT.commit);
    const first = await patient.commit(id, 0, { added: [nurse.keyid], welcome, commit });
    status(first, 200);
    assert.equal(first.json.epoch, 1);
    const text = privateMessage(id, 1, CONTENT.application);
    const sent = await nurse.message(id, text);
    status(sent, 200);
    const second = await nurse.commit(id, 1, { added: [doctor.keyid] });
    status(await doctor.message(id, privateMessage(id, 1, CONTENT.application)), 200);
    const third = await patient.commit(id, 2, { removed: [nurse.keyid] });
    const last = await doctor.message(id, privateMessage(id, 3, CONTENT.application));
    status(await nurse.message(id, privateMessage(id, 3, CONTENT.application)), 403, 'forbidden');
    status(await nurse.commit(id, 3), 403, 'forbidden');

    const kinds = async (who, from) => (await drain(who, from)).filter((e) => e.group === b64u(id)).map((e) => [e.kind, e.epoch ?? '']);
    assert.deepEqual(await kinds(patient, at), [['commit', 0], ['message', ''], ['commit', 1], ['message', ''], ['commit', 2], ['message', '']]);
    assert.deepEqual(await kinds(nurse, at), [['welcome', 1], ['message', ''], ['commit', 1], ['message', ''], ['commit', 2]]);
    assert.deepEqual(await kinds(doctor, at), [['welcome', 2], ['message', ''], ['commit', 2], ['message', '']]);
    assert.deepEqual((await doctor.inbox(at)).json.events, [], 'what was acknowledged is gone');
    assert.ok(first.json.seq < sent.json.seq && sent.json.seq < second.json.seq && second.json.seq < third.json.seq && third.json.seq < last.json.seq);
});

test('events carry what was sent', async () => {
    const [a, b] = [await clinic.enrolStaff({ rights: 1 }), await clinic.enrolStaff({ rights: 1 })];
    const id = randomBytes(32), welcome = randomBytes(33), commit = privateMessage(id, 0, CONTENT.commit), text = privateMessage(id, 1, CONTENT.application), name = b64u(randomBytes(16));
    const made = await a.commit(id, 0, { added: [b.keyid], welcome, commit });
    const sent = await a.message(id, text, { id: name });
    const strip = ({ at, ...event }) => (assert.ok(Math.abs(at - Date.now()) < 60000), event);
    assert.deepEqual((await a.inbox(a.answer.json.seq)).json.events.map(strip), [
        { seq: made.json.seq, kind: 'commit', group: b64u(id), sender: a.keyid, epoch: 0, data: b64u(commit) },
        { seq: sent.json.seq, kind: 'message', group: b64u(id), sender: a.keyid, id: name, data: b64u(text) },
    ]);
    assert.deepEqual((await b.inbox(b.answer.json.seq)).json.events.map(strip), [
        { seq: made.json.seq + 1, kind: 'welcome', group: b64u(id), sender: a.keyid, epoch: 1, data: b64u(welcome) },
        { seq: sent.json.seq, kind: 'message', group: b64u(id), sender: a.keyid, id: name, data: b64u(text) },
    ]);
});

test('the same message again gets the same number and is delivered once', async () => {
    const other = await clinic.enrolStaff({ rights: 1 }), id = await group(staff, other), name = b64u(randomBytes(16));
    const at = other.answer.json.seq, text = privateMessage(id, 1, CONTENT.application);
    const answers = await Promise.all(Array.from({ length: 8 }, () => other.message(id, text, { id: name })));
    assert.equal(new Set(answers.map((a) => a.json.seq)).size, 1);
    status(await other.message(id, privateMessage(id, 1, CONTENT.application), { id: name }), 409, 'id-reused');
    assert.equal((await drain(other, at)).filter((e) => e.kind === 'message').length, 1);
    assert.equal((await staff.message(id, text, { id: name })).status, 200, 'ids are each sender’s own');
});

test('the same commit again gets the same answer, also when the group has moved on', async () => {
    const id = randomBytes(32), commit = privateMessage(id, 0, CONTENT.commit);
    const first = await staff.commit(id, 0, { commit });
    await staff.commit(id, 1);
    assert.deepEqual((await staff.commit(id, 0, { commit })).json, first.json);
    const late = await staff.commit(id, 0);
    status(late, 409, 'wrong-epoch');
    assert.equal(late.json.epoch, 2);
    const ahead = await staff.commit(id, 7);
    status(ahead, 409, 'wrong-epoch');
    const unknown = await staff.commit(randomBytes(32), 4);
    status(unknown, 409, 'wrong-epoch');
    assert.equal(unknown.json.epoch, 0);
});

test('of commits for one epoch exactly one wins, and all members see that one', async () => {
    const members = await Promise.all(Array.from({ length: 8 }, () => clinic.enrolStaff({ rights: 1 })));
    const id = await group(...members);
    for (let epoch = 1; epoch <= 5; epoch++) {
        const commits = members.map(() => privateMessage(id, epoch, CONTENT.commit));
        const answers = await Promise.all(members.map((m, i) => m.commit(id, epoch, { commit: commits[i] })));
        const won = answers.flatMap((a, i) => (a.status === 200 ? [i] : []));
        assert.equal(won.length, 1);
        answers.filter((a) => a.status !== 200).forEach((a) => (status(a, 409, 'wrong-epoch'), assert.equal(a.json.epoch, epoch + 1)));
        for (const member of members) {
            const last = (await drain(member, members.at(-1).answer.json.seq)).filter((e) => e.kind === 'commit').at(-1);
            assert.equal(last.data, b64u(commits[won[0]]));
        }
    }
});

test('membership is what the relay is told, and nonsense is refused whole', async () => {
    const [a, b, c] = await Promise.all(Array.from({ length: 3 }, () => clinic.enrolStaff({ rights: 1 })));
    const id = await group(a, b), before = relay.tables();
    status(await a.commit(id, 1, { added: [b.keyid] }), 400, 'malformed');
    status(await a.commit(id, 1, { added: [c.keyid, c.keyid] }), 400, 'malformed');
    status(await a.commit(id, 1, { removed: [c.keyid] }), 404, 'not-found');
    status(await a.commit(id, 1, { removed: [a.keyid] }), 400, 'malformed');
    status(await a.commit(id, 1, { removed: [b.keyid, b.keyid] }), 404, 'not-found');
    status(await a.commit(id, 1, { added: [b64u(randomBytes(16))] }), 404, 'not-found');
    status(await c.commit(id, 1), 403, 'forbidden');
    status(await a.message(randomBytes(32), privateMessage(id, 1, 1)), 400, 'malformed');
    const nowhere = randomBytes(32);
    status(await a.message(nowhere, privateMessage(nowhere, 0, 1)), 404, 'not-found');
    status(await a.message(id, privateMessage(id, 2, 1)), 409, 'wrong-epoch');
    const foreign = await (await Clinic.create(relay.origin)).enrolStaff(), { clinics, clinic_use, devices, directory, verifier_openings, ...rest } = relay.tables();
    status(await foreign.message(id, privateMessage(id, 1, 1)), 404, 'not-found');
    status(await a.commit(id, 1, { added: [foreign.keyid] }), 404, 'not-found');
    for (const [name, table] of Object.entries(rest)) assert.deepEqual(table, before[name], name);
    status(await a.commit(id, 1, { removed: [b.keyid], added: [b.keyid] }), 200);
});

test('a device without the right to messages sends none', async () => {
    const mute = await clinic.enrolStaff({ rights: RIGHT.roster }), id = randomBytes(32);
    status(await mute.commit(id, 0), 403, 'forbidden');
    status(await mute.message(id, privateMessage(id, 0, 1)), 403, 'forbidden');
    status(await mute.ask('POST', '/v1/key-packages/claim', { devices: [] }), 403, 'forbidden');
});

test('revoking: refused at once, its waits ended, its inbox, packages and invitations gone', async () => {
    const [a, b] = [await clinic.enrolStaff(), await clinic.enrolStaff({ rights: 3 })], id = await group(a, b);
    await b.ask('PUT', '/v1/key-packages', { key_packages: [b64u(randomBytes(9))], last_resort: b64u(randomBytes(9)) });
    const invite = clinic.invite(b), at = (await drain(b, b.answer.json.seq)).at(-1).seq;
    status(await register(b, invite), 201);
    const waiting = b.inbox(at, { wait: 20 });
    await sleep(50);
    status(await b.ask('DELETE', `/v1/devices/${a.keyid}`), 403, 'forbidden');
    status(await a.ask('DELETE', `/v1/devices/${b.keyid}`), 204);
    status(await waiting, 403, 'revoked');
    status(await a.ask('DELETE', `/v1/devices/${b.keyid}`), 204);
    status(await b.inbox(at), 403, 'revoked');
    status(await enrol(b), 403, 'revoked');
    assert.equal((await a.ask('GET', `/v1/devices/${b.keyid}`)).json.revoked, true);
    assert.deepEqual((await a.ask('POST', '/v1/key-packages/claim', { devices: [b.keyid] })).json.key_packages, []);
    status(await enrol(clinic.invited(invite)), 410, 'invitation-gone');
    status(await a.commit(id, 1, { added: [b.keyid] }), 404, 'not-found');
    const sent = await a.message(id, privateMessage(id, 1, 1));
    status(sent, 200);
    status(await a.commit(id, 1, { removed: [b.keyid] }), 200);
    status(await a.ask('DELETE', `/v1/devices/${b64u(randomBytes(16))}`), 404, 'not-found');
    status(await a.ask('DELETE', `/v1/devices/${a.keyid}`), 204);
    status(await a.inbox(0), 403, 'revoked');
});

test('a body is kept until the last device has it, and no longer', async () => {
    const own = await RelayProcess.start();
    try {
        const c = await Clinic.create(own.origin), [a, b, gone] = [await c.enrolStaff({ rights: 9 }), await c.enrolStaff({ rights: 1 }), await c.enrolStaff({ rights: 1 })];
        const id = randomBytes(32), at = gone.answer.json.seq;
        await a.commit(id, 0, { added: [b.keyid, gone.keyid] });
        await a.message(id, privateMessage(id, 1, 1));
        const next = (await a.inbox(at)).json.next;
        const count = () => { const t = own.tables(); return [t.events.rows, t.deliveries.rows]; };
        await a.inbox(next);
        assert.deepEqual(count(), [2, 4]);
        await b.inbox(next);
        assert.deepEqual(count(), [2, 2]);
        await a.ask('DELETE', `/v1/devices/${gone.keyid}`);
        assert.deepEqual(count(), [0, 0]);
        const later = await a.message(id, privateMessage(id, 1, 1));
        assert.ok(later.json.seq > next, 'numbers are not used again');
        await own.restart();
        assert.ok((await a.message(id, privateMessage(id, 1, 1))).json.seq > later.json.seq);
    } finally {
        await own.stop();
    }
});

test('the roster: signed by the root, only upwards, told to all', async () => {
    const roster = (body) => Buffer.concat([body, sign(null, Buffer.concat([Buffer.from('Sotto roster 1'), body]), c.root.secret)]);
    const c = await Clinic.create(relay.origin), by = await c.enrolStaff(), reader = await c.enrolStaff({ rights: 1 }), invite = c.invite(by);
    await register(by, invite);
    status(await by.ask('GET', '/v1/roster'), 404, 'not-found');
    const [one, two] = [roster(Buffer.from('one')), roster(Buffer.from('two'))];
    assert.deepEqual((await by.ask('PUT', '/v1/roster', { number: 1, roster: b64u(one) })).json, { number: 1 });
    assert.deepEqual((await by.ask('PUT', '/v1/roster', { number: 1, roster: b64u(one) })).json, { number: 1 });
    const same = await by.ask('PUT', '/v1/roster', { number: 1, roster: b64u(two) });
    status(same, 409, 'old-roster');
    assert.equal(same.json.number, 1);
    assert.deepEqual((await by.ask('PUT', '/v1/roster', { number: 5, roster: b64u(two) })).json, { number: 5 });
    status(await by.ask('PUT', '/v1/roster', { number: 4, roster: b64u(one) }), 409, 'old-roster');
    status(await reader.ask('PUT', '/v1/roster', { number: 6, roster: b64u(one) }), 403, 'forbidden');
    status(await by.ask('PUT', '/v1/roster', { number: 6, roster: b64u(Buffer.concat([one.subarray(0, -1), Buffer.from([one.at(-1) ^ 1])])) }), 403, 'bad-certificate');
    for (const who of [reader, invite]) assert.deepEqual((await who.ask('GET', '/v1/roster')).json, { number: 5, roster: b64u(two) });
    assert.deepEqual((await drain(reader, reader.answer.json.seq)).map(({ kind, number }) => [kind, number]), [['roster', 1], ['roster', 5]]);
    status(await invite.inbox(0), 401, 'unknown-device');
});

test('signatures: absent, wrong, late, used before', async () => {
    const path = '/v1/key-packages';
    status(await exchange(relay.origin + path), 401, 'unsigned');
    status(await staff.ask('GET', path, undefined, { key: newKey() }), 401, 'bad-signature');
    const stranger = newKey();
    status(await staff.ask('GET', path, undefined, { key: stranger, keyid: deviceName(stranger.raw) }), 401, 'unknown-device');
    for (const off of [-302, 302]) {
        const late = await staff.ask('GET', path, undefined, { change: { created: nowS() + off } });
        status(late, 401, 'clock-skew');
        assert.ok(Math.abs(late.json.now - Date.now()) < 5000);
    }
    status(await staff.ask('GET', path, undefined, { change: { created: nowS() - 290 } }), 200);
    const nonce = b64u(randomBytes(16));
    status(await staff.ask('GET', path, undefined, { change: { nonce } }), 200);
    status(await staff.ask('GET', path, undefined, { change: { nonce } }), 401, 'replayed');
    const other = await clinic.enrolStaff();
    status(await other.ask('GET', path, undefined, { change: { nonce } }), 200);
    status(await staff.ask('PUT', path, { key_packages: [] }, { change: { digest: `sha-256=:${sha256(Buffer.from('x')).toString('base64')}:` } }), 401, 'bad-signature');
    status(await staff.ask('PUT', path, { key_packages: [] }, { change: { parameters: '("@method");created=1' } }), 401, 'unsigned');
    status(await staff.ask('GET', path, undefined, { headers: { host: 'elsewhere.example' } }), 401, 'bad-signature');
    status(await staff.ask('GET', path, undefined, { headers: { 'content-digest': `sha-256=:${sha256(Buffer.from('')).toString('base64')}:` } }), 401, 'unsigned');
});

test('a replayed nonce is known after a kill; a wrong signature does not use it up', async () => {
    const own = await RelayProcess.start();
    try {
        const c = await Clinic.create(own.origin), by = await c.enrolStaff(), [used, free] = [b64u(randomBytes(16)), b64u(randomBytes(16))];
        status(await by.ask('GET', '/v1/key-packages', undefined, { change: { nonce: used } }), 200);
        status(await by.ask('GET', '/v1/key-packages', undefined, { change: { nonce: free }, key: newKey() }), 401, 'bad-signature');
        await own.restart();
        status(await by.ask('GET', '/v1/key-packages', undefined, { change: { nonce: used } }), 401, 'replayed');
        status(await by.ask('GET', '/v1/key-packages', undefined, { change: { nonce: free } }), 200);
    } finally {
        await own.stop();
    }
});

test('--authority pins the name that requests are for', async () => {
    const own = await RelayProcess.start({ authority: 'chat.clinic.example' });
    try {
        const answer = await exchange(`${own.origin}/.well-known/sotto`);
        status(answer, 400, 'malformed');
        status(await exchange(`${own.origin}/.well-known/sotto`, { headers: { host: 'Chat.Clinic.example' } }), 200);
    } finally {
        await own.stop();
    }
});

test('a clinic sees nothing of another', async () => {
    const other = await Clinic.create(relay.origin), foreign = await other.enrolStaff();
    status(await foreign.ask('GET', `/v1/devices/${staff.keyid}`), 404, 'not-found');
    status(await foreign.ask('DELETE', `/v1/devices/${staff.keyid}`), 404, 'not-found');
    const invite = clinic.invite(staff);
    await register(staff, invite);
    status(await foreign.ask('DELETE', `/v1/invitations/${invite.id}`), 404, 'not-found');
    status(await register(foreign, Object.assign(other.invite(foreign), {})), 201);
    const stolen = certificate(foreign.key, { clinic: other.name, kind: KIND.invite, enrols: KIND.patient, level: 1, key: invite.key.raw, subject: randomBytes(16), rights: 1 });
    status(await foreign.ask('POST', '/v1/invitations', { chain: b64u(chainOf([...foreign.certificates, stolen])), sealed: 'AAAA' }), 409, 'id-reused');
    assert.deepEqual((await foreign.inbox(foreign.answer.json.seq)).json.events, []);
    assert.equal(vector(Buffer.alloc(64)).length, 66);
});
