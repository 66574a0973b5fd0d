// The kill test. Sixteen clients in each of two clinics write messages, race for epochs, claim key packages, store blobs, schedule and
// withdraw, while relay and database are killed (-9); each insists until it is answered. Then everything is held against what was
// answered: nothing acknowledged is lost, nothing is there twice, order is kept, the audit chain is whole.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { log } from './audit-log.mjs';
import { killAt } from './tracer.mjs';
import { CONTENT, Clinic, RELAY, RIGHT, RelayProcess, b64u, postgres, privateMessage, problemName, sha256, sleep } from './relay-client.mjs';

const MESSENGERS = 8, COMMITTERS = 3, CLAIMERS = 2; // of a clinic; and one who publishes, one who uploads, one who schedules
const PIECE = 64 * 1024;
const BLOBS_KEPT = 12;
/** Between two kills, at most, once all answer again. */
const WRITING_MS = 600;
/** mulberry32: the same seed makes the same choices. */
export class Random {
    constructor(seed) {
        this.state = seed >>> 0;
    }
    next() {
        this.state = (this.state + 0x6d2b79f5) >>> 0;
        let t = this.state;
        t = Math.imul(t ^ (t >>> 15), t | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    }
    below(n) {
        return Math.floor(this.next() * n);
    }
    of(list) {
        return list[this.below(list.length)];
    }
}

const digest = (bytes) => b64u(sha256(bytes)).slice(0, 22);

/** What all clients share: where the relays are, and until when they write. */
class World {
    constructor(random) {
        Object.assign(this, { random, relays: [], writing: true, resent: 0 });
    }

    /** Asks any relay until one answers. A 503 must say when to come again. `unsure`: how many times before it may have been done already. */
    async insist(party, ask) {
        for (let unsure = 0; ; unsure++) {
            const relay = this.random.of(this.relays);
            try {
                const answer = await ask(party.at(relay.origin));
                if (answer.status !== 503) {
                    relay.answers = (relay.answers ?? 0) + 1;
                    if (unsure > 0) this.resent++;
                    return { ...answer, unsure };
                }
                assert.equal(problemName(answer), 'unavailable');
                assert.match(answer.headers['retry-after'], /^\d+$/);
            } catch (error) {
                if (error instanceof assert.AssertionError) throw error; // else: the relay is down
            }
            await sleep(20);
        }
    }
    /** Each relay has come back, by itself or started anew. */
    async allAnswer() {
        const before = this.relays.map((r) => r.answers);
        while (this.writing && this.relays.some((r, i) => r.answers === before[i])) await sleep(5);
    }
    async insistOn(status, party, ask) {
        const answer = await this.insist(party, ask);
        assert.equal(answer.status, status, JSON.stringify(answer.json));
        return answer;
    }
}

/** A clinic with its sixteen writers, and what was answered to them. */
class Ward {
    constructor(world) {
        Object.assign(this, { world, sent: new Map(), scheduled: new Map(), won: [], published: new Set(), claimed: [], unsureClaims: 0, blobs: [], blobsStored: 0, live: [], checkpoints: new Map() });
    }

    static async open(world) {
        const ward = new Ward(world), { origin } = world.relays[0];
        const clinic = await Clinic.create(origin), many = (n) => Promise.all(Array.from({ length: n }, () => clinic.enrolStaff({ rights: RIGHT.message })));
        ward.auditor = await clinic.enrolStaff();
        [ward.reader, ward.late] = await many(2);
        [ward.messengers, ward.committers, ward.claimers, [ward.publisher, ward.uploader, ward.scheduler]] = [await many(MESSENGERS), await many(COMMITTERS), await many(CLAIMERS), await many(3)];
        const readers = [ward.reader, ward.late];
        const open = async (members) => {
            const group = randomBytes(32), [first, ...others] = [...members, ...readers];
            const { json } = await first.commit(group, 0, { added: others.map((d) => d.keyid) });
            ward.begin = json.seq;
            return group;
        };
        const half = MESSENGERS / 2;
        ward.conversations = [await open(ward.messengers.slice(0, half)), await open([...ward.messengers.slice(half), ward.scheduler])];
        ward.raced = await open(ward.committers);
        ward.begin = Math.max(...await Promise.all(readers.map(async (r) => (await r.inbox(0)).json.next)));
        return ward;
    }

    /** Starts them all; ends when they have ended. */
    write() {
        return Promise.all([...this.messengers.map((m, i) => this.message(m, this.conversations[Math.floor(i / (MESSENGERS / 2))])), ...this.committers.map((c) => this.race(c)),
            ...this.claimers.map((c) => this.claim(c)), this.publish(), this.upload(), this.schedule()]);
    }

    async message(messenger, group) {
        const { world } = this;
        let last = 0;
        while (world.writing) {
            const id = b64u(randomBytes(16)), bytes = privateMessage(group, 1, CONTENT.application, world.random.below(40) === 0 ? 20_000 : 100);
            const { json } = await world.insistOn(200, messenger, (at) => at.message(group, bytes, { id }));
            assert.ok(json.seq > last, 'what was answered first has the lower number');
            last = json.seq;
            this.sent.set(id, { seq: json.seq, sender: messenger.keyid, digest: digest(bytes) });
        }
    }

    /** Commits for the epoch that it believes in; the winner says something in the new one. */
    async race(committer) {
        const { world, raced } = this;
        for (let epoch = 1; world.writing;) {
            const commit = privateMessage(raced, epoch, CONTENT.commit);
            const answer = await world.insist(committer, (at) => at.commit(raced, epoch, { commit }));
            if (answer.status === 409) {
                epoch = answer.json.epoch;
                continue;
            }
            assert.deepEqual([answer.status, answer.json.epoch], [200, epoch + 1], JSON.stringify(answer.json));
            this.won.push({ epoch, seq: answer.json.seq, sender: committer.keyid, digest: digest(commit) });
            epoch++;
            const id = b64u(randomBytes(16)), bytes = privateMessage(raced, epoch, CONTENT.application);
            const { json } = await world.insistOn(200, committer, (at) => at.message(raced, bytes, { id }));
            this.sent.set(id, { seq: json.seq, sender: committer.keyid, digest: digest(bytes), epoch });
            await sleep(world.random.below(20));
        }
    }

    async publish() {
        const { world } = this;
        while (world.writing) {
            const packages = Array.from({ length: 10 }, () => b64u(randomBytes(60)));
            const answer = await world.insist(this.publisher, (at) => at.ask('PUT', '/v1/key-packages', { key_packages: packages }));
            if (answer.status === 200) packages.forEach((p) => this.published.add(p));
            else assert.equal(problemName(answer), 'too-large');
            await sleep(world.random.below(40));
        }
    }

    async claim(claimer) {
        const { world } = this;
        while (world.writing) {
            const answer = await world.insistOn(200, claimer, (at) => at.ask('POST', '/v1/key-packages/claim', { devices: [this.publisher.keyid] }));
            this.claimed.push(...answer.json.key_packages.map((p) => p.key_package));
            this.unsureClaims += answer.unsure;
            await sleep(world.random.below(20));
        }
    }

    async upload() {
        const { world, uploader } = this;
        while (world.writing) {
            const path = `/v1/blobs/${b64u(randomBytes(32))}`, bytes = randomBytes(2 * PIECE + world.random.below(PIECE));
            for (let offset = 0; offset < bytes.length; offset += PIECE) {
                const piece = bytes.subarray(offset, offset + PIECE);
                const put = (at) => at.ask('PUT', `${path}?length=${bytes.length}&offset=${offset}`, piece, { headers: { 'content-type': 'application/octet-stream' } });
                const { json } = await world.insistOn(200, uploader, put);
                assert.deepEqual(json, { offset: offset + piece.length, length: bytes.length });
            }
            this.blobsStored++;
            this.blobs.push({ path, digest: digest(bytes) });
            if (this.blobs.length > BLOBS_KEPT) await this.forgetBlob();
            await sleep(world.random.below(200));
        }
    }
    async forgetBlob() {
        const { world } = this, { path } = this.blobs.shift();
        const gone = await world.insist(this.uploader, (at) => at.ask('DELETE', path));
        assert.ok(gone.status === 204 || (gone.unsure > 0 && gone.status === 404), JSON.stringify(gone.json));
        await world.insistOn(404, this.uploader, (at) => at.ask('GET', path));
    }

    /** Every other message is withdrawn at about its time: it wins or comes too late. */
    async schedule() {
        const { world, scheduler } = this, [, group] = this.conversations;
        while (world.writing) {
            const id = b64u(randomBytes(16)), bytes = privateMessage(group, 1, CONTENT.application), time = Date.now() + 3000;
            const path = `/v1/groups/${b64u(group)}/messages`;
            const put = await world.insist(scheduler, (at) => at.ask('POST', `${path}?id=${id}&deliver_at=${time}`, bytes));
            if (put.status !== 200) {
                assert.ok(problemName(put) === 'malformed' && Date.now() > time, JSON.stringify(put.json)); // down for longer than that
                continue;
            }
            const message = { sender: scheduler.keyid, digest: digest(bytes), path: `${path}?id=${id}&deliver_at=${time}`, bytes, outcome: undefined };
            this.scheduled.set(id, message);
            if (world.random.below(2) === 0) {
                message.outcome = sleep(2500 + world.random.below(2500)).then(() => world.insist(scheduler, (at) => at.ask('DELETE', `${path}/${id}`)));
            }
            await sleep(world.random.below(200));
        }
    }

    /** Reads on and on from its cursor, in pieces of any size. */
    async read() {
        const { world } = this;
        let next = this.begin;
        for (let more = true; more || world.writing;) {
            const page = await world.insistOn(200, this.reader, (at) => at.inbox(next, { wait: world.writing ? 1 : 0, limit: 1 + world.random.below(200) }));
            this.live.push(...page.json.events.map(essence));
            next = page.json.next;
            more = page.json.events.length > 0;
        }
        return next;
    }

    async keepCheckpoint() {
        const { json } = await this.world.insistOn(200, this.auditor, (at) => at.ask('GET', '/v1/audit/checkpoint'));
        this.checkpoints.set(json.number, json);
    }

    // ---- afterwards, when nothing is killed any more

    async check() {
        const { world, late } = this, all = [];
        await this.settleScheduled();
        for (let next = this.begin; ;) {
            const page = await world.insistOn(200, late, (at) => at.inbox(next, { limit: 256 }));
            if (page.json.events.length === 0) break;
            all.push(...page.json.events.map(essence));
            next = page.json.next;
        }
        await this.readRest();
        assert.deepEqual(this.live, all, 'who read all along saw what who reads now sees');
        for (let i = 1; i < all.length; i++) assert.ok(all[i].seq > all[i - 1].seq, `order at ${all[i].seq}`);
        this.checkMessages(all);
        this.checkEpochs(all);
        await this.checkClaims();
        await this.checkBlobs();
        return this.checkAudit();
    }
    /** Events that came after the last reading. */
    async readRest() {
        for (let next = this.live.at(-1)?.seq ?? this.begin; ;) {
            const page = await this.world.insistOn(200, this.reader, (at) => at.inbox(next, { limit: 256 }));
            if (page.json.events.length === 0) return;
            this.live.push(...page.json.events.map(essence));
            next = page.json.next;
        }
    }

    /** Adds those delivered to what was sent; the others must be nowhere. */
    async settleScheduled() {
        for (const [id, message] of this.scheduled) {
            const withdrawn = await message.outcome;
            if (withdrawn?.status === 204) continue;
            if (withdrawn !== undefined) assert.equal(problemName(withdrawn), 'delivered', JSON.stringify(withdrawn.json));
            let seq = withdrawn?.json.seq;
            while (typeof seq !== 'number') {
                seq = (await this.world.insistOn(200, this.scheduler, (at) => at.ask('POST', message.path, message.bytes))).json.seq;
                if (seq === null) await sleep(200);
            }
            this.sent.set(id, { seq, sender: message.sender, digest: message.digest });
        }
    }

    checkMessages(all) {
        const messages = all.filter((e) => e.kind === 'message');
        assert.equal(messages.length, this.sent.size, 'as many messages as were acknowledged');
        for (const { id, seq, sender, digest: content } of messages) {
            const { epoch, ...sent } = this.sent.get(id) ?? assert.fail(`nobody sent ${seq}, or it was withdrawn`);
            assert.deepEqual({ seq, sender, digest: content }, sent);
        }
    }

    checkEpochs(all) {
        const won = this.won.sort((a, b) => a.epoch - b.epoch);
        assert.deepEqual(won.map((w) => w.epoch), won.map((_, i) => i + 1), 'one winner of each epoch');
        assert.deepEqual(all.filter((e) => e.kind === 'commit').map(({ epoch, seq, sender, digest: d }) => ({ epoch, seq, sender, digest: d })), won);
        let epoch = 1;
        for (const event of all) {
            if (event.kind === 'commit') epoch = event.epoch + 1;
            else assert.ok((this.sent.get(event.id).epoch ?? 0) <= epoch, 'a commit comes before what is of its epoch');
        }
    }

    /** Each once; and only a claim whose answer was lost may have taken one that nobody has. */
    async checkClaims() {
        assert.equal(new Set(this.claimed).size, this.claimed.length, 'a key package was given twice');
        for (const one of this.claimed) assert.ok(this.published.has(one), 'a key package that nobody published');
        const stock = (await this.world.insistOn(200, this.publisher, (at) => at.ask('GET', '/v1/key-packages'))).json.count;
        const lost = this.published.size - this.claimed.length - stock;
        assert.ok(lost >= 0 && lost <= this.unsureClaims, `${lost} key packages are nowhere, ${this.unsureClaims} claims had no answer`);
    }

    async checkBlobs() {
        for (const { path, digest: content } of this.blobs) {
            const { bytes } = await this.world.insistOn(200, this.uploader, (at) => at.ask('GET', path));
            assert.equal(digest(bytes), content);
        }
    }

    /** Every acknowledged message and commit has exactly one entry that says it was done; checkpoints seen are still given. */
    async checkAudit() {
        const entries = await log(this.auditor, { limit: 256, most: Infinity }), done = new Map();
        for (const e of entries) {
            if (e.status < 400 && (e.call === 'message' || e.call === 'commit')) done.set(`${e.call} ${e.keyid}`, (done.get(`${e.call} ${e.keyid}`) ?? 0) + 1);
        }
        const count = (list, keyid) => [...list].filter((one) => one.sender === keyid).length || undefined;
        const messages = [...this.sent.values()].filter(({ sender }) => sender !== this.scheduler.keyid);
        for (const { keyid } of this.messengers) assert.equal(done.get(`message ${keyid}`), count(messages, keyid));
        assert.equal(done.get(`message ${this.scheduler.keyid}`), this.scheduled.size || undefined, 'one when it was scheduled');
        for (const { keyid } of this.committers.slice(1)) { // the first made the group, too
            assert.deepEqual([done.get(`message ${keyid}`), done.get(`commit ${keyid}`)], [count(messages, keyid), count(this.won, keyid)]);
        }
        for (const [number, kept] of this.checkpoints) {
            assert.deepEqual((await this.auditor.at(this.world.relays[0].origin).ask('GET', `/v1/audit/checkpoint?number=${number}`)).json, kept);
            assert.equal(b64u(entries[number - 1].hash), kept.hash);
        }
        return entries.length;
    }
}

/** Of an event what is compared. */
const essence = ({ seq, kind, sender, id, epoch, data }) => ({ seq, kind, sender, id, epoch, digest: digest(Buffer.from(data, 'base64url')) });

// ---- killing

/** The ways in which things die. Each returns when all is up again. */
class Killer {
    constructor(world, points) {
        const kinds = points ? ['relay at a point', ...(postgres ? ['backend at a point'] : [])]
            : ['relay', ...(postgres ? ['PostgreSQL', 'all of PostgreSQL', 'backend', 'relay and PostgreSQL'] : [])];
        Object.assign(this, { world, kinds, turn: 0, database: world.relays[0].database[1], counts: {}, missed: 0 });
    }
    async round() {
        const kind = this.world.random.of(this.kinds);
        this.counts[kind] = (this.counts[kind] ?? 0) + 1;
        await this.kill(kind);
    }
    toString() {
        return Object.entries(this.counts).map(([kind, n]) => `${kind} ${n}`).join(', ') + (this.missed > 0 ? `; ${this.missed} not at their point` : '');
    }

    async kill(kind) {
        const { random, relays } = this.world, relay = relays[this.turn++ % relays.length];
        const point = async (pid, points) => void (await killAt(pid, random.of(points), 1 + random.below(30)) || this.missed++);
        const backend = () => random.of(postgres.backends(this.database));
        switch (kind) {
        case 'relay':
            return relay.restart('SIGKILL');
        case 'relay at a point':
            await point(relay.child.pid, postgres ? ['recvfrom', 'sendto'] : ['recvfrom', 'pwrite64', 'fsync', 'sendto']);
            await relay.ended;
            return relay.launch();
        case 'PostgreSQL':
        case 'all of PostgreSQL':
            await postgres.crash({ all: kind !== 'PostgreSQL' });
            return postgres.launch();
        case 'relay and PostgreSQL':
            await Promise.all([relay.kill(), postgres.crash()]);
            await postgres.launch();
            return relay.launch();
        default: { // a backend: PostgreSQL takes all down by itself and recovers
            const pid = backend();
            if (pid === undefined) return undefined; // not connected again since the round before
            if (kind === 'backend') process.kill(pid, 'SIGKILL');
            else await point(pid, ['recvfrom', 'pwrite64', 'fdatasync', 'sendto']);
            return postgres.ready();
        }
        }
    }
}

/** `audit verify`, also while a relay serves. A database that was killed a moment ago does not answer yet. */
async function verifyAudit(relay, ...more) {
    for (;;) {
        const { status, stdout, stderr } = spawnSync(RELAY, ['audit', 'verify', ...relay.database, ...more], { encoding: 'utf8' });
        if (status === 2 && postgres) {
            await sleep(100);
            continue;
        }
        assert.equal(status, 0, stdout + stderr);
        return;
    }
}

/** Is the database itself whole? */
function checkDatabase(relay) {
    if (postgres) return postgres.check(relay.database[1]);
    const { stdout, stderr } = spawnSync('sqlite3', ['-readonly', join(relay.folder, 'relay.db'), 'PRAGMA integrity_check'], { encoding: 'utf8' });
    return assert.equal(stdout.trim(), 'ok', stderr);
}

/** The rounds themselves; then everything is looked at. */
async function run(world, { rounds, points }) {
    const { random, relays } = world, wards = [await Ward.open(world), await Ward.open(world)], killer = new Killer(world, points);
    const failed = [], end = (error) => (failed.push(error), (world.writing = false));
    const work = wards.flatMap((w) => [w.write().catch(end), w.read().catch(end)]);
    try {
        for (let round = 0; round < rounds && failed.length === 0; round++) {
            await world.allAnswer();
            await sleep(random.below(WRITING_MS));
            await killer.round();
            if (round % 10 !== 4) continue;
            for (const ward of wards) await ward.keepCheckpoint();
            await verifyAudit(relays[0]);
        }
    } finally {
        world.writing = false;
        await Promise.all(work);
    }
    if (failed.length > 0) throw failed[0];
    let entries = 0;
    for (const ward of wards) entries += await ward.check();
    const seen = join(relays[0].folder, 'checkpoints');
    writeFileSync(seen, wards.flatMap((w) => [...w.checkpoints.values()]).map((c) => `${JSON.stringify(c)}\n`).join(''));
    await verifyAudit(relays[0], '--checkpoint', seen);
    checkDatabase(relays[0]);
    const sum = (of) => wards.reduce((n, ward) => n + of(ward), 0);
    return `acknowledged: ${sum((w) => w.sent.size)} messages, ${sum((w) => w.won.length)} commits, ${sum((w) => w.claimed.length)} key packages claimed, ${sum((w) => w.blobsStored)} blobs, `
        + `${sum((w) => w.scheduled.size)} scheduled; over ${rounds} kills (${killer}), ${world.resent} sent again, ${entries} audit entries`;
}

/**
 * So many rounds of: writing for a moment, a kill, everything up again. Throws at the first thing that does not hold.
 * @param {{ rounds: number, seed: number, relays?: 1 | 2, points?: boolean }} how two relays share a PostgreSQL and are killed in turn;
 *   points: killed as they enter a system call, not at any time
 * @returns {Promise<string>} what was done, for people
 */
export async function killRounds({ rounds, seed, relays = 1, points = false }) {
    const world = new World(new Random(seed));
    world.relays.push(await RelayProcess.start());
    if (relays === 2) world.relays.push(await RelayProcess.beside(world.relays[0]));
    try {
        const done = await run(world, { rounds, points });
        for (const relay of world.relays.reverse()) await relay.stop();
        return `${done}; SEED=${seed}`;
    } catch (error) {
        await Promise.all(world.relays.map((relay) => relay.kill()));
        error.message += `\nSEED=${seed}; the relay's last words:\n${world.relays.map((r) => r.log.slice(-1000)).join('\n')}`;
        throw error;
    }
}
