// People whose network breaks, moves or is another one afterwards: Ada in Chromium and Kai in Firefox lose the cable for five
// seconds, their signalling alone, and their address, and are the same participants in the same call each time.
// SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { click, fill, launch, newRoom, openTab, testid, until } from './lib.mjs';
import { ADDRESS, startServer } from './server.mjs';

const io = process.env.SAAL_IO ?? 'auto';
const { SAAL_NETNS_SERVER: SERVER, SAAL_NETNS_CHROMIUM: CHROMIUM } = process.env;
/** Longer than the server keeps a place. */
const BACK_MS = 20_000;

let server, chromium, firefox;
const people = {
  ada: { name: 'Ada', wire: 'left', host: CHROMIUM, address: '10.99.0.2', next: '10.99.0.12' },
  kai: { name: 'Kai', wire: 'right', host: null, address: '10.99.0.3', next: '10.99.0.13' },
};

describe(`broken and changed networks over ${io}`, () => {
  before(async () => {
    server = await startServer({ io });
    [chromium, firefox] = await Promise.all([launch('chromium', { netns: CHROMIUM }), launch('firefox')]);
    const link = await newRoom(chromium, server);
    for (const [person, browser] of [[people.ada, chromium], [people.kai, firefox]]) {
      const { page } = Object.assign(person, await openTab(browser), { name: person.name });
      await page.goto(link);
      await fill(page, 'display-name', person.name);
      await click(page, 'preview-camera');
      await click(page, 'join');
      await page.waitForSelector(testid('hang-up'), { visible: true, timeout: 15_000 });
      await until('the connection', () => page.evaluate(() => window.saal.pc.connectionState === 'connected'));
      await click(page, 'chat-toggle');
      person.id = await page.evaluate(() => seen.told.map((text) => JSON.parse(text)).find(({ type }) => type === 'welcome').participant);
    }
    await goOn();
  }, { timeout: 90_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    await server?.stop();
  }, { timeout: 30_000 });

  let broken;
  const step = (name, work) => test(name, { timeout: 90_000 }, async (t) => {
    if (broken) return t.skip(`not reached: "${broken}" failed`);
    try {
      await work(t);
    } catch (error) {
      broken = name;
      throw error;
    }
  });

  for (const who of ['ada', 'kai']) {
    step(`${who}'s signalling breaks and goes on without a new description`, async () => {
      const { page } = people[who];
      const other = people[who === 'ada' ? 'kai' : 'ada'];
      const before = await descriptions();
      await fill(other.page, 'chat-input', `before ${who}`);
      await page.evaluate(() => seen.sockets.at(-1).close(4000));
      await click(other.page, 'chat-send');
      await until('the line that was written meanwhile', () => page.evaluate((text) => seen.told.filter((told) => told.includes(text)).length === 1, `before ${who}`));
      await until('a new connection', () => page.evaluate(() => seen.told.some((told) => told.includes('"resumed"'))));
      await goOn();
      assert.deepEqual(await descriptions(), before);
    });

    step(`${who} loses the cable for at least five seconds`, async (t) => {
      const { wire, page } = people[who];
      ip(SERVER, 'link', 'set', wire, 'down');
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      await until('the page says so', () => page.evaluate((notice) => document.querySelector(notice) !== null, testid('notice-connection')), 6_000);
      ip(SERVER, 'link', 'set', wire, 'up');
      routes(people[who], people[who].address);
      const took = await goOn();
      t.diagnostic(`both see each other ${Math.round(took)} ms after the cable is back`);
      await until('nothing more to say', () => page.evaluate((notice) => document.querySelector(notice) === null, testid('notice-connection')));
    });

    step(`${who} gets another address`, async (t) => {
      const person = people[who];
      ip(person.host, 'addr', 'del', `${person.address}/32`, 'peer', `${ADDRESS}/32`, 'dev', 'eth0');
      ip(person.host, 'addr', 'add', person.next, 'peer', `${ADDRESS}/32`, 'dev', 'eth0');
      routes(person, person.next);
      const start = performance.now();
      await until('a path from the new address', () => person.page.evaluate(usedAddress).then((address) => address === person.next || address), BACK_MS);
      await goOn();
      t.diagnostic(`both see each other ${Math.round(performance.now() - start)} ms after the change`);
      await until('nothing more to say', () => person.page.evaluate((notice) => document.querySelector(notice) === null, testid('notice-connection')));
    });
  }

  step('nobody has left, joined or entered anew in all this, and nobody was told an address', async () => {
    for (const [who, { page, id }] of Object.entries(people)) {
      const told = (await page.evaluate(() => seen.told)).map((text) => JSON.parse(text));
      assert.equal(told.filter(({ type }) => type === 'welcome').length, 1, who);
      assert.deepEqual(told.filter(({ type }) => type === 'left'), [], who);
      assert.equal(told.find(({ type }) => type === 'welcome').participant, id);
      const texts = JSON.stringify(told);
      for (const person of Object.values(people)) {
        for (const address of [person.address, person.next]) assert.ok(!texts.includes(address), `${who} was told ${address}`);
      }
    }
    const used = await Promise.all(Object.values(people).map(({ page }) => page.evaluate(() => seen.told.map((told) => JSON.parse(told).resume).filter(Boolean))));
    for (const token of used.flat()) assert.ok(!server.log.includes(token) && !server.metrics().includes(token), 'a token in the log');
    assert.equal(new Set(used.flat()).size, used.flat().length, 'each token counts once');
  });

  step('who is away for longer than their place is kept comes in anew, by themselves', async (t) => {
    const { ada, kai } = people;
    ip(SERVER, 'link', 'set', ada.wire, 'down');
    await until('Ada is gone', () => kai.page.evaluate((id) => document.querySelector(`[data-participant="${id}"]`) === null, ada.id), 25_000);
    ip(SERVER, 'link', 'set', ada.wire, 'up');
    routes(ada, ada.next);
    await until('Ada has entered again', () => ada.page.evaluate(() => seen.told.filter((told) => JSON.parse(told).type === 'welcome').length === 2), 30_000);
    ada.id = await ada.page.evaluate(() => seen.told.map((text) => JSON.parse(text)).findLast(({ type }) => type === 'welcome').participant);
    t.diagnostic(`both see each other ${Math.round(await goOn())} ms after that`);
    await until('nothing more to say', () => ada.page.evaluate((notice) => document.querySelector(notice) === null, testid('notice-connection')));
  });
});

/** Both are there for each other, with pictures that move, on pages that know of no trouble. */
async function goOn() {
  const start = performance.now();
  for (const [who, other] of [['ada', 'kai'], ['kai', 'ada']]) {
    const { page } = people[who];
    await until(`${who} sees ${other}`, () => plays(page, people[other].id), BACK_MS);
  }
  return performance.now() - start;
}

async function plays(page, id) {
  const time = () => page.evaluate((id) => {
    const tile = document.querySelector(`[data-testid="tile"][data-participant="${id}"]`);
    const video = tile?.querySelector('video');
    return tile && !tile.classList.contains('is-away') && video?.videoWidth > 0 ? video.currentTime : `${tile ? tile.className : 'no tile'}`;
  }, id);
  const first = await time();
  await new Promise((resolve) => setTimeout(resolve, 400));
  const then = await time();
  return (typeof first === 'number' && then > first) || { first, then };
}

/** Where the media of a page comes from, as its browser sees it. */
async function usedAddress() {
  const stats = await window.saal.pc.getStats();
  const pairs = [...stats.values()].filter((entry) => entry.type === 'candidate-pair');
  const [transport] = [...stats.values()].filter((entry) => entry.type === 'transport' && entry.selectedCandidatePairId);
  const pair = transport ? stats.get(transport.selectedCandidatePairId) : pairs.find((entry) => entry.selected ?? (entry.nominated && entry.state === 'succeeded'));
  return stats.get(pair?.localCandidateId)?.address ?? 'no path';
}

const descriptions = () => Promise.all(Object.values(people).map(({ page }) => page.evaluate(() => seen.remoteDescriptions)));

/** What a wire loses when it goes down or its address changes. */
function routes({ host, wire }, address) {
  ip(host, 'route', 'replace', 'default', 'via', ADDRESS);
  ip(SERVER, 'route', 'replace', `${address}/32`, 'dev', wire, 'src', ADDRESS);
}

function ip(host, ...words) {
  const done = spawnSync('ip', [...(host ? ['-n', host] : []), ...words], { encoding: 'utf8' });
  assert.equal(done.status, 0, `ip ${words.join(' ')}: ${done.stderr}`);
}
