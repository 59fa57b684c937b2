// The one RTCPeerConnection to the server: three sending lines, then a fixed pool of receive slots (docs/protocol.md, 3).
// Everything later is replaceTrack and a rewrite on the server: one offer, one answer.

import { LipSync } from './lipsync.js';
import { Meter } from './stats.js';

/** @typedef {import('./signalling.js').Source} Source */

/**
 * For diagnostics and tests: getStats() of the connection, and how many answers were applied on this page.
 * @type {{ pc: RTCPeerConnection | null, setRemoteDescriptions: number }}
 */
const diagnostics = { pc: null, setRemoteDescriptions: 0 };
Object.assign(window, { saal: diagnostics });

const PHONE = '(max-width: 640px), (max-height: 480px)';
const LOOK_MS = 200;
const AUDIO_SLOTS = 3;
const VIDEO_SLOTS = 9;
const VIDEO_SLOTS_PHONE = 4;

/**
 * From small to large; Firefox keeps the order of the list, so the rids name the sizes.
 * @type {RTCRtpEncodingParameters[]}
 */
const CAMERA_LAYERS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
];
/** Below this height Chromium encodes the first two layers only. */
const SMALL_CAMERA = 540;
/**
 * The second is then the full picture.
 * @type {RTCRtpEncodingParameters[]}
 */
const SMALL_CAMERA_LAYERS = [
  { scaleResolutionDownBy: 2, maxBitrate: 150_000 },
  { scaleResolutionDownBy: 1, maxBitrate: 700_000 },
  { scaleResolutionDownBy: 1, active: false },
];
const SCREEN_LAYER = [{ maxBitrate: 2_500_000 }];

/** Of each kind what browsers have in common; the rest would only swell the offer. */
const CODECS = ['video/vp8', 'video/vp9', 'video/h264', 'video/av1', 'video/rtx', 'video/red', 'video/ulpfec'];

export class Call {
  /** @type {Record<Source, RTCRtpTransceiver>} */
  #sending;
  #pc = new RTCPeerConnection({ iceServers: [], bundlePolicy: 'max-bundle' });
  #on;
  /** @type {Map<string, MediaStream>} */
  #streams = new Map();
  /** @type {HTMLAudioElement[]} */
  #loudspeakers = [];
  #speaker = '';
  #negotiating = false;
  #changes = Promise.resolve();
  #meter = new Meter(this.#pc);
  #lipSync;
  /** How many simulcast layers of the camera somebody wants, from the smallest on. */
  #layersWanted = CAMERA_LAYERS.length;

  /**
   * @param {{ audioSlots: number, videoSlots: number }} most what the server accepts
   * @param {{ onState: (state: RTCPeerConnectionState) => void, onSoundBlocked: () => void, pairs: () => ReadonlyMap<string, import('./lipsync.js').Pair> }} on pairs: by receive slot of the picture
   */
  constructor(most, on) {
    this.#on = on;
    const pc = this.#pc;
    diagnostics.pc = pc;
    this.#lipSync = new LipSync(pc, on.pairs);
    this.#sending = {
      microphone: pc.addTransceiver('audio', { direction: 'sendonly' }),
      camera: pc.addTransceiver('video', { direction: 'sendonly', sendEncodings: CAMERA_LAYERS }),
      screen: pc.addTransceiver('video', { direction: 'sendonly', sendEncodings: SCREEN_LAYER }),
    };
    const video = matchMedia(PHONE).matches ? VIDEO_SLOTS_PHONE : VIDEO_SLOTS;
    for (let i = 0; i < Math.min(AUDIO_SLOTS, most.audioSlots); i++) pc.addTransceiver('audio', { direction: 'recvonly' });
    for (let i = 0; i < Math.min(video, most.videoSlots); i++) pc.addTransceiver('video', { direction: 'recvonly' });
    for (const transceiver of pc.getTransceivers()) preferCodecs(transceiver);
    pc.addEventListener('track', (event) => this.#onTrack(event));
    pc.addEventListener('connectionstatechange', () => on.onState(pc.connectionState));
  }

  get state() { return this.#pc.connectionState; }

  /** The receive slots for video, known once the offer is made. */
  get videoSlots() {
    return this.#pc.getTransceivers()
      .filter((line) => line.direction === 'recvonly' && line.receiver.track.kind === 'video' && line.mid !== null)
      .map((line) => /** @type {string} */ (line.mid));
  }

  /** @param {string} slot */
  stream(slot) { return this.#streams.get(slot) ?? null; }

  /**
   * @param {{ iceRestart?: boolean }} [how]
   * @returns {Promise<{ sdp: string, sources: import('./signalling.js').SourceLine[] } | null>} null while another offer waits for its answer
   */
  async offer({ iceRestart = false } = {}) {
    if (this.#negotiating) return null;
    this.#negotiating = true;
    if (iceRestart) this.#pc.restartIce();
    await this.#pc.setLocalDescription(await this.#pc.createOffer());
    const sources = Object.entries(this.#sending).map(([source, line]) => ({ mid: line.mid ?? '', source: /** @type {Source} */ (source) }));
    return { sdp: this.#pc.localDescription?.sdp ?? '', sources };
  }

  /** @param {string} sdp */
  async answer(sdp) {
    if (!this.#negotiating) return;
    diagnostics.setRemoteDescriptions += 1;
    await this.#pc.setRemoteDescription({ type: 'answer', sdp });
    this.#negotiating = false;
  }

  get isNegotiating() { return this.#negotiating; }

  /**
   * One change of a sender after the other, so that the last word wins.
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  send(source, track) {
    const { sender } = this.#sending[source];
    this.#changes = this.#changes.then(async () => {
      if (sender.track === track || this.#pc.signalingState === 'closed') return;
      await sender.replaceTrack(track);
      await setLayers(sender, source, track ? this.#layersWanted : 0);
    }).catch(() => { /* the track ended or the connection was closed meanwhile */ });
  }

  /**
   * Layers that nobody wants are not encoded.
   * @param {Source} source
   * @param {number} layers
   */
  limitLayers(source, layers) {
    if (source !== 'camera') return;
    this.#layersWanted = layers;
    const { sender } = this.#sending.camera;
    this.#changes = this.#changes.then(async () => {
      if (sender.track && this.#pc.signalingState !== 'closed') await setLayers(sender, source, layers);
    });
  }

  /**
   * The address that the media plane sees, which its answers to the checks have told this browser and nobody else.
   * @returns {Promise<string | null>} null when the browser does not say
   */
  async ownAddress() {
    const stats = await this.#pc.getStats();
    for (const transport of stats.values()) {
      if (transport.type !== 'transport') continue;
      const address = stats.get(stats.get(transport.selectedCandidatePairId)?.localCandidateId)?.address;
      if (typeof address === 'string' && !address.endsWith('.local')) return address;
    }
    return null;
  }

  /**
   * Whether anything of the server's arrives within this time.
   * @param {number} withinMs
   */
  async flows(withinMs) {
    const until = performance.now() + withinMs;
    const before = await this.#arrived();
    while (performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      if (this.#pc.connectionState === 'connected' && await this.#arrived() > before) return true;
    }
    return false;
  }

  /** Bytes of media and answers to checks so far. */
  async #arrived() {
    let sum = 0;
    for (const pair of (await this.#pc.getStats()).values()) {
      if (pair.type === 'candidate-pair') sum += (pair.bytesReceived ?? 0) + (pair.responsesReceived ?? 0);
    }
    return sum;
  }

  measure() { return this.#meter.read(); }

  /** To be called from a click when the browser held the sound back. */
  async turnOnSound() {
    await Promise.allSettled(this.#loudspeakers.map((speaker) => speaker.play()));
  }

  /** @param {string} deviceId */
  async useSpeaker(deviceId) {
    this.#speaker = deviceId;
    await Promise.allSettled(this.#loudspeakers.map((speaker) => speaker.setSinkId?.(deviceId)));
  }

  close() {
    this.#lipSync.close();
    this.#pc.close();
    for (const speaker of this.#loudspeakers) {
      speaker.srcObject = null;
      speaker.remove();
    }
    this.#streams.clear();
  }

  /** @param {RTCTrackEvent} event */
  #onTrack({ track, transceiver }) {
    const stream = new MediaStream([track]);
    if (track.kind === 'video') {
      if (transceiver.mid !== null) this.#streams.set(transceiver.mid, stream);
      return;
    }
    const speaker = document.createElement('audio');
    speaker.autoplay = true;
    speaker.hidden = true;
    speaker.srcObject = stream;
    document.body.append(speaker);
    this.#loudspeakers.push(speaker);
    if (this.#speaker) void Promise.allSettled([speaker.setSinkId?.(this.#speaker)]);
    speaker.play().catch((error) => {
      if (error instanceof Error && error.name === 'NotAllowedError') this.#on.onSoundBlocked();
    });
  }
}

/** VP8 first: the one video codec that every browser sends as simulcast. @param {RTCRtpTransceiver} line */
function preferCodecs(line) {
  if (line.receiver.track.kind !== 'video') return;
  const known = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  /** @param {string} mimeType */
  const rank = (mimeType) => CODECS.indexOf(mimeType.toLowerCase());
  const wanted = known
    .filter((codec) => rank(codec.mimeType) >= 0 && isCommon(codec))
    .sort((a, b) => rank(a.mimeType) - rank(b.mimeType));
  try {
    line.setCodecPreferences(wanted);
  } catch { /* then the browser's own order, in which the server finds VP8 as well */ }
}

/** One profile of each codec. @param {{ mimeType: string, sdpFmtpLine?: string }} codec */
function isCommon({ mimeType, sdpFmtpLine = '' }) {
  if (/h264/i.test(mimeType)) return sdpFmtpLine.includes('packetization-mode=1') && sdpFmtpLine.includes('42e01f');
  if (/vp9/i.test(mimeType)) return !sdpFmtpLine.includes('profile-id=2');
  if (/av1/i.test(mimeType)) return !/profile=[12]/.test(sdpFmtpLine);
  return true;
}

/**
 * Says the sizes that suit the camera, as Firefox may forget those of encodings that had no track, and switches the encodings off
 * with the track: after replaceTrack(null) alone, Firefox 153 sends the last picture again once a second.
 * @param {RTCRtpSender} sender
 * @param {Source} source
 * @param {number} wanted layers that somebody wants, from the smallest on; 0: off
 */
async function setLayers(sender, source, wanted) {
  const parameters = sender.getParameters();
  const isSmall = (sender.track?.getSettings().height ?? SMALL_CAMERA) < SMALL_CAMERA;
  const simulcast = source === 'camera' && parameters.encodings.length === CAMERA_LAYERS.length;
  const layers = simulcast ? (isSmall ? SMALL_CAMERA_LAYERS : CAMERA_LAYERS) : [];
  for (const [i, encoding] of parameters.encodings.entries()) {
    const { active = true, ...layer } = layers[i] ?? {};
    Object.assign(encoding, layer, { active: active && (i < wanted || (wanted > 0 && !simulcast)) });
  }
  await sender.setParameters(parameters).catch(() => { /* the first setting stays */ });
}
