// Who may do what: every call that needs a right, by every kind of device with each right alone, all, or none. What a certificate does not
// give is refused, and what it gives is not.
import assert from 'node:assert/strict';
import { randomBytes, sign } from 'node:crypto';
import { after, before, test } from 'node:test';
import { ALL_RIGHTS, CONTENT, Clinic, KIND, RIGHT, RelayProcess, b64u, certificate, enrol, privateMessage, problemName, register } from './support/relay-client.mjs';

const POLICY = { staff: 'off', staff_idle_s: 900, staff_overall_s: 43200, patients: 'off', patient_idle_s: 1800, patient_overall_s: 86400 };
let relay, clinic, chief, roster = 0;
before(async () => {
    relay = await RelayProcess.start();
    clinic = await Clinic.create(relay.origin);
    chief = await clinic.enrolStaff();
});
after(() => relay.stop());

const id = () => b64u(randomBytes(16));
const blob = (by, name, piece = randomBytes(9)) => by.ask('PUT', `/v1/blobs/${name}?length=9&offset=0`, piece, { headers: { 'content-type': 'application/octet-stream' } });
/** A group of a device's and the chief's, made by the chief. */
async function groupWith(device) {
    const group = randomBytes(32);
    assert.equal((await chief.commit(group, 0, { added: [device.keyid] })).status, 200);
    return group;
}
/** An invite's rights are a part of its issuer's. */
const invite = (by, enrols) => register(by, clinic.invite(by, { enrols, rights: by.rights & RIGHT.message }));
function nextRoster() {
    const body = randomBytes(20);
    return { number: (roster += 1), roster: b64u(Buffer.concat([body, sign(null, Buffer.concat([Buffer.from('Sotto roster 1'), body]), clinic.root.secret)])) };
}

/** What is done, the right for it (0: none), and whether a patient with that right may. */
const CALLS = [
    ['invite a patient', RIGHT.invitePatient, false, (by) => invite(by, KIND.patient)],
    ['invite staff', RIGHT.inviteStaff, false, (by) => invite(by, KIND.staff)],
    ['invite an agent', RIGHT.inviteStaff, false, (by) => invite(by, KIND.agent)],
    ['withdraw another\'s invitation', RIGHT.roster, false, async (by) => {
        const other = clinic.invite(chief);
        await register(chief, other);
        return by.ask('DELETE', `/v1/invitations/${other.id}`);
    }],
    ['revoke another device', RIGHT.roster, false, async (by) => by.ask('DELETE', `/v1/devices/${(await clinic.enrolStaff()).keyid}`)],
    ['publish a roster', RIGHT.roster, false, (by) => by.ask('PUT', '/v1/roster', nextRoster())],
    ['set the policy', RIGHT.roster, false, (by) => by.ask('PUT', '/v1/policy', POLICY)],
    ['set the period', RIGHT.roster, false, (by) => by.ask('PUT', '/v1/retention', { days: 90 })],
    ['set the server\'s period', RIGHT.roster, false, (by) => by.ask('DELETE', '/v1/retention')],
    ['reset another\'s verifiers', RIGHT.roster, false, (by) => by.ask('DELETE', `/v1/devices/${chief.keyid}/verifiers`)],
    ['withdraw another\'s waiting message', RIGHT.roster, false, async (by) => {
        const group = await groupWith(by), message = id();
        assert.equal((await chief.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${message}&deliver_at=${Date.now() + 3600_000}`, privateMessage(group, 1, CONTENT.application))).status, 200);
        return by.ask('DELETE', `/v1/groups/${b64u(group)}/messages/${message}?sender=${chief.keyid}`);
    }],
    ['delete another\'s blob', RIGHT.roster, false, async (by) => {
        const name = b64u(randomBytes(32));
        assert.equal((await blob(chief, name)).status, 200);
        return by.ask('DELETE', `/v1/blobs/${name}`);
    }],
    ['read the audit log', RIGHT.audit, false, (by) => by.ask('GET', '/v1/audit?limit=1')],
    ['send a message', RIGHT.message, true, async (by) => {
        const group = await groupWith(by);
        return by.message(group, privateMessage(group, 1, CONTENT.application));
    }],
    ['commit', RIGHT.message, true, async (by) => by.commit(await groupWith(by), 1)],
    ['make a group', RIGHT.message, true, (by) => by.commit(randomBytes(32), 0)],
    ['claim key packages', RIGHT.message, true, (by) => by.ask('POST', '/v1/key-packages/claim', { devices: [chief.keyid] })],
    ['put a blob', RIGHT.message, true, (by) => blob(by, b64u(randomBytes(32)))],
    ['read a device', 0, true, (by) => by.ask('GET', `/v1/devices/${chief.keyid}`)],
    ['read the roster', 0, true, (by) => by.ask('GET', '/v1/roster')],
    ['read the inbox', 0, true, (by) => by.inbox(by.answer.json.seq)],
    ['publish key packages', 0, true, (by) => by.ask('PUT', '/v1/key-packages', { key_packages: [b64u(randomBytes(40))] })],
    ['list one\'s own invitations', 0, true, (by) => by.ask('GET', '/v1/invitations')],
    ['read a checkpoint', 0, true, (by) => by.ask('GET', '/v1/audit/checkpoint')],
    ['add to the audit log', 0, true, (by) => by.ask('POST', '/v1/audit', { id: id(), sealed: 'AAAA' })],
    ['read the policy', 0, true, (by) => by.ask('GET', '/v1/policy')],
    ['read the period', 0, true, (by) => by.ask('GET', '/v1/retention')],
    ['log off', 0, true, (by) => by.ask('DELETE', '/v1/session')],
    ['leave', 0, true, (by) => by.ask('DELETE', `/v1/devices/${by.keyid}`)], // last: nothing is allowed after it
];

const WHO = [
    ...['staff', 'agent'].flatMap((kind) => [0, ...Object.values(RIGHT), ALL_RIGHTS].map((rights) => ({ kind, rights, make: () => clinic.enrolStaff({ kind: KIND[kind], rights }) }))),
    { kind: 'patient', rights: RIGHT.message, make: () => clinic.enrolPatient(chief) },
];

for (const { kind, rights, make } of WHO) {
    const names = Object.entries(RIGHT).filter(([, bit]) => (rights & bit) !== 0).map(([name]) => name).join(' ') || 'no right';
    test(`${kind} with ${names}`, async () => {
        const by = await make();
        assert.equal(by.answer.status, 201);
        await chief.ask('PUT', '/v1/roster', nextRoster()); // so that there is one to read
        for (const [what, right, forPatients, run] of CALLS) {
            const answer = await run(by), may = (rights & right) === right && (kind !== 'patient' || forPatients);
            // An invite that its issuer may not issue is a chain that does not hold.
            const refused = answer.status === 403 && ['forbidden', 'bad-certificate'].includes(problemName(answer));
            assert.ok(may ? answer.status < 300 : refused, `${kind} with ${names}: ${what}: ${answer.status} ${answer.bytes}`);
        }
    });
}

test('nobody certifies himself more than he was given', async () => {
    const weak = await clinic.enrolStaff({ rights: RIGHT.message | RIGHT.invitePatient }), patient = await clinic.enrolPatient(chief);
    // Rights that grow, kinds that the issuer has no right to, a patient who invites.
    for (const [by, options] of [[weak, { rights: RIGHT.roster }], [weak, { rights: RIGHT.message | RIGHT.audit }], [weak, { enrols: KIND.staff }], [weak, { enrols: KIND.agent }], [patient, {}]])
        assert.equal(problemName(await register(by, clinic.invite(by, options))), 'bad-certificate', JSON.stringify(options));
    // A patient's invite makes no staff and gives no more rights; a staff member's own key is no root.
    const link = clinic.invite(chief);
    await register(chief, link);
    const risen = clinic.invited(link, { kind: KIND.staff }), more = clinic.invited(link, { rights: ALL_RIGHTS });
    for (const device of [risen, more]) assert.equal(problemName(await enrol(device)), 'bad-certificate');
    const renewed = Object.assign(clinic.staff(), { key: patient.key, keyid: patient.keyid });
    renewed.certificates = [certificate(chief.key, { clinic: clinic.name, kind: KIND.staff, key: patient.key.raw, subject: randomBytes(16), rights: ALL_RIGHTS })];
    assert.equal(problemName(await enrol(renewed)), 'bad-certificate');
});
