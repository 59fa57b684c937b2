// What trains and their padding do to a call: the same conference of two Chromium tabs, a Firefox and a listener in a third
// tab, once with one packet per send, and once with trains and padding. SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { click, enter, launch, missing, newRoom, openTab, until } from './lib.mjs';
import { startServer } from './server.mjs';

const io = process.env.SAAL_IO ?? 'auto';
/** Tiles with room for the larger layer of 640x360. */
const VIEWPORT = { width: 1000, height: 640, deviceScaleFactor: 2 };
const SPEAKERS = ['ada', 'bea', 'kai'];
/** As long as the browsers are watched: the measurement itself. */
const WINDOW_MS = 12_000;
/** Decoded of every picture before that: senders have felt their way up to the larger layer by then. */
const SETTLED_FRAMES = 50;
/** Seconds of freezes by which two calls may differ. */
const FREEZE_MORE = 0.5;
const ALONE = 'segments_max = 1\npadding_max_percent = 0';
const TRAINS = 'padding_max_percent = 25';

let chromium, firefox;
/** What a call without trains was like, on this machine and at this hour. */
let control;

describe(`trains over ${io}`, () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    [chromium, firefox] = await Promise.all([launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM, viewport: VIEWPORT }), launch('firefox', { viewport: VIEWPORT })]);
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
  }, { timeout: 30_000 });

  test('without trains every packet leaves alone and as it came', { timeout: 100_000 }, async (t) => {
    control = await watch(ALONE);
    t.diagnostic(JSON.stringify(control));
    assert.equal(control.server.saal_padding_bytes_total, 0);
    assert.equal(control.server.saal_train_packets_sum, control.server.saal_train_packets_count);
    for (const [name, seen] of Object.entries(control.receivers)) plays(name, seen);
  });

  test('trains with padding play as well', { timeout: 100_000 }, async (t) => {
    assert.ok(control, 'there is something to compare with');
    const worst = (key, receivers = control.receivers) => Math.max(...Object.values(receivers).map((seen) => seen[key]));
    let trains = await watch(TRAINS, switchesLayers);
    t.diagnostic(JSON.stringify(trains));
    // An encoder that pauses a layer for a moment stops the picture with trains and without. What trains cause comes again.
    if (worst('frozenSeconds', trains.receivers) > worst('frozenSeconds') + FREEZE_MORE) {
      trains = await watch(TRAINS);
      t.diagnostic(JSON.stringify(trains));
    }
    assert.ok(trains.server.saal_padding_bytes_total > 0, 'something was padded');
    assert.ok(trains.server.saal_train_packets_sum > trains.server.saal_train_packets_count, 'there were trains');
    for (const [name, seen] of Object.entries(trains.receivers)) {
      plays(name, seen);
      assert.ok(seen.undecoded <= worst('undecoded') + 0.1, `${name}: ${seen.undecoded} of the frames not decoded instead of ${worst('undecoded')}`);
      assert.ok(seen.frozenSeconds <= worst('frozenSeconds') + FREEZE_MORE, `${name}: ${seen.frozenSeconds} s of freezes instead of ${worst('frozenSeconds')}`);
      assert.ok(seen.concealed <= worst('concealed') + 0.01, `${name}: ${seen.concealed} of the sound made up instead of ${worst('concealed')}`);
    }
  });
});

/** Nothing is lost or asked for again. How many frames a busy machine decodes is compared with the control. */
function plays(name, seen) {
  const { lost, discarded, nacks, plis } = seen;
  assert.deepEqual({ lost, discarded, nacks }, { lost: 0, discarded: 0, nacks: 0 }, name);
  assert.ok(plis <= 2, `${name} asked ${plis} times for a keyframe`);
}

/** Holds a conference with this `[media]` and tells what the server and the browsers counted in the window. */
async function watch(media, then = async () => {}) {
  const server = await startServer({ io, media, log: 'warn' });
  const people = {};
  try {
    const link = await newRoom(chromium, server);
    for (const [name, browser] of Object.entries({ lin: chromium, ada: chromium, bea: chromium, kai: firefox })) people[name] = await join(browser, link, name);
    for (const name of SPEAKERS) {
      await click(people[name].page, 'mic');
      await click(people[name].page, 'camera');
    }
    for (const [name, { page }] of Object.entries(people)) {
      await until(`${name} gets everybody's picture in full, and everybody's voice`, async () => {
        const others = SPEAKERS.filter((other) => other !== name).length;
        const { heights, voices, fewest } = await page.evaluate(counted);
        const settled = heights.filter((height) => height === 360).length === others && fewest >= SETTLED_FRAMES;
        return (settled && voices === others) || { heights, voices, fewest };
      }, 30_000);
    }
    const count = async () => {
      const pages = await Promise.all(Object.values(people).map(({ page }) => page.evaluate(counted)));
      return { server: trainsOf(server.metrics()), pages };
    };
    const start = await count();
    await new Promise((resolve) => setTimeout(resolve, WINDOW_MS));
    const end = await count();
    await then(people);
    const sent = end.pages.map((page, index) => page.sent - start.pages[index].sent);
    const receivers = Object.fromEntries(Object.keys(people).map((name, index) => {
      const [before, after] = [start.pages[index], end.pages[index]];
      const grown = Object.fromEntries(Object.keys(before).filter((key) => typeof before[key] === 'number').map((key) => [key, after[key] - before[key]]));
      const { samples, concealedSamples, voices, fewest, ...rest } = grown;
      const others = sent.filter((_, other) => other !== index).reduce((sum, frames) => sum + frames, 0);
      return [name, { ...rest, sent: others, undecoded: 1 - rest.decoded / others, concealed: concealedSamples / samples, heights: after.heights }];
    }));
    return { server: Object.fromEntries(Object.keys(end.server).map((key) => [key, end.server[key] - start.server[key]])), receivers };
  } finally {
    for (const { page } of Object.values(people)) await page.close();
    await server.stop();
  }
}

/** The picture follows the room that there is for it, down and up. */
async function switchesLayers({ ada: { page } }) {
  const all = async (test) => {
    const { heights } = await page.evaluate(counted);
    return heights.every(test) || heights;
  };
  await page.bringToFront(); // a page in the background is not laid out
  await page.setViewport({ ...VIEWPORT, width: 600, deviceScaleFactor: 0.5 });
  await until('small pictures', () => all((height) => height === 180));
  await page.setViewport(VIEWPORT);
  await until('large pictures', () => all((height) => height === 360));
}

async function join(browser, link, name) {
  const tab = await openTab(browser);
  await enter(tab.page, link, name);
  return tab;
}

/** Runs in the page: what it has sent and received so far. */
async function counted() {
  const all = [...(await window.saal.pc.getStats()).values()];
  const inbound = all.filter(({ type, packetsReceived }) => type === 'inbound-rtp' && packetsReceived > 0);
  const video = inbound.filter(({ kind }) => kind === 'video');
  const audio = inbound.filter(({ kind }) => kind === 'audio');
  const sum = (entries, key) => entries.reduce((total, entry) => total + (entry[key] ?? 0), 0);
  // The layers of one camera differ: the frames of the fullest.
  const layers = all.filter(({ type, kind, framesEncoded }) => type === 'outbound-rtp' && kind === 'video' && framesEncoded > 0);
  return {
    sent: Math.max(0, ...layers.map(({ framesEncoded }) => framesEncoded)),
    decoded: sum(video, 'framesDecoded'),
    fewest: Math.min(...video.map(({ framesDecoded }) => framesDecoded ?? 0)),
    dropped: sum(video, 'framesDropped'),
    freezes: sum(video, 'freezeCount'),
    frozenSeconds: sum(video, 'totalFreezesDuration'),
    plis: sum(video, 'pliCount'),
    nacks: sum(inbound, 'nackCount'),
    lost: sum(inbound, 'packetsLost'),
    discarded: sum(inbound, 'packetsDiscarded'),
    packets: sum(inbound, 'packetsReceived'),
    samples: sum(audio, 'totalSamplesReceived'),
    concealedSamples: sum(audio, 'concealedSamples') - sum(audio, 'silentConcealedSamples'),
    voices: audio.length,
    heights: video.map(({ frameHeight }) => frameHeight ?? 0),
  };
}

/** The sums over the workers of what is known of trains. */
function trainsOf(metrics) {
  const names = ['saal_padding_bytes_total', 'saal_train_packets_sum', 'saal_train_packets_count'];
  return Object.fromEntries(names.map((name) => {
    const lines = metrics.split('\n').filter((line) => line.startsWith(`${name}{`));
    assert.ok(lines.length > 0, `there is a metric ${name}`);
    return [name, lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)];
  }));
}
