// Lip-sync. A browser holds sound back for as long as its line asks for, and pictures for as long as theirs does; it knows of
// no sound that belongs to a picture, since slots show now this person and now that one. So the pictures of whoever is heard are
// held back here for as long as their sound is.

const LOOK_MS = 1_000;
/** A tenth slower or faster than it was filmed looks like nothing, and one large step like a picture that stands still. */
const [MOVE_MS, MOVE_BY_MS] = [200, 20];
/** What waits longer has a line on which nobody talks. */
const MOST_MS = 1_000;
/** By how much sooner a picture leaves the buffer of a Firefox than the sound with which it is shown. */
const FIREFOX_MS = 90;

/** @typedef {{ key: string, sound: string | null }} Pair a picture, and the slot of its person's sound while they are heard */
/** @typedef {{ seconds: number, count: number }} Waited what has left a buffer of sound so far, and how long all of it waited there */

/** Follows one connection. */
export class LipSync {
  #pc;
  #pairs;
  #timers;
  #looks = false;
  /** @type {Map<string, Waited>} by slot of sound */
  #before = new Map();
  /** @type {Map<string, number>} how long the sound of each slot waits, in ms */
  #waits = new Map();
  /** @type {Map<string, string>} whose picture is in which slot */
  #shown = new Map();
  #aheadMs = 'mozInnerScreenX' in window ? FIREFOX_MS : 0;

  /**
   * @param {RTCPeerConnection} pc
   * @param {() => ReadonlyMap<string, Pair>} pairs by slot of the picture
   */
  constructor(pc, pairs) {
    this.#pc = pc;
    this.#pairs = pairs;
    this.#timers = !('jitterBufferTarget' in RTCRtpReceiver.prototype) ? [] : [window.setInterval(() => void this.#look(), LOOK_MS), window.setInterval(() => this.#move(), MOVE_MS)];
  }

  close() { this.#timers.forEach(clearInterval); }

  async #look() {
    if (this.#looks || this.#pc.connectionState !== 'connected') return;
    this.#looks = true;
    const report = await this.#pc.getStats().catch(() => null);
    this.#looks = false;
    for (const entry of report?.values() ?? []) {
      if (entry.type !== 'inbound-rtp' || entry.kind !== 'audio' || !entry.mid) continue;
      const now = { seconds: entry.jitterBufferDelay ?? 0, count: entry.jitterBufferEmittedCount ?? 0 };
      const before = this.#before.get(entry.mid);
      this.#before.set(entry.mid, now);
      // Of somebody who is silent nothing new is known.
      if (!before || now.count <= before.count) continue;
      const ms = (now.seconds - before.seconds) / (now.count - before.count) * 1_000 - this.#aheadMs;
      this.#waits.set(entry.mid, Math.min(MOST_MS, Math.max(0, ms)));
    }
  }

  /** Every picture a step towards its sound, or at once where nobody sees it. */
  #move() {
    const pairs = this.#pairs();
    for (const { mid, receiver } of this.#pc.getTransceivers()) {
      if (mid === null || receiver.track.kind !== 'video' || !('jitterBufferTarget' in receiver)) continue;
      const { key, sound } = pairs.get(mid) ?? { key: '', sound: null };
      const isOther = (this.#shown.get(mid) ?? '') !== key;
      this.#shown.set(mid, key);
      const held = Number(receiver.jitterBufferTarget);
      const wait = sound === null ? 0 : this.#waits.get(sound) ?? (isOther ? 0 : held);
      if (isOther || document.hidden) receiver.jitterBufferTarget = wait;
      else if (Math.abs(wait - held) >= MOVE_BY_MS) receiver.jitterBufferTarget = held + Math.sign(wait - held) * MOVE_BY_MS;
    }
  }
}
