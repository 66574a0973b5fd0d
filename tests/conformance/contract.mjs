// server/openapi.yaml as something that requests and answers can be held against.
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';

export const CONTRACT_FILE = new URL('../../server/openapi.yaml', import.meta.url);
const METHODS = ['get', 'put', 'post', 'delete'];

/** @param {string} part of a JSON pointer */
const escape = (part) => part.replaceAll('~', '~0').replaceAll('/', '~1');

/**
 * @typedef {import('./client.mjs').Request} Request
 * @typedef {import('./client.mjs').Answer} Answer
 * @typedef {{ id: string, pointer: string, pattern: RegExp, method: string, names: string[], node: any }} Operation
 */

export class Contract {
  /** @type {Map<string, import('ajv').ValidateFunction>} */
  #compiled = new Map();
  /** @type {Operation[]} */
  operations = [];

  constructor(file = CONTRACT_FILE) {
    this.document = parse(readFileSync(file, 'utf8'));
    // The document's own members are no keywords, and problem.NAME says its type by $ref: those two rules of strict mode are off.
    this.ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: false });
    for (const word of Object.keys(this.document)) this.ajv.addKeyword(word);
    this.ajv.addSchema(this.document, 'contract');
    for (const [path, item] of Object.entries(this.document.paths)) {
      const names = [...path.matchAll(/\{([^}]+)\}/g)].map((m) => m[1]);
      const pattern = new RegExp(`^${path.replace(/\./g, '\\.').replace(/\{[^}]+\}/g, '([^/]*)')}$`);
      for (const method of METHODS.filter((m) => m in item)) {
        const node = item[method];
        const at = `/paths/${escape(path)}`;
        const parameters = [
          ...(item.parameters ?? []).map((/** @type {any} */ p, /** @type {number} */ i) => this.resolve(p, `${at}/parameters/${i}`)),
          ...(node.parameters ?? []).map((/** @type {any} */ p, /** @type {number} */ i) => this.resolve(p, `${at}/${method}/parameters/${i}`)),
        ];
        this.operations.push({
          id: node.operationId,
          pointer: `${at}/${method}`,
          pattern,
          method: method.toUpperCase(),
          names,
          node: { ...node, parameters },
        });
      }
    }
  }

  /** Follows a $ref, and says where it led. @param {any} node */
  resolve(node, pointer = '') {
    while (node.$ref !== undefined) {
      pointer = node.$ref.slice(1);
      node = pointer.split('/').slice(1).reduce((/** @type {any} */ at, /** @type {string} */ part) => at[part.replaceAll('~1', '/').replaceAll('~0', '~')], this.document);
    }
    return { ...node, pointer };
  }

  /** @param {string} pointer to a schema */
  validator(pointer) {
    const found = this.#compiled.get(pointer) ?? this.ajv.compile({ $ref: `contract#${pointer}` });
    this.#compiled.set(pointer, found);
    return found;
  }

  /** What is wrong with a value, '' when nothing is. @param {string} pointer @param {unknown} value */
  fault(pointer, value) {
    const validate = this.validator(pointer);
    if (validate(value)) return '';
    const { instancePath = '', message = '', params } = validate.errors?.at(-1) ?? {};
    return `${instancePath || 'it'} ${message}${params?.allowedValue === undefined ? '' : ` ${JSON.stringify(params.allowedValue)}`}`;
  }

  /** @param {string} method @param {string} path with or without query */
  find(method, path) {
    const [plain] = path.split('?');
    return this.operations.find((o) => o.method === method && o.pattern.test(/** @type {string} */ (plain)));
  }

  /** Faults of a request. @param {Operation} operation @param {Request} request */
  requestFaults(operation, { path, headers, body }) {
    const faults = [];
    const [plain, query = ''] = /** @type {[string, string?]} */ (path.split('?'));
    const inPath = operation.pattern.exec(plain)?.slice(1) ?? [];
    const inQuery = new URLSearchParams(query);
    for (const parameter of operation.node.parameters) {
      const { name, in: where, required, schema, pointer } = parameter;
      // A request without content has no digest.
      if (name === 'Content-Digest' && body === undefined) continue;
      const given = where === 'path' ? inPath[operation.names.indexOf(name)] : where === 'query' ? inQuery.get(name) : headers[name.toLowerCase()];
      if (given === undefined || given === null) {
        if (required) faults.push(`${where} parameter ${name} is missing`);
        continue;
      }
      const number = schema.type === 'integer' && /^(0|[1-9][0-9]*)$/.test(String(given));
      const fault = this.fault(`${pointer}/schema`, number ? Number(given) : given);
      if (fault !== '') faults.push(`${where} parameter ${name}: ${fault}`);
    }
    const content = operation.node.requestBody?.content;
    if (content === undefined) {
      if (body !== undefined) faults.push('this call has no content');
      return faults;
    }
    const [type] = /** @type {[string]} */ (Object.keys(content));
    if (body === undefined) return [...faults, 'the content is missing'];
    if (String(headers['content-type']).split(/[; ]/)[0]?.toLowerCase() !== type) return [...faults, `content-type is not ${type}`];
    const pointer = `${operation.pointer}/requestBody/content/${escape(type)}/schema`;
    if (type === 'application/json') {
      try {
        const fault = this.fault(pointer, JSON.parse(body.toString()));
        if (fault !== '') faults.push(`content: ${fault}`);
      } catch {
        faults.push('content is no JSON');
      }
    } else {
      // Octets, of which JSON Schema can see the length.
      const fault = this.fault(pointer, body.toString('latin1'));
      if (fault !== '') faults.push(`content: ${fault}`);
    }
    return faults;
  }

  /** Faults of an answer. A stream's events are checked one by one, with `eventFault`. @param {Operation | undefined} operation @param {Answer} answer */
  answerFaults(operation, { status, headers, bytes, json }) {
    const faults = [];
    if (headers['cache-control'] !== 'no-store') faults.push(`Cache-Control is ${JSON.stringify(headers['cache-control'])}, not no-store`);
    const node = operation?.node.responses[status];
    if (operation === undefined || node === undefined) {
      // A call that does not exist, or is not the caller's to know of.
      if (operation === undefined && [400, 404, 413, 429, 503].includes(status)) return [...faults, ...this.#problemFaults(headers, json, status)];
      return [...faults, `${operation?.id ?? 'an unknown call'} may not answer ${status}${typeof json?.type === 'string' ? ` (${json.type})` : ''}`];
    }
    const { pointer, headers: expected = {}, content } = this.resolve(node, `${operation.pointer}/responses/${status}`);
    for (const [name, header] of Object.entries(expected)) {
      const { schema, required, pointer: at } = this.resolve(header, `${pointer}/headers/${escape(name)}`);
      const given = headers[name.toLowerCase()];
      if (given === undefined) {
        if (required) faults.push(`the header ${name} is missing`);
        continue;
      }
      const fault = this.fault(`${at}/schema`, schema.type === 'integer' ? Number(given) : given);
      if (fault !== '') faults.push(`header ${name}: ${fault}`);
    }
    if (content === undefined) {
      if (bytes.length > 0) faults.push(`an answer ${status} has no content`);
      return faults;
    }
    const type = headers['content-type']?.split(';')[0] ?? '';
    if (content[type] === undefined) return [...faults, `content-type of ${status} is ${JSON.stringify(headers['content-type'])}, not ${Object.keys(content).join(' or ')}`];
    if (type === 'text/event-stream') return faults;
    if (type === 'application/octet-stream') {
      const fault = this.fault(`${pointer}/content/${escape(type)}/schema`, bytes.toString('latin1'));
      return fault === '' ? faults : [...faults, `${status}: ${fault}`];
    }
    if (json === undefined) return [...faults, `the content of ${status} is no JSON`];
    const fault = this.fault(`${pointer}/content/${escape(type)}/schema`, json);
    if (fault !== '') faults.push(`${status}${typeof json.type === 'string' ? ` (${json.type})` : ''}: ${fault}`);
    if (status === 429 && String(json.retry_after_s) !== headers['retry-after']) faults.push('Retry-After and retry_after_s differ');
    return faults;
  }

  /** @param {Answer['headers']} headers @param {any} json @param {number} status */
  #problemFaults(headers, json, status) {
    if (headers['content-type']?.split(';')[0] !== 'application/problem+json') return [`content-type of ${status} is ${JSON.stringify(headers['content-type'])}, not application/problem+json`];
    const fault = this.fault('/components/schemas/Problem', json);
    return fault === '' && json.status === status ? [] : [`${status}: ${fault || 'status differs from the one of the answer'}`];
  }

  /** @param {unknown} event */
  eventFault(event) {
    return this.fault('/components/schemas/Event', event);
  }

  /** Pointers to every schema in the document. */
  schemas() {
    /** @type {string[]} */
    const found = [];
    const walk = (/** @type {any} */ node, /** @type {string} */ pointer) => {
      if (typeof node !== 'object' || node === null) return;
      for (const [name, value] of Object.entries(node)) {
        const at = `${pointer}/${escape(name)}`;
        if (name === 'schema') found.push(at);
        else walk(value, at);
      }
    };
    walk(this.document.paths, '/paths');
    for (const part of ['parameters', 'headers', 'responses']) walk(this.document.components[part], `/components/${part}`);
    found.push(...Object.keys(this.document.components.schemas).map((name) => `/components/schemas/${escape(name)}`));
    return found;
  }
}
