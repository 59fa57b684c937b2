// What people see of their connection, and the switches for whoever has little of it: Ada in Chromium and Kai in Firefox.
// SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { click, fill, launch, newRoom, openTab, testid, until } from './lib.mjs';
import { startServer } from './server.mjs';

const io = process.env.SAAL_IO ?? 'auto';
const people = { ada: { name: 'Ada' }, kai: { name: 'Kai' } };
let server, chromium, firefox;

describe(`what people see of their connection over ${io}`, () => {
  before(async () => {
    server = await startServer({ io });
    [chromium, firefox] = await Promise.all([launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM }), launch('firefox')]);
    const link = await newRoom(chromium, server);
    for (const [person, browser] of [[people.ada, chromium], [people.kai, firefox]]) {
      const { page } = Object.assign(person, await openTab(browser), { name: person.name });
      await page.goto(link);
      await fill(page, 'display-name', person.name);
      await click(page, 'preview-mic');
      await click(page, 'preview-camera');
      await click(page, 'join');
      await page.waitForSelector(testid('hang-up'), { visible: true, timeout: 15_000 });
      person.id = await page.evaluate(() => seen.told.map((text) => JSON.parse(text)).find(({ type }) => type === 'welcome').participant);
      await click(page, 'connection');
    }
  }, { timeout: 90_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    await server?.stop();
  }, { timeout: 30_000 });

  let broken;
  const step = (name, work) => test(name, { timeout: 60_000 }, async (t) => {
    if (broken) return t.skip(`not reached: "${broken}" failed`);
    try {
      await work();
    } catch (error) {
      broken = name;
      throw error;
    }
  });

  for (const [who, other] of [['ada', 'kai'], ['kai', 'ada']]) {
    step(`${who} reads both directions and the other's picture in numbers`, async () => {
      const { page } = people[who];
      await until('numbers', async () => {
        const [up, down, pictures] = await texts(page, 'line-up', 'line-down', 'line-pictures');
        return (/\d+ kbit\/s|Mbit\/s/.test(up) && /\d+ × \d+ · \d+ frames\/s/.test(up) && /\d ms/.test(up) && /kbit\/s|Mbit\/s/.test(down)
          && new RegExp(`${people[other].name}.*\\d+ × \\d+ · [1-9]\\d* frames/s .*VP8`).test(pictures)) || { up, down, pictures };
      }, 20_000);
      const marks = await page.evaluate(() => [...document.querySelectorAll('[data-testid="tile"] .bars')].map((mark) => [mark.hidden, mark.getAttribute('role'), mark.getAttribute('aria-label')]));
      assert.equal(marks.length, 2);
      for (const [hidden, role, words] of marks) {
        assert.equal(hidden, false);
        assert.equal(role, 'img');
        assert.ok(words?.length > 3, 'words, not only a colour');
      }
    });
  }

  step('what limits a picture is judged by what arrives', async () => {
    const cases = await people.ada.page.evaluate(async () => {
      const { judgeDown, judgePicture, judgeUp, Steady } = await import('/assets/js/verdict.js');
      const reading = (down = {}, up = {}, roundTripMs = 20) => ({ roundTripMs, down: { bps: 1e6, loss: 0, concealed: 0, pictures: new Map(), ...down }, up: { bps: 1e6, loss: 0, budget: null, pictures: new Map(), ...up } });
      const wish = (more = {}) => ({ source: 'camera', height: 720, shown: true, paused: false, limit: null, askedMs: 10_000, ...more });
      const picture = (height, fps = 25) => ({ bps: 5e5, width: height * 16 / 9, height, fps, codec: 'VP8', loss: 0, limit: 'none' });
      const wide = { estimate_bps: 9e6, loss_permille: 0, round_trip_ms: 20 };
      const said = ({ level, cause }) => `${level} ${cause}`;
      const steady = new Steady();
      const poor = { level: 'poor', cause: 'own-line' };
      return {
        'as asked for': said(judgePicture(wish(), picture(720), reading(), wide)),
        'one layer less is no trouble': said(judgePicture(wish(), picture(360), reading(), wide)),
        'small on a wide line': said(judgePicture(wish(), picture(180), reading(), wide)),
        'small since my line carries no more': said(judgePicture(wish({ limit: 'line' }), picture(180), reading(), wide)),
        'small since the server is busy': said(judgePicture(wish({ limit: 'server' }), picture(180), reading(), wide)),
        'one layer less for my line': said(judgePicture(wish({ limit: 'line' }), picture(360), reading(), wide)),
        'a small screen for my line': said(judgePicture(wish({ source: 'screen', limit: 'line' }), picture(360, 0), reading(), wide)),
        'small on a line that loses': said(judgePicture(wish(), picture(180), reading({ loss: 0.05 }), null)),
        'small as it was asked for': said(judgePicture(wish({ height: 180 }), picture(180), reading(), wide)),
        'jerky on a wide line': said(judgePicture(wish(), picture(720, 3), reading(), wide)),
        'frozen on a wide line': said(judgePicture(wish(), picture(720, 0), reading(), wide)),
        'missing on a wide line': said(judgePicture(wish({ shown: false }), null, reading(), wide)),
        'held back for my line': said(judgePicture(wish({ paused: true, limit: 'line', askedMs: 0 }), null, reading(), null)),
        'held back by a busy server': said(judgePicture(wish({ paused: true, limit: 'server', askedMs: 0 }), null, reading(), null)),
        'missing on a narrow line': said(judgePicture(wish({ shown: false }), null, reading(), { ...wide, estimate_bps: 1e5 })),
        'on its way': said(judgePicture(wish({ shown: false, askedMs: 500 }), null, reading(), wide)),
        'a still screen': said(judgePicture(wish({ source: 'screen' }), picture(720, 0), reading(), wide)),
        'the server knows better': said(judgeDown(reading({ loss: 0 }), { ...wide, loss_permille: 150 })),
        'far away': said(judgeDown(reading({}, {}, 400), null)),
        'too narrow for the pictures': said(judgeDown(reading(), wide, [{ level: 'fair', cause: 'own-line' }])),
        'wide enough': said(judgeDown(reading(), wide, [{ level: 'good', cause: 'own-line' }, { level: 'fair', cause: 'other-side' }])),
        'busy processor': said(judgeUp(reading({}, { pictures: new Map([['camera', { ...picture(360), limit: 'cpu' }]]) }))),
        'narrow uplink': said(judgeUp(reading({}, { pictures: new Map([['camera', { ...picture(360), limit: 'bandwidth' }]]) }))),
        'lossy uplink': said(judgeUp(reading({}, { loss: 0.2 }))),
        'said once': said(steady.settle('x', poor)),
        'said twice': said(steady.settle('x', poor)),
      };
    });
    assert.deepEqual(cases, {
      'as asked for': 'good none',
      'one layer less is no trouble': 'good none',
      'small on a wide line': 'fair other-side',
      'small since my line carries no more': 'fair own-line',
      'small since the server is busy': 'fair server',
      'one layer less for my line': 'good own-line',
      'a small screen for my line': 'fair own-line',
      'small on a line that loses': 'fair own-line',
      'small as it was asked for': 'good none',
      'jerky on a wide line': 'fair other-side',
      'frozen on a wide line': 'poor other-side',
      'missing on a wide line': 'poor other-side',
      'held back for my line': 'poor own-line',
      'held back by a busy server': 'poor server',
      'missing on a narrow line': 'poor own-line',
      'on its way': 'good none',
      'a still screen': 'good none',
      'the server knows better': 'poor own-line',
      'far away': 'fair own-line',
      'too narrow for the pictures': 'fair own-line',
      'wide enough': 'good none',
      'busy processor': 'fair processor',
      'narrow uplink': 'fair own-line',
      'lossy uplink': 'poor own-line',
      'said once': 'good none',
      'said twice': 'poor own-line',
    });
  });

  step('sound only: no picture comes any more, and both come again', async () => {
    for (const [who, other] of [['ada', 'kai'], ['kai', 'ada']]) {
      const { page } = people[who];
      await click(page, 'audio-only');
      await until(`${who} gets no picture`, async () => (await moved(page, 'video')) === 0);
      assert.ok(await moved(page, 'audio') > 0, 'the sound goes on');
      assert.equal(await page.$eval(testid('audio-only'), (press) => press.getAttribute('aria-checked')), 'true');
      await until('the tile says why', () => page.evaluate((id) => /sound only/.test(document.querySelector(`[data-testid="tile"][data-participant="${id}"] .plate-why:not([hidden])`)?.textContent ?? ''), people[other].id));
      await click(page, 'audio-only');
      await until(`${who} gets pictures`, async () => (await moved(page, 'video')) > 0);
    }
  });

  step('save data: small pictures are asked for, and the choice that is kept stays as it was', async () => {
    const { page } = people.ada;
    const heights = () => page.evaluate(() => {
      const views = seen.said.map((text) => JSON.parse(text)).filter(({ type }) => type === 'view');
      return views.at(-1).slots.map(({ height }) => height);
    });
    await page.setViewport({ width: 1600, height: 1000 });
    await until('a large picture is asked for', async () => (await heights()).some((height) => height > 360));
    await click(page, 'save-data');
    await until('small ones', async () => (await heights()).every((height) => height <= 360) && (await heights()).length > 0);
    await until('the camera goes on', async () => (await moved(people.kai.page, 'video')) > 0);
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).sort()), ['saal.camera', 'saal.microphone', 'saal.name']);
    await click(page, 'save-data');
    await until('large again', async () => (await heights()).some((height) => height > 360));
  });

  step('whoever objects is told nothing of their line by the server', async () => {
    const { page } = people.ada;
    const told = () => page.evaluate(() => seen.told.filter((text) => JSON.parse(text).type === 'quality').length);
    await until('the server tells of the line', async () => (await told()) > 0);
    await click(page, 'my-data');
    await click(page, 'object-quality');
    await until('the server holds the objection', () => page.evaluate(() => {
      const records = seen.told.map((text) => JSON.parse(text)).filter(({ type }) => type === 'my-data');
      return records.at(-1)?.data.objections.quality === true;
    }));
    const before = await told();
    await click(page, 'connection');
    await until('the panel says so', async () => /objected/.test((await texts(page, 'line-down'))[0]));
    // More than long enough for one that came every second.
    await moved(people.kai.page, 'audio');
    await moved(people.kai.page, 'audio');
    assert.equal(await told(), before);
    for (const { page, id } of Object.values(people)) {
      const qualities = await page.evaluate(() => seen.told.filter((text) => JSON.parse(text).type === 'quality'));
      assert.ok(qualities.every((text) => !text.includes(id) && Object.keys(JSON.parse(text)).sort().join() === 'estimate_bps,loss_permille,round_trip_ms,type'));
    }
  });

  step('the pages had nothing to complain about', () => {
    for (const [who, { complaints }] of Object.entries(people)) assert.deepEqual(complaints, [], who);
  });
});

const texts = (page, ...names) => Promise.all(names.map((name) => page.$eval(testid(name), ({ innerText }) => innerText.replace(/\s+/g, ' '))));

/** Bytes that came in the next two seconds. */
async function moved(page, kind) {
  const bytes = () => page.evaluate(async (kind) => {
    const entries = [...(await window.saal.pc.getStats()).values()].filter((entry) => entry.type === 'inbound-rtp' && entry.kind === kind);
    return entries.reduce((sum, { bytesReceived }) => sum + bytesReceived, 0);
  }, kind);
  const before = await bytes();
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  return (await bytes()) - before;
}
