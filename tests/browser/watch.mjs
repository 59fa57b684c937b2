// Watches what a page receives over time: every picture that its tiles show, and four times a second what getStats(), the
// server's words on the line and the page's own marks say.

const LOOK_MS = 250;

/** Begins to watch. From then on times are seconds since the page had its answer, with which its line comes into use. */
export async function watch(page) {
  const zero = performance.now() / 1_000 + await page.evaluate(begin, LOOK_MS);
  return {
    /** On this process's own clock. */
    zero,
    now: () => performance.now() / 1_000 - zero,
    /** Everything up to now. */
    read: async () => new Watched(await page.evaluate(() => window.watched)),
  };
}

/** Runs in the page. @returns the time of the answer, from now on, in seconds */
function begin(lookMs) {
  const zero = seen.answeredAt;
  const since = () => (performance.now() - zero) / 1_000;
  const watched = { frames: [], looks: [] };
  Object.assign(window, { watched });
  const followed = new WeakSet();
  const follow = (video, of) => {
    if (followed.has(video)) return;
    followed.add(video);
    const onFrame = (_, { height }) => {
      watched.frames.push({ at: since(), of, height });
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  };
  const levelOf = (bars) => /is-(\w+)/.exec(bars?.className ?? '')?.[1] ?? 'none';
  const sum = (entries, key) => entries.reduce((total, entry) => total + (entry[key] ?? 0), 0);
  let estimate = null, read = 0;
  const look = async () => {
    const tiles = [...document.querySelectorAll('[data-testid="tile"]')];
    const others = tiles.filter(({ dataset }) => dataset.self === undefined);
    for (const tile of others) follow(tile.querySelector('video'), tile.dataset.participant);
    for (; read < seen.told.length; read++) {
      const told = JSON.parse(seen.told[read]);
      if (told.type === 'quality') estimate = told.estimate_bps;
    }
    const stats = [...(await window.saal.pc.getStats()).values()];
    const inbound = stats.filter(({ type }) => type === 'inbound-rtp');
    const [audio, video] = ['audio', 'video'].map((kind) => inbound.filter((entry) => entry.kind === kind));
    watched.looks.push({
      at: since(),
      estimate,
      outgoing: Math.max(0, ...stats.map(({ availableOutgoingBitrate = 0 }) => availableOutgoingBitrate)),
      bytes: sum(inbound, 'bytesReceived') + sum(inbound, 'headerBytesReceived'),
      samples: sum(audio, 'totalSamplesReceived'),
      concealed: sum(audio, 'concealedSamples') - sum(audio, 'silentConcealedSamples'),
      buffered: sum(audio, 'jitterBufferDelay'),
      aimedAt: sum(audio, 'jitterBufferTargetDelay'),
      played: sum(audio, 'jitterBufferEmittedCount'),
      audioPackets: sum(audio, 'packetsReceived'),
      audioLost: sum(audio, 'packetsLost'),
      decoded: sum(video, 'framesDecoded'),
      dropped: sum(video, 'framesDropped'),
      frozen: sum(video, 'totalFreezesDuration'),
      freezes: sum(video, 'freezeCount'),
      plis: sum(video, 'pliCount'),
      own: levelOf(tiles.find(({ dataset }) => dataset.self !== undefined)?.querySelector('.bars')),
      tiles: others.map((tile) => ({
        of: tile.dataset.participant,
        paused: !tile.querySelector('.tile-paused').hidden,
        level: tile.querySelector('.bars').hidden ? 'none' : levelOf(tile.querySelector('.bars')),
        why: tile.querySelector('.plate-why').hidden ? '' : tile.querySelector('.plate-why').textContent,
      })),
    });
    setTimeout(look, lookMs);
  };
  void look();
  return (zero - performance.now()) / 1_000;
}

export class Watched {
  /** @param {{ frames: { at: number, of: string, height: number }[], looks: Record<string, any>[] }} watched */
  constructor({ frames, looks }) {
    Object.assign(this, { frames, looks });
  }

  #around(time) { return this.looks.findLast(({ at }) => at <= time) ?? this.looks[0]; }

  /** What has been added to this count between two moments. */
  grown(key, from, to) { return this.#around(to)[key] - this.#around(from)[key]; }

  bps(from, to) {
    const [a, b] = [this.#around(from), this.#around(to)];
    return (b.bytes - a.bytes) * 8 / (b.at - a.at);
  }

  /** The share of the sound that was made up, but for silence. */
  concealed(from, to) { return this.grown('concealed', from, to) / this.grown('samples', from, to); }

  /** For how many seconds sound waited in the browser's buffer, in the mean. */
  buffered(from, to) { return this.grown('buffered', from, to) / this.grown('played', from, to); }

  /** For how many the browser would have it wait, so that few packets come too late (Chromium only). */
  aimedAt(from, to) { return this.grown('aimedAt', from, to) / this.grown('played', from, to); }

  audioLost(from, to) {
    const lost = this.grown('audioLost', from, to);
    return lost / (lost + this.grown('audioPackets', from, to));
  }

  /** In the mean. */
  estimate(from, to) {
    const told = this.during(from, to).map(({ estimate }) => estimate ?? 0);
    return told.reduce((sum, bps) => sum + bps, 0) / told.length;
  }

  /** The least that the browser found that it could send. */
  outgoing(from, to) { return Math.min(...this.during(from, to).map(({ outgoing }) => outgoing)); }

  during(from, to) { return this.looks.filter(({ at }) => at >= from && at < to); }

  people() { return [...new Set(this.frames.map(({ of }) => of))]; }

  #heights(of, from, to) { return this.frames.filter((frame) => frame.of === of && frame.at >= from && frame.at < to); }

  /** The longest time for which somebody's picture stood still. */
  stillness(of, from, to) {
    const times = [from, ...this.#heights(of, from, to).map(({ at }) => at), to];
    return Math.max(...times.slice(1).map((at, i) => at - times[i]));
  }

  switches(of, from, to) {
    const frames = this.#heights(of, from, to);
    return frames.filter(({ height }, i) => i > 0 && height !== frames[i - 1].height).length;
  }

  /** Lines of the last picture before this moment. */
  height(of, time) { return this.frames.findLast((frame) => frame.of === of && frame.at <= time)?.height ?? 0; }

  /** What the page says of the viewer's own line and of the pictures, with how often it did. */
  marks(from, to) {
    const counts = {};
    for (const { own, tiles } of this.during(from, to)) {
      for (const mark of [`own ${own}`, ...tiles.filter(({ level }) => level !== 'none').map(({ level, why }) => `${level} ${why}`)]) counts[mark] = (counts[mark] ?? 0) + 1;
    }
    return counts;
  }

  /**
   * What the page says of pictures that have come with all their lines, so often in each second, for seven: what it sees in two
   * looks, two seconds apart, it says until it has seen something else in two.
   */
  saidOfFull(from, to, lines, frameRate) {
    return this.during(from, to).flatMap(({ at, tiles }) => tiles.filter(({ of }) => [0, 1, 2, 3, 4, 5, 6].every((before) => {
      const frames = this.#heights(of, at - before - 1, at - before);
      return frames.length >= frameRate && frames.every(({ height }) => height === lines);
    })).map(({ level, why }) => `${level} ${why}`));
  }

  /** When so many people's pictures came with all their lines, counted from a moment on. */
  inFull(from, people, lines) {
    const full = new Set();
    for (const { at, of, height } of this.frames) {
      if (at < from) continue;
      if (height === lines) full.add(of);
      else full.delete(of);
      if (full.size === people) return at - from;
    }
    return Infinity;
  }

  /** When something first held true of a look from some moment on, counted from it. */
  first(from, is) {
    const found = this.looks.find((look) => look.at >= from && is(look));
    return found ? found.at - from : Infinity;
  }
}
