// What a pretended camera and a pretended microphone take in, as files for Chromium: a picture with as much in it as a camera's,
// so that its encoder uses all that a layer may have, and a voice that never pauses for long. The same on every machine.
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const SAMPLES_PER_S = 48_000;

/** @returns {{ video: string, audio: string }} the paths of the files */
export function makeMedia(directory, { width = 1280, height = 720, fps = 10, seconds = 3 } = {}) {
  const video = join(directory, 'camera.y4m');
  const audio = join(directory, 'voice.wav');
  writeCamera(video, { width, height, fps, frames: fps * seconds });
  writeFileSync(audio, voice(5));
  return { video, audio };
}

/** xorshift32 */
function randomBytes(seed) {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x & 0xff;
  };
}

/** Somebody who sways in front of a wall, behind the grain of a sensor, and ends where they began. */
function writeCamera(path, { width, height, fps, frames }) {
  const sway = 48;
  const wall = structure(width, height, 1);
  const coat = structure(width + 2 * sway, height, 2);
  // As wide as a third of the picture, and up to nine tenths of its height.
  const halfWidths = Array.from({ length: height }, (_, y) => Math.trunc(width / 6 * Math.sqrt(Math.max(0, 1 - ((height - y) / (0.9 * height)) ** 2))));
  const random = randomBytes(4711);
  const grain = Int8Array.from({ length: 1 << 16 }, () => (random() + random() - 255) >> 6);
  const file = openSync(path, 'w');
  writeSync(file, `YUV4MPEG2 W${width} H${height} F${fps}:1 Ip A1:1 C420\n`);
  const luma = Buffer.alloc(width * height);
  const chroma = Buffer.alloc(width * height / 2, 128);
  for (let frame = 0; frame < frames; frame++) {
    const offset = Math.round(sway * Math.sin(frame / frames * 2 * Math.PI));
    const middle = (width >> 1) + offset;
    const shift = (frame * 7919) & 0xffff;
    for (let y = 0, at = 0; y < height; y++) {
      const coatRow = y * (width + 2 * sway) + sway - offset;
      for (let x = 0; x < width; x++, at++) {
        const value = Math.abs(x - middle) < halfWidths[y] ? coat[coatRow + x] : wall[at];
        luma[at] = value + grain[(at * 31 + shift) & 0xffff];
      }
    }
    writeSync(file, 'FRAME\n');
    writeSync(file, luma);
    writeSync(file, chroma);
  }
  closeSync(file);
}

/** Noise at three sizes, smooth between its points. */
function structure(width, height, seed) {
  const out = new Uint8Array(width * height);
  const sizes = [[64, 0.5], [16, 0.3], [5, 0.2]].map(([size, share]) => {
    const columns = Math.ceil(width / size) + 2;
    const random = randomBytes(seed << 8 | size);
    return { size, share, columns, points: Uint8Array.from({ length: columns * (Math.ceil(height / size) + 2) }, random) };
  });
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (const { size, share, columns, points } of sizes) {
        const [cx, cy] = [Math.trunc(x / size), Math.trunc(y / size)];
        const [fx, fy] = [x / size - cx, y / size - cy];
        const at = cy * columns + cx;
        const above = points[at] * (1 - fx) + points[at + 1] * fx;
        const below = points[at + columns] * (1 - fx) + points[at + columns + 1] * fx;
        sum += share * (above * (1 - fy) + below * fy);
      }
      out[y * width + x] = 24 + sum * 0.8;
    }
  }
  return out;
}

/** Three syllables of a voiced sound and a breath in each second. */
function voice(seconds) {
  const samples = SAMPLES_PER_S * seconds;
  const wav = Buffer.alloc(44 + 2 * samples);
  wav.write('RIFF');
  wav.writeUInt32LE(36 + 2 * samples, 4);
  wav.write('WAVEfmt ', 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(SAMPLES_PER_S, 24);
  wav.writeUInt32LE(2 * SAMPLES_PER_S, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(2 * samples, 40);
  let turns = 0;
  for (let i = 0; i < samples; i++) {
    const t = i / SAMPLES_PER_S;
    const loud = t % 1 < 0.75 ? Math.sin(Math.PI * 4 * (t % 1)) ** 2 : 0;
    turns += (120 + 20 * Math.sin(2 * Math.PI * 0.4 * t)) / SAMPLES_PER_S;
    let sum = 0;
    for (let overtone = 1; overtone <= 12; overtone++) sum += Math.sin(2 * Math.PI * overtone * turns) / overtone;
    wav.writeInt16LE(Math.round(9_000 * loud * sum), 44 + 2 * i);
  }
  return wav;
}
