// ./netns.sh node screenshots.mjs: pictures of every page into docs/screenshots, on a desktop and on a phone.
import { mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { click, fill, launch, openTab as openWatchedTab, testid, until } from './lib.mjs';
import { ACCOUNT, startServer } from './server.mjs';

const pictures = resolve(dirname(fileURLToPath(import.meta.url)), '../../docs/screenshots');
const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true };
const OTHERS = ['Mira Sommer', 'Jonas Weber', 'Dr. Lin Chen'];

// In place of the browsers' test picture: somebody before a wall of their own colour, and a slide.
function paintedDevices() {
  const painted = (width, height, paint) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const pen = canvas.getContext('2d');
    setInterval(() => paint(pen, performance.now() / 1000), 100);
    return canvas.captureStream(10);
  };
  const circle = (pen, x, y, rx, ry, fill) => {
    pen.fillStyle = fill;
    pen.beginPath();
    pen.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
    pen.fill();
  };
  const { getUserMedia } = MediaDevices.prototype;
  MediaDevices.prototype.getUserMedia = async function (wish) {
    if (!wish.video) return getUserMedia.call(this, wish);
    const hue = Math.floor(Math.random() * 360);
    return painted(640, 360, (pen, time) => {
      const wall = pen.createLinearGradient(0, 0, 640, 360);
      wall.addColorStop(0, `hsl(${hue} 30% 78%)`);
      wall.addColorStop(1, `hsl(${hue} 34% 52%)`);
      pen.fillStyle = wall;
      pen.fillRect(0, 0, 640, 360);
      const sway = 6 * Math.sin(time + hue);
      circle(pen, 320 + sway / 2, 400, 150, 150, `hsl(${hue + 180} 35% 30%)`);
      circle(pen, 320 + sway, 165, 66, 80, `hsl(25 ${30 + (hue % 30)}% ${40 + (hue % 35)}%)`);
      pen.fillStyle = `hsl(${hue} 25% 16%)`;
      pen.beginPath();
      pen.ellipse(320 + sway, 135, 72, 66, 0, Math.PI, 2 * Math.PI);
      pen.fill();
    });
  };
  MediaDevices.prototype.getDisplayMedia = async () => painted(1280, 720, (pen, time) => {
    pen.fillStyle = '#fbfaf6';
    pen.fillRect(0, 0, 1280, 720);
    pen.fillStyle = '#0b434c';
    pen.font = 'bold 64px sans-serif';
    pen.fillText('Sorting in linear time', 96, 140);
    pen.font = '36px sans-serif';
    ['Comparison sorts need n log n steps', 'Counting sort needs n + k', 'Radix sort: one digit at a time'].forEach((line, i) => pen.fillText(`•  ${line}`, 110, 240 + 64 * i));
    for (let bar = 0; bar < 16; bar++) {
      pen.fillStyle = bar === Math.floor(time) % 16 ? '#f2b84b' : '#2f7f86';
      const height = 20 + ((bar * 7) % 16) * 11;
      pen.fillRect(110 + bar * 66, 660 - height, 48, height);
    }
  });
}

mkdirSync(pictures, { recursive: true });
const server = await startServer({ io: 'auto', log: 'warn' });
const chromium = await launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM });
try {
  for (const viewport of [DESKTOP, PHONE]) await photograph(viewport);
} finally {
  await chromium.close();
  await server.stop();
}

async function openTab(browser) {
  const tab = await openWatchedTab(browser);
  await tab.page.evaluateOnNewDocument(paintedDevices);
  return tab;
}

async function photograph(viewport) {
  const { page } = await openTab(chromium);
  await page.setViewport(viewport);
  const shoot = async (name) => {
    await page.bringToFront();
    await page.screenshot({ path: join(pictures, `${name}-${viewport.width}.png`) });
    console.log(`${name}-${viewport.width}.png`);
  };
  await page.goto(server.url);
  await page.waitForSelector(testid('account'), { visible: true });
  await shoot('welcome');
  await fill(page, 'account', ACCOUNT);
  await fill(page, 'password', server.password);
  await click(page, 'sign-in');
  await fill(page, 'room-name', viewport === PHONE ? 'colloquium' : 'seminar');
  await shoot('open');
  await click(page, 'open-room');
  const link = await page.waitForSelector(testid('room-link'), { visible: true }).then((field) => field.evaluate(({ value }) => value));
  await shoot('opened');
  for (const path of ['privacy', 'imprint']) {
    await page.goto(new URL(path, server.url).href);
    await shoot(path);
  }

  const others = [];
  for (const name of OTHERS) {
    const other = await openTab(chromium);
    others.push(other);
    await other.page.goto(link);
    await fill(other.page, 'display-name', name);
    await click(other.page, 'join');
    await click(other.page, 'camera');
    if (name !== OTHERS[2]) await click(other.page, 'mic');
  }

  await page.goto(link);
  await fill(page, 'display-name', 'Ada Lovelace');
  await click(page, 'preview-mic');
  await click(page, 'preview-camera');
  await until('the preview', () => page.evaluate(() => (document.querySelector('#preview-video')?.videoWidth ?? 0) > 0));
  await shoot('pre-join');
  await click(page, 'join');
  await until('everybody', () => page.evaluate(() => document.querySelectorAll('.has-picture').length === 4), 30_000);
  await shoot('call');

  await click(page, 'chat-toggle');
  await click(others[0].page, 'chat-toggle');
  await fill(others[0].page, 'chat-input', 'Welcome! The slides are on their way.');
  await click(others[0].page, 'chat-send');
  await fill(page, 'chat-input', 'Thank you, I can see and hear everybody.');
  await click(page, 'chat-send');
  await until('the words', () => page.evaluate(() => document.querySelectorAll('#messages > li').length >= 2));
  await shoot('chat');
  await click(page, viewport === PHONE ? 'chat-close' : 'chat-toggle');

  if (viewport === DESKTOP) {
    await click(page, 'people');
    await shoot('people');
    await click(page, 'people');
    await click(others[0].page, 'share');
    await until('the screen', () => page.evaluate(() => document.querySelector('[data-testid="screen-tile"].has-picture') !== null), 30_000);
    await shoot('screen');
  }
  await click(page, 'hang-up');
  await until('the closing page', async () => new URL(page.url()).pathname === '/bye');
  await page.waitForSelector(testid('home'), { visible: true });
  await shoot('bye');
  for (const { page: other } of others) await other.close();
  await page.close();
}
