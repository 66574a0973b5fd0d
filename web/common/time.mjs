// time.mjs: times as people read them, in the browser's language and zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', month: 'long', day: 'numeric' });
const dayWithYear = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'long', day: 'numeric' });
const shortDay = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

/** A sender's clock may be ahead of ours by so much. */
const AHEAD = 5 * 60_000;

/**
 * When a message was written. That is the sender's word: one that cannot be so, and would break the page, does not count.
 * @param {{ sent_ms: number, received_ms: number }} message
 */
export function messageTime({ sent_ms, received_ms }) {
  const known = received_ms > 0 ? received_ms : Date.now();
  return sent_ms > 0 && sent_ms <= known + AHEAD ? sent_ms : known;
}

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
