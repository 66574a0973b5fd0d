// The table at the end: what a server supports, part by part.

/** Names that `features` may have, and what they stand for. A name that is missing here is one that this suite does not know. */
export const FEATURES = /** @type {Record<string, string>} */ ({ sse: 'event streams', schedule: 'messages with a time of delivery', blobs: 'attachments', audit: 'log of accesses', retention: 'what nobody fetches goes', push: 'ringing by Web Push', 'step-up': 'sessions of staff and patients' });

/** @param {import('./suite.mjs').Report} outcome */
export function report({ results, description, exchanges }) {
  /** @type {[string, string, string][]} */
  const rows = [['part', 'must', 'result']];
  const sum = (/** @type {typeof results} */ part) => {
    const count = (/** @type {string} */ state) => part.filter((r) => r.state === state).length;
    const [passed, failed, skipped] = [count('passed'), count('failed'), count('skipped')];
    if (failed > 0) return `${failed} of ${part.length} checks FAILED`;
    if (passed === 0) return 'not tested';
    return `yes: ${passed} checks${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  };
  for (const group of new Set(results.map((r) => r.group))) {
    const part = results.filter((r) => r.group === group && r.feature === '');
    if (part.length > 0) rows.push([group, 'required', sum(part)]);
  }
  /** @type {string[]} */
  const offered = Array.isArray(description.features) ? description.features : [];
  for (const [name, what] of Object.entries(FEATURES)) {
    const part = results.filter((r) => r.feature === name);
    rows.push([`${name} (${what})`, 'optional', offered.includes(name) ? sum(part) : 'no']);
  }
  for (const name of offered.filter((f) => !(f in FEATURES))) rows.push([name, 'optional', 'not known to this suite']);
  const { limits = {}, clinics } = description;
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => (row[i] ?? '').length)));
  const table = rows.map((row) => `  ${row[0].padEnd(widths[0] ?? 0)}  ${row[1].padEnd(widths[1] ?? 0)}  ${row[2]}`);
  const count = (/** @type {string} */ state) => results.filter((r) => r.state === state).length;
  return [
    '',
    ...table,
    '',
    `  limits: ${Object.entries(limits).map(([name, value]) => `${name} ${value}`).join(', ')}; clinics: ${clinics}; ${exchanges} exchanges held against openapi.yaml`,
    '',
    `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`,
  ].join('\n');
}
