// The rules of a room between two Chromium pages: an organizer with a lobby and a guest, who waits, speaks, is blocked with
// the developer console open, and is removed. SAAL_IO names the backend of the data plane.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { click, fill, launch, openRoom, openTab, signIn, testid, until } from './lib.mjs';
import { startServer } from './server.mjs';

const io = process.env.SAAL_IO ?? 'auto';
const GUEST = 'Bea <img src=x onerror=alert(1)> {name}'; // text, wherever it is shown
const SILENT_MS = 1_500;

let server, chromium, link, password;
/** @type {Awaited<ReturnType<typeof openTab>>} */
let ada;
/** @type {Awaited<ReturnType<typeof openTab>>} */
let bea;

describe(`the rules of a room over ${io}`, () => {
  before(async () => {
    server = await startServer({ io });
    chromium = await launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM });
    ada = await openTab(chromium);
    bea = await openTab(chromium);
    await signIn(ada.page, server);
    await click(ada.page, 'lobby');
    link = await openRoom(ada.page);
    password = await ada.page.$eval(testid('shown-password'), ({ value }) => value);
    await ada.page.goto(link);
    await fill(ada.page, 'display-name', 'Ada');
    await click(ada.page, 'join');
    await inCall(ada);
  }, { timeout: 60_000 });

  after(async () => {
    await chromium?.close();
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

  step('a password is made up, and it travels in the part of the link that reaches no server', async () => {
    assert.match(password, /^([a-z0-9]{4}-){3}[a-z0-9]{4}$/, '80 bits in readable groups');
    assert.equal(new URL(link).hash, `#p=${password}`);
    await bea.page.goto(link);
    await fill(bea.page, 'display-name', GUEST);
    await click(bea.page, 'preview-camera');
    await until('her own picture', () => bea.page.$eval('#preview-video', (video) => video.videoWidth > 0));
    assert.equal(await bea.page.evaluate(() => location.hash), '', 'nor does it stay in the address');
    assert.equal(await bea.page.$eval('#password-field', ({ hidden }) => hidden), true, 'nobody types it');
    const bare = await openTab(chromium);
    await bare.page.goto(link.split('#')[0]);
    await bare.page.waitForSelector('#password-field', { visible: true });
    await bare.page.close();
  });

  step('a guest waits in the lobby: no media, no names, no chat', async () => {
    await click(bea.page, 'join');
    await bea.page.waitForSelector(testid('lobby-page'), { visible: true });
    await ada.page.waitForSelector(testid('notice-waiting'), { visible: true });
    const notice = await ada.page.$eval(testid('notice-waiting'), ({ innerText }) => innerText);
    assert.ok(notice.includes(GUEST), notice);
    await ada.page.keyboard.press('c');
    await fill(ada.page, 'chat-input', 'between us');
    await click(ada.page, 'chat-send');
    await until('her own words', () => ada.page.evaluate(() => document.querySelector('#messages').innerText.includes('between us')));
    await click(ada.page, 'chat-close');
    assert.deepEqual(await bea.page.evaluate(() => window.seen.told.map((text) => JSON.parse(text).type)), ['waiting']);
    assert.equal(await bea.page.evaluate(() => window.saal?.pc ?? null), null, 'no connection for media');
    // Her camera is on: she sees so, and can switch it off and on.
    await until('her own picture', () => bea.page.$eval('#waiting-video', (video) => video.videoWidth > 0));
    assert.equal(await bea.page.$eval('#waiting-own', ({ hidden }) => hidden), false, 'that nobody else sees it is said');
    for (const live of [false, true]) {
      await click(bea.page, 'preview-camera');
      await until(`a camera that is ${live ? 'on' : 'off'}`, () => bea.page.$eval('#waiting-preview', ({ hidden }, live) => hidden !== live, live));
    }
  });

  step('who is admitted is in the call', async () => {
    await click(ada.page, 'show-waiting');
    await click(ada.page, 'admit');
    await inCall(bea);
    await until('nobody waits', () => ada.page.evaluate(() => document.querySelector('#waiting').hidden));
    await click(bea.page, 'mic');
    await until('her voice', () => grows(ada, voice), 20_000);
  });

  step('a blocked microphone is silent at the others, whatever its page does', async () => {
    await ada.page.waitForSelector(testid('person-more'), { visible: true });
    await ada.page.focus(testid('person-more'));
    await click(bea.page, 'hand');
    await until('her hand in the list', () => ada.page.evaluate(() => document.querySelector('#people-list .is-hand') !== null));
    await click(bea.page, 'hand');
    await until('her hand down', () => ada.page.evaluate(() => document.querySelector('#people-list .is-hand') === null));
    assert.equal(await ada.page.evaluate(() => document.activeElement.dataset.testid), 'person-more', 'the keyboard stays where it was');
    await ada.page.keyboard.press('Enter');
    await click(ada.page, 'block-microphone');
    await until('the button rests', () => bea.page.$eval(testid('mic'), (mic) => mic.disabled && mic.getAttribute('aria-pressed') === 'false'));
    await bea.page.evaluate(async () => {
      const { pc } = window.saal;
      const { sender } = pc.getTransceivers()[0];
      const [track] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
      await sender.replaceTrack(track);
      const parameters = sender.getParameters();
      parameters.encodings.forEach((encoding) => { encoding.active = true; });
      await sender.setParameters(parameters);
    });
    await until('her browser sends on', () => grows(bea, sent));
    const before = await ada.page.evaluate(voice);
    const sentBefore = await bea.page.evaluate(sent);
    await new Promise((resolve) => setTimeout(resolve, SILENT_MS));
    assert.ok(await bea.page.evaluate(sent) > sentBefore + 20, 'it did send');
    assert.equal(await ada.page.evaluate(voice), before, 'and nothing came');
  });

  step('lifting the block switches nothing on; its owner does', async () => {
    await click(ada.page, 'block-microphone');
    await until('the button works', () => bea.page.$eval(testid('mic'), (mic) => !mic.disabled && mic.getAttribute('aria-pressed') === 'false'));
    await click(bea.page, 'mic');
    await until('her voice', () => grows(ada, voice));
  });

  step('who is removed leaves nothing behind, and has to be let in again', async () => {
    await click(ada.page, 'remove-person');
    await until('the closing page', async () => new URL(bea.page.url()).pathname === '/bye');
    await until('nothing is stored', () => bea.page.evaluate(() => localStorage.length === 0));
    await click(ada.page, 'room-rules');
    await click(ada.page, 'rule-lobby');
    await ada.page.keyboard.press('Escape');
    await bea.page.goto(link);
    await fill(bea.page, 'display-name', GUEST);
    await click(bea.page, 'join');
    await bea.page.waitForSelector(testid('lobby-page'), { visible: true });
    await click(bea.page, 'preview-camera');
    await until('her camera', () => bea.page.$eval('#waiting-video', (video) => video.videoWidth > 0));
    await click(ada.page, 'turn-away');
    await bea.page.waitForSelector(testid('join'), { visible: true });
    await until('her camera can be chosen', () => bea.page.$eval('#camera-select', (select) => select.options.length > 0));
    const words = await bea.page.$eval('#join-error', ({ textContent }) => textContent);
    assert.ok(words.length > 0, 'in words');
  });

  step('a locked room says so to who has the password', async () => {
    await click(ada.page, 'room-rules');
    await click(ada.page, 'rule-locked');
    await until('the rule holds', () => ada.page.evaluate(() => window.seen.told.some((text) => text.includes('"locked":true'))));
    await click(bea.page, 'join');
    await until('locked', () => bea.page.evaluate(() => window.seen.told.at(-1) === '{"type":"refused","reason":"locked"}'));
  });

  step('a name that looks like markup is text in the notice, the lobby and the list', async () => {
    assert.equal(await ada.page.evaluate(() => document.querySelectorAll('img:not([src^="/assets/"])').length), 0);
    for (const tab of [ada, bea]) assert.deepEqual(tab.requests.filter((url) => url.endsWith('/x')), [], 'nothing is loaded for it');
  });

  step('an organizer whose account is removed hears so and goes on as a guest', async () => {
    const { page } = ada;
    const dialog = () => page.$eval('#rules-dialog', ({ open }) => open);
    assert.equal(await dialog(), true, 'the rules are open');
    server.removeOrganizer();
    await page.waitForSelector(testid('notice-deposed'), { visible: true });
    await until('nothing is left to moderate with', async () => !await dialog() && page.$eval(testid('room-rules'), ({ hidden }) => hidden));
    assert.match(await page.$eval(testid('notice-deposed'), ({ innerText }) => innerText), /You stay as a guest/);
    assert.equal(await page.evaluate(() => window.saal.pc.connectionState), 'connected');
    assert.equal(await page.$$eval('.bar', (bars) => bars.length), 1, 'and of nothing else');
    if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/deposed.png` });
    await click(page, 'dismiss-deposed');
    assert.equal(await page.$(testid('notice-deposed')), null);
  });

  step('the password is in no request and no log, and nothing was complained about', () => {
    for (const tab of [ada, bea]) {
      assert.deepEqual(tab.requests.map((url) => url.split('#')[0]).filter((url) => url.includes(password)), []);
      assert.deepEqual(tab.complaints, []);
    }
    for (const secret of [password, GUEST]) assert.ok(!server.log.includes(secret));
  });
});

async function inCall({ page }) {
  await page.waitForSelector(testid('hang-up'), { visible: true, timeout: 15_000 });
  await until('connected', () => page.evaluate(() => window.saal.pc.connectionState === 'connected'));
}

async function grows({ page }, count) {
  const before = await page.evaluate(count);
  await new Promise((resolve) => setTimeout(resolve, 300));
  return await page.evaluate(count) > before + 3;
}

/** In the page: audio packets received. */
async function voice() {
  const reports = [...(await window.saal.pc.getStats()).values()];
  return reports.filter(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio').reduce((sum, { packetsReceived }) => sum + packetsReceived, 0);
}

/** In the page: audio packets sent. */
async function sent() {
  const reports = [...(await window.saal.pc.getStats()).values()];
  return reports.filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'audio').reduce((sum, { packetsSent }) => sum + packetsSent, 0);
}
