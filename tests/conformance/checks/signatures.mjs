// RFC 9421 in the one form that PROTOCOL gives: what is not covered, altered, late or used before is refused.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { CONTENT, b64u, deviceId, newKey, nowS, privateMessage, randomId, sha256 } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('signatures');
const PATH = '/v1/key-packages';

/** @param {Buffer} bytes */
const digestOf = (bytes) => `sha-256=:${sha256(bytes).toString('base64')}:`;

check('a request without a signature is refused', async (c) => {
  const device = await c.member();
  c.expect(await c.session.once({ method: 'GET', path: PATH, headers: {} }), 401, 'unsigned');
  for (const name of ['signature', 'signature-input']) {
    c.expect(await device.ask('GET', PATH, undefined, { sign: { edit: (headers) => void delete headers[name] } }), 401, 'unsigned');
  }
});

check('a signature by another key is refused', async (c) => {
  const device = await c.member();
  const other = await c.member();
  c.expect(await device.ask('GET', PATH, undefined, { sign: { key: newKey() } }), 401, 'bad-signature');
  c.expect(await device.ask('GET', PATH, undefined, { sign: { key: other.key } }), 401, 'bad-signature');
  const flip = (/** @type {Record<string, string>} */ headers) => {
    const bytes = Buffer.from(/** @type {string} */ (headers['signature']).slice(7, -1), 'base64');
    bytes[3] = /** @type {number} */ (bytes[3]) ^ 1;
    headers['signature'] = `sotto=:${bytes.toString('base64')}:`;
  };
  c.expect(await device.ask('GET', PATH, undefined, { sign: { edit: flip } }), 401, 'bad-signature');
});

check('a key that is not enrolled is refused', async (c) => {
  const stranger = newKey();
  c.expect(await c.staff.ask('GET', PATH, undefined, { sign: { key: stranger, keyid: deviceId(stranger.raw) } }), 401, 'unknown-device');
});

check('a device enrols only by its own key', async (c) => {
  const device = c.clinic.staff();
  c.expect(await device.enrol({}, { sign: { key: newKey() } }), 401, 'bad-signature');
  const other = newKey();
  c.expect(await device.enrol({}, { sign: { key: other, keyid: deviceId(other.raw) } }), 401, 'bad-signature');
  c.expect(await device.enrol(), 201);
});

check('a signature over another method, name, path or query is refused', async (c) => {
  const device = await c.member();
  for (const over of [{ method: 'PUT' }, { method: 'get' }, { authority: 'elsewhere.example' }, { path: '/v1/inbox' }, { query: '?after=1' }, { query: '' }]) {
    c.expect(await device.ask('GET', PATH, undefined, { sign: { over } }), 401, 'bad-signature');
  }
  c.expect(await device.ask('GET', '/v1/inbox?after=0&limit=5', undefined, { sign: { over: { query: '?after=0&limit=6' } } }), 401, 'bad-signature');
});

check('content that was altered is refused, and nothing comes of it', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const [sent, signed] = [privateMessage(group, 1, CONTENT.application), privateMessage(group, 1, CONTENT.application)];
  // Signed as a whole for other content: the digest is not of what came.
  c.expect(await a.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${randomId()}`, sent, { sign: { over: { body: signed } } }), 401, 'bad-signature');
  // The digest was put right, and so the signature does not cover it.
  const edit = (/** @type {Record<string, string>} */ headers) => void (headers['content-digest'] = digestOf(sent));
  c.expect(await a.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${randomId()}`, sent, { sign: { over: { body: signed }, edit } }), 401, 'bad-signature');
  const jsonBody = { key_packages: [b64u(randomBytes(30))] };
  c.expect(await a.ask('PUT', PATH, jsonBody, { sign: { over: { body: Buffer.from(JSON.stringify({ key_packages: [] })) } } }), 401, 'bad-signature');
  assert.deepEqual(c.expect(await a.ask('GET', PATH), 200), { count: 0 });
  assert.deepEqual((await b.events({ group })).map((e) => e.kind), ['welcome']);
});

check('content goes with a digest, and only content', async (c) => {
  const device = await c.member();
  const body = { key_packages: [] };
  c.expect(await device.ask('PUT', PATH, body, { sign: { edit: (headers) => void delete headers['content-digest'] } }), 401, 'unsigned');
  // Covered by nothing: the list of components lacks it.
  const input = `("@method" "@authority" "@path" "@query");created=${nowS()};nonce="${randomId()}";keyid="${device.id}";alg="ed25519"`;
  c.expect(await device.ask('PUT', PATH, body, { sign: { input } }), 401, 'unsigned');
  c.expect(await device.ask('GET', PATH, undefined, { headers: { 'content-digest': digestOf(Buffer.alloc(0)) } }), 401, 'unsigned');
  const sha512 = (/** @type {Record<string, string>} */ headers) => void (headers['content-digest'] = `sha-512=:${randomBytes(64).toString('base64')}:`);
  c.expect(await device.ask('PUT', PATH, body, { sign: { edit: sha512 } }), 401, 'bad-signature');
});

check('other spellings of the signature are refused', async (c) => {
  const device = await c.member();
  const covered = '"@method" "@authority" "@path" "@query"';
  const created = nowS();
  const tail = (nonce = randomId(), keyid = device.id) => `;created=${created};nonce="${nonce}";keyid="${keyid}";alg="ed25519"`;
  for (const input of [
    `("@method" "@authority" "@path")${tail()}`,
    `("@authority" "@method" "@path" "@query")${tail()}`,
    `(${covered} "date")${tail()}`,
    `()${tail()}`,
    `(${covered});nonce="${randomId()}";created=${created};keyid="${device.id}";alg="ed25519"`,
    `(${covered});created=${created};nonce="${randomId()}";keyid="${device.id}";alg="hmac-sha256"`,
    `(${covered});created=${created};nonce="${randomId()}";keyid="${device.id}"`,
    `(${covered});created=${created};keyid="${device.id}";alg="ed25519"`,
    `(${covered});nonce="${randomId()}";keyid="${device.id}";alg="ed25519"`,
    `(${covered});created=0${created};nonce="${randomId()}";keyid="${device.id}";alg="ed25519"`,
    `(${covered});created=${created}.5;nonce="${randomId()}";keyid="${device.id}";alg="ed25519"`,
    `(${covered})${tail()};expires=${created + 60}`,
    `(${covered})${tail('short')}`,
    `(${covered})${tail(randomId(), 'short')}`,
    `(${covered})${tail()}, other=(${covered})${tail()}`,
  ]) {
    const answer = await device.ask('GET', PATH, undefined, { sign: { input } });
    assert.deepEqual([input, answer.status, answer.problem], [input, 401, 'unsigned']);
  }
  for (const edit of [
    (/** @type {Record<string, string>} */ h) => void (h['signature'] = /** @type {string} */ (h['signature']).replace('sotto=', 'sig1=')),
    (/** @type {Record<string, string>} */ h) => void (h['signature'] = /** @type {string} */ (h['signature']).replace(/=*:$/, ':')),
    (/** @type {Record<string, string>} */ h) => void (h['signature'] = 'sotto=::'),
  ]) c.expect(await device.ask('GET', PATH, undefined, { sign: { edit } }), 401, 'unsigned');
});

check('a signed request is good once', async (c) => {
  const [device, other] = await c.members(2);
  const nonce = randomId();
  c.expect(await device.ask('GET', PATH, undefined, { sign: { nonce } }), 200);
  c.expect(await device.ask('GET', PATH, undefined, { sign: { nonce } }), 401, 'replayed');
  c.expect(await device.ask('GET', '/v1/inbox?after=0', undefined, { sign: { nonce } }), 401, 'replayed');
  c.expect(await other.ask('GET', PATH, undefined, { sign: { nonce } }), 200);
});

check('a request that is caught and sent again, also at once, counts once', async (c) => {
  const [a, b] = await c.members(2);
  const group = await c.group(a, b);
  const caught = a.request('POST', `/v1/groups/${b64u(group)}/commits`, { epoch: 1, commit: b64u(privateMessage(group, 1, CONTENT.commit)), added: [], removed: [] });
  const answers = await Promise.all(Array.from({ length: 6 }, () => c.session.ask(() => caught)));
  assert.deepEqual(answers.map((x) => x.status).sort(), [200, 401, 401, 401, 401, 401]);
  for (const answer of answers.filter((x) => x.status !== 200)) c.expect(answer, 401, 'replayed');
});

check('a signature that does not verify uses up no nonce', async (c) => {
  const device = await c.member();
  const nonce = randomId();
  c.expect(await device.ask('GET', PATH, undefined, { sign: { nonce, key: newKey() } }), 401, 'bad-signature');
  c.expect(await device.ask('GET', PATH, undefined, { sign: { nonce } }), 200);
});

check('one whose clock is wrong is told the time, and can sign by it', async (c) => {
  const device = await c.member();
  for (const off of [-3600, -320, 320, 3600]) {
    const { now } = c.expect(await device.ask('GET', PATH, undefined, { sign: { created: nowS() + off } }), 401, 'clock-skew');
    c.expect(await device.ask('GET', PATH, undefined, { sign: { created: Math.floor(now / 1000) } }), 200);
  }
  c.expect(await device.ask('GET', PATH, undefined, { sign: { created: 0 } }), 401, 'clock-skew');
});

check('clocks that differ by less than 300 s are no matter', async (c) => {
  const device = await c.member();
  const { now } = c.expect(await device.inbox(0), 200);
  for (const off of [-280, 280]) c.expect(await device.ask('GET', PATH, undefined, { sign: { created: Math.floor(now / 1000) + off } }), 200);
});
