// finish.mjs FILE [EXPORT…]: the last step after linking a module.
//
// Exports: with EXPORTs named, all others are taken away. Emscripten adds some for the JavaScript that it would have made
// (malloc, stackSave…), and which ones depends on its version; here nobody calls them. A named one must be there.
// Imports: the linker is told not to mind undefined symbols, because Emscripten's would not know our imports (core/host.h)
// from mistakes. So it is checked here: an import of any other module than "sotto" is a function that is missing, or one
// of the C library's that would need Emscripten's JavaScript or WASI (see runtime.c).
// Then the size is printed, as the file is and as a browser downloads it.
import { readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';

/** WebAssembly core specification §5.5.2. */
const EXPORT_SECTION = 7;
const HEADER_SIZE = 8;

/**
 * Reads an unsigned LEB128 (§5.2.2) of at most 32 bits.
 * @param {Uint8Array} bytes
 * @param {number} at
 * @returns {[value: number, next: number]}
 */
function readUnsigned(bytes, at) {
  let value = 0;
  let shift = 1;
  for (;;) {
    const byte = /** @type {number} */ (bytes[at++]);
    value += (byte & 0x7f) * shift;
    shift *= 128;
    if (byte < 0x80) return [value, at];
  }
}

/**
 * @param {number} value
 * @returns {number[]}
 */
function writeUnsigned(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return [...bytes, value];
}

/**
 * The module with only those exports whose names are in `keep`.
 * @param {Uint8Array} module
 * @param {Set<string>} keep
 * @returns {Uint8Array<ArrayBuffer>}
 */
function withExports(module, keep) {
  const parts = [module.subarray(0, HEADER_SIZE)];
  for (let at = HEADER_SIZE; at < module.length; ) {
    const start = at;
    const id = module[at];
    const [size, body] = readUnsigned(module, at + 1);
    at = body + size;
    if (id !== EXPORT_SECTION) {
      parts.push(module.subarray(start, at));
      continue;
    }
    const [count, first] = readUnsigned(module, body);
    const kept = [];
    for (let i = 0, entry = first; i < count; i++) {
      const [length, text] = readUnsigned(module, entry);
      const [, end] = readUnsigned(module, text + length + 1); // after one byte of kind, the index
      if (keep.has(Buffer.from(module.subarray(text, text + length)).toString())) kept.push(module.subarray(entry, end));
      entry = end;
    }
    const content = Buffer.concat([Buffer.from(writeUnsigned(kept.length)), ...kept]);
    parts.push(Buffer.from([EXPORT_SECTION, ...writeUnsigned(content.length)]), content);
  }
  return new Uint8Array(Buffer.concat(parts));
}

const [file, ...wanted] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: finish.mjs FILE [EXPORT…]');
/** @type {Uint8Array<ArrayBuffer>} */
let bytes = new Uint8Array(readFileSync(file));
const problems = [];

if (wanted.length > 0) {
  const keep = new Set([...wanted, 'memory', '_initialize']);
  bytes = withExports(bytes, keep);
  const offered = WebAssembly.Module.exports(new WebAssembly.Module(bytes)).map(({ name }) => name);
  for (const name of keep) if (!offered.includes(name)) problems.push(`it does not export ${name}`);
}
for (const { module: from, name } of WebAssembly.Module.imports(new WebAssembly.Module(bytes))) {
  if (from !== 'sotto') problems.push(`it imports ${from}.${name}, which no host has`);
}
for (const problem of problems) console.error(`${file}: ${problem}`);
if (problems.length > 0) process.exit(1);
if (wanted.length > 0) writeFileSync(file, bytes);

const kB = (/** @type {Uint8Array} */ b) => `${(b.length / 1000).toFixed(1)} kB`;
// The linker wrote beside its place: name.PID.wasm.
const name = file.replace(/\.\d+(?=\.wasm$)/, '');
console.log(`${name}: ${kB(bytes)}, gzip ${kB(gzipSync(bytes, { level: 9 }))}, brotli ${kB(brotliCompressSync(bytes))}`);
