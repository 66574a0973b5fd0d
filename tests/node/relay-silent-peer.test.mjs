// An event stream whose reader's machine is gone without a word, by real means: a network that swallows everything. The relay may not
// think for long that somebody is there.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import http from 'node:http';
import { after, test } from 'node:test';
import { Clinic, RelayProcess, exchange, signedHeaders, sleep } from './support/relay-client.mjs';

const run = (...args) => spawnSync('ip', args, { encoding: 'utf8' });
const ip = (...args) => {
    const { status, stderr } = run(...args);
    assert.equal(status, 0, stderr);
};
const space = `sottopeer${process.pid}`;
const NO_NETWORK = (() => {
    const may = run('netns', 'add', space).status === 0;
    if (may) run('netns', 'del', space);
    return may ? false : 'only root, with iproute2, can make a network';
})();

test('a stream whose peer is gone without a word ends', { skip: NO_NETWORK, timeout: 120_000 }, async () => {
    const here = `10.${150 + (process.pid % 50)}.${process.pid % 256}`, [end, far] = ['c', 'd'].map((name) => `so${process.pid}${name}`);
    after(() => run('netns', 'del', space));
    ip('netns', 'add', space);
    ip('link', 'add', end, 'type', 'veth', 'peer', 'name', far, 'netns', space);
    ip('addr', 'add', `${here}.1/30`, 'dev', end);
    ip('link', 'set', end, 'up');
    ip('-n', space, 'addr', 'add', `${here}.2/30`, 'dev', far);
    ip('-n', space, 'link', 'set', far, 'up');
    const relay = await RelayProcess.start({ host: '0.0.0.0', metrics: 0 });
    try {
        const metrics = /event=metrics port=(\d+)/.exec(relay.log)?.[1];
        const waiting = async () => Number(/^sotto_waiting (\d+)$/m.exec((await exchange(`http://127.0.0.1:${metrics}/metrics`)).bytes.toString())?.[1]);
        const clinic = await Clinic.create(relay.origin), device = await clinic.enrolStaff(), near = await clinic.enrolStaff();
        const listen = (party, origin) => {
            const url = `${origin}/v1/inbox?after=0`;
            return [url, { ...signedHeaders(party.key, party.keyid, 'GET', url), accept: 'text/event-stream' }];
        };
        // Who reads on is let be.
        const [url, headers] = listen(near, relay.origin), there = http.get(url, { headers, agent: false });
        there.on('error', () => {});
        let ended = false;
        there.on('response', (response) => response.resume().on('close', () => (ended = true)));
        const script = `const [url, headers] = ${JSON.stringify(listen(device, `http://${here}.1:${relay.port}`))};
            require('http').get(url, { headers }, (res) => res.on('data', () => {}) && console.log(res.statusCode))`;
        const reader = spawn('ip', ['netns', 'exec', space, process.execPath, '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
        try {
            assert.equal(String(await new Promise((resolve) => reader.stdout.once('data', resolve))).trim(), '200');
            while ((await waiting()) !== 2) await sleep(50);
            ip('-n', space, 'route', 'add', 'blackhole', `${here}.1/32`);
            reader.kill('SIGKILL'); // what its system still says of that goes nowhere
            await sleep(1000);
            assert.equal(await waiting(), 2, 'it was told at once: nothing is tested');
            while ((await waiting()) !== 1) await sleep(500); // a stream's life is 15 minutes, this test's is 2
            assert.equal(ended, false);
        } finally {
            reader.kill('SIGKILL');
            there.destroy();
        }
    } finally {
        await relay.stop();
    }
});
