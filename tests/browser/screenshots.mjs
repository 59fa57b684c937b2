// ./netns.sh node screenshots.mjs [DIRECTORY [LANGUAGE]]: pictures of every page, from a real server with real media, on
// a desktop and on a phone. Without arguments: docs/screenshots, in English. What the server writes itself (notice,
// imprint, status) comes in both languages; ONLY=documents takes nothing else, ONLY=1280 or ONLY=390 one of the sizes.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LOOKS, drawn } from './drawn.mjs';
import { indexed } from './indexed.mjs';
import { click, fill, launch, openRoom, openTab, signIn, testid, until } from './lib.mjs';
import { startServer } from './server.mjs';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const pictures = resolve(process.argv[2] ?? join(repository, 'docs/screenshots'));
const language = process.argv[3] ?? 'en';
const SIZES = [{ width: 1280, height: 800 }, { width: 390, height: 844, isMobile: true, hasTouch: true }];
const LARGEST_BYTES = 190_000;
const INTERRUPTED_MS = 3_500;
const SHARPENING_MS = 12_000; // the bandwidth estimate climbs to the largest layer

const WORDS = {
  en: { room: 'physics-seminar', hello: 'Welcome! The slides for today: https://example.edu/slides/3', answer: 'Thank you, I can see and hear everybody.', question: 'Does the damping change the frequency, too?', reply: 'A little. We will get to that on the next slide' },
  de: { room: 'physik-seminar', hello: 'Willkommen! Die Folien von heute: https://example.edu/folien/3', answer: 'Danke, ich sehe und höre alle gut.', question: 'Ändert die Dämpfung auch die Frequenz?', reply: 'Ein wenig. Das kommt auf der nächsten Folie' },
}[language];

mkdirSync(pictures, { recursive: true });
const server = await startServer({ io: 'auto', log: 'warn' });
const chromium = await launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM });
const [blank] = await chromium.browser.pages();
try {
  for (const viewport of SIZES) {
    if (process.env.ONLY && ![String(viewport.width), 'documents'].includes(process.env.ONLY)) continue;
    if (process.env.ONLY !== 'documents') await photograph(viewport);
    await photographDocuments(viewport);
  }
} finally {
  await chromium.close();
  await server.stop();
}

async function person(look) {
  const tab = await openTab(chromium);
  await tab.page.evaluateOnNewDocument(drawn, { look, language });
  return tab.page;
}

async function keep(name, picture) {
  writeFileSync(join(pictures, name), picture.length > LARGEST_BYTES ? await indexed(blank, picture) : picture);
  console.log(name);
}

/** The administration's page is served on the server's own host only. */
async function photographDocuments(viewport) {
  server.selfCheck();
  const onServer = await launch('chromium', { netns: process.env.SAAL_NETNS_SERVER });
  try {
    const { page } = await openTab(onServer);
    await page.setViewport(viewport);
    for (const language of ['en', 'de']) {
      for (const [name, url] of [['privacy', server.url], ['imprint', server.url], ['status', 'http://127.0.0.1:8081']]) {
        await page.goto(new URL(`${name === 'status' ? '' : name}?lang=${language}`, url).href);
        await keep(`${name}-${language}-${viewport.width}.png`, await page.screenshot());
      }
    }
  } finally {
    await onServer.close();
  }
}

async function photograph(viewport) {
  const page = await person(LOOKS.ada);
  await page.setViewport(viewport);
  const shoot = async (name, shown = page) => {
    await shown.bringToFront();
    await new Promise((resolve) => setTimeout(resolve, 400)); // tiles have moved, lists are filled
    await keep(`${name}-${viewport.width}.png`, await shown.screenshot());
  };
  await page.goto(server.url);
  await page.waitForSelector(testid('account'), { visible: true });
  await shoot('welcome');
  await signIn(page, server);
  await fill(page, 'room-name', WORDS.room);
  await shoot('signed-in');
  await page.$eval(testid('own-account'), (account) => {
    account.open = true;
    account.scrollIntoView();
  });
  await until('what is held', () => page.$eval(testid('account-held'), (held) => held.childElementCount > 0));
  await shoot('account');
  await page.$eval(testid('own-account'), (account) => {
    account.open = false;
    scrollTo(0, 0);
  });
  const link = await openRoom(page);
  await shoot('opened');
  await page.$eval('.streams', (streams) => {
    streams.open = true;
    streams.scrollIntoView({ block: 'center' });
  });
  await shoot('streams');
  const others = {};
  for (const [key, name] of Object.entries({ mira: 'Mira Sommer', jonas: 'Jonas Weber', lin: 'Dr. Lin Chen' })) {
    others[key] = await person(LOOKS[key]);
    if (key === 'jonas') await others[key].setViewport(viewport);
    await others[key].goto(link);
    await fill(others[key], 'display-name', name);
    await click(others[key], 'join');
    await click(others[key], 'camera');
    if (key === 'mira') await click(others[key], 'mic');
  }

  await page.goto(link);
  await fill(page, 'display-name', 'Ada Lovelace');
  await shoot('prejoin-off');
  await click(page, 'preview-mic');
  await click(page, 'preview-camera');
  await until('the preview', () => page.evaluate(() => document.querySelector('#preview-video').videoWidth > 0));
  await shoot('prejoin');
  await click(page, 'join');
  await page.waitForSelector(testid('mic'), { visible: true });
  await page.keyboard.press('m'); // she listens
  await until('everybody', () => page.evaluate(() => document.querySelectorAll('.has-picture').length === 4), 30_000);
  await until('her voice', () => page.evaluate(() => document.querySelector('.is-speaking') !== null));
  await page.evaluate(() => document.activeElement.blur());
  await new Promise((resolve) => setTimeout(resolve, SHARPENING_MS));
  await shoot('call');

  await click(page, 'chat-toggle');
  for (const other of Object.values(others)) await click(other, 'chat-toggle');
  const write = async (from, text) => {
    await fill(from, 'chat-input', text);
    await click(from, 'chat-send');
    await until('the words', () => page.evaluate((text) => document.querySelector('#messages').innerText.includes(text), text));
  };
  await write(others.mira, WORDS.hello);
  await write(page, WORDS.answer);
  await write(others.jonas, WORDS.question);
  await write(others.mira, WORDS.reply);
  await shoot('chat');
  await click(page, 'chat-close');

  const phone = viewport.isMobile;
  const press = async (name) => {
    if (phone) await click(page, 'more');
    await click(page, name);
  };
  await others.lin.keyboard.press('Escape');
  await click(others.lin, 'hand');
  await press('people');
  await shoot('people');
  await click(page, 'people-close');
  await press('my-data');
  await until('what is held', () => page.$eval(testid('data-facts'), (facts) => facts.childElementCount > 5));
  await shoot('my-data');
  await page.$eval(testid('leave-erase'), (leave) => leave.scrollIntoView({ block: 'center' }));
  await shoot('my-data-more');
  await click(page, 'data-close');
  await click(others.mira, 'my-data');
  await click(others.mira, 'pause');
  await until('the pause', () => page.evaluate(() => document.querySelector('.is-paused') !== null));
  await shoot('paused');
  await click(others.mira, 'pause');
  await press('connection');
  await until('the numbers', () => page.$eval(testid('line-pictures'), (list) => list.childElementCount === 3));
  await shoot('connection');
  await click(page, 'stats-close');
  // Her signalling breaks, and for a while there is no network to get it back over.
  await others.lin.evaluate((ms) => {
    const { WebSocket } = window;
    window.WebSocket = class extends EventTarget {
      close() {}
    };
    setTimeout(() => { window.WebSocket = WebSocket; }, ms);
    seen.sockets.at(-1).close(4000);
  }, INTERRUPTED_MS);
  await until('the interruption', () => page.evaluate(() => document.querySelector('.is-away') !== null));
  await new Promise((resolve) => setTimeout(resolve, INTERRUPTED_MS / 2)); // it is told after a while only
  await shoot('interrupted');
  await until('she is back', () => page.evaluate(() => document.querySelector('.is-away') === null));
  await press('settings');
  await shoot('settings');
  await page.keyboard.press('Escape');
  if (phone) {
    await click(page, 'more');
    await shoot('more');
    await page.keyboard.press('Escape');
  }
  await press('people');
  await click(page, 'room-rules');
  await shoot('rules');
  await click(page, 'rule-lobby');
  await page.keyboard.press('Escape');
  const guests = [];
  for (const name of ['Sam Yılmaz', 'Prof. Carla Duarte']) {
    const guest = await person(LOOKS.lin);
    await guest.setViewport(viewport);
    await guest.goto(link);
    await fill(guest, 'display-name', name);
    if (guests.length === 1) await click(guest, 'preview-camera');
    await click(guest, 'join');
    await guest.waitForSelector(testid('lobby-page'), { visible: true });
    guests.push(guest);
  }
  await until('both wait', () => page.evaluate(() => document.querySelectorAll('[data-testid="waiter"]').length === 2));
  await shoot('waiting');
  await shoot('lobby', guests[0]);
  await until('her own picture', () => guests[1].$eval('#waiting-video', (video) => video.videoWidth > 0));
  await shoot('lobby-camera', guests[1]);
  await guests[1].close();
  await until('one waits', () => page.evaluate(() => document.querySelectorAll('[data-testid="waiter"]').length === 1));
  await click(page, 'turn-away');
  await guests[0].waitForSelector(testid('join'), { visible: true });
  await shoot('turned-away', guests[0]);
  await guests[0].close();
  await until('nobody waits', () => page.evaluate(() => document.querySelector('#waiting').hidden));
  const jonas = await others.jonas.evaluate(() => seen.told.map((text) => JSON.parse(text)).find(({ type }) => type === 'welcome').participant);
  await page.click(`[data-participant="${jonas}"] ${testid('person-more')}`);
  await click(page, 'block-camera');
  await until('the block', () => page.$eval(testid('block-camera'), (press) => press.getAttribute('aria-pressed') === 'true'));
  await shoot('person');
  await click(others.jonas, 'chat-close');
  await shoot('blocked', others.jonas);
  await click(page, 'remove-person');
  await until('the closing page', async () => new URL(others.jonas.url()).pathname === '/bye');
  await others.jonas.waitForSelector('[data-verdict="genuine"]');
  await shoot('removed', others.jonas);
  await click(page, 'people-close');
  await click(others.mira, 'share');
  await until('the screen', () => page.evaluate(() => document.querySelector('[data-testid="screen-tile"].has-picture') !== null), 30_000);
  await new Promise((resolve) => setTimeout(resolve, SHARPENING_MS / 2));
  await shoot('screen');
  await click(page, 'hang-up');
  await until('the closing page', async () => new URL(page.url()).pathname === '/bye');
  await page.waitForSelector('[data-verdict="genuine"]');
  await shoot('bye');
  await page.$eval(testid('receipt'), (receipt) => {
    receipt.querySelector('details').open = true;
    receipt.scrollIntoView();
  });
  await shoot('receipt');
  for (const tab of [...Object.values(others), page]) await tab.close();
}
