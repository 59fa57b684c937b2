// Two who share a line with a download, seen from real browsers: a Chromium and a Firefox watch two cameras behind one
// saal-impair, in which somebody else takes by TCP what the line gives. SAAL_IO names the backend.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ASIDE, MEDIA, PORT, dense, detour, impair } from './impaired.mjs';
import { click, enter, launch, missing, newRoom, openTab, until } from './lib.mjs';
import { makeMedia } from './media.mjs';
import { startServer } from './server.mjs';
import { watch } from './watch.mjs';

const { SAAL_NETNS_CHROMIUM: CHROMIUM } = process.env;
const VIEWPORT = { width: 1400, height: 900 };
const CAMERA = { width: 960, height: 540, frameRate: 10 };
const RATE = 5e6;
/** The line of the table, and when, in seconds since somebody came, it is judged. */
const SCRIPT = 'rate=5M queue=150ms delay=20ms';
const [FROM, TO] = [15, 75];

let directory, server, chromium, firefox;
const proxies = [];
const downloads = [];

describe('a line shared with a download', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    directory = mkdtempSync(join(tmpdir(), 'saal-test-media-'));
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto', log: 'warn', media: MEDIA });
    const front = impair(PORT, '--report', '--download', '--up', 'delay=20ms', '--down', SCRIPT);
    front.stdout.on('data', (text) => {
      for (const [, kbits] of text.matchAll(/^line 0: download (\d+) kbit/gm)) downloads.push({ at: performance.now() / 1_000, bps: 1_000 * kbits });
    });
    proxies.push(front, impair(ASIDE, '--up', 'delay=10ms', '--down', 'delay=10ms'));
    const media = makeMedia(directory, { width: CAMERA.width, height: CAMERA.height, fps: CAMERA.frameRate });
    [chromium, firefox] = await Promise.all([
      launch('chromium', { netns: CHROMIUM, viewport: VIEWPORT, media }), launch('firefox', { viewport: VIEWPORT })]);
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    for (const proxy of proxies) proxy.kill();
    await server?.stop();
    if (directory) rmSync(directory, { recursive: true, force: true });
  }, { timeout: 30_000 });

  test('both get their part of it, alike, and voices are whole', { timeout: 150_000 }, async (t) => {
    const link = await newRoom(chromium, server);
    for (const name of ['Ada', 'Bea']) {
      const { page } = await openTab(chromium, { camera: CAMERA });
      await page.evaluateOnNewDocument(dense);
      await page.evaluateOnNewDocument(detour, PORT, ASIDE);
      await enter(page, link, name);
      await click(page, 'mic');
      await click(page, 'camera');
    }
    const viewers = await Promise.all([chromium, firefox].map(async (browser) => {
      const { page } = await openTab(browser);
      await page.evaluateOnNewDocument(dense);
      await enter(page, link, browser.name);
      return { name: browser.name, watched: await watch(page) };
    }));
    await until('the end', () => viewers.every(({ watched }) => watched.now() > TO), (TO + 30) * 1_000);
    const zero = viewers[0].watched.zero;
    const loads = downloads.filter(({ at }) => at > zero + FROM && at <= zero + TO).map(({ bps }) => bps);
    const download = loads.reduce((sum, bps) => sum + bps, 0) / loads.length;
    const all = await Promise.all(viewers.map(async ({ name, watched }) => {
      const seen = await watched.read();
      return { name, bps: seen.bps(FROM, TO), concealed: seen.concealed(FROM, TO) };
    }));
    const rates = all.map(({ bps }) => bps);
    const sum = rates[0] + rates[1];
    const figures = { all, download, jain: sum ** 2 / (2 * (rates[0] ** 2 + rates[1] ** 2)), share: sum / RATE };
    t.diagnostic(JSON.stringify(figures, (_, value) => (typeof value === 'number' ? Math.round(value * 1_000) / 1_000 : value)));
    assert.ok(download >= RATE / 10, 'there was somebody to share with');
    assert.ok(figures.share >= 0.2, `${figures.share} of the line`);
    assert.ok(figures.jain >= 0.9, `a Jain index of ${figures.jain}`);
    for (const { name, concealed } of all) assert.ok(concealed <= 0.05, `${concealed} of the sound made up in ${name}`);
  });
});
