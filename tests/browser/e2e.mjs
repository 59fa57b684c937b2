// One conference in real browsers: three people in two Chromium tabs and a Firefox, from the organizer's sign-in to the
// empty room. The steps build on each other; SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { click, fill, launch, missing, openRoom, openTab, signIn, testid, until } from './lib.mjs';
import { ADDRESS, startCapture, startServer } from './server.mjs';

const io = process.env.SAAL_IO ?? 'auto';

// Words that appear nowhere else: found in a log or a metric, they are a leak.
const ROOM = 'canaryroom-4711';
const PASSWORD = 'canarypassword-0815';
const NAMES = { ada: 'Adacanary Lovelace', bea: 'Beacanary Bär', kai: 'Kaicanary Müller', eve: 'Evecanary Late', max: 'Maxcanary Short' };
const CHAT = { ada: 'canarychat von Ada <b>&amp;</b>', kai: 'canarychat from Kai https://canary.test/pixel.png' };
const CLIENTS = ['10.99.0.2', '10.99.0.3'];
// What browsers ask for themselves, whatever page is open; the resolver may have put the machine's own domain behind it.
const BROWSERS_OWN = /(^|\.)(google|googleapis|gstatic|gvt1|mozilla|mozgcp|firefox|getpocket|cloudflare-dns)\.(com|net|org)(\.|$)|^(ipv4only\.arpa|example\.org|wpad)(\.|$)/;
const STORED = ['canarystored'];

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
/** @type {Awaited<ReturnType<typeof startCapture>>} */
let capture;
let chromium, firefox;
let organizer, link;
/** Tabs by the name of the person in them. */
const people = {};
/** What each person's page saw of the conference, read before the person left. */
const seenBy = {};

describe(`a conference over ${io}`, () => {
  before(async () => {
    assert.deepEqual(missing(), [], 'these programs are missing');
    server = await startServer({ io });
    capture = await startCapture([PASSWORD, ROOM, ...Object.values(NAMES), ...Object.values(CHAT), 'ice-ufrag']);
    [chromium, firefox] = await Promise.all([launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM }), launch('firefox')]);
    organizer = await openTab(chromium);
    for (const [name, browser] of Object.entries({ ada: chromium, bea: chromium, kai: firefox })) people[name] = await openTab(browser);
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close()]);
    await capture?.stop();
    await server?.stop();
  }, { timeout: 30_000 });

  let broken;
  // A step that the later ones stand on takes them with it.
  const step = (name, work) => test(name, { timeout: 60_000 }, async (t) => {
    if (broken) return t.skip(`not reached: "${broken}" failed`);
    try {
      await work();
    } catch (error) {
      if (name.endsWith('.')) broken = name;
      await keepPictures(t);
      throw error;
    }
  });

  step('the organizer signs in and opens a room.', async () => {
    const { page } = organizer;
    await signIn(page, server);
    await fill(page, 'room-name', ROOM);
    await fill(page, 'room-password', PASSWORD);
    link = await openRoom(page);
    assert.ok(link.startsWith(`${server.url.replace(/\/$/, '')}/r/${ROOM}#`), link);
  });

  step('nobody is captured before asking for it.', async () => {
    for (const [name, { page }] of Object.entries(people)) {
      await page.goto(link);
      await fill(page, 'display-name', NAMES[name]);
      assert.deepEqual(await captured(page), [0, 0], name);
    }
  });

  step('three people join by the link.', async () => {
    for (const [name, tab] of Object.entries(people)) await join_(name, tab);
    for (const { page } of Object.values(people)) {
      assert.deepEqual(await captured(page), [0, 0], 'joining captures nothing');
      await until('two tiles of others', () => page.evaluate(() => tilesOfOthers().length === 2));
    }
  });

  step('microphone and camera go on by one click each.', async () => {
    for (const { page } of Object.values(people)) {
      await click(page, 'mic');
      await click(page, 'camera');
      await until('captured', async () => (await captured(page))[0] > 0);
    }
  });

  step('everybody sees and hears everybody else.', async () => {
    for (const [name, tab] of Object.entries(people)) {
      for (const other of Object.keys(people).filter((other) => other !== name)) {
        await until(`${name} sees ${other}`, () => plays(tab, people[other].id), 25_000);
      }
      await until(`${name} decodes two pictures`, async () => (await decoding(tab)) === 2);
      await until(`${name} hears two voices`, () => tab.page.evaluate(heardVoices).then((voices) => voices >= 2));
    }
  });

  step('the picture grows to the size that the tile has room for', async () => {
    // 640x360 is sent in two layers, of 180 and 360 lines; the small one alone would mean that the sender hears nothing of
    // the path's capacity.
    const { page } = people.ada;
    await page.bringToFront(); // a page in the background is not laid out
    await page.setViewport({ width: 1100, height: 640, deviceScaleFactor: 2 });
    await until('the larger layer', async () => (await page.evaluate(statistics, 'inbound-rtp'))
      .some(({ kind, frameHeight }) => kind === 'video' && frameHeight >= 360) || 'small pictures only', 30_000);
  });

  step('the media is sealed with AES-GCM', async () => {
    for (const [name, { page }] of Object.entries(people)) {
      const [transport] = await page.evaluate(statistics, 'transport');
      assert.equal(transport.dtlsState, 'connected', name);
      assert.match(transport.srtpCipher, /AEAD_AES_(128|256)_GCM/, name);
    }
  });

  step('chat reaches everybody, as text', async () => {
    for (const { page } of Object.values(people)) await click(page, 'chat-toggle');
    for (const [from, text] of Object.entries(CHAT)) {
      await fill(people[from].page, 'chat-input', text);
      await click(people[from].page, 'chat-send');
      for (const [name, { page }] of Object.entries(people)) {
        await until(`${name} reads ${from}'s words`, () => page.evaluate((text) => document.body.innerText.includes(text), text));
      }
    }
    for (const { page } of Object.values(people)) {
      // It loads nothing, and the capture below hears of no name that was asked for.
      const [href, rel] = await page.$eval('#messages a', (link) => [link.href, link.rel]);
      assert.deepEqual([href, rel], ['https://canary.test/pixel.png', 'noopener noreferrer']);
      await page.hover('#messages a');
      await click(page, 'chat-toggle');
    }
  });

  step('a shared screen shows at the others', async () => {
    await click(people.ada.page, 'share');
    for (const name of ['bea', 'kai']) {
      await until(`${name} decodes three pictures`, async () => (await decoding(people[name])) === 3);
      await until(`${name} sees the screen`, () => plays(people[name], people.ada.id, 'screen-tile'));
    }
    await click(people.ada.page, 'share');
    for (const name of ['bea', 'kai']) {
      await until(`${name} no longer sees the screen`, async () => (await decoding(people[name])) === 2);
    }
  });

  step('mute, joins and leaves need no new description on any page', async () => {
    const before = await descriptions();
    await click(people.kai.page, 'mic');
    await until('Ada is told that Kai is muted', () => lastState(people.ada, people.kai.id, (kai) => kai.microphone === false));
    await click(people.kai.page, 'camera');
    await until('Ada sees Kai no more', async () => (await decoding(people.ada)) === 1);
    await click(people.kai.page, 'mic');
    await click(people.kai.page, 'camera');
    await until('Ada sees Kai again', () => plays(people.ada, people.kai.id));

    const eve = await openTab(chromium);
    await eve.page.goto(link);
    await fill(eve.page, 'display-name', NAMES.eve);
    await join_('eve', eve);
    for (const { page } of Object.values(people)) {
      await until('three tiles of others', () => page.evaluate(() => tilesOfOthers().length === 3));
    }
    await until('who comes late sees all three', async () => (await decoding(eve)) === 3);
    seenBy.eve = await remember(eve);
    await click(eve.page, 'hang-up');
    for (const { page } of Object.values(people)) {
      await until('two tiles of others', () => page.evaluate(() => tilesOfOthers().length === 2));
    }
    assert.deepEqual(await descriptions(), before);
  });

  step('on the wire there are the clients and the server, and no word in the clear', async () => {
    const { packets, flows, names, seen } = await capture.stop();
    assert.ok(packets > 1_000, `${packets} packets were looked at`);
    assert.deepEqual(seen, [], 'words in the clear');
    // Neighbours finding each other is not a conversation: link-local IPv6 comes with every interface.
    const conversations = flows.filter(([protocol, from]) => !(protocol === 'icmpv6' || from.startsWith('fe80:') || from === '::'));
    const ours = ([protocol, from, fromPort, to, toPort]) => {
      const [client, port] = to === ADDRESS ? [from, toPort] : [to, fromPort];
      const known = CLIENTS.includes(client) && (to === ADDRESS || from === ADDRESS);
      // A tab that is closed answers late packets with ICMP.
      const ports = { tcp: port === 8443, udp: port >= 10_000 && port < 10_004, icmp: true };
      return known && ports[protocol];
    };
    assert.deepEqual(conversations.filter((flow) => !ours(flow)), [], 'no client to client, no STUN elsewhere');
    assert.deepEqual(names.filter((name) => !BROWSERS_OWN.test(name)), [], 'no name was asked for');
    for (const client of CLIENTS) {
      for (const protocol of ['tcp', 'udp']) assert.ok(conversations.some(([of, from]) => of === protocol && from === client), `${client} ${protocol}`);
    }
  });

  step('the notice is one click away, in the language of the page', async () => {
    const links = ({ page }) => page.evaluate(() => [...document.querySelectorAll('a[href^="/privacy"]')]
      .filter((link) => link.getClientRects().length > 0).map((link) => [link.getAttribute('href'), document.documentElement.lang]));
    const door = await openTab(chromium);
    await door.page.goto(link);
    await door.page.waitForSelector(testid('join'), { visible: true });
    assert.match(await door.page.evaluate(() => document.body.innerText), /§ 201/, 'who joins is told about recording');
    const closing = await openTab(chromium);
    await closing.page.goto(new URL('/bye', server.url).href);
    for (const [where, tab] of Object.entries({ welcome: organizer, door, call: people.ada, closing })) {
      await until(`a link on the page: ${where}`, async () => {
        const found = await links(tab);
        return found.length > 0 && found.every(([href, language]) => href === `/privacy?lang=${language}`) || found;
      });
    }
    await closing.page.goto(new URL('/privacy?lang=de', server.url).href);
    await closing.page.setViewport({ width: 390, height: 844 });
    assert.equal(await closing.page.evaluate(() => document.documentElement.lang), 'de');
    assert.ok(await closing.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it fits a phone');
    assert.equal(await closing.page.evaluate(() => document.scripts.length), 0);
    for (const tab of [door, closing]) {
      assert.deepEqual(tab.complaints, []);
      await tab.page.close();
    }
  });

  step('nobody is told an address of anybody else', async () => {
    for (const [name, tab] of Object.entries(people)) seenBy[name] = await remember(tab);
    for (const [name, seen] of Object.entries(seenBy)) {
      assert.ok(seen.told.length > 5, 'the probe reads messages');
      const told = [...seen.told, seen.remote].join('\n');
      const addresses = new Set(told.match(/\b\d{1,3}(\.\d{1,3}){3}\b/g));
      for (const harmless of [ADDRESS, '0.0.0.0', '127.0.0.1']) addresses.delete(harmless);
      assert.deepEqual([...addresses], [], `${name} was told addresses`);
      assert.doesNotMatch(told, /\b[0-9a-f]{1,4}(:[0-9a-f]{0,4}){2,7}%|fe80:|\.local\b/i, name);
      assert.doesNotMatch(told, /Mozilla|Firefox|Chrome|SDPARTA/i, `${name} was told a user agent`);
      const said = seen.said.join('\n');
      for (const address of CLIENTS) assert.ok(!said.includes(address), `${name}'s page said its own address`);
      assert.doesNotMatch(said, /a=candidate/, `${name}'s page sent a candidate`);
      assert.equal(seen.iceServers, 0, 'no STUN or TURN server');
    }
  });

  step('logs and metrics hold no person, room, word or address', () => {
    const metrics = server.metrics();
    assert.match(metrics, /^saal_/m);
    const secrets = [...CLIENTS, ROOM, PASSWORD, server.password, ...Object.values(NAMES), ...Object.values(CHAT), 'canary', 'Lovelace',
      ...Object.values(people).map((tab) => tab.id), 'ice-ufrag', 'm=audio', 'Firefox', 'Chrome'];
    for (const secret of secrets) {
      assert.ok(!metrics.includes(secret), `/metrics holds ${secret}`);
      assert.ok(!server.log.includes(secret), `the log holds ${secret}: ${server.log.split('\n').find((line) => line.includes(secret))}`);
    }
  });

  step('hanging up wipes the browser and removes the tile within a second', async () => {
    const { page, id } = people.ada;
    await page.evaluate(async (key) => {
      localStorage.setItem(key, key);
      sessionStorage.setItem(key, key);
      await caches.open(key);
      await new Promise((done) => (indexedDB.open(key).onsuccess = ({ target }) => done(target.result.close())));
    }, STORED[0]);
    await click(page, 'hang-up');
    const gone = performance.now();
    for (const name of ['bea', 'kai']) {
      await until(`Ada is gone at ${name}`, async () => !(await isThere(name, id)), 5_000);
    }
    assert.ok(performance.now() - gone < 1_000, `the tile stayed for ${Math.round(performance.now() - gone)} ms`);
    await until('the closing page', async () => new URL(page.url()).pathname === '/bye');
    await until('nothing stored', async () => {
      const stored = await page.evaluate(async () => ({
        local: Object.keys(localStorage), session: Object.keys(sessionStorage), cookies: document.cookie,
        databases: (await indexedDB.databases()).length, caches: (await caches.keys()).length,
      }));
      return JSON.stringify(stored) === '{"local":[],"session":[],"cookies":"","databases":0,"caches":0}' || stored;
    });
    assert.deepEqual(await page.browserContext().cookies(), [], 'guests have no cookie');
    await until('the welcome page', async () => new URL(page.url()).pathname === '/', 20_000);
    delete people.ada;
  });

  step('a browser that dies is gone within 20 seconds', async () => {
    const mortal = await launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM });
    const max = await openTab(mortal);
    await max.page.goto(link);
    await fill(max.page, 'display-name', NAMES.max);
    await join_('max', max);
    await until('Max is there', () => isThere('bea', max.id));
    mortal.kill();
    await until('Max is gone at Bea and Kai', async () => !(await isThere('bea', max.id)) && !(await isThere('kai', max.id)), 20_000);
    await mortal.close();
  });

  step('a browser whose network dies is gone within 20 seconds', async () => {
    // Nothing says goodbye: no packet of Firefox's host arrives any more, TCP or UDP.
    const cut = spawnSync('ip', ['-n', process.env.SAAL_NETNS_SERVER, 'link', 'set', 'right', 'down']);
    assert.equal(cut.status, 0, String(cut.stderr));
    const took = await until('Kai is gone at Bea', async () => !(await isThere('bea', people.kai.id)), 30_000);
    assert.ok(took > 5_000, 'a short hiccup throws nobody out');
    assert.ok(took < 20_000, `Kai stayed for ${Math.round(took)} ms`);
    delete people.kai;
  });

  step('with the last person the room is gone, and a new one of its name is another', async () => {
    assert.equal(gauge('saal_rooms'), 1);
    await click(people.bea.page, 'hang-up');
    await until('no room left', () => gauge('saal_rooms') === 0);
    assert.equal(gauge('saal_participants'), 0);
    const opened = await organizer.page.evaluate(async (name) => {
      const answer = await fetch('/api/v1/rooms', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ name }) });
      return { status: answer.status, ...(await answer.json()) };
    }, ROOM);
    assert.equal(opened.status, 201);
    assert.notEqual(opened.password, PASSWORD);
    const stranger = await openTab(chromium);
    await stranger.page.goto(server.url);
    const tryJoin = (password) => stranger.page.evaluate((name, password) => new Promise((answer) => {
      const socket = new WebSocket(`wss://${location.host}/api/v1/rooms/${name}/ws`);
      socket.onopen = () => socket.send(JSON.stringify({ type: 'join', name: 'again', password }));
      socket.onmessage = ({ data }) => { answer(JSON.parse(data)); socket.close(); };
    }), ROOM, password);
    assert.deepEqual(await tryJoin(PASSWORD), { type: 'refused', reason: 'not-admitted' });
    const welcome = await tryJoin(opened.password);
    assert.equal(welcome.type, 'welcome');
    assert.deepEqual(welcome.participants, []);
    await until('that room is gone too', () => gauge('saal_rooms') === 0);
  });

  step('pages load nothing foreign and have nothing to complain about', () => {
    const origin = new URL(server.url).origin;
    for (const [name, seen] of Object.entries({ ...seenBy, organizer: { requests: organizer.requests, complaints: organizer.complaints, violations: [] } })) {
      assert.ok(seen.requests.length > 3, `${name}'s requests were seen`);
      const foreign = seen.requests.filter((url) => !url.startsWith(`${origin}/`) && !/^(data|blob|about):/.test(url) && !url.startsWith(`${origin.replace('http', 'ws')}/`));
      assert.deepEqual(foreign, [], name);
      assert.deepEqual(seen.violations, [], name);
      assert.deepEqual(seen.complaints, [], name);
    }
  });

  step('SIGTERM ends the idle server with success, and its log kept every secret', async () => {
    assert.equal(await server.stop(), 0);
    for (const secret of [...CLIENTS, 'canary', server.password]) assert.ok(!server.log.includes(secret), `the log holds ${secret}`);
    assert.doesNotMatch(server.log, /panic|^error/m);
    server = undefined;
  });

  async function keepPictures(t) {
    const directory = mkdtempSync(join(tmpdir(), `saal-e2e-${io}-`));
    for (const [name, { page }] of Object.entries({ organizer, ...people })) {
      await page?.screenshot({ path: join(directory, `${name}.png`) }).catch(() => {});
    }
    t.diagnostic(`pictures of the pages: ${directory}`);
    t.diagnostic(`the server's last words: ${server?.log.split('\n').slice(-12).join(' | ')}`);
  }
});

async function join_(name, tab) {
  await tab.page.evaluate(pageSide);
  await click(tab.page, 'join');
  await tab.page.waitForSelector(testid('hang-up'), { visible: true, timeout: 15_000 });
  await until(`${name} is connected`, () => tab.page.evaluate(() => window.saal.pc.connectionState === 'connected'));
  tab.id = await tab.page.evaluate(() => seen.told.map((text) => JSON.parse(text)).find(({ type }) => type === 'welcome').participant);
}

/** Put into every page of the conference, for the questions below. */
function pageSide() {
  window.tilesOf = (id, kind = 'tile') => [...document.querySelectorAll(`[data-testid="${kind}"][data-participant="${id}"]`)];
  window.tilesOfOthers = () => {
    const own = seen.told.map((text) => JSON.parse(text)).find(({ type }) => type === 'welcome').participant;
    return [...document.querySelectorAll('[data-testid="tile"]')].filter((tile) => tile.dataset.participant !== own);
  };
}

const isThere = (name, id) => people[name].page.evaluate((id) => tilesOf(id).length > 0, id);

const captured = (page) => page.evaluate(() => [seen.captures, seen.displayCaptures]);

const statistics = async (type) => [...(await window.saal.pc.getStats()).values()].filter((entry) => entry.type === type);

const heardVoices = async () => [...(await window.saal.pc.getStats()).values()]
  .filter(({ type, kind, totalAudioEnergy }) => type === 'inbound-rtp' && kind === 'audio' && totalAudioEnergy > 0).length;

/** Whether a participant's one tile shows a picture that moves. */
async function plays({ page }, id, kind = 'tile') {
  const times = () => page.evaluate((id, kind) => tilesOf(id, kind).map((tile) => tile.querySelector('video'))
    .filter((video) => video && video.videoWidth > 0 && video.offsetWidth > 0).map((video) => video.currentTime), id, kind);
  const first = await times();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const then = await times();
  return (first.length === 1 && then.length === 1 && then[0] > first[0]) || { first, then };
}

/** How many receive slots decode pictures at this moment. */
async function decoding({ page }) {
  const frames = async () => new Map((await page.evaluate(statistics, 'inbound-rtp'))
    .filter(({ kind }) => kind === 'video').map(({ mid, id, framesDecoded }) => [mid ?? id, framesDecoded ?? 0]));
  const first = await frames();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  return [...(await frames())].filter(([slot, count]) => count > (first.get(slot) ?? 0)).length;
}

/** How often each page was given a description, by our count and by its own. */
async function descriptions() {
  const counts = {};
  for (const [name, { page }] of Object.entries(people)) {
    counts[name] = await page.evaluate(() => seen.remoteDescriptions);
    assert.equal(await page.evaluate(() => window.saal.setRemoteDescriptions), counts[name], name);
  }
  return counts;
}

async function lastState({ page }, id, test) {
  const told = (await page.evaluate(() => seen.told)).map((text) => JSON.parse(text));
  const states = told.filter(({ type, participant }) => (type === 'changed' || type === 'joined') && participant.id === id);
  return states.length > 0 && test(states.at(-1).participant);
}

async function remember({ page, requests, complaints }) {
  const seen = await page.evaluate(() => ({ ...window.seen, sockets: undefined, remote: window.saal.pc.remoteDescription.sdp }));
  // So far: whose network is cut later, complains of that.
  return { ...seen, requests: [...requests], complaints: [...complaints] };
}

function gauge(name) {
  const lines = server.metrics().split('\n').filter((line) => line.startsWith(name) && /^[ {]/.test(line.slice(name.length)));
  assert.ok(lines.length > 0, `there is a metric ${name}`);
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
