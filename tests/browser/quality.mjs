// What docs/quality.md promises, seen from real browsers: two people in Chromium on lines without a
// fault, and behind saal-impair a Chromium and a Firefox that watch them on the lines of the table, one after the other.
// SAAL_NIGHTLY=1 stays longer on each line; SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ASIDE, MEDIA, PORT, dense, detour, impair } from './impaired.mjs';
import { click, enter, launch, missing, newRoom, openTab, testid, until } from './lib.mjs';
import { makeMedia } from './media.mjs';
import { startServer } from './server.mjs';
import { watch } from './watch.mjs';

const io = process.env.SAAL_IO ?? 'auto';
const { SAAL_NETNS_CHROMIUM: CHROMIUM } = process.env;
const VIEWPORT = { width: 1400, height: 900 };
/** The smallest that is sent in three layers, and as often as two cores encode it twice and show it six times. */
const CAMERA = { width: 960, height: 540, frameRate: 10 };
const FULL = CAMERA.height;

/** Seconds on each line of the table, one after the other, and its words. */
const LINES = {
  start: [8, 'rate=5M queue=250ms delay=20ms'],
  wide: [6, 'rate=10M queue=2s'],
  fall: [12, 'rate=800k'],
  recovery: [11, 'rate=10M queue=500ms'],
  alone: [7, 'rate=4M queue=300ms'],
  down: [10, 'rate=1M'],
  up: [10, 'rate=4M'],
  lossy: [16, 'loss=10%'],
  clean: [8, 'rate=6M loss=0%'],
  uplink: [12, 'rate=6M'],
};
/** So many times as long. */
const LONGER = process.env.SAAL_NIGHTLY ? 2.5 : 1;
const STAY = { timeout: 60_000 * LONGER };
/** The same with the moments between which somebody is on it, in seconds since they came. */
const during = {};
for (const [name, [seconds]] of Object.entries(LINES)) {
  const from = Object.values(during).at(-1)?.[1] ?? 0;
  during[name] = [from, from + seconds * LONGER];
}
const SCRIPT = Object.entries(LINES).map(([name, [, words]]) => `${during[name][0]}s ${words}`).join('; ');

let directory, server, chromium, firefox, link, front, aside, control;
const senders = {};
/** In the order in which they came, as their lines have it. */
const viewers = [];

describe(`browsers on bad lines over ${io}`, () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    directory = mkdtempSync(join(tmpdir(), 'saal-test-media-'));
    server = await startServer({ io, log: 'warn', media: MEDIA });
    front = reporting(PORT, '--each', '--up', 'delay=20ms', '--down', SCRIPT);
    aside = reporting(ASIDE, '--up', 'delay=10ms', '--down', 'delay=10ms');
    [chromium, firefox] = await Promise.all([
      launch('chromium', { netns: CHROMIUM, viewport: VIEWPORT, media: makeMedia(directory, { width: CAMERA.width, height: FULL, fps: CAMERA.frameRate }) }),
      launch('firefox', { viewport: VIEWPORT })]);
    link = await newRoom(chromium, server);
    for (const name of ['Ada', 'Bea']) {
      senders[name] = await openTab(chromium, { camera: CAMERA });
      const { page } = senders[name];
      await page.evaluateOnNewDocument(dense);
      await page.evaluateOnNewDocument(detour, PORT, ASIDE);
      await enter(page, link, name);
      await click(page, 'mic');
      await click(page, 'camera');
    }
    for (const [name, sender] of Object.entries(senders)) {
      await until(`${name} sees the other in full`, async () => {
        const { heights } = await sender.page.evaluate(counted);
        return heights.includes(FULL) || heights;
      }, 30_000);
      sender.id = await sender.page.evaluate(() => JSON.parse(seen.told.find((told) => told.includes('"welcome"'))).participant);
    }
    for (const sender of Object.values(senders)) sender.watched = await watch(sender.page);
    // Ada's camera stays on.
    control = await Promise.all([senders.Ada, senders.Bea].map(({ page }) => page.evaluate(counted)));
  }, { timeout: 90_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    for (const proxy of [front, aside]) proxy?.stop();
    await server?.stop();
    if (directory) rmSync(directory, { recursive: true, force: true });
  }, { timeout: 30_000 });

  test('start on 5 Mbit/s: the pictures come, in what the line has room for', STAY, async (t) => {
    await Promise.all([chromium, firefox].map(async (browser) => {
      const { page } = await openTab(browser);
      await page.evaluateOnNewDocument(dense);
      await enter(page, link, browser.name);
      viewers.push({ name: browser.name, page, watched: await watch(page) });
    }));
    viewers.sort((one, other) => one.watched.zero - other.watched.zero);
    await watching('start', t, (seen, from, to) => {
      const found = Math.max(...seen.during(from, to).map((look) => look.estimate ?? 0));
      return { found, full: seen.inFull(from, 2, FULL), bps: seen.bps(to - 3, to), estimate: seen.estimate(to - 3, to) };
    }, ({ bps, estimate, senders: outgoing }) => {
      assert.ok(bps >= Math.min(700_000, ...outgoing), `${bps} bit/s used`);
      assert.ok(estimate >= 1e6, `${estimate} bit/s found`);
    });
  });

  test('10 to 0.8 Mbit/s: the queue stays short, and the sound whole, and the page says whose line it is', STAY, async (t) => {
    const panels = await readPanels('fall');
    await watching('fall', t, (seen, from, to, waits, i) => ({
      second: seen.bps(from + 1, from + 2),
      queue: waits(from + 2, to),
      lost: seen.audioLost(from, to),
      concealed: seen.concealed(from, to),
      still: Math.max(...seen.people().map((of) => seen.stillness(of, from, to))),
      used: seen.bps(to - 4, to),
      marks: seen.marks(to - 3, to),
      panel: panels[i],
    }), ({ queue, concealed, still, used, marks, panel }) => {
      assert.ok(queue <= 250, `${queue} ms in the queue`);
      assert.ok(concealed <= 0.1, `${concealed} of the sound made up`);
      // What the line held when it became narrow, two seconds at most, has to leave it first.
      assert.ok(still <= 5, `a picture stood still for ${still} s`);
      assert.ok(used >= 200_000, `${used} bit/s used`);
      for (const mark of Object.keys(marks)) assert.match(mark, /^own (fair|poor)$|^(fair|poor) your line$/);
      assert.match(panel.words, /fair|weak/);
      assert.match(panel.up, /There and back \d+ ms/);
      assert.match(panel.down, /State limited by your line Data rate \d+ kbit\/s The line carries about \d+ kbit\/s Lost packets \d+\.\d %/);
      assert.equal(panel.pictures.length, 2);
      for (const picture of panel.pictures) assert.match(picture, / limited by your line$/);
      assert.ok(panel.pictures.some((picture) => /\d+ × \d+ · \d+ frames\/s · \d+ kbit\/s · VP8 · \d+\.\d % lost/.test(picture)), 'numbers');
    });
  });

  test('0.8 to 10 Mbit/s: both pictures are back in full', STAY, async (t) => {
    await watching('recovery', t, (seen, from, to) => ({
      full: seen.inFull(from, 2, FULL),
      three: seen.first(from, ({ at }) => seen.bps(at - 1, at) >= 3e6),
      concealed: seen.concealed(from, to),
      bps: seen.bps(to - 2, to),
    }), ({ full }) => {
      assert.ok(full <= 12, `in full after ${full} s`);
    });
  });

  test('4 to 1 to 4 Mbit/s: a picture changes a few times and does not stand still for long', STAY, async (t) => {
    await toggle('camera', senders.Bea.page);
    for (const name of ['down', 'up']) {
      await watching(name, t, (seen, from, to, _, __, beside) => ({
        switches: seen.switches(senders.Ada.id, from, to),
        still: seen.stillness(senders.Ada.id, from, to),
        beside: beside(senders.Ada.id),
        frozen: seen.grown('frozen', from, to),
        concealed: seen.concealed(from, to),
        height: seen.height(senders.Ada.id, to),
        bps: seen.bps(to - 3, to),
      }), ({ switches, still, height }) => {
        assert.ok(switches <= 3, `${switches} switches`);
        assert.ok(still <= 2, `the picture stood still for ${still} s`);
        assert.ok(height >= (name === 'down' ? FULL / 4 : FULL / 2), `${height} lines in the end`);
      });
    }
  });

  test('10 % of random loss do not make a line of 4 Mbit/s seem narrow, and the page tells of them', STAY, async (t) => {
    await toggle('camera', senders.Bea.page);
    await watching('lossy', t, (seen, from, to) => ({
      estimate: seen.estimate(from + 4, to) / 4e6,
      concealed: seen.concealed(from, to),
      lost: seen.audioLost(from, to),
      frozen: seen.grown('frozen', from, to),
      still: Math.max(...seen.people().map((of) => seen.stillness(of, from + 4, to))),
      plis: seen.grown('plis', from, to),
      bps: seen.bps(from + 4, to),
      own: seen.looks.findLast(({ at }) => at < to).own,
    }), ({ estimate, concealed, still, own }) => {
      assert.ok(estimate >= 0.5, `${estimate} of the line`);
      assert.ok(concealed <= 0.05, `${concealed} of the sound made up`);
      assert.ok(still <= 4, `a picture stood still for ${still} s`);
      assert.notEqual(own, 'good', 'the page says nothing of the losses');
    });
  });

  test('whoever is on a good line saw every picture meanwhile: the machine was no bottleneck', async (t) => {
    const [ada, bea] = await Promise.all([senders.Ada, senders.Bea].map(({ page }) => page.evaluate(counted)));
    const encoded = (ada.encoded - control[0].encoded) / (ada.at - control[0].at);
    const figures = { encoded, frozen: bea.frozen - control[1].frozen, limits: ada.limits };
    t.diagnostic(JSON.stringify(figures));
    assert.ok(encoded >= 0.7 * CAMERA.frameRate, `${encoded} pictures a second encoded`);
    assert.ok(!ada.limits.includes('cpu'), 'the encoder was short of time');
  });

  test('10 % of loss on the publishers\' uplink are not held against who watches them', STAY, async (t) => {
    await watching('clean', t, (seen, from, to) => ({ estimate: seen.estimate(from + 4, to), bps: seen.bps(from + 4, to) }), () => {});
    aside.stop();
    aside = reporting(ASIDE, '--up', 'delay=10ms loss=10%', '--down', 'delay=10ms');
    await watching('uplink', t, (seen, from, to) => ({
      before: seen.estimate(from - 4, from),
      after: seen.estimate(from + 4, to),
      bps: seen.bps(from + 4, to),
      concealed: seen.concealed(from + 4, to),
      own: seen.looks.findLast(({ at }) => at < to).own,
    }), ({ before, after, bps, own }) => {
      assert.ok(bps >= 300_000, `${bps} bit/s arrive`);
      // A probe may have found more than the line has.
      assert.ok(after >= 0.8 * Math.min(before, 6e6), `${before} became ${after}`);
      assert.equal(own, 'good', 'the line of who watches is good');
    });
  });

  test('of a picture that came in full the page never said that one\'s own line limits it', async (t) => {
    let looks = 0;
    for (const { name, watched } of viewers) {
      const seen = await watched.read();
      const said = ['start', 'wide', 'recovery', 'up', 'clean'].flatMap((line) => seen.saidOfFull(...during[line], FULL, 0.7 * CAMERA.frameRate));
      t.diagnostic(`${name}: ${said.length} looks`);
      assert.deepEqual(said.filter((mark) => mark.includes('your line')), [], name);
      looks += said.length;
    }
    assert.ok(looks >= 10, 'hardly any came in full for long');
  });
});

/** What the panel "Connection" of each viewer says shortly before a line ends. */
async function readPanels(name) {
  const [, to] = during[name];
  await until(`almost the end of "${name}"`, () => viewers.every(({ watched }) => watched.now() > to - 2), 30_000 * LONGER);
  return Promise.all(viewers.map(async ({ page }) => {
    await toggle('connection', page);
    await page.waitForSelector('#line-pictures .line-picture', { timeout: 10_000 });
    const panel = await page.evaluate(() => {
      const words = (node) => node.innerText.replace(/\s+/g, ' ').trim();
      const [line, up, down] = ['line-words', 'line-up', 'line-down'].map((name) => words(document.querySelector(`[data-testid="${name}"]`)));
      return { words: line, up, down, pictures: [...document.querySelectorAll('.line-picture')].map(words) };
    });
    await toggle('connection', page);
    return panel;
  }));
}

/** Waits until both viewers have been on this line for as long as they shall, and judges what they saw. */
async function watching(name, t, measure, judge) {
  const [from, to] = during[name];
  await until(`the end of "${name}"`, () => viewers.every(({ watched }) => watched.now() > to), (to - from + 30) * 1_000);
  const failed = [];
  const control = await senders.Bea.watched.read();
  const outgoing = async ({ watched }, zero) => (await watched.read()).outgoing(zero + from - watched.zero, zero + to - watched.zero);
  for (const [i, { name: browser, watched }] of viewers.entries()) {
    const waits = (since, until) => front.p95(i, watched.zero + since, watched.zero + until);
    const beside = (of) => control.stillness(of, watched.zero + from - senders.Bea.watched.zero, watched.zero + to - senders.Bea.watched.zero);
    const figures = { ...measure(await watched.read(), from, to, waits, i, beside), senders: await Promise.all(Object.values(senders).map((sender) => outgoing(sender, watched.zero))) };
    t.diagnostic(`${name}, ${browser}: ${JSON.stringify(figures, (_, value) => (typeof value === 'number' ? Math.round(value * 1_000) / 1_000 : value))}`);
    try {
      judge(figures);
    } catch (error) {
      failed.push(`${browser}: ${error.message}`);
    }
  }
  assert.deepEqual(failed, []);
}

/** Presses a button, of a page in the background as well. */
const toggle = (name, page) => page.$eval(testid(name), (button) => button.click());

/** Runs in the page: what it has sent and received so far. */
async function counted() {
  const all = [...(await window.saal.pc.getStats()).values()];
  const video = all.filter(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
  const layers = all.filter(({ type, kind, framesEncoded }) => type === 'outbound-rtp' && kind === 'video' && framesEncoded > 0);
  return {
    at: performance.now() / 1_000,
    heights: video.filter(({ framesPerSecond }) => framesPerSecond > 0).map(({ frameHeight }) => frameHeight),
    frozen: video.reduce((total, { totalFreezesDuration = 0 }) => total + totalFreezesDuration, 0),
    encoded: Math.max(0, ...layers.map(({ framesEncoded }) => framesEncoded)),
    limits: layers.map(({ qualityLimitationReason }) => qualityLimitationReason),
  };
}

/** A saal-impair in front of the server that reports. */
function reporting(port, ...words) {
  const child = impair(port, '--report', '--histogram', ...words);
  const reports = [];
  child.stdout.on('data', (text) => {
    for (const [, line, waits] of text.matchAll(/^line (\d+): .*down .* waits(.*)$/gm)) {
      reports.push({ at: performance.now() / 1_000, line: Number(line), waits: [...waits.matchAll(/(\d+):(\d+)/g)].map(([, ms, count]) => [Number(ms), Number(count)]) });
    }
  });
  return {
    stop: () => child.kill(),
    /** How long one packet in twenty waited at least, of the seconds that lie between these two. */
    p95: (line, from, to) => {
      const within = reports.filter((report) => report.line === line && report.at - 1 >= from && report.at <= to);
      const waits = within.flatMap((report) => report.waits).toSorted(([one], [other]) => one - other);
      let left = 0.95 * waits.reduce((sum, [, count]) => sum + count, 0);
      return waits.find(([, count]) => (left -= count) <= 0)?.[0];
    },
  };
}
