// What limits a picture or a line, in one word. Pure: measured numbers in, a verdict out.

/** @typedef {'good' | 'fair' | 'poor'} Level */
/** What is to blame. @typedef {'none' | 'own-line' | 'other-side' | 'server' | 'processor' | 'saving' | 'audio-only'} Cause */
/** @typedef {{ level: Level, cause: Cause }} Verdict */
/** What keeps a larger picture, or any, from me, as the server says: the line to me, or its own load. @typedef {'line' | 'server'} Limit */
/** What the server measures of the line to this browser. @typedef {{ estimate_bps: number | null, loss_permille: number | null, round_trip_ms: number | null }} Quality */

/** Above these shares of lost packets pictures stumble, and above those voices too. */
const LOSS_FAIR = 0.03;
const LOSS_POOR = 0.1;
const ROUND_TRIP_FAIR_MS = 300;
const ROUND_TRIP_POOR_MS = 700;
/** A line that carries less shows faces as stamps. */
const NARROW_BPS = 250_000;
/** Simulcast halves: a picture is smaller than asked for when not even the next layer fits. */
const SMALL = 0.45;
const JERKY_FPS = 7;
/** So long after a wish its picture may be on its way. */
const PATIENCE_MS = 4_000;

/** @type {Record<Limit, Cause>} */
const CAUSES = { line: 'own-line', server: 'server' };
/** @type {Verdict} */
export const GOOD = { level: 'good', cause: 'none' };

/** @param {number | null} loss @param {number | null} roundTripMs @returns {Level} */
function levelOf(loss, roundTripMs) {
  if ((loss ?? 0) > LOSS_POOR || (roundTripMs ?? 0) > ROUND_TRIP_POOR_MS) return 'poor';
  return (loss ?? 0) > LOSS_FAIR || (roundTripMs ?? 0) > ROUND_TRIP_FAIR_MS ? 'fair' : 'good';
}

/**
 * The line from the server to me.
 * @param {import('./stats.js').Reading} reading
 * @param {Quality | null} quality what the server says of it, unless I object
 * @param {readonly Verdict[]} [pictures] that come over it, or do not
 * @returns {Verdict}
 */
export function judgeDown(reading, quality, pictures = []) {
  const loss = quality?.loss_permille == null ? reading.down.loss : quality.loss_permille / 1_000;
  const level = levelOf(loss, quality?.round_trip_ms ?? reading.roundTripMs);
  if (level === 'poor' || (quality?.estimate_bps ?? Infinity) < NARROW_BPS) return { level: 'poor', cause: 'own-line' };
  const holdsBack = pictures.some((picture) => picture.level !== 'good' && picture.cause === 'own-line');
  return level === 'good' && !holdsBack ? GOOD : { level: 'fair', cause: 'own-line' };
}

/**
 * The line from me to the server, and what my device makes of it.
 * @param {import('./stats.js').Reading} reading
 * @returns {Verdict}
 */
export function judgeUp({ up, roundTripMs }) {
  const level = levelOf(up.loss, roundTripMs);
  if (level !== 'good') return { level, cause: 'own-line' };
  const limits = [...up.pictures.values()].map(({ limit }) => limit);
  if (limits.includes('cpu')) return { level: 'fair', cause: 'processor' };
  return limits.includes('bandwidth') ? { level: 'fair', cause: 'own-line' } : GOOD;
}

/**
 * A picture of somebody else.
 * @param {{ source: 'camera' | 'screen', height: number, shown: boolean, paused: boolean, limit: Limit | null, askedMs: number }} wish height: asked for, in pixels;
 *   paused: the server holds it back; limit: why it does, or sends a smaller one than there is
 * @param {import('./stats.js').Picture | null} picture what comes
 * @param {import('./stats.js').Reading} reading
 * @param {Quality | null} quality
 * @returns {Verdict}
 */
export function judgePicture(wish, picture, reading, quality) {
  const held = wish.limit && CAUSES[wish.limit];
  if (wish.paused) return { level: 'poor', cause: held ?? 'own-line' };
  if (wish.askedMs < PATIENCE_MS) return GOOD;
  const line = judgeDown(reading, quality);
  const cause = held ?? (line.level === 'good' ? 'other-side' : 'own-line');
  if (!wish.shown) return { level: 'poor', cause };
  // A screen that nobody touches sends nothing.
  if (wish.source === 'screen') return held ? { level: 'fair', cause: held } : line;
  if (!picture || picture.fps === 0) return { level: 'poor', cause };
  const isSmall = picture.height > 0 && Math.min(picture.height, picture.width) < SMALL * Math.min(wish.height, 720);
  if (isSmall || picture.fps < JERKY_FPS) return { level: 'fair', cause };
  return held ? { level: 'good', cause: held } : GOOD;
}

/** Beside the picture itself: trouble, and what I have chosen. @param {Verdict} verdict */
export const isWorthSaying = ({ level, cause }) => level !== 'good' || cause === 'saving' || cause === 'audio-only';

/** Shown only once it has been said twice: one look may fall into a hiccup. */
export class Steady {
  /** @type {Map<string, { shown: Verdict, next: Verdict }>} */
  #by = new Map();

  /** @param {string} key @param {Verdict} verdict */
  settle(key, verdict) {
    const before = this.#by.get(key) ?? { shown: GOOD, next: GOOD };
    const shown = alike(before.next, verdict) ? verdict : before.shown;
    this.#by.set(key, { shown, next: verdict });
    return shown;
  }

  /** @param {(key: string) => boolean} isThere */
  keep(isThere) {
    for (const key of this.#by.keys()) if (!isThere(key)) this.#by.delete(key);
  }
}

/** @param {Verdict} a @param {Verdict} b */
const alike = (a, b) => a.level === b.level && a.cause === b.cause;
