// What docs/quality.md promises, seen from real browsers: a Chromium publishes, a Chromium and a Firefox watch it over a
// line that saal-impair makes narrow for a while. getStats() says what they got.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { click, fill, launch, missing, openTab, testid, until } from './lib.mjs';
import { ACCOUNT, ADDRESS, SAAL, startServer } from './server.mjs';

// Pages here are small, so a camera sends 150 and 700 kbit/s and no more. The line is narrow in proportion.
const NARROW_FROM_S = 30;
const NARROW_S = 30;
const LINE = `0s rate=10M queue=400ms delay=10ms; ${NARROW_FROM_S}s rate=350k; ${NARROW_FROM_S + NARROW_S}s rate=10M`;
const PORT = 10_000;
/** Where the server itself listens, on its own host only. */
const BEHIND = '127.0.0.2';

let server, line;
const browsers = {};

describe('a line that becomes narrow and wide again', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto', media: `bind = "${BEHIND}"\nport = ${PORT}\ncores = [0]` });
    line = spawn('ip', ['netns', 'exec', process.env.SAAL_NETNS_SERVER, join(dirname(SAAL), 'saal-impair'),
      '--listen', `${ADDRESS}:${PORT}`, '--to', `${BEHIND}:${PORT}`, '--each', '--up', 'delay=10ms', '--down', LINE], { stdio: ['ignore', 'ignore', 'inherit'] });
    [browsers.chromium, browsers.firefox] = await Promise.all([
      launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM }), launch('firefox')]);
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all(Object.values(browsers).map((browser) => browser.close()));
    line?.kill();
    await server?.stop();
  }, { timeout: 30_000 });

  test('both browsers get the picture that fits, sound without a break, and the better picture back', { timeout: 180_000 }, async () => {
    const link = await openRoom(browsers.chromium);
    const sender = await enter(browsers.chromium, link, 'Sender');
    await click(sender.page, 'mic');
    await click(sender.page, 'camera');
    const viewers = [];
    for (const browser of Object.values(browsers)) {
      const tab = await enter(browser, link, 'Viewer');
      viewers.push({ ...tab, began: performance.now() });
    }
    const since = ({ began }) => (performance.now() - began) / 1000;
    const height = ({ page }) => page.evaluate(inbound, 'video').then((video) => video?.frameHeight ?? 0);
    await Promise.all(viewers.map((viewer) => until(`${viewer.name} sees the large picture`, async () => await height(viewer) === 360, 25_000)));
    const before = await Promise.all(viewers.map((viewer) => viewer.page.evaluate(inbound, 'audio')));

    await Promise.all(viewers.map((viewer) => until(`${viewer.name} sees a smaller picture`, async () => await height(viewer) < 360, (NARROW_FROM_S - since(viewer) + 8) * 1000)));
    for (const viewer of viewers) console.log(`${viewer.name}: smaller ${(since(viewer) - NARROW_FROM_S).toFixed(1)} s after the line was narrow`);
    await until('the line is wide again', async () => viewers.every((viewer) => since(viewer) > NARROW_FROM_S + NARROW_S - 1), (NARROW_S + 5) * 1000);
    const narrow = await Promise.all(viewers.map((viewer) => viewer.page.evaluate(inbound, 'audio')));
    const moving = await Promise.all(viewers.map((viewer) => viewer.page.evaluate(inbound, 'video')));
    await Promise.all(viewers.map((viewer) => until(`${viewer.name} sees the large picture again`, async () => await height(viewer) === 360, 25_000)));
    for (const viewer of viewers) console.log(`${viewer.name}: larger ${(since(viewer) - NARROW_FROM_S - NARROW_S).toFixed(1)} s after the line was wide`);

    for (const [i, { name }] of viewers.entries()) {
      const samples = narrow[i].totalSamplesReceived - before[i].totalSamplesReceived;
      const concealed = (narrow[i].concealedSamples - narrow[i].silentConcealedSamples) - (before[i].concealedSamples - before[i].silentConcealedSamples);
      const lost = (narrow[i].packetsLost - before[i].packetsLost) / (narrow[i].packetsReceived - before[i].packetsReceived);
      console.log(`${name}: sound lost ${(lost * 100).toFixed(2)} %, concealed ${(concealed / samples * 100).toFixed(2)} %, freezes ${moving[i].freezeCount}`);
      assert.ok(lost <= 0.01, `${name} lost ${lost} of the sound`);
      assert.ok(concealed / samples <= 0.05, `${name} concealed ${concealed} of ${samples} samples`);
    }
    for (const { page } of [sender, ...viewers]) await page.close();
  });
});

async function openRoom(browser) {
  const { page } = await openTab(browser);
  await page.goto(server.url);
  await fill(page, 'account', ACCOUNT);
  await fill(page, 'password', server.password);
  await click(page, 'sign-in');
  await click(page, 'open-room');
  const field = await page.waitForSelector(testid('room-link'), { visible: true, timeout: 10_000 });
  await until('a link', () => field.evaluate((element) => element.value !== ''));
  const link = await field.evaluate((element) => element.value);
  await page.close();
  return link;
}

async function enter(browser, link, name) {
  const tab = await openTab(browser);
  await tab.page.goto(link);
  await fill(tab.page, 'display-name', name);
  await click(tab.page, 'join');
  await until('connected', () => tab.page.evaluate(() => window.saal?.pc?.connectionState === 'connected'));
  return tab;
}

/** Runs in the page. */
async function inbound(kind) {
  const all = [...(await window.saal.pc.getStats()).values()];
  const streams = all.filter((entry) => entry.type === 'inbound-rtp' && entry.kind === kind && entry.packetsReceived > 0);
  const busiest = streams.sort((a, b) => b.packetsReceived - a.packetsReceived)[0];
  return busiest ? JSON.parse(JSON.stringify(busiest)) : null;
}
