// build.mjs: bundles the pages into build/web, as the relay serves them.
//
// Every folder of web/ with an index.html is a page: web/patient is served at /, web/NAME at /NAME/. Its main.mjs and
// style.css are bundled, the worker (glue/worker.mjs) and the module (build/sotto.wasm) are shared. All of these get their
// content's hash as part of the name and go to /assets/, so that they may be cached for ever; the pages themselves, which
// are small, name the current ones. In index.html these stand for the names:
//
//     <meta name="sotto-wasm" content="{{wasm}}">  <meta name="sotto-worker" content="{{worker}}">
//     <link rel="stylesheet" href="{{style}}">     <script type="module" src="{{main}}"></script>
//
// A script's or style's attribute gets its integrity beside it (SRI), so a page loads what it was built with or nothing.
// web/static, where present, is copied as it is. Beside each file of some size lie .br and .gz for the relay to send.
// build/web.json lists what each page loads first, for the benchmarks.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync, cpSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'build/web');
/** Phones from 2023 on: wasm SIMD came to Safari with 16.4. */
const TARGET = ['es2022', 'chrome100', 'firefox100', 'safari16.4'];
/** Below this, a compressed copy saves no packet. */
const COMPRESS_FROM = 512;
const COMPRESSIBLE = new Set(['.html', '.js', '.css', '.wasm', '.svg', '.json', '.webmanifest', '.txt']);

/** @typedef {{ url: string, integrity: string, bytes: number }} Asset */

/**
 * Puts bytes into /assets/ under a name of their own.
 * @param {string} stem
 * @param {string} extension
 * @param {Uint8Array} bytes
 * @returns {Asset}
 */
function asset(stem, extension, bytes) {
  const hash = createHash('sha256').update(bytes).digest('base64url').replace(/[-_]/g, '').slice(0, 12);
  const url = `/assets/${stem}.${hash}${extension}`;
  writeFileSync(join(out, url), bytes);
  return { url, integrity: `sha384-${createHash('sha384').update(bytes).digest('base64')}`, bytes: bytes.length };
}

/**
 * @param {string} entry
 * @param {string} stem
 */
async function bundle(entry, stem) {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    target: TARGET,
    minify: true,
    legalComments: 'eof',
    logLevel: 'warning',
    outdir: out,
  });
  const [first] = outputFiles;
  if (first === undefined || outputFiles.length !== 1) throw new Error(`${entry} does not make one file`);
  return asset(stem, extname(entry) === '.css' ? '.css' : '.js', first.contents);
}

/**
 * @param {string} folder
 * @returns {string[]}
 */
function allFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? allFiles(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

const pages = readdirSync(join(root, 'web')).filter((name) => existsSync(join(root, 'web', name, 'index.html')));
if (!pages.includes('patient')) throw new Error('web/patient/index.html is missing');

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'assets'), { recursive: true });
if (existsSync(join(root, 'web/static'))) cpSync(join(root, 'web/static'), out, { recursive: true });

const shared = {
  wasm: asset('sotto', '.wasm', readFileSync(join(root, 'build/sotto.wasm'))),
  worker: await bundle('glue/worker.mjs', 'worker'),
};

/** @type {Record<string, Record<string, Asset>>} */
const manifest = {};
for (const page of pages) {
  const source = `web/${page}/index.html`;
  /** @type {Record<string, Asset>} */
  const assets = { ...shared, main: await bundle(`web/${page}/main.mjs`, page) };
  if (existsSync(join(root, `web/${page}/style.css`))) assets.style = await bundle(`web/${page}/style.css`, page);

  const html = readFileSync(join(root, source), 'utf8').replace(
    /(src|href|content)="\{\{(\w+)\}\}"/g,
    (_, /** @type {string} */ attribute, /** @type {string} */ name) => {
      const found = assets[name];
      if (found === undefined) throw new Error(`${source}: nothing is called {{${name}}}; there are ${Object.keys(assets)}`);
      const integrity = attribute === 'content' || name === 'wasm' ? '' : ` integrity="${found.integrity}"`;
      return `${attribute}="${found.url}"${integrity}`;
    },
  );
  if (html.includes('{{')) throw new Error(`${source}: a {{name}} stands where none is filled in`);
  const file = join(out, page === 'patient' ? 'index.html' : `${page}/index.html`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, html);
  manifest[page] = { html: { url: page === 'patient' ? '/' : `/${page}/`, integrity: '', bytes: html.length }, ...assets };
}

for (const file of allFiles(out)) {
  if (!COMPRESSIBLE.has(extname(file)) || statSync(file).size < COMPRESS_FROM) continue;
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  writeFileSync(`${file}.br`, brotliCompressSync(bytes, { params }));
  writeFileSync(`${file}.gz`, gzipSync(bytes, { level: 9 }));
}
writeFileSync(join(root, 'build/web.json'), `${JSON.stringify(manifest, null, 2)}\n`);

for (const [page, assets] of Object.entries(manifest)) {
  const parts = Object.values(assets).map(({ url, bytes }) => `${basename(url) || 'html'} ${(bytes / 1000).toFixed(1)} kB`);
  console.log(`web ${page}: ${parts.join(', ')}`);
}
