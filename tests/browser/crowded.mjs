// Hundreds who join one room, twenty-five a second, seen from real browsers: a Chromium whose camera they all look at, and a Chromium
// and a Firefox that join in the midst of them, again and again. SAAL_CROWD says how many, SAAL_IO names the backend.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startCrowd } from './crowd.mjs';
import { click, enter, fill, launch, missing, openRoom, openTab, signIn, testid, until } from './lib.mjs';
import { startServer } from './server.mjs';

const CROWD = Number(process.env.SAAL_CROWD ?? 480);
const PER_SECOND = 25;

let server, chromium, firefox, link, ada, crowd;

describe('a crowd', () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    server = await startServer({ io: process.env.SAAL_IO ?? 'auto', log: 'warn', media: 'cores = [0]\n[rooms]\nparticipants_max = 500' });
    [chromium, firefox] = await Promise.all([launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM }), launch('firefox')]);
    ({ page: ada } = await openTab(chromium));
    await signIn(ada, server);
    link = await openRoom(ada);
    const token = await ada.$eval(testid('media-token'), (field) => field.value);
    await enter(ada, link, 'Ada');
    await click(ada, 'camera');
    await join(firefox);
    await ada.evaluate(record);
    crowd = await startCrowd({ server, link, token, viewers: CROWD, perSecond: PER_SECOND, seconds: 120 });
  }, { timeout: 60_000 });

  after(async () => {
    await crowd?.stop();
    await Promise.all([chromium?.close(), firefox?.close()]);
    await server?.stop();
  }, { timeout: 30_000 });

  test('whoever joins in the midst of it sees a picture within a second, and the publisher is left alone', { timeout: 120_000 }, async (t) => {
    await until('the first of the crowd', () => crowd.entered > 1 || crowd.ended, 30_000);
    const from = await ada.evaluate(() => performance.now());
    const waits = await Promise.all([chromium, firefox].map(async (browser) => {
      const found = [];
      while (crowd.entered + crowd.refused < CROWD && !crowd.ended) found.push(await join(browser));
      return found;
    }));
    await until('all have been let in', () => crowd.entered + crowd.refused > CROWD || crowd.ended, 30_000);
    const to = await ada.evaluate(() => performance.now());
    const { looks } = await ada.evaluate(() => window.recorded);
    const published = publishing(looks.filter(({ at }) => at >= from && at <= to));
    t.diagnostic(JSON.stringify({ entered: crowd.entered, refused: crowd.refused, ...published }));
    for (const [i, { name }] of [chromium, firefox].entries()) {
      const since = (mark) => waits[i].map((marks) => Math.round(marks.pictured - marks[mark])).toSorted((one, other) => one - other);
      t.diagnostic(`${name}, first picture: ${since('connected').join(' ')} ms after it was connected, ${since('clicked').join(' ')} ms after the click`);
    }
    assert.equal(crowd.refused, 0, crowd.said);
    const all = waits.flat().map(({ pictured, connected }) => pictured - connected).toSorted((one, other) => one - other);
    assert.ok(all.length >= 6, `${all.length} joined in the midst of it`);
    // The target is 1 s; here two browsers begin stays on the cores that the crowd and the server run on.
    assert.ok(all[Math.ceil(all.length * 0.95) - 1] <= 2_000, `${all} ms`);
    // One in two seconds in the long run; who sees nothing waits for half a second only, which counts against the next.
    assert.ok(published.asked <= published.seconds / 2 + 3, `${published.asked} requests in ${published.seconds} s`);
    assert.ok(published.keyframeShare <= 0.2, `${published.keyframeShare} of the bytes in keyframes`);
  });
});

/** Somebody joins, sees the first picture, and leaves. @returns {Promise<{ clicked: number, connected: number, pictured: number }>} when, in milliseconds */
async function join(browser) {
  const { page } = await openTab(browser);
  await page.evaluateOnNewDocument(stopwatch);
  await page.goto(link);
  await page.bringToFront();
  await fill(page, 'display-name', browser.name);
  await click(page, 'join');
  await until(`a picture in ${browser.name}`, () => page.evaluate(() => marks.pictured > 0 && marks.connected > 0), 30_000);
  const marks = await page.evaluate(() => window.marks);
  await page.browserContext().close();
  return marks;
}

/** Runs in the page before its own scripts: when the button was pressed, the connection stood, and the first picture was shown. */
function stopwatch() {
  const marks = { clicked: 0, connected: 0, pictured: 0 };
  Object.assign(window, { marks });
  document.addEventListener('click', ({ target }) => { if (target.closest('[data-testid="join"]')) marks.clicked = performance.now(); }, true);
  const followed = new WeakSet();
  setInterval(() => {
    if (window.saal?.pc?.connectionState === 'connected') marks.connected ||= performance.now();
    for (const video of document.querySelectorAll('[data-testid="tile"]:not([data-self]) video')) {
      if (followed.has(video)) continue;
      followed.add(video);
      video.requestVideoFrameCallback(() => { marks.pictured ||= performance.now(); });
    }
  }, 5);
}

/** Runs in the page: notes from now on what its camera has sent, and was asked for. */
function record() {
  const recorded = { looks: [] };
  Object.assign(window, { recorded });
  const look = async () => {
    const layers = [...(await window.saal.pc.getStats()).values()].filter(({ type, kind, rid }) => type === 'outbound-rtp' && kind === 'video' && rid);
    const counts = layers.map(({ pliCount, firCount, keyFramesEncoded, framesEncoded, bytesSent }) => ({ requests: pliCount + firCount, keyframes: keyFramesEncoded, frames: framesEncoded, bytes: bytesSent }));
    recorded.looks.push({ at: performance.now(), layers: counts });
    setTimeout(look, 40);
  };
  void look();
}

/** What a publisher was asked for between the first look and the last, and how much of what it sent were keyframes. */
function publishing(looks) {
  const [first, last] = [looks.at(0), looks.at(-1)];
  const seconds = (last.at - first.at) / 1_000;
  // A browser that is asked for several layers at once is asked once.
  const most = ({ layers }, key) => Math.max(...layers.map((layer) => layer[key]));
  const asked = looks.filter((look, i) => i > 0 && most(look, 'requests') > most(looks[i - 1], 'requests')).map(({ at }) => at);
  const layers = last.layers.map((layer, i) => ({ keyframes: layer.keyframes - first.layers[i].keyframes, bytes: layer.bytes - first.layers[i].bytes }));
  // What leaves from a keyframe on until the next picture is made.
  const heavy = layers.map((_, nth) => looks.reduce((sum, { layers: now }, i) => {
    const before = looks[i - 1]?.layers[nth];
    if (!before || now[nth].keyframes === before.keyframes) return sum;
    const until = looks.slice(i).findLast((look) => look.layers[nth].frames === now[nth].frames);
    return sum + until.layers[nth].bytes - before.bytes;
  }, 0)).reduce((sum, bytes) => sum + bytes);
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
  return { seconds: round(seconds), asked: asked.length, keyframes: most({ layers }, 'keyframes'), keyframeShare: round(heavy / bytes) };
}

const round = (value) => Math.round(value * 100) / 100;
