// files-contract.mjs: what every file back end must do, as one routine that runs in Node and in a browser's Worker. Throws
// at the first thing that is not so.
const CREATE = 1;
const READONLY = 2;
const EXCLUSIVE = 4;
const [ENOENT, EIO, EBUSY, EDENIED] = [-1, -2, -4, -5];

/** @param {unknown} actual @param {unknown} expected @param {string} what */
function equal(actual, expected, what) {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`);
}

/** @param {number} seed */
export function randomFrom(seed) {
  let state = seed | 0 || 1;
  return (/** @type {number} */ n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** The same files kept as plain arrays. */
class Model {
  /** @type {Map<string, Uint8Array>} */
  files = new Map();

  /** @param {string} path @param {Uint8Array} from @param {number} offset */
  write(path, from, offset) {
    const old = this.files.get(path) ?? new Uint8Array();
    const bytes = new Uint8Array(Math.max(old.length, offset + from.length));
    bytes.set(old);
    bytes.set(from, offset);
    this.files.set(path, bytes);
  }

  /** @param {string} path @param {number} size */
  truncate(path, size) {
    const old = this.files.get(path) ?? new Uint8Array();
    const bytes = new Uint8Array(size);
    bytes.set(old.subarray(0, size));
    this.files.set(path, bytes);
  }
}

/**
 * @param {any} files
 * @param {string} path
 * @returns {Uint8Array | null}
 */
export function readAll(files, path) {
  const fd = files.open(path, READONLY);
  if (fd === ENOENT) return null;
  const bytes = new Uint8Array(files.size(fd));
  equal(files.read(fd, bytes, 0), bytes.length, `all of ${path} is read`);
  equal(files.close(fd), 0, 'close');
  return bytes;
}

/** @param {any} files @param {Model} model @param {string[]} paths @param {boolean} reopened */
function compare(files, model, paths, reopened) {
  for (const path of paths) {
    const expected = model.files.get(path);
    const actual = readAll(files, path);
    // A file that was made and left empty may be gone when the account is opened again.
    if (reopened && expected?.length === 0 && actual === null) continue;
    equal(files.access(path), expected === undefined ? 0 : 1, `${path} exists`);
    equal(actual === null, expected === undefined, `${path} is absent`);
    if (actual === null || expected === undefined) continue;
    equal(actual.length, expected.length, `size of ${path}`);
    for (let i = 0; i < actual.length; i += 1) if (actual[i] !== expected[i]) equal(actual[i], expected[i], `${path} at ${i}`);
  }
}

/**
 * @param {() => Promise<any>} reopen closes nothing; opens the same account's files, which are empty at first
 * @param {boolean} lasting whether they are there again after they were closed
 */
export async function checkContract(reopen, lasting) {
  let files = await reopen();
  const db = 'account.db';

  equal(files.open(db, 0), ENOENT, 'open of no file');
  equal(files.access(db), 0, 'no file');
  equal(files.delete(db), ENOENT, 'delete of no file');
  for (const path of ['', '.', '..', '../account.db', '/etc/passwd', 'a/b', '.lock-1', 'a\0b', 'ä', 'x'.repeat(65)]) {
    equal(files.open(path, CREATE), EDENIED, `open of ${JSON.stringify(path)}`);
  }
  const fd = files.open(db, CREATE | EXCLUSIVE);
  equal(fd >= 0, true, 'create');
  equal(files.access(db), 1, 'created');
  equal(files.size(fd), 0, 'size when created');
  equal(files.open(db, EXCLUSIVE), EBUSY, 'a second exclusive open');
  const reader = files.open(db, READONLY);
  equal(reader >= 0 && reader !== fd, true, 'a reader beside it');
  equal(files.write(reader, new Uint8Array(1), 0), EDENIED, 'a reader that writes');
  equal(files.truncate(reader, 0), EDENIED, 'a reader that truncates');
  equal(files.write(fd, new Uint8Array([1, 2, 3]), 0), 0, 'write');
  equal(files.write(fd, new Uint8Array([9]), 50_000), 0, 'write past the end');
  equal(files.size(fd), 50_001, 'size');
  const five = new Uint8Array(5).fill(7);
  equal(files.read(reader, five, 1), 5, 'read');
  equal(five.join(), '2,3,0,0,0', 'zeros between');
  equal(files.read(reader, five, 49_999), 2, 'read across the end');
  equal(files.read(reader, five, 60_000), 0, 'read past the end');
  equal(files.write(fd, new Uint8Array(), 0), 0, 'write of nothing');
  equal(files.truncate(fd, 2), 0, 'truncate');
  equal(files.truncate(fd, 4), 0, 'grow');
  equal(files.read(reader, five, 0), 4, 'read after truncating');
  equal(five.subarray(0, 4).join(), '1,2,0,0', 'what was cut off does not come back');
  equal(files.sync(fd), 0, 'sync');
  equal(files.close(reader), 0, 'close');
  equal(files.read(reader, five, 0), EIO, 'read of a closed descriptor');
  equal(files.close(reader), EIO, 'close again');
  equal(files.close(99), EIO, 'close of no descriptor');
  equal(files.close(fd), 0, 'close');
  equal(files.delete(db), 0, 'delete');
  equal(files.access(db), 0, 'deleted');

  // A random workload, compared with the model and closed and opened now and then.
  const random = randomFrom(4711);
  const model = new Model();
  const paths = ['account.db', 'account.db-wal', 'account.db-journal', 'account.key'];
  /** @type {Map<string, number>} */
  let open = new Map();
  for (let step = 0; step < 600; step += 1) {
    const path = paths[random(paths.length)];
    const choice = random(20);
    if (choice === 0) {
      const held = open.get(path);
      if (held !== undefined) equal(files.close(held), 0, 'close');
      open.delete(path);
      equal(files.delete(path), model.files.delete(path) ? 0 : ENOENT, `delete of ${path}`);
      continue;
    }
    if (choice === 1) {
      await files.flush();
      if (random(3) > 0) {
        compare(files, model, paths, false);
        continue;
      }
      await files.close();
      equal(files.open(db, CREATE), EIO, 'open after close');
      open = new Map();
      if (!lasting) model.files.clear();
      files = await reopen();
      compare(files, model, paths, true);
      for (const [name, bytes] of model.files) if (bytes.length === 0 && files.access(name) === 0) model.files.delete(name);
      continue;
    }
    let held = open.get(path);
    if (held === undefined) {
      held = files.open(path, CREATE);
      equal(/** @type {number} */ (held) >= 0, true, `open of ${path}`);
      open.set(path, /** @type {number} */ (held));
      if (!model.files.has(path)) model.files.set(path, new Uint8Array());
    }
    if (choice < 5) {
      const size = random(70_000);
      equal(files.truncate(held, size), 0, 'truncate');
      model.truncate(path, size);
    } else if (choice < 8) {
      equal(files.sync(held), 0, 'sync');
    } else {
      const bytes = new Uint8Array(random(9000)).map(() => random(256));
      const offset = random(60_000);
      equal(files.write(held, bytes, offset), 0, 'write');
      if (bytes.length > 0) model.write(path, bytes, offset);
    }
  }
  compare(files, model, paths, false);
  await files.destroy();
  files = await reopen();
  for (const path of paths) equal(files.access(path), 0, `${path} after destroy`);
  await files.close();
}

// ---- a log whose writer is killed ----------------------------------------------------------------------------------------

const RECORD = 4200;

/** @param {number} index */
function record(index) {
  const random = randomFrom(index * 7919 + 1);
  const bytes = new Uint8Array(RECORD).map(() => random(256));
  new DataView(bytes.buffer).setUint32(0, index);
  return bytes;
}

/**
 * Appends records to the log for ever, and reports each once it is on the medium. Every eighth time the counter in
 * account.key is written, every sixteenth the journal is made and deleted.
 * @param {any} files
 * @param {(index: number) => void | Promise<void>} report
 * @param {number} [count]
 */
export async function appendForEver(files, report, count = Infinity) {
  const fd = files.open('account.db', CREATE | EXCLUSIVE);
  equal(fd >= 0, true, 'open of the log');
  let index = Math.floor(files.size(fd) / RECORD);
  for (const end = index + count; index < end; index += 1) {
    if (index % 16 === 0) {
      const journal = files.open('account.db-journal', CREATE);
      equal(files.write(journal, record(index), 0), 0, 'write of the journal');
      equal(files.sync(journal), 0, 'sync of the journal');
      files.close(journal);
      equal(files.delete('account.db-journal'), 0, 'delete of the journal');
    }
    equal(files.write(fd, record(index), index * RECORD), 0, 'write of a record');
    equal(files.sync(fd), 0, 'sync of a record');
    if (index % 8 === 0) {
      const key = files.open('account.key', CREATE);
      equal(files.write(key, record(index), 0), 0, 'write of the counter');
      equal(files.sync(key), 0, 'sync of the counter');
      files.close(key);
    }
    await files.flush();
    await report(index);
  }
  files.close(fd);
}

/**
 * Checks the log after its writer was killed and returns how many whole records it has.
 * @param {any} files
 * @param {number} reported how many were reported as written
 */
export function checkLog(files, reported) {
  const bytes = readAll(files, 'account.db');
  if (bytes === null) {
    equal(reported, 0, 'records in no log');
    return 0;
  }
  const whole = Math.floor(bytes.length / RECORD);
  if (whole < reported) throw new Error(`${reported} records were reported, ${whole} are there`);
  for (let index = 0; index < reported; index += 1) {
    const expected = record(index);
    for (let i = 0; i < RECORD; i += 1) if (bytes[index * RECORD + i] !== expected[i]) equal(bytes[index * RECORD + i], expected[i], `record ${index} at ${i}`);
  }
  const fd = files.open('account.db', 0);
  files.truncate(fd, reported * RECORD); // the writer goes on where its reports ended
  files.close(fd);
  const key = readAll(files, 'account.key');
  if (reported > 0) {
    if (key === null) throw new Error('the counter is gone, the log is not');
    const counted = new DataView(key.buffer).getUint32(0);
    if (counted + 8 < reported) throw new Error(`the counter says ${counted} after ${reported} records`);
  }
  return whole;
}
