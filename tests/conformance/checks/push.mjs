// Subscriptions to Web Push. What is sent to a push service only that service sees: tests/node/relay-push.test.mjs looks at ours.
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { b64u, randomId } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const group = checksOf('push');
/** @param {string} name @param {(c: import('../suite.mjs').Context) => Promise<unknown>} run */
const check = (name, run) => group(name, run, 'push');
/** Of a host that is never there (RFC 6761 §6.4). */
const endpoint = () => `https://push.invalid/${randomId()}`;

check('the key is a point of P-256, and stays', async (c) => {
  const point = Buffer.from(c.description.push_key, 'base64url');
  assert.deepEqual([point.length, point[0]], [65, 4]);
  const jwk = { kty: 'EC', crv: 'P-256', x: b64u(point.subarray(1, 33)), y: b64u(point.subarray(33)) };
  createPublicKey({ key: jwk, format: 'jwk' }); // throws when it is not on the curve
  const again = c.expect(await c.session.ask(() => ({ method: 'GET', path: '/.well-known/sotto', headers: {} })), 200);
  assert.equal(again.push_key, c.description.push_key);
});

check('a device sets its subscription, again, anew, and drops it', async (c) => {
  const device = await c.member();
  const first = { endpoint: endpoint(), expirationTime: null, keys: { p256dh: 'BA', auth: 'AA' } };
  for (const body of [first, first, { endpoint: endpoint() }]) c.expect(await device.ask('PUT', '/v1/push', body), 204);
  for (let i = 0; i < 2; i += 1) c.expect(await device.ask('DELETE', '/v1/push'), 204);
});

check('an endpoint that is no address of a push service is refused', async (c) => {
  const device = await c.member();
  const bad = ['', 'push.invalid/x', 'http://push.invalid/x', 'https://push.invalid', 'https://user@push.invalid/x', 'https://push.invalid/x#y', 'https://push.invalid/x y',
    'https://localhost/x', 'https://127.0.0.1/x', 'https://2130706433/x', 'https://[::1]/x', `https://push.invalid/${'a'.repeat(2048)}`];
  for (const wrong of bad) c.expect(await device.ask('PUT', '/v1/push', { endpoint: wrong }), 400, 'malformed');
  c.expect(await device.ask('PUT', '/v1/push', {}), 400, 'malformed');
  c.expect(await device.ask('PUT', '/v1/push', { endpoint: 7 }), 400, 'malformed');
});

check('a device that was revoked sets none', async (c) => {
  const device = await c.member();
  c.expect(await device.ask('DELETE', `/v1/devices/${device.id}`), 204);
  c.expect(await device.ask('PUT', '/v1/push', { endpoint: endpoint() }), 403, 'revoked');
});
