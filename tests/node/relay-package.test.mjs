// The Debian package: two builds are the same bytes, it says what it needs and what is the operator's, and what it puts into a root of
// its own runs from there as its unit starts it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RelayProcess, exchange } from './support/relay-client.mjs';

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const missing = ['build/sotto-relay', 'build/web/.built'].filter((path) => !existsSync(at(path)));
const SKIP = missing.length > 0 ? `${missing.join(', ')} not built` : spawnSync('dpkg-shlibdeps', ['--version']).status !== 0 ? 'no dpkg-dev is installed' : false;
const folder = mkdtempSync(join(tmpdir(), 'sotto-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function run(file, args, env = {}) {
    const { status, stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', env: { ...process.env, ...env } });
    assert.equal(status, 0, `${file} ${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
}

/** Builds it into a folder of its own. */
function build(name, env = {}) {
    mkdirSync(join(folder, name));
    return run(at('server/debian/build'), [at('build/sotto-relay'), at('build/web'), join(folder, name)], env).trim();
}

const deb = SKIP ? '' : build('one');

test('two builds of one input are the same bytes, wherever and by whomever they are made', { skip: SKIP }, () => {
    const again = build('two', { TZ: 'Asia/Tokyo', LANG: 'de_DE.UTF-8', HOME: folder });
    const digest = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
    assert.equal(digest(again), digest(deb));
});

test('it says what it needs, belongs to root, and leaves the options to the operator', { skip: SKIP }, () => {
    const field = (name) => run('dpkg-deb', ['--field', deb, name]).trim();
    assert.equal(field('Version'), run(at('build/sotto-relay'), ['version']).trim());
    for (const library of ['libc6', 'libpq5', 'libssl3', 'libwebsockets', 'libwebsockets-evlib-uv', 'libuv1']) assert.match(field('Depends'), new RegExp(library));
    assert.equal(run('dpkg-deb', ['--info', deb, 'conffiles']), '/etc/default/sotto-relay\n');
    const files = run('dpkg-deb', ['--contents', deb]).trim().split('\n');
    assert.deepEqual(files.filter((line) => !/^[d-]rw[x-]r-[x-]r-[x-] root\/root /.test(line)), []);
});

/** Puts it into a root of its own: as dpkg does, where we may. @param {string} root */
function install(root) {
    if (process.getuid?.() !== 0) {
        mkdirSync(root);
        return void run('dpkg-deb', ['--extract', deb, root]);
    }
    for (const path of ['var/lib/dpkg/info', 'var/lib/dpkg/updates', 'var/lib/dpkg/triggers', 'etc']) mkdirSync(join(root, path), { recursive: true });
    writeFileSync(join(root, 'var/lib/dpkg/status'), '');
    const dpkg = ['--root', root, '--force-script-chrootless', '--force-depends', '--log', join(root, 'log')];
    run('dpkg', [...dpkg, '--install', deb]);
    run('dpkg', [...dpkg, '--install', deb]); // an upgrade to itself
    if (spawnSync('systemd-sysusers', ['--version']).status === 0) assert.match(readFileSync(join(root, 'etc/passwd'), 'utf8'), /^sotto:.*:\/var\/lib\/sotto:/m);
    return () => {
        writeFileSync(join(root, 'etc/default/sotto-relay'), 'OPTIONS=--clinics closed\n');
        run('dpkg', [...dpkg, '--remove', 'sotto-relay']);
        assert.ok(!existsSync(join(root, 'usr/bin/sotto-relay')));
        assert.equal(readFileSync(join(root, 'etc/default/sotto-relay'), 'utf8'), 'OPTIONS=--clinics closed\n');
        run('dpkg', [...dpkg, '--purge', 'sotto-relay']);
        assert.ok(!existsSync(join(root, 'etc/default/sotto-relay')));
        assert.ok(existsSync(join(root, 'var/lib/sotto/relay.db')), 'the data stays');
    };
}

test('installed into another root it runs as its unit says, and purged it leaves the data', { skip: SKIP, timeout: 60_000 }, async () => {
    const root = join(folder, 'root');
    const remove = install(root);
    const unit = readFileSync(join(root, 'usr/lib/systemd/system/sotto-relay.service'), 'utf8');
    assert.match(unit, /^User=sotto$/m);
    assert.doesNotMatch(unit, /DynamicUser|\/usr\/local/);
    // The rest of a system is missing there; what the unit itself says wrong it would say too. Silent where there is no systemd.
    assert.doesNotMatch(spawnSync('systemd-analyze', ['verify', '--man=no', '--root', root, 'sotto-relay.service'], { encoding: 'utf8' }).stderr ?? '', /Unknown|Invalid|parse/);
    const database = /"DATABASE=(.*)"/.exec(unit)?.[1] ?? '';
    const [program, ...args] = /** @type {RegExpExecArray} */ (/^ExecStart=(.*)$/m.exec(unit))[1].replace('$DATABASE', database).replace('$OPTIONS', '--port 0').split(' ')
        .map((word) => (word.startsWith('/') ? join(root, word) : word));
    mkdirSync(join(root, 'var/lib'), { recursive: true });
    const relay = new RelayProcess();
    relay.child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    const port = await new Promise((resolve, reject) => {
        relay.child.on('exit', () => reject(new Error(log)));
        relay.child.stderr.on('data', (part) => {
            log += part;
            const found = /event=listening port=(\d+)/.exec(log);
            if (found) resolve(found[1]);
        });
    });
    relay.ended = new Promise((resolve) => relay.child.on('exit', (code) => resolve(code)));
    assert.equal((await exchange(`http://127.0.0.1:${port}/.well-known/sotto`)).status, 200);
    const page = await exchange(`http://127.0.0.1:${port}/`);
    assert.equal(page.status, 200);
    assert.match(page.headers['content-type'], /text\/html/);
    assert.equal(await relay.kill('SIGTERM'), 0, log);
    assert.equal(statSync(join(root, 'var/lib/sotto')).mode & 0o777, 0o700);
    assert.match(run('gunzip', ['-c', join(root, 'usr/share/man/man8/sotto-relay.8.gz')]), /\\-\\-retention\\-days/);
    assert.deepEqual(readdirSync(join(root, 'usr/share/doc/sotto-relay')).sort(), ['PROTOCOL.md', 'README.md', 'copyright', 'openapi.yaml']);
    remove?.();
});
