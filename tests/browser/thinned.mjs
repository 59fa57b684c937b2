// Fewer pictures a second for whose line carries a layer with half of its pictures only, in real browsers: a Chromium sends
// its camera in temporal layers, and behind saal-impair a Chromium and a Firefox watch it. SAAL_IO names the backend.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ASIDE, MEDIA, PORT, detour, impair } from './impaired.mjs';
import { click, enter, launch, missing, newRoom, openTab, until } from './lib.mjs';
import { makeMedia } from './media.mjs';
import { startServer } from './server.mjs';
import { watch } from './watch.mjs';

const { SAAL_NETNS_CHROMIUM: CHROMIUM } = process.env;
const VIEWPORT = { width: 1400, height: 900 };
/** Sent in layers of 150 and 700 kbit/s. */
const CAMERA = { width: 640, height: 360, frameRate: 20 };

/** Between half a Mbit/s for half of the pictures of the larger layer and 0.75 for all. */
const SCRIPT = 'rate=3M queue=300ms delay=20ms; 18s rate=680k; 42s rate=3M';
/** When, in seconds since somebody came, they are judged on it. */
const JUDGED = { wide: [13, 18], narrow: [20.5, 42], again: [50, 55] };

let directory, server, chromium, firefox, sender;
const proxies = [];
const seen = {};

describe('fewer pictures', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    directory = mkdtempSync(join(tmpdir(), 'saal-test-media-'));
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto', log: 'warn', media: MEDIA });
    proxies.push(impair(PORT, '--each', '--up', 'delay=20ms', '--down', SCRIPT), impair(ASIDE, '--up', 'delay=10ms', '--down', 'delay=10ms'));
    const media = makeMedia(directory, { width: CAMERA.width, height: CAMERA.height, fps: CAMERA.frameRate });
    [chromium, firefox] = await Promise.all([
      launch('chromium', { netns: CHROMIUM, viewport: VIEWPORT, media }), launch('firefox', { viewport: VIEWPORT })]);
    const link = await newRoom(chromium, server);
    sender = (await openTab(chromium, { camera: CAMERA })).page;
    await sender.evaluateOnNewDocument(detour, PORT, ASIDE);
    await enter(sender, link, 'Sender');
    await click(sender, 'camera');
    const viewers = await Promise.all([chromium, firefox].map(async (browser) => {
      const { page } = await openTab(browser);
      await enter(page, link, browser.name);
      return { name: browser.name, page, watched: await watch(page) };
    }));
    const [, end] = JUDGED.again;
    const sent = await sender.evaluate(encoded);
    await until('the end of the script', () => viewers.every(({ watched }) => watched.now() > end), (end + 30) * 1_000);
    const { at, frames } = await sender.evaluate(encoded);
    seen.sentPerSecond = (frames - sent.frames) / (at - sent.at);
    for (const { name, page } of viewers) seen[name] = await page.evaluate(() => window.watched);
  }, { timeout: 150_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    for (const proxy of proxies) proxy.kill();
    await server?.stop();
    if (directory) rmSync(directory, { recursive: true, force: true });
  }, { timeout: 30_000 });

  for (const name of ['chromium', 'firefox']) {
    test(`a line that carries half of the pictures shows half of them in ${name}`, (t) => {
      const figures = Object.fromEntries(Object.entries(JUDGED).map(([when, span]) => [when, during(seen[name], span)]));
      t.diagnostic(`${name}: ${JSON.stringify({ sentPerSecond: round(seen.sentPerSecond), ...figures })}`);
      const { wide, narrow, again } = figures;
      for (const { decoded } of [wide, again]) assert.ok(decoded / seen.sentPerSecond >= 0.8, `${decoded} pictures a second on a line that carries all`);
      assert.ok(narrow.whole.pictures >= 6, 'it is as large as before for a while');
      const share = narrow.whole.perSecond / seen.sentPerSecond;
      assert.ok(share >= 0.35 && share <= 0.65, `${narrow.whole.perSecond} pictures a second on the narrow line`);
      // What a decoder could not follow it would ask a keyframe for.
      assert.equal(narrow.plis, 0);
      assert.ok(narrow.dropped <= 0.2, `${narrow.dropped} pictures a second were thrown away`);
    });
  }
});

/** What a page counted between two moments, how many of its pictures had all lines, and how often most of these changed. */
function during({ looks, frames }, [from, to]) {
  const within = looks.filter(({ at }) => at >= from && at <= to);
  const [first, last] = [within.at(0), within.at(-1)];
  const passed = (key) => last[key] - first[key];
  const perSecond = (key) => round(passed(key) / passed('at'));
  const shown = frames.filter(({ at }) => at >= from && at <= to);
  const isWhole = (frame) => frame?.height === CAMERA.height;
  const stood = shown.flatMap((frame, i) => (isWhole(frame) && isWhole(shown[i + 1]) ? [shown[i + 1].at - frame.at] : [])).toSorted((one, other) => one - other);
  // The one in the middle: while a smaller layer is waited for there are fewer still, and a machine that stops makes a long one.
  const whole = { pictures: shown.filter(isWhole).length, perSecond: round(1 / stood[stood.length >> 1]) };
  return { decoded: perSecond('decoded'), dropped: perSecond('dropped'), plis: passed('plis'), freezes: passed('freezes'), bps: round(8 * passed('bytes') / passed('at')), estimate: last.estimate, whole };
}

const round = (value) => Math.round(value * 100) / 100;

/** Runs in the page: the pictures of its larger layer so far. */
async function encoded() {
  const all = [...(await window.saal.pc.getStats()).values()].filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video');
  return { at: performance.now() / 1_000, frames: Math.max(0, ...all.map(({ framesEncoded = 0 }) => framesEncoded)) };
}
