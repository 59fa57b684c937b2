// What this browser measures of its own connection (getStats), as rates between two looks. Nothing of it leaves the page.

/**
 * One picture, on its way out or in.
 * @typedef {object} Picture
 * @property {number} bps
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {string} codec
 * @property {number | null} loss share of the packets of one that comes in
 * @property {string} limit of an own one: 'none', 'cpu', 'bandwidth' or 'other'
 */

/**
 * @typedef {object} Direction
 * @property {number} bps
 * @property {number | null} loss share of packets, null while nothing is known
 */

/**
 * @typedef {object} Reading
 * @property {Direction & { pictures: Map<'camera' | 'screen', Picture>, budget: number | null }} up budget: what the browser believes its line carries
 * @property {Direction & { pictures: Map<string, Picture>, concealed: number | null }} down pictures by receive slot; concealed: share of the sound
 * @property {number | null} roundTripMs
 */

/** @typedef {Record<string, any>} Entry */
/** @typedef {{ at: number, bytes: number, frames: number, packets: number, lost: number, samples: number, concealed: number }} Counts */

/** Follows one connection. */
export class Meter {
  #pc;
  /** @type {Map<string, Counts>} */
  #before = new Map();

  /** @param {RTCPeerConnection} pc */
  constructor(pc) { this.#pc = pc; }

  /** @returns {Promise<Reading>} since the last one */
  async read() {
    const report = await this.#pc.getStats();
    const entries = /** @type {Entry[]} */ ([...report.values()]);
    /** @type {Map<string, Counts>} */
    const now = new Map();
    for (const entry of entries) if (entry.type === 'inbound-rtp' || entry.type === 'outbound-rtp' || entry.type === 'remote-inbound-rtp') now.set(entry.id, countsOf(entry));
    const reading = { up: this.#up(report, entries, now), down: this.#down(report, entries, now), roundTripMs: roundTripOf(report, entries) };
    this.#before = now;
    return reading;
  }

  /** @param {RTCStatsReport} report @param {Entry[]} entries @param {Map<string, Counts>} now @returns {Reading['up']} */
  #up(report, entries, now) {
    /** @type {Map<'camera' | 'screen', Picture>} */
    const pictures = new Map();
    let bps = 0, lost = 0, packets = 0;
    for (const entry of entries) {
      if (entry.type === 'remote-inbound-rtp') {
        const rate = this.#since(entry.id, now);
        lost += rate?.lost ?? 0;
        packets += now.has(entry.localId) ? this.#since(entry.localId, now)?.packets ?? 0 : 0;
      }
      if (entry.type !== 'outbound-rtp') continue;
      const rate = this.#since(entry.id, now);
      if (!rate) continue;
      bps += rate.bps;
      const source = entry.kind === 'video' ? this.#sourceOf(report, entry) : null;
      if (!source || rate.fps === 0) continue;
      const { frameWidth: width = 0, frameHeight: height = 0 } = entry;
      const before = pictures.get(source);
      const largest = !before || height >= before.height ? { width, height, fps: rate.fps, codec: codecOf(report, entry), loss: null } : before;
      pictures.set(source, { ...largest, bps: (before?.bps ?? 0) + rate.bps, limit: worse(before?.limit, entry.qualityLimitationReason) });
    }
    const budget = selectedPair(report, entries)?.availableOutgoingBitrate ?? null;
    return { bps, loss: share(lost, packets), pictures, budget };
  }

  /** @param {RTCStatsReport} report @param {Entry[]} entries @param {Map<string, Counts>} now @returns {Reading['down']} */
  #down(report, entries, now) {
    /** @type {Map<string, Picture>} */
    const pictures = new Map();
    let bps = 0, lost = 0, packets = 0, samples = 0, concealed = 0;
    for (const entry of entries) {
      if (entry.type !== 'inbound-rtp') continue;
      const rate = this.#since(entry.id, now);
      if (!rate) continue;
      bps += rate.bps;
      lost += rate.lost;
      packets += rate.packets;
      samples += rate.samples;
      concealed += rate.concealed;
      const slot = entry.kind === 'video' ? this.#slotOf(entry) : null;
      if (slot === null) continue;
      pictures.set(slot, { bps: rate.bps, width: entry.frameWidth ?? 0, height: entry.frameHeight ?? 0, fps: rate.fps, codec: codecOf(report, entry), loss: share(rate.lost, rate.packets + rate.lost), limit: 'none' });
    }
    return { bps, loss: share(lost, packets + lost), pictures, concealed: share(concealed, samples) };
  }

  /** @param {string} id @param {Map<string, Counts>} now */
  #since(id, now) {
    const [before, after] = [this.#before.get(id), now.get(id)];
    if (!before || !after || after.at <= before.at) return null;
    const seconds = (after.at - before.at) / 1_000;
    return {
      bps: Math.max(0, after.bytes - before.bytes) * 8 / seconds,
      fps: Math.max(0, after.frames - before.frames) / seconds,
      packets: Math.max(0, after.packets - before.packets),
      lost: after.lost - before.lost,
      samples: after.samples - before.samples,
      concealed: after.concealed - before.concealed,
    };
  }

  /** @param {RTCStatsReport} report @param {Entry} entry @returns {'camera' | 'screen' | null} the sending lines are microphone, camera, screen */
  #sourceOf(report, entry) {
    const track = report.get(entry.mediaSourceId)?.trackIdentifier;
    const sending = this.#pc.getTransceivers().filter((line) => line.direction === 'sendonly' && line.sender.track?.kind === 'video');
    const line = sending.find(({ mid, sender }) => (entry.mid ? mid === entry.mid : sender.track?.id === track));
    if (!line) return null;
    const videos = this.#pc.getTransceivers().filter(({ direction, receiver }) => direction === 'sendonly' && receiver.track.kind === 'video');
    return videos.indexOf(line) === 0 ? 'camera' : 'screen';
  }

  /** @param {Entry} entry @returns {string | null} */
  #slotOf(entry) {
    return entry.mid ?? this.#pc.getTransceivers().find(({ receiver }) => receiver.track.id === entry.trackIdentifier)?.mid ?? null;
  }
}

/** @param {Entry} entry @returns {Counts} */
function countsOf(entry) {
  return {
    at: entry.timestamp,
    bytes: entry.bytesSent ?? entry.bytesReceived ?? 0,
    frames: entry.framesEncoded ?? entry.framesDecoded ?? 0,
    packets: entry.packetsSent ?? entry.packetsReceived ?? 0,
    lost: entry.packetsLost ?? 0,
    samples: entry.totalSamplesReceived ?? 0,
    // Silence that was not sent is no loss.
    concealed: (entry.concealedSamples ?? 0) - (entry.silentConcealedSamples ?? 0),
  };
}

/** @param {number} part @param {number} whole @returns {number | null} */
const share = (part, whole) => (whole > 0 ? Math.min(1, Math.max(0, part / whole)) : null);

/** @param {RTCStatsReport} report @param {Entry} entry */
const codecOf = (report, entry) => String(report.get(entry.codecId)?.mimeType ?? '').replace('video/', '');

/** @param {RTCStatsReport} report @param {Entry[]} entries @returns {Entry | undefined} */
function selectedPair(report, entries) {
  const transport = entries.find((entry) => entry.type === 'transport' && entry.selectedCandidatePairId);
  return transport ? report.get(transport.selectedCandidatePairId) : entries.find((entry) => entry.type === 'candidate-pair' && (entry.selected ?? entry.nominated));
}

/** @param {RTCStatsReport} report @param {Entry[]} entries */
function roundTripOf(report, entries) {
  const byRtcp = entries.filter((entry) => entry.type === 'remote-inbound-rtp' && entry.roundTripTime > 0).map((entry) => entry.roundTripTime);
  const seconds = selectedPair(report, entries)?.currentRoundTripTime ?? (byRtcp.length > 0 ? Math.min(...byRtcp) : null);
  return seconds === null ? null : Math.round(seconds * 1_000);
}

const LIMITS = ['none', 'other', 'bandwidth', 'cpu'];

/** @param {string | undefined} a @param {string | undefined} b */
const worse = (a = 'none', b = 'none') => (LIMITS.indexOf(a) > LIMITS.indexOf(b) ? a : b);
