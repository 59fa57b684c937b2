// One encoding in spatial and temporal layers (SVC), which browsers can send and pages do not: a Chromium sends its camera so, and
// ordinary pages in a Chromium and a Firefox watch it behind saal-impair. Who has a narrow line gets a smaller layer of it, or
// fewer pictures, and a decoder that can follow. SAAL_IO names the backend.
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

const { SAAL_NETNS_CHROMIUM: CHROMIUM, SAAL_NIGHTLY } = process.env;
const VIEWPORT = { width: 1400, height: 900 };
/** Chromium makes two spatial layers of it: none has fewer than 180 lines. */
const CAMERA = { width: 640, height: 360, frameRate: 15 };
const MAX_BITRATE = 1_000_000;
/** Lines between what a part and what all of it take, what is seen there, how many of the pictures, and what must be sent for it. */
const SPATIAL = { rate: '320k', lines: 180, share: [0.5, 1.2], sends: 0 };
const TEMPORAL = { rate: '800k', lines: 360, share: [0.2, 0.65], sends: 0.9 * MAX_BITRATE };
const CASES = [
  { codec: 'video/VP9', mode: 'L3T3_KEY', narrow: SPATIAL },
  { codec: 'video/AV1', mode: 'L3T3_KEY', narrow: SPATIAL },
  ...(SAAL_NIGHTLY ? ['video/VP9', 'video/AV1'].map((codec) => ({ codec, mode: 'L1T3', narrow: TEMPORAL })) : []),
];
/** When, in seconds since somebody came, they are judged on it. */
const [FALL, RISE] = [12, 24];
const JUDGED = { wide: [8, 12], narrow: [17, 24], again: [33, 37] };

let directory, server, chromium, firefox, front;
const proxies = [];

describe('one encoding in layers', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    directory = mkdtempSync(join(tmpdir(), 'saal-test-media-'));
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto', log: 'warn', media: MEDIA });
    proxies.push(impair(ASIDE, '--up', 'delay=10ms', '--down', 'delay=10ms'));
    const media = makeMedia(directory, { width: CAMERA.width, height: CAMERA.height, fps: CAMERA.frameRate });
    [chromium, firefox] = await Promise.all([
      launch('chromium', { netns: CHROMIUM, viewport: VIEWPORT, media }), launch('firefox', { viewport: VIEWPORT })]);
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    for (const proxy of [front, ...proxies]) proxy?.kill();
    await server?.stop();
    if (directory) rmSync(directory, { recursive: true, force: true });
  }, { timeout: 30_000 });

  for (const { codec, mode, narrow } of CASES) {
    test(`${mode} in ${codec}`, { timeout: 180_000 }, async (t) => {
      front = impair(PORT, '--each', '--up', 'delay=20ms', '--down', `rate=3M queue=300ms delay=20ms; ${FALL}s rate=${narrow.rate}; ${RISE}s rate=3M`);
      const link = await newRoom(chromium, server);
      const sender = (await openTab(chromium, { camera: CAMERA })).page;
      await sender.evaluateOnNewDocument(detour, PORT, ASIDE);
      await sender.evaluateOnNewDocument(layered, codec, mode, MAX_BITRATE);
      await enter(sender, link, 'Sender');
      await click(sender, 'camera');
      await until('all of it is sent', async () => (await sender.evaluate(outbound)).targetBitrate >= narrow.sends, 60_000);
      const viewers = await Promise.all([chromium, firefox].map(async (browser) => {
        const { page } = await openTab(browser);
        await enter(page, link, browser.name);
        return { name: browser.name, page, watched: await watch(page) };
      }));
      const [, end] = JUDGED.again;
      await until('the end of the script', () => viewers.every(({ watched }) => watched.now() > end), (end + 30) * 1_000);
      const sent = await sender.evaluate(outbound);
      t.diagnostic(JSON.stringify(sent));
      assert.equal(sent.mimeType, codec);
      const all = await Promise.all(viewers.map(async ({ name, watched }) => ({ name, seen: await watched.read() })));
      for (const { page } of [{ page: sender }, ...viewers]) await page.close();
      const ended = new Promise((done) => front.on('exit', done));
      front.kill();
      await ended;
      const failed = [];
      for (const { name, seen } of all) {
        const [of] = seen.people();
        const judge = ([from, to]) => ({
          lines: seen.height(of, to),
          bps: Math.round(seen.bps(from, to)),
          perSecond: round(seen.grown('decoded', from, to) / (to - from)),
          still: round(seen.stillness(of, from, to)),
          estimate: Math.round(seen.estimate(from, to)),
        });
        const figures = {
          ...Object.fromEntries(Object.entries(JUDGED).map(([when, span]) => [when, judge(span)])),
          fall: judge([FALL, JUDGED.narrow[0]]), rise: judge([RISE, JUDGED.again[0]]),
          switches: seen.switches(of, FALL, end), plis: seen.grown('plis', JUDGED.wide[0], end), dropped: seen.grown('dropped', JUDGED.wide[0], end),
        };
        t.diagnostic(`${name}: ${JSON.stringify(figures)}`);
        try {
          const { wide, narrow: thin, again, plis, dropped } = figures;
          assert.deepEqual([wide.lines, thin.lines, again.lines], [CAMERA.height, narrow.lines, CAMERA.height]);
          const share = thin.perSecond / CAMERA.frameRate;
          assert.ok(share >= narrow.share[0] && share <= narrow.share[1], `${thin.perSecond} pictures a second on the narrow line`);
          for (const { perSecond } of [wide, again]) assert.ok(perSecond >= 0.7 * CAMERA.frameRate, `${perSecond} pictures a second on a wide line`);
          // What a decoder could not follow it would ask a keyframe for.
          assert.ok(plis <= 1, `${plis} keyframes were asked for`);
          assert.ok(dropped <= CAMERA.frameRate, `${dropped} pictures were thrown away`);
        } catch (error) {
          failed.push(`${name}: ${error.message}`);
        }
      }
      assert.deepEqual(failed, []);
    });
  }
});

const round = (value) => Math.round(value * 100) / 100;

/** Runs in the page before its own scripts: its camera is one encoding in this mode. */
function layered(codec, scalabilityMode, maxBitrate) {
  const { addTransceiver } = RTCPeerConnection.prototype;
  const { setCodecPreferences } = RTCRtpTransceiver.prototype;
  const cameras = new WeakSet();
  RTCPeerConnection.prototype.addTransceiver = function (kind, init) {
    if ((init?.sendEncodings?.length ?? 0) < 2) return addTransceiver.call(this, kind, init);
    const camera = addTransceiver.call(this, kind, { ...init, sendEncodings: [{ scalabilityMode, maxBitrate }] });
    cameras.add(camera);
    return camera;
  };
  RTCRtpTransceiver.prototype.setCodecPreferences = function (codecs) {
    if (!cameras.has(this)) return setCodecPreferences.call(this, codecs);
    const all = RTCRtpReceiver.getCapabilities('video').codecs;
    const isIts = ({ mimeType, sdpFmtpLine = '' }) => mimeType === codec && !/profile(-id)?=[12]/.test(sdpFmtpLine);
    return setCodecPreferences.call(this, all.filter((other) => isIts(other) || other.mimeType === 'video/rtx'));
  };
}

/** Runs in the page: what its camera is sent as. */
async function outbound() {
  const all = [...(await window.saal.pc.getStats()).values()];
  const camera = all.find(({ type, kind, framesEncoded }) => type === 'outbound-rtp' && kind === 'video' && framesEncoded > 0);
  if (!camera) return {};
  const { scalabilityMode, frameHeight, framesEncoded, keyFramesEncoded, targetBitrate } = camera;
  return { mimeType: all.find(({ id }) => id === camera.codecId)?.mimeType, scalabilityMode, frameHeight, framesEncoded, keyFramesEncoded, targetBitrate };
}
