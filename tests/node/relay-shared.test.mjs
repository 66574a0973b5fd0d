// Relays on one PostgreSQL remember what they read of it; what one of them changes holds at the other at once. And statements are
// sent before the answers of those before them are there: one that fails takes its batch with it, and nothing of it is stored.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { CONTENT, Clinic, ON_POSTGRES, RelayProcess, b64u, certificate, chainOf, enrol, KIND, postgres, privateMessage, problemName, register } from './support/relay-client.mjs';

const skip = ON_POSTGRES ? false : 'it is for PostgreSQL';
const application = (group, epoch) => privateMessage(group, epoch, CONTENT.application);

/** Two relays that both know the clinic, its devices and the group: each has taken a message of each. */
async function pair(t) {
    const one = await RelayProcess.start(), two = await RelayProcess.beside(one);
    t.after(async () => {
        await two.stop();
        await one.stop();
    });
    const clinic = await Clinic.create(one.origin), [lead, member, other] = [await clinic.enrolStaff(), await clinic.enrolStaff({ rights: 1 }), await clinic.enrolStaff({ rights: 1 })];
    const group = randomBytes(32);
    await lead.commit(group, 0, { added: [member.keyid] });
    for (const device of [lead, member]) {
        for (const at of [device, device.at(two.origin)]) assert.equal((await at.message(group, application(group, 1))).status, 200);
    }
    return { one, two, clinic, lead, member, other, group };
}

const newest = async (device) => {
    let after = 0;
    for (;;) {
        const { events, next } = (await device.inbox(after)).json;
        if (events.length === 0) return after;
        after = next;
    }
};

test('a device that was revoked at one relay is refused at the other at once', { skip }, async (t) => {
    const { two, lead, member, group } = await pair(t);
    assert.equal((await lead.ask('DELETE', `/v1/devices/${member.keyid}`)).status, 204);
    const there = member.at(two.origin);
    for (const answer of [await there.message(group, application(group, 1)), await there.inbox(0)]) assert.deepEqual([answer.status, problemName(answer)], [403, 'revoked']);
    // What others send at the other relay does not come to it any more: only the sender has it.
    const from = await newest(lead);
    const { seq } = (await lead.at(two.origin).message(group, application(group, 1))).json;
    assert.deepEqual((await lead.inbox(from)).json.events.map((e) => e.seq), [seq]);
    const { deliveries, events } = two.tables();
    assert.deepEqual([deliveries.rows, events.rows], [1, 1]);
});

test('what a commit at one relay changes holds for messages at the other', { skip }, async (t) => {
    const { two, lead, member, other, group } = await pair(t);
    const [leadThere, memberThere, otherThere] = [lead, member, other].map((d) => d.at(two.origin));
    assert.deepEqual(problemName(await otherThere.message(group, application(group, 1))), 'forbidden');
    assert.deepEqual(problemName(await leadThere.message(group, application(group, 2))), 'wrong-epoch');
    assert.equal((await lead.commit(group, 1, { added: [other.keyid] })).status, 200);
    const from = await newest(other);
    /* Of the epoch before, so that only who is a member now tells the relays apart. */
    const { seq } = (await leadThere.message(group, application(group, 1))).json;
    assert.deepEqual((await other.inbox(from)).json.events.map((e) => e.seq), [seq]);
    assert.equal((await otherThere.message(group, application(group, 2))).status, 200);
    // And back: the relay that made the last change, and has taken messages since, has to hear of this one.
    for (const device of [lead, member]) assert.equal((await device.message(group, application(group, 2))).status, 200);
    assert.equal((await leadThere.commit(group, 2, { removed: [member.keyid] })).status, 200);
    for (const at of [member, memberThere]) assert.deepEqual(problemName(await at.message(group, application(group, 1))), 'forbidden');
    const left = await newest(member);
    assert.equal((await lead.message(group, application(group, 3))).status, 200);
    assert.deepEqual((await member.inbox(left)).json.events, []);
});

test('a renewed certificate counts at the other relay at once', { skip }, async (t) => {
    const { two, clinic, member, group } = await pair(t);
    const renew = async (rights) => {
        const renewed = certificate(clinic.root, { clinic: clinic.name, kind: KIND.staff, key: member.key.raw, subject: randomBytes(16), rights });
        assert.equal((await member.ask('POST', '/v1/devices', { chain: b64u(chainOf([renewed])) })).status, 200);
    };
    const there = member.at(two.origin);
    await renew(2);
    assert.deepEqual(problemName(await there.message(group, application(group, 1))), 'forbidden');
    await renew(1);
    assert.equal((await there.message(group, application(group, 1))).status, 200);
});

test('the same request at both relays is taken once, and so is the same message', { skip }, async (t) => {
    const { two, member, group } = await pair(t);
    const there = member.at(two.origin), body = application(group, 1), id = b64u(randomBytes(16));
    const change = { nonce: b64u(randomBytes(16)) }, path = `/v1/groups/${b64u(group)}/messages?id=${id}`;
    // Of the two hosts only one is signed for: the nonce is what counts.
    const first = await member.ask('POST', path, body, { change });
    assert.equal(first.status, 200);
    assert.deepEqual(problemName(await there.ask('POST', path, body, { change })), 'replayed');
    assert.deepEqual((await there.message(group, body, { id })).json, first.json);
    assert.deepEqual(problemName(await there.message(group, application(group, 1), { id })), 'id-reused');
});

test('no two relays wait for each other, whatever a batch is made of', { skip, timeout: 60_000 }, async (t) => {
    const one = await RelayProcess.start(), two = await RelayProcess.beside(one);
    t.after(async () => {
        await two.stop();
        await one.stop();
    });
    const clinics = await Promise.all(Array.from({ length: 6 }, () => Clinic.create(one.origin)));
    const parts = await Promise.all(clinics.map(async (clinic) => {
        const lead = await clinic.enrolStaff(), group = randomBytes(32), invite = clinic.invite(lead);
        await lead.commit(group, 0);
        await register(lead, invite);
        return { clinic, lead, group, invite };
    }));
    for (let round = 0; round < 25; round++) {
        const asked = [one, two].flatMap(({ origin }) => parts.flatMap(({ clinic, lead, group, invite }) => {
            const device = clinic.staff();
            return [
                () => lead.at(origin).message(group, application(group, 1)),
                () => enrol(Object.assign(device, { origin })),
                () => invite.at(origin).ask('GET', `/v1/invitations/${invite.id}`),
                () => lead.at(origin).ask('GET', '/v1/policy'),
            ];
        }));
        // In another order each time, so that batches lock clinics in another one.
        const statuses = await Promise.all(asked.sort(() => Math.random() - 0.5).map((ask) => ask().then((a) => a.status)));
        assert.deepEqual(statuses.filter((status) => status >= 300), []);
    }
});

for (const table of ['events', 'deliveries', 'audit_entries']) {
    test(`when what is written into ${table} fails, all of the batch get 503 and nothing is stored`, { skip }, async (t) => {
        const { one, lead, member, group } = await pair(t);
        const database = one.database[1], before = one.tables();
        postgres.query(database, `CREATE FUNCTION fail() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no'; END $$ LANGUAGE plpgsql;
            CREATE TRIGGER fail BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION fail()`);
        const ids = Array.from({ length: 6 }, () => b64u(randomBytes(16))), bodies = ids.map(() => application(group, 1));
        const send = () => Promise.all(ids.map((id, i) => (i % 2 ? lead : member).message(group, bodies[i], { id })));
        for (const answer of await send()) assert.deepEqual([answer.status, problemName(answer), answer.headers['retry-after']], [503, 'unavailable', '1']);
        assert.deepEqual(one.tables(), before);
        postgres.query(database, `DROP TRIGGER fail ON ${table}`);
        const answers = await send();
        for (const answer of answers) assert.equal(answer.status, 200);
        assert.deepEqual((await send()).map((a) => a.json), answers.map((a) => a.json));
    });
}
