// generate.mjs: makes the TypeScript declarations and the reference page of the commands from the core's own manifest, so that
// they cannot say anything else than the core does. The types that results share stand in core/command/README.md.
//
//     node glue/generate.mjs [sotto.wasm [folder]]      writes folder/sotto.d.ts and folder/commands.md

import { randomFillSync } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { loadCore } from './core.mjs';

/**
 * @typedef {object} Param
 * @property {string} name
 * @property {string} type
 * @property {boolean} required
 * @property {number} [min]
 * @property {number} [max]
 * @property {string[]} [words]
 *
 * @typedef {object} Command
 * @property {string} name
 * @property {'ANY' | 'OPEN'} need
 * @property {Param[]} params
 * @property {string} result
 * @property {string} doc
 *
 * @typedef {object} Manifest
 * @property {number} abi
 * @property {string} version
 * @property {Command[]} commands
 */

const BANNER = 'Made by glue/generate.mjs from the manifest of the core; not to be edited.';

/** @param {string} path */
const inRepository = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/**
 * @param {Param} param
 * @returns {string} its type in TypeScript
 */
function typeOf({ name, type, words = [] }) {
  switch (type) {
    case 'TEXT':
    case 'SECRET_TEXT':
    case 'ID16':
    case 'ID32':
    case 'NUMBER_TEXT':
      return 'string';
    case 'INT':
    case 'BYTES':
      return 'number';
    case 'BOOL':
      return 'boolean';
    case 'WORD':
      return words.map((word) => `'${word}'`).join(' | ');
    default:
      throw new Error(`${name} has a type that generate.mjs does not know: ${type}`);
  }
}

/**
 * @param {Param} param
 * @returns {string} what it must be, in words
 */
function constraintOf({ type, min, max, words = [] }) {
  switch (type) {
    case 'TEXT':
      return `text of ${min} to ${max} bytes`;
    case 'SECRET_TEXT':
      return `text of ${min} to ${max} bytes, wiped after use and never echoed`;
    case 'ID16':
      return 'base64url of 16 bytes';
    case 'ID32':
      return 'base64url of 32 bytes';
    case 'NUMBER_TEXT':
      return `a whole number in decimal, at least ${min}`;
    case 'INT':
      return `${min} to ${max}`;
    case 'BYTES':
      return 'index of an attachment';
    case 'WORD':
      return words.join(', ');
    default:
      return 'true or false';
  }
}

/**
 * @param {string} text
 * @returns {string} the text for a comment, which must not end in it
 */
const comment = (text) => text.replaceAll('*/', '* /');

/**
 * @param {Manifest} manifest
 * @param {string} sharedTypes
 * @returns {string}
 */
export function declarations(manifest, sharedTypes) {
  const lines = [`// ${BANNER}`, '', sharedTypes.trim(), '', '/** Each command with what it takes and returns. */'];
  lines.push('export interface CommandMap {');
  for (const { name, params, result, doc } of manifest.commands) {
    lines.push(`  /** ${comment(doc)} */`, `  '${name}': {`);
    if (params.length === 0) {
      lines.push('    args: Record<string, never>;');
    } else {
      lines.push('    args: {');
      for (const param of params) {
        lines.push(`      /** ${comment(constraintOf(param))} */`);
        lines.push(`      ${param.name}${param.required ? '' : '?'}: ${typeOf(param)};`);
      }
      lines.push('    };');
    }
    lines.push(`    result: ${result === '{}' ? 'Record<string, never>' : result};`, '  };');
  }
  lines.push('}', '', 'export type CommandName = keyof CommandMap;');
  lines.push("export type Args<C extends CommandName> = CommandMap[C]['args'];");
  lines.push("export type Result<C extends CommandName> = CommandMap[C]['result'];", '');
  return lines.join('\n');
}

/** @param {string} text */
const cell = (text) => text.replaceAll('|', '\\|');

/**
 * @param {Manifest} manifest
 * @param {string} sharedTypes
 * @returns {string}
 */
export function referencePage(manifest, sharedTypes) {
  const lines = ['# Commands', '', `<!-- ${BANNER} -->`, '', `Sotto ${manifest.version}, ABI ${manifest.abi}.`, ''];
  lines.push('Commands marked *open* need an unlocked account and fail with `locked` without one.', '');
  for (const { name, need, params, result, doc } of manifest.commands) {
    lines.push(`## ${name}`, '', need === 'OPEN' ? `${doc} *open*` : doc, '');
    if (params.length > 0) {
      lines.push('| argument | type | must be | |', '|---|---|---|---|');
      for (const param of params) {
        const presence = param.required ? '' : 'may be left out';
        lines.push(`| \`${param.name}\` | \`${cell(typeOf(param))}\` | ${cell(constraintOf(param))} | ${presence} |`);
      }
      lines.push('');
    }
    lines.push(`Result: \`${result}\``, '');
  }
  lines.push('## Types', '', '```ts', sharedTypes.trim(), '```', '');
  return lines.join('\n');
}

/**
 * @param {string} readme
 * @returns {string} the one block of TypeScript in it
 */
function typesOf(readme) {
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)];
  if (blocks.length !== 1) throw new Error('core/command/README.md must have one block of TypeScript');
  return blocks[0][1];
}

/**
 * @param {string} wasm path of the module
 * @param {string} folder where to write
 */
async function generate(wasm, folder) {
  const core = await loadCore({ wasm: await readFile(wasm), random: (bytes) => void randomFillSync(bytes) }); // Node 18 has no global crypto
  const handle = core.open('');
  const { header } = core.call(handle, { command: 'manifest' });
  core.close(handle);
  if (header.error !== undefined) throw new Error(`no manifest: ${header.error.message}`);
  /** @type {Manifest} */
  const manifest = header.result;

  const { version } = JSON.parse(await readFile(inRepository('package.json'), 'utf8'));
  if (version !== manifest.version) {
    throw new Error(`package.json says version ${version}, SOTTO_VERSION of core/command/command.h ${manifest.version}`);
  }
  const types = typesOf(await readFile(inRepository('core/command/README.md'), 'utf8'));
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}/sotto.d.ts`, declarations(manifest, types));
  await writeFile(`${folder}/commands.md`, referencePage(manifest, types));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [wasm = inRepository('build/sotto.wasm'), folder = inRepository('build/glue')] = process.argv.slice(2);
  await generate(wasm, folder);
}
