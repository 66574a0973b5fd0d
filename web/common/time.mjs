// time.mjs: times as people read them, in the browser's language and zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', month: 'long', day: 'numeric' });
const dayWithYear = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'long', day: 'numeric' });
const shortDay = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

/** @param {number} ms */
function midnight(ms) {
  return new Date(ms).setHours(0, 0, 0, 0);
}

/** Whole days between two moments, by the calendar. @param {number} ms @param {number} now */
export function daysAgo(ms, now) {
  return Math.round((midnight(now) - midnight(ms)) / 86_400_000);
}

/** @param {number} ms */
export function timeOfDay(ms) {
  return clock.format(ms);
}

/**
 * @param {number} ms
 * @param {{ today: string, yesterday: string }} words
 * @param {number} [now]
 */
export function dayName(ms, words, now = Date.now()) {
  const ago = daysAgo(ms, now);
  if (ago === 0) return words.today;
  if (ago === 1) return words.yesterday;
  return ago > 0 && ago < 300 ? day.format(ms) : dayWithYear.format(ms);
}

/** For a list: the time when it was today, else the day. @param {number} ms @param {number} [now] */
export function shortTime(ms, now = Date.now()) {
  return daysAgo(ms, now) === 0 ? clock.format(ms) : shortDay.format(ms);
}

/** @param {number} ms */
export function dateTime(ms) {
  return `${shortDay.format(ms)}, ${clock.format(ms)}`;
}
