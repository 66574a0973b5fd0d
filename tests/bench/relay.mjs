// relay.mjs: how many messages a relay takes in a second over HTTP on this machine, each on disk when it is answered. The
// senders share the processors with it, but have signed their requests before. Writes JSON.
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:http';
import { CONTENT, Clinic, RelayProcess, b64u, exchange, privateMessage, signedHeaders } from '../node/support/relay-client.mjs';

const EACH = { 1: 400, 8: 150 };
const SIZE = 1400; /* a text of 1 kB, encrypted and padded, is 2.2 kB; one of 100 bytes 0.4 */

const relay = await RelayProcess.start({ clinics: 'open' });
try {
  const clinic = await Clinic.create(relay.origin);
  const reader = await clinic.enrolStaff({ rights: 1 });
  const senders = await Promise.all(Array.from({ length: 8 }, () => clinic.enrolStaff({ rights: 1 })));
  const group = randomBytes(32);
  await reader.commit(group, 0, { added: senders.map((s) => s.keyid) });

  /** @param {any} sender @param {number} count */
  const signed = (sender, count) =>
    Array.from({ length: count }, () => {
      const body = privateMessage(group, 1, CONTENT.application, SIZE);
      const url = `${relay.origin}/v1/groups/${b64u(group)}/messages?id=${b64u(randomBytes(16))}`;
      const headers = signedHeaders(sender.key, sender.keyid, 'POST', url, body);
      return { url, options: { method: 'POST', body, headers: { ...headers, 'content-type': 'message/mls' } } };
    });

  /** @type {Record<string, number>} */
  const rates = {};
  for (const [count, each] of Object.entries(EACH)) {
    const work = senders.slice(0, Number(count)).map((sender) => ({ agent: new Agent({ keepAlive: true }), requests: signed(sender, each) }));
    const begin = performance.now();
    await Promise.all(
      work.map(async ({ agent, requests }) => {
        for (const { url, options } of requests) {
          const { status } = await exchange(url, { ...options, agent });
          if (status !== 200) throw new Error(`the relay answered ${status}`);
        }
        agent.destroy();
      }),
    );
    rates[count] = (Number(count) * each * 1000) / (performance.now() - begin);
  }
  console.log(JSON.stringify(rates));
} finally {
  await relay.stop();
}
process.exit(0);
