// A client of the relay's protocol written from server/PROTOCOL.md alone, on node:crypto and fetch, with none of the project's
// own code: what it and the relay agree on is what the page says. Beside it: a relay process to talk to.
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Postgres } from './postgres.mjs';
import { freePort } from './relay.mjs';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** SOTTO_RELAY: another build of it; by a path that is relative, from the checkout. */
export const RELAY = resolve(ROOT, process.env.SOTTO_RELAY ?? 'build/sotto-relay');

export const b64u = (bytes) => Buffer.from(bytes).toString('base64url');
export const sha256 = (...parts) => parts.reduce((h, p) => h.update(p), createHash('sha256')).digest();
export const nowS = () => Math.floor(Date.now() / 1000);

// ---- keys and names

const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

/** An Ed25519 key: { secret, raw } with the public key's 32 bytes. */
export function newKey() {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    return { secret: privateKey, raw: publicKey.export({ format: 'der', type: 'spki' }).subarray(SPKI.length) };
}

/** The same key from a 32-byte seed. */
export function keyFromSeed(seed) {
    const secret = createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8' });
    return { secret, raw: createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(SPKI.length) };
}

const nameOf = (label, raw) => b64u(sha256(Buffer.from(label), raw).subarray(0, 16));
export const clinicName = (raw) => nameOf('Sotto clinic 1', raw);
export const deviceName = (raw) => nameOf('Sotto device 1', raw);
export const inviteName = (raw) => nameOf('Sotto invite 1', raw);

// ---- TLS presentation language

const u16 = (v) => { const b = Buffer.alloc(2); b.writeUInt16BE(v); return b; };
const u32 = (v) => { const b = Buffer.alloc(4); b.writeUInt32BE(v); return b; };
const u64 = (v) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(v)); return b; };
export function vector(bytes) {
    const n = bytes.length;
    const prefix = n < 0x40 ? Buffer.from([n]) : n < 0x4000 ? u16(n | 0x4000) : u32(n + 0x80000000);
    return Buffer.concat([prefix, bytes]);
}

// ---- certificates

export const KIND = { staff: 1, agent: 2, invite: 3, patient: 4 };
export const RIGHT = { message: 1, invitePatient: 2, inviteStaff: 4, roster: 8, audit: 16 };
export const ALL_RIGHTS = 31;

/** Signs a certificate with the key of `issuer`. */
export function certificate(issuer, fields) {
    const { clinic, kind, enrols = 0, level = 0, key, subject, rights, notBefore = nowS() - 60, notAfter = nowS() + 86400 } = fields;
    const body = Buffer.concat([u16(1), Buffer.from(clinic, 'base64url'), Buffer.from([kind, enrols, level]), issuer.raw, key, subject,
        u32(rights), u64(notBefore), u64(notAfter)]);
    return Buffer.concat([body, sign(null, Buffer.concat([Buffer.from('Sotto certificate 1'), body]), issuer.secret)]);
}
export const chainOf = (certificates) => vector(Buffer.concat(certificates));

// ---- MLS messages as the relay sees them

export const CONTENT = { application: 1, proposal: 2, commit: 3 };
export function privateMessage(group, epoch, type, size = 100) {
    return Buffer.concat([u16(1), u16(2), vector(group), u64(epoch), Buffer.from([type]), vector(Buffer.alloc(0)), vector(randomBytes(44)),
        vector(randomBytes(size))]);
}

// ---- signed requests

export function signedHeaders(key, keyid, method, url, body, change = {}) {
    const { pathname, search, host } = new URL(url);
    const created = change.created ?? nowS(), nonce = change.nonce ?? b64u(randomBytes(16));
    const headers = {};
    let covered = '"@method" "@authority" "@path" "@query"';
    let base = `"@method": ${method}\n"@authority": ${host}\n"@path": ${pathname}\n"@query": ${search || '?'}\n`;
    if (body?.length) {
        headers['content-digest'] = change.digest ?? `sha-256=:${sha256(body).toString('base64')}:`;
        covered += ' "content-digest"';
        base += `"content-digest": ${headers['content-digest']}\n`;
    }
    const parameters = change.parameters ?? `(${covered});created=${created};nonce="${nonce}";keyid="${keyid}";alg="ed25519"`;
    base += `"@signature-params": ${parameters}`;
    headers['signature-input'] = `sotto=${parameters}`;
    headers.signature = `sotto=:${sign(null, Buffer.from(base), key.secret).toString('base64')}:`;
    return headers;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });

/** One HTTP exchange, nothing added: { status, headers, bytes, json }. */
export function exchange(url, { method = 'GET', headers = {}, body, signal, agent: ownAgent } = {}) {
    return new Promise((resolve, reject) => {
        const request = http.request(url, { method, headers: { ...headers, ...(body?.length ? { 'content-length': body.length } : {}) },
            agent: ownAgent ?? agent, signal }, (response) => {
            const parts = [];
            response.on('data', (part) => parts.push(part));
            response.on('error', reject);
            response.on('end', () => {
                const bytes = Buffer.concat(parts);
                let json;
                if (/json/.test(response.headers['content-type'] ?? '')) json = JSON.parse(bytes);
                resolve({ status: response.statusCode, headers: response.headers, bytes, json });
            });
        });
        request.on('error', reject);
        request.end(body);
    });
}

/** A party with a key and a name that asks a relay. */
export class Party {
    constructor(origin, key, keyid) {
        Object.assign(this, { origin, key, keyid });
    }
    /** The same party at another address. */
    at(origin) {
        return Object.assign(Object.create(Object.getPrototypeOf(this)), this, { origin });
    }
    async ask(method, path, content, { change, headers = {}, key, keyid, signal, agent: ownAgent } = {}) {
        const url = this.origin + path;
        let body, type;
        if (Buffer.isBuffer(content)) [body, type] = [content, 'message/mls'];
        else if (typeof content === 'string') [body, type] = [Buffer.from(content), 'application/json'];
        else if (content !== undefined) [body, type] = [Buffer.from(JSON.stringify(content)), 'application/json'];
        const signed = signedHeaders(key ?? this.key, keyid ?? this.keyid, method, url, body, change);
        return exchange(url, { method, body, signal, agent: ownAgent, headers: { ...signed, ...(type ? { 'content-type': type } : {}), ...headers } });
    }
    message(group, content, { id = b64u(randomBytes(16)) } = {}) {
        return this.ask('POST', `/v1/groups/${b64u(group)}/messages?id=${id}`, content);
    }
    commit(group, epoch, { added = [], removed = [], commit = privateMessage(group, epoch, CONTENT.commit), welcome = added.length ? randomBytes(60) : undefined } = {}) {
        return this.ask('POST', `/v1/groups/${b64u(group)}/commits`,
            { epoch, commit: b64u(commit), welcome: welcome && b64u(welcome), added, removed });
    }
    inbox(after, { wait = 0, limit, ...more } = {}) {
        return this.ask('GET', `/v1/inbox?after=${after}${wait ? `&wait=${wait}` : ''}${limit ? `&limit=${limit}` : ''}`, undefined, more);
    }
}

/** A clinic on a relay with its root key, able to make devices and invitations. */
export class Clinic {
    static async create(origin) {
        const c = new Clinic();
        c.origin = origin;
        c.root = newKey();
        c.name = clinicName(c.root.raw);
        c.party = new Party(origin, c.root, c.name);
        c.answer = await c.party.ask('POST', '/v1/clinics', { root_key: b64u(c.root.raw) });
        return c;
    }
    /** A staff device certified by the root, not yet enrolled. */
    staff({ rights = ALL_RIGHTS, kind = KIND.staff, ...more } = {}) {
        const key = newKey(), subject = randomBytes(16);
        const cert = certificate(this.root, { clinic: this.name, kind, key: key.raw, subject, rights, ...more });
        const party = new Party(this.origin, key, deviceName(key.raw));
        return Object.assign(party, { clinic: this, certificates: [cert], rights });
    }
    async enrolStaff(options) {
        const device = this.staff(options);
        device.answer = await enrol(device);
        return device;
    }
    /** An invite issued by a device: its key, chain and id; not yet registered. */
    invite(by, { enrols = KIND.patient, rights = RIGHT.message, level = 1, subject = randomBytes(16), ...more } = {}) {
        const key = newKey();
        const cert = certificate(by.key, { clinic: this.name, kind: KIND.invite, enrols, level, key: key.raw, subject, rights, ...more });
        const id = inviteName(key.raw);
        return Object.assign(new Party(this.origin, key, id), { id, certificates: [...by.certificates, cert], subject, rights, enrols, level, clinic: this });
    }
    /** A device of whom an invite is for. */
    invited(invite, more = {}) {
        const key = newKey();
        const cert = certificate(invite.key, { clinic: this.name, kind: invite.enrols, level: invite.level, key: key.raw, subject: invite.subject, rights: invite.rights, ...more });
        return Object.assign(new Party(this.origin, key, deviceName(key.raw)), { clinic: this, certificates: [...invite.certificates, cert], rights: invite.rights });
    }
    async enrolPatient(by) {
        const invite = this.invite(by);
        await register(by, invite);
        const device = this.invited(invite);
        device.answer = await enrol(device);
        return device;
    }
}

export const enrol = (device, more = {}) => device.ask('POST', '/v1/devices', { chain: b64u(chainOf(device.certificates)), ...more });
export const register = (by, invite, more = {}) =>
    by.ask('POST', '/v1/invitations', { chain: b64u(chainOf(invite.certificates)), sealed: b64u(Buffer.from('sealed')), ...more });

// ---- a relay process

/** SOTTO_DATABASE=postgres: every relay gets a database of its own on one server, which ends with this process's tests. */
export const ON_POSTGRES = process.env.SOTTO_DATABASE === 'postgres';
export const postgres = ON_POSTGRES ? await Postgres.start() : undefined;
if (postgres) after(() => postgres.stop());

export class RelayProcess {
    /** Options are command-line options without dashes; limits on rates are off unless given. */
    static async start(options = {}, folder = mkdtempSync(join(tmpdir(), 'sotto-relay-'))) {
        const relay = new RelayProcess();
        relay.folder = folder;
        relay.database = postgres ? ['--db', postgres.database()] : ['--data', folder];
        relay.options = { 'rate-device': 0, 'rate-address': 0, 'rate-enrol': 0, 'rate-invite': 0, 'rate-clinic': 0, ...options };
        await relay.launch(await freePort());
        return relay;
    }
    /** Another on the same database. */
    static async beside(first) {
        const relay = new RelayProcess();
        relay.folder = mkdtempSync(join(tmpdir(), 'sotto-relay-'));
        relay.database = first.database;
        relay.options = first.options;
        await relay.launch(await freePort());
        return relay;
    }
    /** `under`: a command that starts it, such as one that sets limits. */
    launch(port = this.port, under = []) {
        const args = ['serve', ...this.database, '--port', String(port)];
        for (const [name, value] of Object.entries(this.options)) args.push(`--${name}`, String(value));
        const child = spawn(under[0] ?? RELAY, under.length > 0 ? [...under.slice(1), RELAY, ...args] : args, { stdio: ['ignore', 'ignore', 'pipe'] });
        this.child = child;
        this.log = '';
        this.ended = new Promise((resolve) => child.on('exit', (code, sig) => resolve({ code, signal: sig })));
        // A relay built with sanitizers (SOTTO_RELAY): what they find is a failure, whatever the test makes of the relay's end.
        child.on('close', () => {
            if (!/Sanitizer: |: runtime error: /.test(this.log)) return;
            console.error(this.log);
            process.exitCode = 1;
        });
        return new Promise((resolve, reject) => {
            child.on('error', reject);
            child.on('exit', (code) => reject(new Error(`relay ended with ${code}: ${this.log}`)));
            child.stderr.on('data', (part) => {
                this.log += part;
                const found = /event=listening port=(\d+)/.exec(this.log);
                if (found) {
                    this.port = Number(found[1]);
                    this.origin = `http://127.0.0.1:${this.port}`;
                    resolve(this);
                }
            });
        });
    }
    async kill(name = 'SIGKILL') {
        this.child.kill(name);
        return this.ended;
    }
    async restart(name = 'SIGKILL') {
        await this.kill(name);
        await this.launch();
    }
    /** Rows and digest of each table, without the nonces and the audit log, which any signed request adds to. */
    tables() {
        const { stdout, stderr } = spawnSync(RELAY, ['doctor', ...this.database], { encoding: 'utf8' });
        if (!stdout.includes('"tables":{')) throw new Error(`doctor failed: ${stderr}`);
        const { nonces, audit_entries, audit_heads, audit_checkpoints, ...tables } = JSON.parse(stdout).tables;
        return tables;
    }
    async stop() {
        const { code, signal } = await this.kill('SIGTERM');
        rmSync(this.folder, { recursive: true, force: true });
        if (code !== 0) throw new Error(`the relay ended with ${code ?? signal}: ${this.log}`);
    }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const problemName = (answer) => answer.json?.type?.replace('urn:sotto:problem:', '');
