// The stock of key packages: each once, in order, then the last resort.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { RIGHT, b64u, randomId } from '../client.mjs';
import { checksOf } from '../suite.mjs';

const check = checksOf('key packages');
/** @param {number} n */
const packages = (n) => Array.from({ length: n }, () => b64u(randomBytes(200)));

check('claimed oldest first, each once', async (c) => {
  const owner = await c.member();
  const [a, b, d] = /** @type {[string, string, string]} */ (packages(3));
  assert.deepEqual(c.expect(await owner.publish([a, b]), 200), { count: 2 });
  assert.deepEqual(c.expect(await owner.publish([d]), 200), { count: 3 });
  for (const key_package of [a, b, d]) assert.deepEqual(c.expect(await c.staff.claim(owner.id), 200).key_packages, [{ device: owner.id, key_package }]);
  assert.deepEqual(c.expect(await c.staff.claim(owner.id), 200).key_packages, []);
  assert.deepEqual(c.expect(await owner.ask('GET', '/v1/key-packages'), 200), { count: 0 });
});

check('the last resort comes when the stock is empty, again and again', async (c) => {
  const owner = await c.member();
  const [only, last, newer] = /** @type {[string, string, string]} */ (packages(3));
  assert.deepEqual(c.expect(await owner.publish([only], last), 200), { count: 1 });
  const got = [];
  for (let i = 0; i < 3; i++) got.push(c.expect(await c.staff.claim(owner.id), 200).key_packages[0]?.key_package);
  assert.deepEqual(got, [only, last, last]);
  assert.deepEqual(c.expect(await owner.publish([], newer), 200), { count: 0 });
  assert.equal(c.expect(await c.staff.claim(owner.id), 200).key_packages[0]?.key_package, newer);
});

check('claimed at the same time, none goes to two', async (c) => {
  const owner = await c.member();
  const stock = packages(30);
  c.expect(await owner.publish(stock), 200);
  const answers = await Promise.all(Array.from({ length: 40 }, () => c.staff.claim(owner.id)));
  const got = answers.flatMap((a) => c.expect(a, 200).key_packages.map((/** @type {any} */ k) => k.key_package));
  assert.equal(new Set(got).size, got.length, 'one was given out twice');
  assert.deepEqual(got.sort(), stock.sort());
});

check('one that was published before is not added again', async (c) => {
  const owner = await c.member();
  const [a, b] = /** @type {[string, string]} */ (packages(2));
  c.expect(await owner.publish([a, b]), 200);
  assert.deepEqual(c.expect(await owner.publish([b]), 200), { count: 2 });
  c.expect(await c.staff.claim(owner.id), 200);
  assert.deepEqual(c.expect(await owner.publish([a]), 200), { count: 1 }, 'a claimed one came back');
});

check('over its limit nothing is added', async (c) => {
  const owner = await c.member();
  const { key_packages: limit } = c.description.limits;
  const [last] = packages(1);
  c.expect(await owner.publish(packages(60)), 200);
  const over = c.expect(await owner.publish(packages(limit - 59), last), 413, 'too-large');
  assert.equal(over.limit, limit);
  assert.deepEqual(c.expect(await owner.ask('GET', '/v1/key-packages'), 200), { count: 60 });
  assert.deepEqual(c.expect(await owner.publish(packages(limit - 60)), 200), { count: limit });
});

check('claiming for several: those without any are missing', async (c) => {
  const [one, none, two] = await c.members(3);
  const [a, b] = /** @type {[string, string]} */ (packages(2));
  c.expect(await one.publish([a]), 200);
  c.expect(await two.publish([], b), 200);
  const got = c.expect(await c.staff.claim(one.id, none.id, randomId(), two.id), 200).key_packages;
  assert.deepEqual(got, [{ device: one.id, key_package: a }, { device: two.id, key_package: b }]);
  assert.deepEqual(c.expect(await c.staff.claim(), 200).key_packages, []);
});

check('claiming needs the right to take part in conversations', async (c) => {
  const owner = await c.member();
  c.expect(await owner.publish(packages(1)), 200);
  const mute = await c.clinic.enrolStaff(RIGHT.roster);
  c.expect(await mute.claim(owner.id), 403, 'forbidden');
  assert.deepEqual(c.expect(await owner.ask('GET', '/v1/key-packages'), 200), { count: 1 });
});

check('published at the same time, all are there', async (c) => {
  const owner = await c.member();
  const parts = Array.from({ length: 8 }, () => packages(5));
  await Promise.all(parts.map((part) => owner.publish(part)));
  assert.deepEqual(c.expect(await owner.ask('GET', '/v1/key-packages'), 200), { count: 40 });
  const got = new Set();
  for (let i = 0; i < 40; i++) got.add(c.expect(await c.staff.claim(owner.id), 200).key_packages[0]?.key_package);
  assert.deepEqual([...got].sort(), parts.flat().sort());
});
