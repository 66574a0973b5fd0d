// A WebAuthn authenticator in plain Node, written from the Level 2 specification, and an app for one-time codes.
import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { b64u, sha256 } from './relay-client.mjs';

/** The little of CBOR (RFC 8949) that a COSE key needs: maps of small integers and bytes. */
function cbor(value) {
    const head = (major, n) => (n < 24 ? Buffer.from([(major << 5) | n]) : n < 256 ? Buffer.from([(major << 5) | 24, n]) : Buffer.from([(major << 5) | 25, n >> 8, n & 255]));
    if (typeof value === 'number') return value >= 0 ? head(0, value) : head(1, -1 - value);
    if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value]);
    if (typeof value === 'string') return Buffer.concat([head(3, value.length), Buffer.from(value)]);
    return Buffer.concat([head(5, value.size), ...[...value].flatMap(([k, v]) => [cbor(k), cbor(v)])]);
}

const UP = 1, UV = 4, AT = 0x40;

export class Authenticator {
    /** @param {'ES256'|'EdDSA'} algorithm */
    constructor(algorithm, { origin = 'https://console.example', party = 'console.example', counts = true } = {}) {
        Object.assign(this, { algorithm, origin, party, counts, counter: 0, id: randomBytes(algorithm === 'ES256' ? 32 : 300) });
        this.pair = algorithm === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519');
    }
    coseKey() {
        const { x, y } = this.pair.publicKey.export({ format: 'jwk' });
        const bytes = (v) => Buffer.from(v, 'base64url');
        return cbor(this.algorithm === 'ES256' ? new Map([[1, 2], [3, -7], [-1, 1], [-2, bytes(x)], [-3, bytes(y)]])
            : new Map([[1, 1], [3, -8], [-1, 6], [-2, bytes(x)]]));
    }
    clientData(type, challenge, change = {}) {
        return Buffer.from(JSON.stringify({ type, challenge, origin: this.origin, crossOrigin: false, ...change }));
    }
    head({ party = this.party, flags, counter }) {
        const tail = Buffer.alloc(5);
        tail[0] = flags;
        tail.writeUInt32BE(counter, 1);
        return Buffer.concat([sha256(Buffer.from(party)), tail]);
    }
    /** The members of POST /v1/verifiers. `change` is what an attacker, or a fault, would have otherwise. */
    create(challenge, { client = {}, type = 'webauthn.create', flags = UP | UV | AT, key = this.coseKey(), party } = {}) {
        const idSize = Buffer.from([this.id.length >> 8, this.id.length & 255]);
        const data = Buffer.concat([this.head({ party, flags, counter: 0 }), Buffer.alloc(16), idSize, this.id, key]);
        return { method: 'webauthn', client_data: b64u(this.clientData(type, challenge, client)), authenticator_data: b64u(data) };
    }
    /** The members of POST /v1/session. */
    get(challenge, { client = {}, type = 'webauthn.get', flags = UP | UV, party, counter = this.counts ? ++this.counter : 0, by = this } = {}) {
        const clientData = this.clientData(type, challenge, client), data = this.head({ party, flags, counter });
        const signature = sign(by.algorithm === 'ES256' ? 'sha256' : null, Buffer.concat([data, sha256(clientData)]), by.pair.privateKey);
        return { method: 'webauthn', credential: b64u(this.id), client_data: b64u(clientData), authenticator_data: b64u(data), signature: b64u(signature) };
    }
}

/** RFC 6238. @param {Buffer} secret @param {number} seconds */
export function codeOf(secret, seconds) {
    const moment = Buffer.alloc(8);
    moment.writeBigUInt64BE(BigInt(Math.floor(seconds / 30)));
    const mac = createHmac('sha1', secret).update(moment).digest(), at = mac[19] & 15;
    return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}
