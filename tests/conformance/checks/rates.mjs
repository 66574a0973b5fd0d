// Limits on rates, where the server has some: met on the way or provoked here. Their form is openapi.yaml's affair.
import { sleep } from '../client.mjs';
import { Skip, checksOf } from '../suite.mjs';

const check = checksOf('rates');
/** Twice what PROTOCOL advises for reads of invitations in a minute. */
const ASKED = 60;

check('who asks too often is told when to come back, and is served then', async (c) => {
  const invite = c.clinic.invite(c.staff);
  const read = () => c.session.once(invite.request('GET', `/v1/invitations/${invite.id}`));
  for (let i = 0; i < ASKED; i++) {
    const answer = await read();
    if (answer.status !== 429) {
      c.expect(answer, 404, 'not-found');
      continue;
    }
    const { retry_after_s: wait } = c.expect(answer, 429, 'too-many');
    await sleep(wait * 1000 + 100);
    // Others may have taken what came free: then it is the same again.
    c.expect(await c.session.ask(() => invite.request('GET', `/v1/invitations/${invite.id}`)), 404, 'not-found');
    return;
  }
  throw new Skip(`none met in ${ASKED} reads of an invitation`);
});
