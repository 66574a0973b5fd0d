// Sessions: WebAuthn with both algorithms and everything that may be wrong with an assertion, one-time codes, what a locked device
// may ask for, and that sessions are known after a restart and to every relay. How time runs is in tests/unit/relay_session_test.c.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { Authenticator, codeOf } from './support/authenticator.mjs';
import { CONTENT, Clinic, KIND, ON_POSTGRES, RIGHT, RelayProcess, b64u, nowS, privateMessage, problemName, sleep } from './support/relay-client.mjs';

const ORIGIN = 'https://console.example';
const POLICY = { staff: 'webauthn-or-totp', staff_idle_s: 900, staff_overall_s: 43200, patients: 'local', patient_idle_s: 1800, patient_overall_s: 86400 };
let relay;
before(async () => void (relay = await RelayProcess.start({ origin: ORIGIN })));
after(() => relay.stop());

const challengeOf = async (device) => (await device.ask('POST', '/v1/session/challenge')).json.challenge;
const register = async (device, key, change) => device.ask('POST', '/v1/verifiers', key.create(await challengeOf(device), change));
const begin = async (device, key, change) => device.ask('POST', '/v1/session', key.get(await challengeOf(device), change));
const code = (device, secret, ahead = 0) => device.ask('POST', '/v1/session', { method: 'totp', code: codeOf(secret, nowS() + ahead * 30) });
const policy = (device, change = {}) => device.ask('PUT', '/v1/policy', { ...POLICY, ...change });
const locked = (answer) => [answer.status, problemName(answer), answer.json.methods];

/** A staff device with a key that has begun a session. */
async function atWork(clinic, algorithm = 'ES256', options) {
    const device = await clinic.enrolStaff(options), key = new Authenticator(algorithm);
    assert.equal((await register(device, key)).status, 201);
    const begun = await begin(device, key);
    assert.equal(begun.status, 201, JSON.stringify(begun.json));
    return { device, key };
}

test('nobody needs a session until the clinic says so, and who says so has one', async () => {
    const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), weak = await clinic.enrolStaff({ rights: RIGHT.message });
    const first = (await device.ask('GET', '/v1/policy')).json;
    assert.deepEqual(first, { ...POLICY, staff: 'off', patients: 'off', bounds: { idle_s: [60, 3600], overall_s: [60, 86400] } });
    assert.equal((await device.inbox(0)).status, 200);
    assert.equal(problemName(await policy(weak)), 'forbidden');
    assert.deepEqual(locked(await policy(device)), [401, 'step-up', []]);
    const key = new Authenticator('ES256');
    assert.equal((await register(device, key)).status, 201);
    assert.deepEqual(locked(await policy(device)), [401, 'step-up', ['webauthn']]);
    // A device's key alone does not take its user's verifiers away, whatever its rights.
    assert.deepEqual(locked(await device.ask('DELETE', `/v1/devices/${device.keyid}/verifiers`)), [401, 'step-up', ['webauthn']]);
    assert.equal(problemName(await device.ask('GET', '/v1/session')), 'not-found');
    const begun = await begin(device, key);
    assert.deepEqual([begun.status, begun.json.method, begun.json.ends - begun.json.began, begun.json.idle_ends - begun.json.began], [201, 'webauthn', 43200_000, 900_000]);
    assert.deepEqual((await policy(device)).json, { ...first, ...POLICY });
    assert.deepEqual((await policy(device)).json, { ...first, ...POLICY });
    assert.deepEqual((await weak.ask('GET', '/v1/policy')).json, { ...first, ...POLICY });
    for (const change of [{ staff_idle_s: 3601 }, { staff_idle_s: 59 }, { patient_idle_s: 3601 }, { staff_overall_s: 86401 }, { patient_overall_s: 59 }, { staff: 'on' }, { patients: 'totp' },
        { staff: 1 }, { staff_idle_s: '900' }, { staff_idle_s: undefined }, { staff: undefined }])
        assert.deepEqual([(await policy(device, change)).status, JSON.stringify(change)], [400, JSON.stringify(change)]);
    // It is of this clinic alone.
    const other = await Clinic.create(relay.origin);
    assert.equal((await (await other.enrolStaff()).inbox(0)).status, 200);
});

for (const algorithm of ['ES256', 'EdDSA']) {
    test(`a session begins with ${algorithm}, and with nothing that is wrong`, async () => {
        const clinic = await Clinic.create(relay.origin), { device, key } = await atWork(clinic, algorithm), other = await atWork(clinic, algorithm);
        assert.equal((await policy(device)).status, 200);
        assert.equal((await device.ask('DELETE', '/v1/session')).status, 204);
        const shut = [401, 'step-up', ['webauthn']];
        assert.deepEqual(locked(await device.inbox(0)), shut);
        const wrong = async (change) => {
            const answer = await begin(device, key, change);
            assert.deepEqual([answer.status, problemName(answer)], [403, 'bad-assertion'], JSON.stringify(change));
            assert.deepEqual(locked(await device.inbox(0)), shut);
        };
        await wrong({ client: { origin: 'https://evil.example' } });
        await wrong({ client: { origin: `${ORIGIN}:8443` } });
        await wrong({ client: { origin: `${ORIGIN}/` } });
        await wrong({ client: { crossOrigin: true } });
        await wrong({ client: { challenge: b64u(randomBytes(32)) } });
        await wrong({ client: { challenge: 'AAAA' } });
        await wrong({ client: { challenge: undefined } });
        await wrong({ type: 'webauthn.create' });
        await wrong({ party: 'evil.example' });
        await wrong({ flags: 1 }); // not verified
        await wrong({ flags: 4 }); // not present
        await wrong({ by: other.key }); // another's signature
        await wrong({ counter: 1 }); // the one that the first session began with: a clone
        await wrong({ counter: 0 });
        // Content that was changed after it was signed.
        for (const name of ['client_data', 'authenticator_data', 'signature', 'credential']) {
            const body = key.get(await challengeOf(device)), bytes = Buffer.from(body[name], 'base64url');
            bytes[bytes.length - 3] ^= 1;
            const answer = await device.ask('POST', '/v1/session', { ...body, [name]: b64u(bytes) });
            assert.equal(problemName(answer), 'bad-assertion', name);
            assert.deepEqual(locked(await device.inbox(0)), shut);
        }
        // A challenge counts once, for one device, and a later one takes its place.
        const answered = key.get(await challengeOf(device));
        await challengeOf(device);
        assert.equal(problemName(await device.ask('POST', '/v1/session', answered)), 'bad-assertion');
        const foreign = key.get(await challengeOf(other.device));
        assert.equal(problemName(await device.ask('POST', '/v1/session', foreign)), 'bad-assertion');
        const good = key.get(await challengeOf(device));
        assert.equal((await device.ask('POST', '/v1/session', good)).status, 201);
        assert.equal((await device.inbox(0)).status, 200);
        assert.equal((await device.ask('DELETE', '/v1/session')).status, 204);
        assert.equal(problemName(await device.ask('POST', '/v1/session', good)), 'bad-assertion');
        assert.deepEqual(locked(await device.inbox(0)), shut);
        // Another device has not registered this key.
        assert.equal(problemName(await begin(other.device, key)), 'bad-assertion');
    });

    test(`what ${algorithm} registers is looked at`, async () => {
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), key = new Authenticator(algorithm);
        const broken = Buffer.from(key.coseKey());
        broken[4] = 0x38; // alg: an integer of two bytes, which is another
        for (const change of [{ flags: 0x41 }, { flags: 0x44 }, { flags: 5 }, { party: 'evil.example' }, { type: 'webauthn.get' }, { client: { origin: 'https://evil.example' } },
            { client: { challenge: b64u(randomBytes(32)) } }, { key: Buffer.alloc(0) }, { key: key.coseKey().subarray(0, 20) }, { key: broken }]) {
            const answer = await register(device, key, change);
            assert.equal(problemName(answer), 'bad-assertion', JSON.stringify(change));
        }
        assert.equal(problemName(await device.ask('POST', '/v1/verifiers', { ...key.create(await challengeOf(device)), authenticator_data: 'AAAA' })), 'bad-assertion');
        const made = key.create(await challengeOf(device));
        assert.equal((await device.ask('POST', '/v1/verifiers', made)).status, 201);
        assert.equal(problemName(await device.ask('POST', '/v1/verifiers', made)), 'bad-assertion');
        assert.equal((await device.ask('GET', '/v1/verifiers')).json.verifiers.length, 1);
    });
}

test('an authenticator that does not count is taken as it is', async () => {
    const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), key = new Authenticator('ES256', { counts: false });
    await register(device, key);
    for (let i = 0; i < 3; i++) assert.equal((await begin(device, key)).status, 201);
});

test('a code counts once, within a step of now, and wrong ones lock', async () => {
    const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff();
    const made = await device.ask('POST', '/v1/verifiers', { method: 'totp' }), secret = Buffer.from(made.json.secret, 'base64url');
    assert.deepEqual([made.status, secret.length], [201, 20]);
    assert.ok(!JSON.stringify((await device.ask('GET', '/v1/verifiers')).json).includes(made.json.secret), 'the secret is shown once');
    while (nowS() % 30 > 25) await sleep(500); // so that "now" is one step in what follows
    assert.equal(problemName(await code(device, secret, 2)), 'wrong-check');
    assert.equal(problemName(await code(device, secret, -2)), 'wrong-check');
    const begun = await code(device, secret, 0);
    assert.deepEqual([begun.status, begun.json.method], [201, 'totp']);
    const reused = await code(device, secret, 0);
    assert.deepEqual([reused.status, problemName(reused), reused.json.attempts_left], [403, 'wrong-check', 4]);
    assert.equal(problemName(await code(device, secret, -1)), 'wrong-check', 'an older one than the last is used up, too');
    assert.equal((await code(device, secret, 1)).status, 201);
    for (const bad of ['12345', '1234567', 'abcdef', '12345 ', '', 123456, undefined])
        assert.equal(problemName(await device.ask('POST', '/v1/session', { method: 'totp', code: bad })), 'malformed', String(bad));
    const wrong = () => device.ask('POST', '/v1/session', { method: 'totp', code: codeOf(randomBytes(20), 0) });
    const left = [];
    for (let i = 0; i < 5; i++) left.push((await wrong()).json.attempts_left);
    assert.deepEqual(left, [4, 3, 2, 1, undefined]);
    await relay.restart();
    for (const again of [wrong, () => code(device, secret, 1)]) {
        const answer = await again();
        assert.deepEqual([answer.status, problemName(answer), Number(answer.headers['retry-after']) > 890], [429, 'too-many', true]);
    }
    // A clinic may take no codes: then a session of one is over.
    assert.equal((await device.ask('GET', '/v1/session')).json.method, 'totp');
    const { device: chief } = await atWork(clinic);
    assert.equal((await policy(chief, { staff: 'webauthn' })).status, 200);
    assert.deepEqual(locked(await device.inbox(0)), [401, 'step-up', []]);
    assert.equal(problemName(await code(device, secret, 1)), 'forbidden');
    // Two guesses at once are two attempts.
    const second = await clinic.enrolStaff();
    const other = Buffer.from((await second.ask('POST', '/v1/verifiers', { method: 'totp' })).json.secret, 'base64url');
    assert.equal((await policy(chief)).status, 200);
    while (nowS() % 30 > 25) await sleep(500);
    const both = await Promise.all([code(second, other, 0), code(second, other, 0)]);
    assert.deepEqual(both.map((a) => a.status).sort(), [201, 403]);
    assert.ok(!relay.log.includes(made.json.secret) && !relay.log.includes(secret.toString('hex')));
});

test('a locked device may do nothing but unlock itself; agents need no session', async () => {
    const clinic = await Clinic.create(relay.origin), { device, key } = await atWork(clinic), group = randomBytes(32);
    const agent = await clinic.enrolStaff({ kind: KIND.agent }), patient = await clinic.enrolPatient(device), spare = await clinic.enrolStaff();
    assert.equal((await device.commit(group, 0, { added: [agent.keyid, patient.keyid] })).status, 200);
    assert.equal((await policy(device)).status, 200);
    const { seq } = (await device.message(group, privateMessage(group, 1, CONTENT.application))).json;
    const parked = device.inbox(seq, { wait: 25 });
    await sleep(100);
    assert.equal((await device.ask('DELETE', '/v1/session')).status, 204);
    assert.deepEqual(locked(await parked), [401, 'step-up', ['webauthn']], 'logging off ends a wait');
    const id = b64u(randomBytes(16)), name = b64u(group), shut = [
        ['GET', `/v1/devices/${agent.keyid}`], ['DELETE', `/v1/devices/${spare.keyid}`], ['PUT', '/v1/key-packages', { key_packages: [] }], ['GET', '/v1/key-packages'],
        ['POST', '/v1/key-packages/claim', { devices: [] }], ['POST', `/v1/groups/${name}/commits`, {}], ['POST', `/v1/groups/${name}/messages?id=${id}`, privateMessage(group, 1, 1)],
        ['DELETE', `/v1/groups/${name}/messages/${id}`], ['GET', `/v1/blobs/${name}`], ['GET', `/v1/blobs/${name}/state`], ['DELETE', `/v1/blobs/${name}`], ['GET', '/v1/inbox?after=0'],
        ['POST', '/v1/invitations', {}], ['GET', '/v1/invitations'], ['DELETE', `/v1/invitations/${id}`], ['PUT', '/v1/roster', {}], ['GET', '/v1/roster'], ['GET', '/v1/audit'],
        ['GET', '/v1/audit/checkpoint'], ['POST', '/v1/audit', {}], ['PUT', '/v1/policy', POLICY], ['DELETE', `/v1/verifiers/${id}`], ['DELETE', `/v1/devices/${spare.keyid}/verifiers`], ['PUT', '/v1/session'],
    ];
    for (const [method, path, body] of shut) {
        assert.deepEqual([method, path, ...locked(await device.ask(method, path, body))], [method, path, 401, 'step-up', ['webauthn']]);
        assert.deepEqual([method, path, ...locked(await patient.ask(method, path, body))], [method, path, 401, 'step-up', ['local']]);
        assert.notEqual(problemName(await agent.ask(method, path, body)), 'step-up', path);
    }
    assert.equal((await agent.inbox(0)).status, 200);
    for (const [method, path] of [['GET', '/v1/policy'], ['GET', '/v1/verifiers'], ['POST', '/v1/session/challenge'], ['DELETE', '/v1/session']])
        assert.ok((await device.ask(method, path)).status < 300, path);
    // A patient's page says when its PIN was entered. Nobody begins in another's way.
    assert.equal((await patient.ask('POST', '/v1/session', { method: 'local' })).status, 201);
    assert.equal((await patient.inbox(0)).status, 200);
    assert.equal((await patient.ask('PUT', '/v1/session')).json.method, 'local');
    for (const [who, method] of [[device, 'local'], [agent, 'local'], [agent, 'totp'], [patient, 'totp']])
        assert.equal(problemName(await who.ask('POST', '/v1/session', { method, code: '123456' })), 'forbidden');
    for (const who of [patient, agent]) {
        assert.equal(problemName(await who.ask('POST', '/v1/verifiers', { method: 'totp' })), 'forbidden');
        assert.equal(problemName(await who.ask('POST', '/v1/session/challenge')), 'forbidden');
    }
    assert.equal((await begin(device, key)).status, 201);
    assert.equal((await device.inbox(0)).status, 200);
});

test('an event stream ends with its session', async () => {
    const clinic = await Clinic.create(relay.origin), { device } = await atWork(clinic);
    assert.equal((await policy(device)).status, 200);
    const stream = device.inbox(0, { headers: { accept: 'text/event-stream' }, signal: AbortSignal.timeout(10_000) });
    await sleep(100);
    assert.equal((await device.ask('DELETE', '/v1/session')).status, 204);
    assert.equal((await stream).status, 200);
    assert.equal(problemName(await device.inbox(0, { headers: { accept: 'text/event-stream' } })), 'step-up');
});

test('the first verifier is registered soon after enrolment, more by a session, and anew when somebody allows it', async () => {
    const clinic = await Clinic.create(relay.origin), { device: chief } = await atWork(clinic), early = await clinic.enrolStaff(), weak = await clinic.enrolStaff({ rights: RIGHT.message });
    assert.equal((await policy(chief)).status, 200);
    const key = new Authenticator('EdDSA'), another = new Authenticator('ES256');
    // What was never used is replaced, what was used is not.
    assert.equal((await early.ask('POST', '/v1/verifiers', { method: 'totp' })).status, 201);
    assert.equal((await register(early, key)).status, 201);
    assert.deepEqual((await early.ask('GET', '/v1/verifiers')).json.verifiers.map((v) => [v.method, v.credential, v.used]), [['webauthn', b64u(key.id), false]]);
    assert.equal((await begin(early, key)).status, 201);
    assert.equal((await register(early, another)).status, 201);
    assert.equal(problemName(await register(early, another)), 'id-reused');
    for (let i = 2; i < 8; i++) assert.equal((await register(early, new Authenticator('ES256'))).status, 201);
    assert.equal(problemName(await register(early, new Authenticator('ES256'))), 'too-large');
    await early.ask('DELETE', '/v1/session');
    assert.deepEqual(locked(await register(early, new Authenticator('ES256'))), [401, 'step-up', ['webauthn']]);
    assert.equal((await early.ask('GET', '/v1/verifiers')).json.open, false);
    assert.equal((await begin(early, another)).status, 201);
    // Removing what the session began with ends it.
    const { verifiers } = (await early.ask('GET', '/v1/verifiers')).json, own = verifiers.find((v) => v.credential === b64u(another.id));
    assert.equal(problemName(await chief.ask('DELETE', `/v1/verifiers/${own.verifier}`)), 'not-found');
    assert.equal((await early.ask('DELETE', `/v1/verifiers/${verifiers.at(-1).verifier === own.verifier ? verifiers.at(-2).verifier : verifiers.at(-1).verifier}`)).status, 204);
    assert.equal((await early.ask('GET', '/v1/session')).status, 200);
    assert.equal((await early.ask('DELETE', `/v1/verifiers/${own.verifier}`)).status, 204);
    assert.equal(problemName(await early.inbox(0)), 'step-up');
    // A lost authenticator: somebody with the right roster, and only he.
    assert.equal((await register(weak, new Authenticator('ES256'))).status, 201);
    const weakKey = new Authenticator('ES256');
    await register(weak, weakKey);
    assert.equal((await begin(weak, weakKey)).status, 201);
    assert.equal(problemName(await weak.ask('DELETE', `/v1/devices/${early.keyid}/verifiers`)), 'forbidden');
    assert.equal(problemName(await chief.ask('DELETE', `/v1/devices/${b64u(randomBytes(16))}/verifiers`)), 'not-found');
    const foreign = await (await Clinic.create(relay.origin)).enrolStaff();
    assert.equal(problemName(await foreign.ask('DELETE', `/v1/devices/${early.keyid}/verifiers`)), 'not-found');
    assert.equal((await chief.ask('DELETE', `/v1/devices/${early.keyid}/verifiers`)).status, 204);
    assert.deepEqual((await early.ask('GET', '/v1/verifiers')).json, { verifiers: [], open: true });
    assert.equal(problemName(await begin(early, key)), 'bad-assertion');
    assert.equal((await register(early, key)).status, 201);
    key.counter = 0;
    assert.equal((await begin(early, key)).status, 201);
    // Revoking leaves nothing.
    const kept = () => ['verifiers', 'sessions'].map((name) => relay.tables()[name].rows), before = kept();
    assert.equal((await chief.ask('DELETE', `/v1/devices/${early.keyid}`)).status, 204);
    assert.deepEqual(kept(), before.map((n) => n - 1));
    assert.equal(problemName(await early.ask('GET', '/v1/session')), 'revoked');
});

test('a session outlives the relay, and every relay knows it', async () => {
    const clinic = await Clinic.create(relay.origin), { device, key } = await atWork(clinic);
    assert.equal((await policy(device)).status, 200);
    const challenge = await challengeOf(device);
    await relay.restart();
    assert.equal((await device.inbox(0)).status, 200);
    assert.equal((await device.ask('POST', '/v1/session', key.get(challenge))).status, 201);
    if (!ON_POSTGRES) return;
    const second = await RelayProcess.beside(relay);
    try {
        const there = device.at(second.origin);
        assert.equal((await there.inbox(0)).status, 200);
        assert.equal((await device.ask('DELETE', '/v1/session')).status, 204);
        assert.equal(problemName(await there.inbox(0)), 'step-up');
        const answered = key.get(await challengeOf(device));
        const both = await Promise.all([device.ask('POST', '/v1/session', answered), there.ask('POST', '/v1/session', answered)]);
        assert.deepEqual(both.map((a) => a.status).sort(), [201, 403], 'a challenge counts once, wherever');
        const parked = there.inbox((await there.inbox(0)).json.next, { wait: 25 });
        await sleep(200);
        assert.equal((await device.ask('DELETE', '/v1/session')).status, 204);
        assert.equal(problemName(await parked), 'step-up', 'logging off ends a wait at the other relay');
    } finally {
        await second.stop();
    }
});

test('a relay that knows no origin takes codes only', async () => {
    const bare = await RelayProcess.start();
    try {
        const clinic = await Clinic.create(bare.origin), device = await clinic.enrolStaff(), key = new Authenticator('ES256');
        assert.equal((await device.ask('POST', '/v1/session/challenge')).json.rp_id, undefined);
        assert.equal(problemName(await register(device, key)), 'forbidden');
        const secret = Buffer.from((await device.ask('POST', '/v1/verifiers', { method: 'totp' })).json.secret, 'base64url');
        assert.equal((await code(device, secret)).status, 201);
        assert.equal(problemName(await policy(device, { staff: 'webauthn' })), 'forbidden');
        assert.equal((await policy(device)).status, 200);
    } finally {
        await bare.stop();
    }
});
