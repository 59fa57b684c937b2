// Every video codec that the server forwards, encoded and decoded by real browsers: what the rewriting of descriptors,
// the finding of keyframes and the choice of simulcast layers are worth.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { click, enter, launch, missing, newRoom, openTab, until } from './lib.mjs';
import { startServer } from './server.mjs';

const CASES = [
  ['chromium', 'video/H264'], // Firefox has no H264 without a download
  ['chromium', 'video/VP9'],
  ['chromium', 'video/AV1'],
  ['firefox', 'video/VP9'],
  ['firefox', 'video/AV1'],
];
/** Decoded by then; a stream that breaks at its first switch of layers decodes far fewer. */
const FRAMES = 40;

let server;
const browsers = {};

describe('codecs', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto' });
    [browsers.chromium, browsers.firefox] = await Promise.all([
      launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM }), launch('firefox')]);
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all(Object.values(browsers).map((browser) => browser.close()));
    await server?.stop();
  }, { timeout: 30_000 });

  for (const [name, codec] of CASES) {
    test(`${codec} from ${name} plays in ${name}`, { timeout: 60_000 }, async () => {
      const link = await newRoom(browsers[name], server);
      const sender = await join(browsers[name], link, 'Sender', codec);
      const viewer = await join(browsers[name], link, 'Viewer', codec);
      await click(sender.page, 'camera');
      await viewer.page.bringToFront();
      const decoded = () => viewer.page.evaluate(inbound);
      await until(`${FRAMES} frames decoded`, async () => ((await decoded())?.framesDecoded ?? 0) >= FRAMES, 30_000);
      const { mimeType, framesDecoded, framesDropped, pliCount, packetsReceived, packetsLost, packetsDiscarded = 0 } = await decoded();
      assert.equal(mimeType, codec);
      assert.ok(framesDropped <= framesDecoded / 10, `${framesDropped} of ${framesDecoded} dropped`);
      assert.ok(pliCount <= 2, `the decoder asked ${pliCount} times for a keyframe`);
      assert.equal(packetsLost, 0);
      // Of a packet that came late, the one that was sent again for it is discarded.
      assert.ok(packetsDiscarded <= packetsReceived / 100, `${packetsDiscarded} of ${packetsReceived} discarded`);
      for (const { page } of [sender, viewer]) await page.close();
    });
  }

  // What makes the tests above tests of padding, too.
  test('pictures were padded on their way', () => {
    const padded = [...server.metrics().matchAll(/^saal_padding_bytes_total\S* (\d+)$/mg)].map(([, bytes]) => Number(bytes));
    assert.ok(padded.some((bytes) => bytes > 0), `padding in bytes: ${padded}`);
  });
});

async function join(browser, link, name, codec) {
  const tab = await openTab(browser);
  await tab.page.evaluateOnNewDocument(prefer, codec);
  await enter(tab.page, link, name);
  return tab;
}

/** Runs in the page: whatever it prefers, video is sent and received in this codec. */
function prefer(codec) {
  const { setCodecPreferences } = RTCRtpTransceiver.prototype;
  RTCRtpTransceiver.prototype.setCodecPreferences = function (codecs) {
    if (!codecs.some(({ mimeType }) => mimeType.startsWith('video/'))) return setCodecPreferences.call(this, codecs);
    const all = RTCRtpReceiver.getCapabilities('video').codecs;
    return setCodecPreferences.call(this, all.filter(({ mimeType }) => mimeType === codec || mimeType === 'video/rtx'));
  };
}

/** Runs in the page. */
async function inbound() {
  const all = [...(await window.saal.pc.getStats()).values()];
  const video = all.find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video' && entry.framesDecoded > 0);
  return video && { ...video, mimeType: all.find(({ id }) => id === video.codecId)?.mimeType };
}
