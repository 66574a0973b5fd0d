// idle.mjs: locks the screen when nobody is there. Timers of a hidden page sleep, so the clock is asked as well.

/** Minutes without a touch or key until the account locks (DESIGN and NIST SP 800-63B-4, AAL2: at most an hour). */
export const IDLE_MINUTES = 15;

const SIGNS = ['pointerdown', 'keydown', 'wheel', 'touchstart'];

/**
 * @param {() => void} lock
 * @param {object} [options]
 * @param {number} [options.minutes]
 * @param {() => boolean} [options.wait] true while locking must wait, for example for text that is on its way
 * @param {Document} [options.target]
 * @returns {() => void} ends it
 */
export function lockWhenIdle(lock, { minutes = IDLE_MINUTES, wait = () => false, target = document } = {}) {
  const limit = minutes * 60_000;
  let last = Date.now();
  const check = () => {
    if (Date.now() - last >= limit && !wait()) lock();
  };
  const sign = () => {
    check(); // woken up by a touch after the time was over: first the lock
    last = Date.now();
  };
  for (const name of SIGNS) target.addEventListener(name, sign, { passive: true, capture: true });
  target.addEventListener('visibilitychange', check);
  const timer = setInterval(check, 10_000);
  return () => {
    for (const name of SIGNS) target.removeEventListener(name, sign, { capture: true });
    target.removeEventListener('visibilitychange', check);
    clearInterval(timer);
  };
}
