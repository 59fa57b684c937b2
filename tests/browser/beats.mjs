// Somebody who flashes and beeps at the same moment, and a page that notes when it sees the one and hears the other: what
// lies between them is what people see of lip-sync, in every browser.

/** Beats are so far apart that it is never in doubt which flash belongs to which beep. */
const BEAT_MS = 800;
/** What is given to `beating`. */
export const BEATS = { width: 640, height: 360, frameRate: 20, beatMs: BEAT_MS };

/** Runs in the page before its own scripts: getUserMedia gives a camera and a microphone of one clock. Chromium only. */
export function beating({ width, height, frameRate, beatMs }) {
  const LONG_MS = 200, AHEAD_S = 0.5;
  let clock;
  const begin = async () => {
    const context = new AudioContext({ sampleRate: 48_000 });
    await context.resume();
    // Its time moves on in steps: it is read where it has just moved.
    let lead = -Infinity;
    for (const until = performance.now() + 300; performance.now() < until; await new Promise((done) => setTimeout(done, 1))) lead = Math.max(lead, context.currentTime * 1_000 - performance.now());
    const at = context.currentTime + AHEAD_S;
    const buffer = context.createBuffer(1, 48 * beatMs, 48_000);
    const samples = buffer.getChannelData(0);
    // A hum below, so that a codec never finds silence.
    for (let i = 0; i < samples.length; i++) samples[i] = 0.003 * Math.sin(i / 48_000 * 2 * Math.PI * 150) + (i < 48 * LONG_MS ? 0.5 * Math.sin(i / 48 * 2 * Math.PI) : 0);
    const source = new AudioBufferSourceNode(context, { buffer, loop: true });
    const out = context.createMediaStreamDestination();
    source.connect(out);
    source.start(at);
    return { zero: at * 1_000 - lead, sound: out.stream.getAudioTracks()[0], picture: film(at * 1_000 - lead) };
  };

  const film = (zero) => {
    const track = new MediaStreamTrackGenerator({ kind: 'video' });
    const writer = track.writable.getWriter();
    const grain = Int8Array.from({ length: 1 << 16 }, () => (Math.random() + Math.random() - 1) * 20);
    const bytes = new Uint8Array(width * height * 3 / 2).fill(128);
    const [left, right, top, bottom] = [width / 3, width * 2 / 3, height / 3, height * 2 / 3];
    let frame = 0;
    const paint = () => {
      const at = frame++ * 1_000 / frameRate;
      const flash = at % beatMs < LONG_MS;
      const shift = frame * 7_919;
      for (let y = 0, i = 0; y < height; y++) {
        for (let x = 0; x < width; x++, i++) {
          const inside = x > left && x < right && y > top && y < bottom;
          bytes[i] = inside ? (flash ? 230 : 20) : 90 + 40 * Math.sin((x + frame) / 9) * Math.cos(y / 7) + grain[(i * 31 + shift) & 0xffff];
        }
      }
      void writer.write(new VideoFrame(bytes, { format: 'I420', codedWidth: width, codedHeight: height, timestamp: Math.round(at * 1_000) })).catch(() => {});
      setTimeout(paint, Math.max(0, zero + frame * 1_000 / frameRate - performance.now()));
    };
    setTimeout(paint, zero - performance.now());
    track.getSettings = () => ({ width, height, frameRate });
    return track;
  };

  const take = async (wish) => {
    clock ??= begin();
    const { sound, picture } = await clock;
    // Whoever stops a track or switches it off means a copy.
    return new MediaStream([wish.video && picture, wish.audio && sound].filter(Boolean).map((track) => {
      const copy = track.clone();
      copy.getSettings = track.getSettings.bind(track);
      return copy;
    }));
  };
  Object.assign(window, { beats: take });
  MediaDevices.prototype.getUserMedia = take;
}
/**
 * Runs in the page: notes from now on when each flash is seen in a picture, and each beep heard.
 * @param {HTMLVideoElement} video
 * @param {MediaStream} sound
 */
export function attend(video, sound) {
  const noted = { flashes: [], beeps: [], heights: [] };
  const pixel = new OffscreenCanvas(4, 4).getContext('2d', { willReadFrequently: true });
  let lit = true;
  const onFrame = (now, { expectedDisplayTime, height }) => {
    const { videoWidth, videoHeight } = video;
    pixel.drawImage(video, videoWidth * 0.4, videoHeight * 0.4, videoWidth * 0.2, videoHeight * 0.2, 0, 0, 4, 4);
    const is = pixel.getImageData(1, 1, 1, 1).data[0] > 128;
    if (is && !lit) noted.flashes.push(expectedDisplayTime ?? now);
    lit = is;
    noted.heights.push({ at: now, height });
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);

  const context = new AudioContext();
  void context.resume();
  const analyser = new AnalyserNode(context, { fftSize: 16_384 });
  context.createMediaStreamSource(sound).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const leads = [];
  setInterval(() => {
    const [now, time] = [performance.now(), context.currentTime * 1_000];
    // Its time moves on in steps, and stands still where the machine does.
    leads.push(time - now);
    if (leads.length > 100) leads.shift();
    const end = time - Math.max(...leads);
    analyser.getFloatTimeDomainData(samples);
    const quiet = context.sampleRate / 10;
    for (let i = 0, loud = -Infinity; i < samples.length; i++) {
      if (Math.abs(samples[i]) < 0.1) continue;
      const at = end - (samples.length - i) / context.sampleRate * 1_000;
      if (i - loud > quiet && i > quiet && !noted.beeps.some((beep) => Math.abs(beep - at) < 100)) noted.beeps.push(at);
      loud = i;
    }
  }, 20);
  return noted;
}

/** How much later each flash was seen than its beep was heard, in milliseconds. */
export function apart({ flashes, beeps }, from, to) {
  return flashes.filter((at) => at >= from && at < to).flatMap((flash) => {
    const nearest = beeps.map((beep) => flash - beep).reduce((one, other) => (Math.abs(other) < Math.abs(one) ? other : one), Infinity);
    return Math.abs(nearest) < BEAT_MS / 2 ? [nearest] : [];
  });
}
