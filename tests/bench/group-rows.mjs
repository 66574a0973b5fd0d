// group-rows.mjs: the lines of the table `Groups`, from what groups.mjs and ts-mls.mjs measured and from libsodium's rates.

/** @typedef {{ commit: number, process: number, bytes: number }} Commits */
/** @typedef {{ fill: number | null, join: number | null, oneByOne: number | null, added: Commits | null, full: Commits | null, bytes: { keyPackage: number, welcome: number }, memory?: number }} InMemory */
/** @typedef {{ commit: number, process: number, processReopened: number, records: number, pages: number, memory: number }} InStore */
/** @typedef {{ what: string, wasm: number | null, limit?: number, native?: number | null, peer?: number | null, unit: string, aim?: string }} GroupRow */

/** Milliseconds of one operation of each primitive. @param {Map<string, number>} medians nanoseconds @param {string} suite */
function primitives(medians, suite) {
  const ms = (/** @type {string} */ name) => (medians.get(`sodium ${name}`) ?? NaN) / 1e6;
  const signature = { sign: ms('sign 100'), verify: ms('verify 100') };
  if (suite === 'f00e') return { ...signature, keygen: ms('xwing keygen'), enc: ms('xwing enc'), dec: ms('xwing dec') };
  // DHKEM makes a key pair to encapsulate, and the public key again to decapsulate.
  const [base, dh] = [ms('x25519 base'), ms('x25519')];
  return { ...signature, keygen: base, enc: base + dh, dec: base + dh };
}

/** What the public-key operations alone cost that RFC 9420 asks for (and the external_pub of each GroupInfo). @param {ReturnType<typeof primitives>} p @param {number} n members */
function limits(p, n) {
  const depth = Math.ceil(Math.log2(n));
  const add = 2 * p.verify + p.enc;
  const sent = 2 * p.sign + p.keygen; // Commit, GroupInfo; its external_pub
  const path = p.sign + (depth + 1) * p.keygen;
  return {
    fill: p.keygen + p.sign + (n - 1) * add + sent + p.sign,
    oneByOne: p.keygen + p.sign + (n - 1) * (add + sent + p.sign),
    join: (n + 1) * p.verify + p.dec,
    added: sent + path + (n - 1) * p.enc,
    full: sent + path + depth * p.enc,
    process: 2 * p.verify + p.dec + p.keygen, // the two stand in different halves of the tree: one node's key is new
  };
}

/** The aims, by line. @type {Record<string, string>} */
const AIMS = {
  '0003 512 fill': '<= 250',
  '0003 512 join': '<= 80',
  '0003 512 one by one': '<= 1500',
  'f00e 128 fill': '<= 80',
  '0003 128 commit': '<= 2',
  '0003 128 process': '<= 1',
  '0003 512 process': '<= 2 x at 32',
  'f00e 512 process': '<= 2 x at 32',
  '0003 1000 wasm memory': '<= 32',
  'f00e 1000 wasm memory': '<= 32',
};

/**
 * @param {Map<string, number>} medians of rates.mjs
 * @param {Record<string, { memory: InMemory, store: InStore }>} wasm
 * @param {Record<string, { memory: InMemory, store: InStore }>} native
 * @param {Record<string, InMemory>} peer
 */
export function groupRows(medians, wasm, native, peer) {
  /** @type {GroupRow[]} */
  const rows = [];
  for (const [cell, { memory, store }] of Object.entries(wasm)) {
    const [suite = '', size = ''] = cell.split(' ');
    const limit = limits(primitives(medians, suite), Number(size));
    const near = native[cell];
    const other = peer[cell];
    const add = (/** @type {string} */ what, /** @type {Omit<GroupRow, 'what' | 'unit'>} */ values, unit = 'ms') => {
      const aim = AIMS[`${cell} ${what}`];
      rows.push({ what: `${cell} ${what}`, unit, ...values, ...(aim === undefined ? {} : { aim }) });
    };
    add('fill', { wasm: memory.fill, limit: limit.fill, native: near?.memory.fill, peer: other?.fill });
    add('one by one', { wasm: memory.oneByOne, limit: limit.oneByOne, native: near?.memory.oneByOne, peer: other?.oneByOne });
    add('join', { wasm: memory.join, limit: limit.join, native: near?.memory.join, peer: other?.join });
    add('commit, just added', { wasm: memory.added?.commit ?? null, limit: limit.added, native: near?.memory.added?.commit, peer: other?.added?.commit });
    add('process, just added', { wasm: memory.added?.process ?? null, limit: limit.process, native: near?.memory.added?.process, peer: other?.added?.process });
    add('commit', { wasm: memory.full?.commit ?? null, limit: limit.full, native: near?.memory.full?.commit, peer: other?.full?.commit });
    add('process', { wasm: memory.full?.process ?? null, limit: limit.process, native: near?.memory.full?.process, peer: other?.full?.process });
    add('commit, stored', { wasm: store.commit, limit: limit.full, native: near?.store.commit });
    add('process, stored', { wasm: store.process, limit: limit.process, native: near?.store.process });
    add('process, stored, group just opened', { wasm: store.processReopened, limit: limit.process, native: near?.store.processReopened });
    const bytes = (/** @type {number | undefined} */ n) => (n === undefined ? null : n / 1000);
    add('size of a commit, just added', { wasm: bytes(memory.added?.bytes), peer: bytes(other?.added?.bytes) }, 'kB');
    add('size of a commit', { wasm: bytes(memory.full?.bytes), peer: bytes(other?.full?.bytes) }, 'kB');
    add('size of the Welcome', { wasm: bytes(memory.bytes.welcome), peer: bytes(other?.bytes.welcome) }, 'kB');
    add('size of a key package', { wasm: bytes(memory.bytes.keyPackage), peer: bytes(other?.bytes.keyPackage) }, 'kB');
    add('records on disk', { wasm: bytes(store.records) }, 'kB');
    add('store on disk', { wasm: bytes(store.pages) }, 'kB');
    add('wasm memory', { wasm: (memory.memory ?? NaN) / 1e6 }, 'MB');
    add('wasm memory, stored', { wasm: store.memory / 1e6 }, 'MB');
  }
  return rows;
}
