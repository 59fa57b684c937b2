// Lip-sync. A browser holds sound back for as long as its line asks for, and pictures for as long as theirs does; it knows of
// no sound that belongs to a picture, since slots show now this person and now that one. So the pictures of whoever is heard are
// held back here for as long as their sound is.

const LOOK_MS = 1_000;
/** Nobody sees less than this. */
const STEP_MS = 20;
/** What waits longer has a line on which nobody talks. */
const MOST_MS = 1_000;
/** By how much sooner a picture leaves the buffer of a Firefox than the sound with which it is shown. */
const FIREFOX_MS = 90;

/** @typedef {{ seconds: number, count: number }} Waited what has left a buffer of sound so far, and how long all of it waited there */

/** Follows one connection. */
export class LipSync {
  #pc;
  #pairs;
  #timer;
  #looks = false;
  /** @type {Map<string, Waited>} by slot of sound */
  #before = new Map();
  #aheadMs = 'mozInnerScreenX' in window ? FIREFOX_MS : 0;

  /**
   * @param {RTCPeerConnection} pc
   * @param {() => ReadonlyMap<string, string>} pairs slot of a picture -> slot of its person's sound
   */
  constructor(pc, pairs) {
    this.#pc = pc;
    this.#pairs = pairs;
    this.#timer = window.setInterval(() => void this.#look(), LOOK_MS);
  }

  close() { clearInterval(this.#timer); }

  async #look() {
    if (this.#looks || this.#pc.connectionState !== 'connected') return;
    this.#looks = true;
    const waits = await this.#waits().catch(() => null);
    this.#looks = false;
    if (!waits) return;
    const pairs = this.#pairs();
    for (const { mid, receiver } of this.#pc.getTransceivers()) {
      if (mid === null || receiver.track.kind !== 'video' || !('jitterBufferTarget' in receiver)) continue;
      const sound = pairs.get(mid);
      const wait = sound === undefined ? null : waits.get(sound);
      // Of somebody who is silent nothing new is known.
      if (wait !== undefined) hold(receiver, wait);
    }
  }

  /** How long the sound that is played has waited since the last look, in ms by slot. */
  async #waits() {
    /** @type {Map<string, number>} */
    const waits = new Map();
    const report = await this.#pc.getStats();
    for (const entry of report.values()) {
      if (entry.type !== 'inbound-rtp' || entry.kind !== 'audio' || !entry.mid) continue;
      const now = { seconds: entry.jitterBufferDelay ?? 0, count: entry.jitterBufferEmittedCount ?? 0 };
      const before = this.#before.get(entry.mid);
      this.#before.set(entry.mid, now);
      if (!before || now.count <= before.count) continue;
      const ms = (now.seconds - before.seconds) / (now.count - before.count) * 1_000 - this.#aheadMs;
      waits.set(entry.mid, Math.min(MOST_MS, Math.max(0, ms)));
    }
    return waits;
  }
}

/** @param {RTCRtpReceiver & { jitterBufferTarget?: number | null }} receiver @param {number | null} ms null: as its own line asks for */
function hold(receiver, ms) {
  const held = receiver.jitterBufferTarget ?? null;
  if (ms === null ? held === null : held !== null && Math.abs(ms - held) < STEP_MS) return;
  receiver.jitterBufferTarget = ms;
}
