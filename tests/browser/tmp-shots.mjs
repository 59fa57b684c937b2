import { mkdirSync, writeFileSync } from 'node:fs';
import { LOOKS, drawn } from './drawn.mjs';
import { click, fill, launch, openTab, testid, until } from './lib.mjs';
import { ACCOUNT, startServer } from './server.mjs';
mkdirSync('/tmp/shots', { recursive: true });
const server = await startServer({ io: 'auto', log: 'warn' });
const chromium = await launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM });
try {
  for (const language of ['en', 'de']) for (const viewport of [{ width: 1280, height: 800 }, { width: 390, height: 844, isMobile: true, hasTouch: true }]) await go(language, viewport);
} finally { await chromium.close(); await server.stop(); }
async function person(look, language) {
  const tab = await openTab(chromium);
  await tab.page.evaluateOnNewDocument(drawn, { look, language });
  tab.page.on('pageerror', (e) => console.log('ERR', e.message));
  return tab.page;
}
async function go(language, viewport) {
  const page = await person(LOOKS.ada, language);
  await page.setViewport(viewport);
  const shoot = async (name, shown = page) => {
    await shown.bringToFront();
    await new Promise((r) => setTimeout(r, 400));
    writeFileSync(`/tmp/shots/${name}-${language}-${viewport.width}.png`, await shown.screenshot());
  };
  await until('the page', () => page.goto(server.url).then(() => true));
  await fill(page, 'account', ACCOUNT);
  await fill(page, 'password', server.password);
  await click(page, 'sign-in');
  await page.waitForSelector(testid('open-room'), { visible: true });
  await shoot('signed-in');
  await click(page, 'open-room');
  const link = await page.waitForSelector(testid('room-link'), { visible: true }).then((f) => f.evaluate(({ value }) => value));
  await page.goto(link);
  await fill(page, 'display-name', 'Ada Lovelace');
  await click(page, 'join');
  const mira = await person(LOOKS.mira, language);
  await mira.goto(link); await fill(mira, 'display-name', 'Mira Sommer'); await click(mira, 'join'); await click(mira, 'camera'); await click(mira, 'mic');
  await until('mira', () => page.evaluate(() => document.querySelectorAll('.has-picture').length === 1), 20_000);
  if (viewport.isMobile) await click(page, 'more');
  await click(page, 'people');
  await click(page, 'room-rules');
  await shoot('rules');
  await click(page, 'rule-lobby');
  await page.keyboard.press('Escape');
  const guests = [];
  for (const name of ['Sam Yılmaz', 'Prof. Carla Duarte']) {
    const guest = await person(LOOKS.lin, language);
    await guest.setViewport(viewport);
    await guest.goto(link); await fill(guest, 'display-name', name); await click(guest, 'join');
    await guest.waitForSelector(testid('lobby-page'), { visible: true });
    guests.push(guest);
  }
  await until('both', () => page.evaluate(() => document.querySelectorAll('[data-testid="waiter"]').length === 2));
  await shoot('waiting');
  await shoot('lobby', guests[0]);
  await page.bringToFront();
  const away = await page.$(testid('turn-away')); await away.click();
  await guests[0].waitForSelector(testid('join'), { visible: true });
  await shoot('turned-away', guests[0]);
  for (const guest of guests) await guest.close();
  await page.bringToFront();
  await click(page, 'person-more');
  await click(page, 'block-microphone');
  await shoot('person');
  await page.keyboard.press('Escape');
  await shoot('blocked-mira', mira);
  await page.bringToFront();
  await click(page, 'hang-up');
  await mira.close(); await page.close();
}
