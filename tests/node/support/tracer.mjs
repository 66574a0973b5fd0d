// Faults of the machine, by strace: a system call of a real process is delayed, fails, or is the last thing that it does.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { sleep } from './relay-client.mjs';

/** Why it can't be done here, or false. */
export const NO_TRACER = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0 ? false : 'strace is not installed, or may not trace';
/** A process is killed at the latest then, where the point that was chosen for it does not come. */
const POINT_MS = 2000;

/** Not so one that has ended and whose parent has not looked yet. */
const isAlive = (pid) => existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`).length > 0;
const isTraced = (pid) => /^TracerPid:\t[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

function trace(pid, calls, fault) {
    const child = spawn('strace', ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}`, '-p', String(pid)], { stdio: 'ignore' });
    return { child, ended: new Promise((resolve) => child.on('exit', resolve)) };
}

/** Kills a process as it enters a system call for the n-th time from now. False: it did not come to that, and was killed all the same. */
export async function killAt(pid, call, n) {
    const { ended } = trace(pid, call, `signal=KILL:when=${n}`);
    await Promise.race([ended, sleep(POINT_MS)]);
    const missed = isAlive(pid);
    if (missed) process.kill(pid, 'SIGKILL');
    await ended;
    return !missed;
}

/** From now on, until the function that is returned is called: `calls` by commas, `fault` as strace names it (error=EIO, delay_enter=…). */
export async function inject(pid, calls, fault) {
    const { child, ended } = trace(pid, calls, fault);
    while (!isTraced(pid) && child.exitCode === null) await sleep(10);
    return async () => {
        child.kill('SIGINT'); // strace lets go of it
        await ended;
    };
}
