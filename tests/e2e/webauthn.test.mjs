// What a real browser makes of Web Authentication, given to the relay: Chromium with an authenticator of its own making (DevTools' virtual one)
// registers credentials and asserts with them as PROTOCOL.md, "Sessions", tells pages to. The software authenticator of
// tests/node/relay-session.test.mjs is ours, and could misread the specification as the relay does; this one is not.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { tempFolder } from '../node/support/relay.mjs';
import { Clinic, RELAY, RelayProcess, problemName } from '../node/support/relay-client.mjs';

const CHROMIUM = '/usr/bin/chromium';
const missing = [RELAY, CHROMIUM].filter((path) => !existsSync(path));

/**
 * Asks the page's authenticator. Runs in the page. @param {{ challenge: string, rp: string, algorithm?: number, allow?: string[], verification?: UserVerificationRequirement }} how
 * @returns {Promise<Record<string, string>>}
 */
async function askAuthenticator({ challenge, rp, algorithm, allow, verification = 'required' }) {
  const bytes = (/** @type {string} */ text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
  const text = (/** @type {ArrayBuffer} */ buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  if (allow === undefined) {
    const made = /** @type {PublicKeyCredential} */ (await navigator.credentials.create({
      publicKey: {
        challenge: bytes(challenge),
        rp: { id: rp, name: 'Sotto' },
        user: { id: crypto.getRandomValues(new Uint8Array(16)), name: 'staff', displayName: 'Staff' },
        pubKeyCredParams: [{ type: 'public-key', alg: algorithm ?? -7 }],
        attestation: 'none',
        authenticatorSelection: { userVerification: verification },
      },
    }));
    const response = /** @type {AuthenticatorAttestationResponse} */ (made.response);
    return { method: 'webauthn', client_data: text(response.clientDataJSON), authenticator_data: text(response.getAuthenticatorData()) };
  }
  const got = /** @type {PublicKeyCredential} */ (await navigator.credentials.get({
    publicKey: { challenge: bytes(challenge), rpId: rp, userVerification: verification, allowCredentials: allow.map((id) => ({ type: 'public-key', id: bytes(id) })) },
  }));
  const response = /** @type {AuthenticatorAssertionResponse} */ (got.response);
  return { method: 'webauthn', credential: text(got.rawId), client_data: text(response.clientDataJSON), authenticator_data: text(response.authenticatorData), signature: text(response.signature) };
}

test('a browser\'s credentials and assertions begin sessions', { skip: missing.length > 0 && `missing: ${missing.join(', ')}` }, async (t) => {
  const folder = await tempFolder('webauthn');
  t.after(folder.remove);
  await mkdir(join(folder.path, 'pages'));
  await writeFile(join(folder.path, 'pages/index.html'), '<!doctype html><title>console</title>');
  const relay = await RelayProcess.start({ static: join(folder.path, 'pages') });
  t.after(() => relay.stop());
  // The origin holds the port, which is known only now.
  const site = `http://localhost:${relay.port}`;
  relay.options.origin = site;
  await relay.restart('SIGTERM');
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--disable-gpu', '--no-first-run', ...(process.getuid?.() === 0 ? ['--no-sandbox'] : [])] });
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`${site}/`);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('WebAuthn.enable');
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  const clinic = await Clinic.create(relay.origin);
  for (const [name, algorithm] of /** @type {[string, number][]} */ ([['ES256', -7], ['EdDSA', -8]])) {
    await t.test(name, async () => {
      const device = await clinic.enrolStaff();
      /** @param {Partial<Parameters<typeof askAuthenticator>[0]>} how */
      const ask = async (how) => {
        const { challenge, rp_id: rp, origin } = (await device.ask('POST', '/v1/session/challenge')).json;
        assert.deepEqual([origin, rp], [site, 'localhost']);
        return page.evaluate(askAuthenticator, { challenge, rp, ...how });
      };
      const registered = await device.ask('POST', '/v1/verifiers', await ask({ algorithm }));
      assert.equal(registered.status, 201, JSON.stringify(registered.json));
      const [{ credential }] = (await device.ask('GET', '/v1/verifiers')).json.verifiers;
      for (let i = 0; i < 2; i++) {
        const assertion = await ask({ allow: [credential] });
        const begun = await device.ask('POST', '/v1/session', assertion);
        assert.equal(begun.status, 201, JSON.stringify(begun.json));
        assert.equal(problemName(await device.ask('POST', '/v1/session', assertion)), 'bad-assertion', 'twice');
      }
      assert.equal((await device.ask('GET', '/v1/session')).json.method, 'webauthn');
      // Somebody who only touches it: the browser would refuse where verification is required, so the page does not require it.
      await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
      assert.equal(problemName(await device.ask('POST', '/v1/session', await ask({ allow: [credential], verification: 'discouraged' }))), 'bad-assertion');
      await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true });
      // Another device does not get in with this key.
      const other = await clinic.enrolStaff();
      assert.equal(problemName(await other.ask('POST', '/v1/session', await ask({ allow: [credential] }))), 'bad-assertion');
    });
  }
  // The same authenticator, asked by a page of another origin.
  await t.test('another origin', async () => {
    const device = await clinic.enrolStaff();
    await page.goto(`http://127.0.0.1:${relay.port}/`);
    const { challenge } = (await device.ask('POST', '/v1/session/challenge')).json;
    await assert.rejects(page.evaluate(askAuthenticator, { challenge, rp: 'localhost' }), /SecurityError|domain/, 'the browser itself refuses a foreign relying party');
  });
});
