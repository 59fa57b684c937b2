// The person's own camera, microphone and screen. Nothing is captured before switchOn() is called from a click,
// and a camera or screen that is off is stopped, so that its light goes out.

import { read, write } from './settings.js';

/** @typedef {import('./signalling.js').Source} Source */
/** @typedef {'denied' | 'missing' | 'taken' | 'insecure' | 'ended' | 'failed'} TroubleCode */

/** Heights of the camera's picture that can be chosen, the usual one first. */
export const RESOLUTIONS = /** @type {const} */ ([720, 360, 180]);
const FRAME_RATE = { ideal: 30 };
const SAVING = { height: 360, frameRate: { ideal: 15, max: 15 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const SCREEN = { video: { frameRate: { ideal: 15, max: 30 } }, audio: false };

export class Trouble extends Error {
  /** @param {TroubleCode} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** @param {unknown} error @returns {TroubleCode} */
function troubleOf(error) {
  switch (error instanceof Error ? error.name : '') {
    case 'NotAllowedError': case 'SecurityError': return 'denied';
    case 'NotFoundError': case 'OverconstrainedError': return 'missing';
    case 'NotReadableError': case 'AbortError': return 'taken';
    default: return 'failed';
  }
}

/**
 * Fires `change` whenever a source is switched or replaced, also by the browser's own buttons, and `lost` when a camera
 * or microphone was taken away.
 */
export class Devices extends EventTarget {
  /** @type {Record<Source, MediaStreamTrack | null>} */
  #tracks = { microphone: null, camera: null, screen: null };
  /** @type {Set<Source>} */
  #busy = new Set();
  /** Which of several: for this stay only. */
  #chosen = { microphone: '', camera: '' };
  #saving = false;

  static get canShareScreen() { return typeof navigator.mediaDevices?.getDisplayMedia === 'function'; }

  /** @param {Source} source */
  isOn(source) { return this.#tracks[source]?.enabled ?? false; }

  /** What may be sent: null while the source is off. @param {Source} source */
  track(source) { return this.isOn(source) ? this.#tracks[source] : null; }

  /** @param {Source} source @throws {Trouble} */
  async switchOn(source) {
    if (this.isOn(source) || this.#busy.has(source)) return;
    const kept = this.#tracks[source];
    if (kept?.readyState === 'live') {
      kept.enabled = true;
      this.#changed();
    } else {
      await this.#capture(source);
    }
    remember(source, 'on');
  }

  /**
   * A muted microphone stays open, disabled and detached from the connection: closing it would make some browsers
   * ask for permission at every unmute.
   * @param {Source} source
   * @param {{ release?: boolean, pressed?: boolean }} [how] release: close the microphone, too; pressed: the person wanted it
   */
  switchOff(source, { release = source !== 'microphone', pressed = false } = {}) {
    const track = this.#tracks[source];
    if (!track) return;
    if (pressed) remember(source, 'off');
    if (release) {
      track.stop();
      this.#tracks[source] = null;
    } else {
      track.enabled = false;
    }
    this.#changed();
  }

  stopAll() {
    for (const source of /** @type {Source[]} */ (['microphone', 'camera', 'screen'])) this.switchOff(source, { release: true });
  }

  /** @param {'microphone' | 'camera'} source @param {string} deviceId empty: the system's default @throws {Trouble} */
  async choose(source, deviceId) {
    this.#chosen[source] = deviceId;
    const track = this.#tracks[source];
    if (!track) return;
    const wasOn = track.enabled;
    track.stop();
    this.#tracks[source] = null;
    if (wasOn) await this.#capture(source);
    else this.#changed();
  }

  /** @param {'microphone' | 'camera'} source */
  chosen(source) { return this.#chosen[source]; }

  /** @param {number} height @throws {Trouble} */
  async useResolution(height) {
    write('resolution', height === RESOLUTIONS[0] ? null : String(height));
    await this.choose('camera', this.#chosen.camera);
  }

  get resolution() {
    const kept = Number(read('resolution'));
    return RESOLUTIONS.find((height) => height === kept) ?? RESOLUTIONS[0];
  }

  /** A small camera picture, for this stay only: the choice that is kept stays as it is. @param {boolean} on @throws {Trouble} */
  async save(on) {
    this.#saving = on;
    await this.choose('camera', this.#chosen.camera);
  }

  /** @param {MediaDeviceKind} kind */
  async list(kind) {
    const all = await navigator.mediaDevices?.enumerateDevices() ?? [];
    return all.filter((device) => device.kind === kind && device.deviceId !== '');
  }

  /** @param {Source} source */
  async #capture(source) {
    if (!navigator.mediaDevices) throw new Trouble('insecure');
    this.#busy.add(source);
    try {
      const stream = source === 'screen'
        ? await navigator.mediaDevices.getDisplayMedia(SCREEN)
        : await this.#userMedia(source);
      const [track] = source === 'microphone' ? stream.getAudioTracks() : stream.getVideoTracks();
      if (!track) throw new Trouble('failed');
      if (source === 'screen') track.contentHint = 'detail';
      track.addEventListener('ended', () => {
        if (this.#tracks[source] !== track) return;
        this.switchOff(source, { release: true });
        if (source !== 'screen') this.dispatchEvent(new Event('lost'));
      });
      this.#tracks[source] = track;
    } catch (error) {
      throw error instanceof Trouble ? error : new Trouble(troubleOf(error));
    } finally {
      this.#busy.delete(source);
    }
    this.#changed();
  }

  /** @param {'microphone' | 'camera'} source */
  async #userMedia(source) {
    const chosen = this.#chosen[source];
    const height = this.#saving ? Math.min(this.resolution, SAVING.height) : this.resolution;
    const camera = { width: { ideal: height * 16 / 9 }, height: { ideal: height }, frameRate: this.#saving ? SAVING.frameRate : FRAME_RATE };
    /** @param {MediaTrackConstraints} which */
    const ask = (which) => navigator.mediaDevices.getUserMedia(
      source === 'microphone' ? { audio: { ...MICROPHONE, ...which } } : { video: { ...camera, ...which } });
    if (!chosen) return ask({});
    try {
      return await ask({ deviceId: { exact: chosen } });
    } catch (error) {
      if (troubleOf(error) !== 'missing') throw error;
      this.#chosen[source] = ''; // it is not plugged in any more
      return ask({});
    }
  }

  #changed() { this.dispatchEvent(new Event('change')); }
}

/** For the offer to switch the same on again; a screen is chosen anew each time. @param {Source} source @param {'on' | 'off'} state */
function remember(source, state) {
  if (source !== 'screen') write(source, state);
}

/**
 * Follows the loudness of a microphone, 0 to 1, until the returned function is called.
 * @param {MediaStreamTrack} track
 * @param {(level: number) => void} onLevel
 */
export function follow(track, onLevel) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
    const decibel = 10 * Math.log10(power + 1e-10);
    onLevel(Math.min(1, Math.max(0, (decibel + 60) / 55)));
  }, 80);
  return () => {
    clearInterval(timer);
    void context.close();
  };
}
