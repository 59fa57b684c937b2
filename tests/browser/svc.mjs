// One encoding in spatial and temporal layers (SVC), which browsers can send and pages do not: a Chromium sends its camera so,
// and ordinary pages in a Chromium and a Firefox watch it behind saal-impair. Who has a narrow line gets a smaller layer of it
// and less of its rate, without a decoder that could not follow. SAAL_IO names the backend.
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
const CAMERA = JSON.parse(process.env.CAMERA);
const CASES = JSON.parse(process.env.CASES);
const SCRIPT = process.env.SCRIPT ?? "rate=3M queue=300ms delay=20ms; 14s rate=250k; 28s rate=3M";
const END = 40;

let directory, server, chromium, firefox;
const proxies = [];

describe('one encoding in layers', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    directory = mkdtempSync(join(tmpdir(), 'saal-test-media-'));
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto', log: 'warn', media: MEDIA });
    proxies.push(impair(PORT, '--each', '--up', 'delay=20ms', '--down', SCRIPT), impair(ASIDE, '--up', 'delay=10ms', '--down', 'delay=10ms'));
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

  for (const [codec, mode] of CASES) {
    test(`${mode} in ${codec}`, { timeout: 120_000 }, async (t) => {
      const link = await newRoom(chromium, server);
      const sender = (await openTab(chromium, { camera: CAMERA })).page;
      await sender.evaluateOnNewDocument(detour, PORT, ASIDE);
      await sender.evaluateOnNewDocument(layered, codec, mode);
      await enter(sender, link, 'Sender');
      await click(sender, 'camera');
      const viewers = await Promise.all([chromium, firefox].map(async (browser) => {
        const { page } = await openTab(browser);
        await enter(page, link, browser.name);
        return { name: browser.name, page, watched: await watch(page) };
      }));
      await until('the end of the script', () => viewers.every(({ watched }) => watched.now() > END), (END + 30) * 1_000);
      t.diagnostic(JSON.stringify(await sender.evaluate(sent)));
      for (const { name, page, watched } of viewers) {
        const seen = await watched.read();
        const [of] = seen.people();
        const at = (times) => times.map((time) => seen.height(of, time));
        t.diagnostic(`${name}: ${JSON.stringify({
          heights: at([4, 8, 13, 18, 22, 27, 33, 36, 39]),
          bps: [[9, 13], [20, 27], [35, 39]].map(([from, to]) => Math.round(seen.bps(from, to) / 1000)),
          decoded: [[9, 13], [20, 27], [35, 39]].map(([from, to]) => Math.round(seen.grown('decoded', from, to) / (to - from) * 10) / 10),
          still: [[6, 13], [14, 20], [20, 27], [28, 35], [35, 39]].map(([from, to]) => Math.round(seen.stillness(of, from, to) * 100) / 100),
          plis: seen.grown('plis', 4, END), dropped: seen.grown('dropped', 4, END), freezes: seen.grown('freezes', 4, END),
          estimate: [13, 20, 27, 33, 39].map((time) => Math.round(seen.estimate(time - 1, time) / 1000)),
        })}`);
        await page.close();
      }
      await sender.close();
    });
  }
});

/** Runs in the page before its own scripts: its camera is one encoding in this mode. */
function layered(codec, scalabilityMode) {
  const { addTransceiver } = RTCPeerConnection.prototype;
  const { setCodecPreferences } = RTCRtpTransceiver.prototype;
  const cameras = new WeakSet();
  RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
    if ((init?.sendEncodings?.length ?? 0) < 2) return addTransceiver.call(this, kind, init);
    const camera = addTransceiver.call(this, kind, { ...init, sendEncodings: [{ scalabilityMode, maxBitrate: 1_000_000 }] });
    cameras.add(camera);
    return camera;
  };
  RTCRtpTransceiver.prototype.setCodecPreferences = function (codecs) {
    if (!cameras.has(this)) return setCodecPreferences.call(this, codecs);
    const all = RTCRtpReceiver.getCapabilities('video').codecs;
    return setCodecPreferences.call(this, all.filter(({ mimeType, sdpFmtpLine = '' }) => (mimeType === codec && !/profile(-id)?=[12]/.test(sdpFmtpLine)) || mimeType === 'video/rtx'));
  };
}

/** Runs in the page. */
async function sent() {
  const all = [...(await window.saal.pc.getStats()).values()];
  return all.filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video').map(({ codecId, scalabilityMode, frameHeight, framesEncoded, keyFramesEncoded, pliCount, nackCount, encoderImplementation, qualityLimitationReason }) => ({ codec: all.find(({ id }) => id === codecId)?.mimeType, scalabilityMode, frameHeight, framesEncoded, keyFramesEncoded, pliCount, nackCount, encoderImplementation, qualityLimitationReason }));
}
