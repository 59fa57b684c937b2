// Which receive slot shows whose video. Pure: the same wish keeps the same slot, so that a picture never moves
// between slots while it is looked at.

/** A video of one participant, as a key of maps: `ID/camera` or `ID/screen`. @typedef {string} VideoKey */

/**
 * @param {string} participant
 * @param {'camera' | 'screen'} source
 * @returns {VideoKey}
 */
export const videoKey = (participant, source) => `${participant}/${source}`;

/**
 * @param {ReadonlyMap<string, VideoKey>} before slot -> video
 * @param {readonly VideoKey[]} wanted the most important first
 * @param {readonly string[]} slots
 * @returns {Map<string, VideoKey>}
 */
export function assign(before, wanted, slots) {
  const within = new Set(wanted.slice(0, slots.length));
  /** @type {Map<string, VideoKey>} */
  const after = new Map();
  for (const slot of slots) {
    const kept = before.get(slot);
    if (kept !== undefined && within.delete(kept)) after.set(slot, kept);
  }
  const free = slots.filter((slot) => !after.has(slot));
  for (const key of within) after.set(/** @type {string} */ (free.shift()), key);
  return after;
}
