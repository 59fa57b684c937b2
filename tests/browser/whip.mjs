// A WHIP publisher and a WHEP viewer that are neither our page nor a browser, in one room with a browser: each sees and
// hears the other. SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { click, enter, launch, openRoom, openTab, signIn, testid, until } from './lib.mjs';
import { startServer } from './server.mjs';

// Debian's own, whose packages it finds whatever other Python is first in the path.
const PYTHON = process.env.PYTHON ?? '/usr/bin/python3';
const CLIENT = join(dirname(fileURLToPath(import.meta.url)), 'whip.py');
const io = process.env.SAAL_IO ?? 'auto';

let server, chromium, page;
/** What the organizer is told for such clients. */
const told = {};

describe(`WHIP and WHEP over ${io}`, () => {
  before(async () => {
    server = await startServer({ io });
    chromium = await launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM });
    ({ page } = await openTab(chromium));
    await signIn(page, server);
    const link = await openRoom(page);
    for (const name of ['whip-url', 'whep-url', 'media-token']) {
      told[name] = await page.$eval(testid(name), (field) => /** @type {HTMLInputElement} */ (field).value);
    }
    await enter(page, link, 'Ada');
  }, { timeout: 60_000 });

  after(async () => {
    await chromium?.close();
    await server?.stop();
  }, { timeout: 30_000 });

  test('what a foreign client publishes is seen and heard in the browser until its DELETE', { timeout: 60_000 }, async () => {
    const publisher = start('publish', told['whip-url']);
    await until('it is connected', () => publisher.last?.state === 'connected' || publisher.last);
    await until('its picture', () => page.evaluate(() => [...document.querySelectorAll('[data-testid="tile"].has-picture video')]
      .some(({ videoWidth, videoHeight }) => videoWidth === 320 && videoHeight === 180)), 20_000);
    const before = await page.evaluate(played);
    await until('pictures and sound go on', async () => {
      const { frames, energy } = await page.evaluate(played);
      return (frames > before.frames + 20 && energy > before.energy && energy > 0.01) || { frames, energy, before };
    });
    await publisher.end();
    await until('its tile is gone', () => page.evaluate(() => document.querySelectorAll('[data-testid="tile"].has-picture').length === 0), 5_000);
    assert.equal(sessions('whip'), 0);
  });

  test('what the browser publishes is decoded by a foreign viewer', { timeout: 60_000 }, async () => {
    const viewer = start('view', told['whep-url']);
    await until('it is connected', () => viewer.last?.state === 'connected' || viewer.last);
    await click(page, 'mic');
    await click(page, 'camera');
    await until('40 pictures and a second of sound', () => (viewer.last.frames > 40 && viewer.last.samples > 48_000) || viewer.last, 30_000);
    await until('the largest layer', () => viewer.last.size[1] >= 360 || viewer.last, 30_000);
    await viewer.end();
    assert.equal(sessions('whep'), 0);
  });

  test('a viewer plays what a publisher sends', { timeout: 60_000 }, async () => {
    await click(page, 'mic');
    await click(page, 'camera');
    const publisher = start('publish', told['whip-url']);
    const viewer = start('view', told['whep-url']);
    await until('its pictures and a second of its tone', () =>
      (viewer.last?.size?.[0] === 320 && viewer.last.frames > 20 && viewer.last.samples > 48_000) || viewer.last, 30_000);
    await Promise.all([publisher.end(), viewer.end()]);
  });

  test('the log knows nothing of it', () => {
    for (const secret of [told['media-token'], '10.99.0.3', 'ice-ufrag', 'session/']) assert.ok(!server.log.includes(secret), secret);
    assert.doesNotMatch(server.log, /panic|^error/m);
  });
});

/** A foreign client; `last` is what it said last. */
function start(role, url) {
  const child = spawn(PYTHON, [CLIENT, role, url], { stdio: ['pipe', 'pipe', 'inherit'] });
  const client = { last: undefined, exited: new Promise((done) => child.on('exit', done)) };
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) client.last = JSON.parse(line);
  });
  child.stdin.write(`${told['media-token']}\n`);
  client.end = async () => {
    child.stdin.end();
    assert.equal(await client.exited, 0);
    assert.equal(client.last.state, 'gone');
  };
  return client;
}

/** What this page has decoded of others. */
async function played() {
  const inbound = [...(await window.saal.pc.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
  const sum = (name) => inbound.reduce((total, entry) => total + (entry[name] ?? 0), 0);
  return { frames: sum('framesDecoded'), energy: sum('totalAudioEnergy') };
}

function sessions(door) {
  const [, count] = server.metrics().match(new RegExp(`^saal_${door}_sessions (\\d+)$`, 'm'));
  return Number(count);
}
