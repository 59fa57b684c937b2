// A person's rights in a real call: what the browser keeps and loses, what the panel "My data" shows and gives, that a pause
// is seen and stops every packet, and that the receipt on the closing page verifies. Ada is in Chromium first, then in
// Firefox; what no browser does in its own way is tried in Chromium only. SAAL_IO names the backend.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { click, fill, launch, missing, newRoom, openTab, signIn, testid, until } from './lib.mjs';
import { startServer } from './server.mjs';

const io = process.env.SAAL_IO ?? 'auto';
const downloads = mkdtempSync(join(tmpdir(), 'saal-rights-'));

let server, chromium, firefox, ada, bob, link;

before(async () => {
  assert.deepEqual(missing(), [], 'these programs are missing');
  server = await startServer({ io, log: 'warn' });
  [chromium, firefox] = await Promise.all([
    launch('chromium', { netns: process.env.SAAL_NETNS_CHROMIUM }),
    launch('firefox', { downloads }),
  ]);
}, { timeout: 60_000 });

after(async () => {
  await Promise.all([chromium?.close(), firefox?.close()]);
  await server?.stop();
  rmSync(downloads, { recursive: true, force: true });
}, { timeout: 30_000 });

for (const name of ['chromium', 'firefox']) describe(`rights in the call, in ${name}`, () => {
  const only = name === 'chromium' ? test : () => {};

  before(async () => { link = await newRoom(chromium, server); }, { timeout: 60_000 });

  only('organizers find their own sign-ins on the start page', { timeout: 30_000 }, async () => {
    const { page } = await openTab(chromium);
    await signIn(page, server);
    const account = await page.waitForSelector(testid('own-account'), { visible: true });
    await account.evaluate((details) => details.querySelector('summary').click());
    const told = () => page.$eval(testid('account-held'), ({ innerText }) => innerText);
    await until('two of them', async () => (await told()).match(/signed in|angemeldet/g)?.length === 2 || told());
    await page.close();
  });

  test('nothing is captured and nothing stored before the person acts', { timeout: 30_000 }, async () => {
    [ada, bob] = [await openTab(name === 'firefox' ? firefox : chromium), await openTab(chromium)];
    for (const { page } of [ada, bob]) {
      await page.goto(link);
      await page.waitForSelector(testid('join'), { visible: true });
      assert.deepEqual(await page.evaluate(() => [seen.captures, seen.displayCaptures]), [0, 0]);
      assert.deepEqual(await stored(page), NOTHING);
    }
    for (const [name, { page }] of Object.entries({ Ada: ada, Bob: bob })) {
      await fill(page, 'display-name', name);
      await click(page, 'join');
      await until('connected', () => page.evaluate(() => window.saal?.pc?.connectionState === 'connected'));
      assert.deepEqual(await page.evaluate(() => [seen.captures, seen.displayCaptures]), [0, 0]);
    }
  });

  test('during the call the browser keeps what is documented', { timeout: 30_000 }, async () => {
    const { page } = ada;
    await click(page, 'mic');
    await click(page, 'camera');
    await click(page, 'settings');
    await page.select('#resolution-select', '360');
    await page.keyboard.press('Escape');
    await until('the documented entries', async () => {
      const { local, session, databases, caches } = await stored(page);
      const documented = { 'saal.name': 'Ada', 'saal.resolution': '360', 'saal.microphone': 'on', 'saal.camera': 'on' };
      return JSON.stringify([sorted(local), session, databases, caches]) === JSON.stringify([sorted(documented), {}, [], []]) || { local, session };
    });
    await until('Bob sees Ada', () => received(bob.page).then(({ video, audio }) => video > 20 && audio > 20));
  });

  test('the panel shows and gives what the server holds', { timeout: 30_000 }, async () => {
    const { page } = ada;
    await say(ada, 'first words');
    await say(ada, 'second words');
    await until('Bob reads them', () => messagesOf(bob.page).then((messages) => messages.length === 2));
    await click(page, 'my-data');
    await until('facts', () => page.$eval(testid('data-facts'), (facts) => /microphone|Mikrofon/.test(facts.innerText)));
    assert.match(await page.$eval('#data-panel', (panel) => panel.innerText), /saal\.resolution/, 'what the device keeps is told as well');
    if (name === 'chromium') {
      const browser = await page.browser().target().createCDPSession();
      await browser.send('Browser.setDownloadBehavior', { behavior: 'allow', browserContextId: page.browserContext().id, downloadPath: downloads });
    }
    await click(page, 'download-data');
    const data = await downloaded('saal-my-data.json');
    assert.equal(data.format, 'saal-my-data-1');
    assert.equal(data.control_plane.participant, await idOf(ada));
    assert.deepEqual(data.control_plane.switched_on, { microphone: true, camera: true, screen: false, hand: false });
    assert.equal(data.control_plane.chat_lines_relayed, 2);
    assert.deepEqual(data.browser.own_chat_lines.map(({ text }) => text), ['first words', 'second words']);
    assert.equal(data.browser.localStorage['saal.name'], 'Ada');
    assert.doesNotMatch(JSON.stringify(data), /Bob/, 'nothing of others');
    assert.ok(!JSON.stringify(data.control_plane).includes(data.media_plane.address ?? 'no address'), 'the control plane knows no address');
  });

  only('a new name and deleted messages reach the others', { timeout: 30_000 }, async () => {
    await click(ada.page, 'data-rename');
    await fill(ada.page, 'data-rename-input', 'Ada L.');
    await click(ada.page, 'data-rename-save');
    await until('Bob sees the name', () => bob.page.evaluate(() => document.querySelector('#tiles').innerText.includes('Ada L.')));
    await say(bob, 'mine stays');
    await click(ada.page, 'delete-chat');
    await until('only Bob’s is left, at both', async () => {
      const left = await Promise.all([ada, bob].map(({ page }) => messagesOf(page)));
      return left.every((messages) => messages.length === 1 && messages[0].includes('mine stays')) || left;
    });
  });

  test('a pause is seen by the others and stops every packet; one click resumes', { timeout: 40_000 }, async () => {
    const id = await idOf(ada);
    await click(ada.page, 'pause');
    await until('Bob sees it', () => bob.page.evaluate((id) => document.querySelector(`[data-testid="tile"][data-participant="${id}"]`)?.classList.contains('is-paused'), id));
    assert.equal(await ada.page.$eval(testid('pause'), (pressed) => pressed.getAttribute('aria-checked')), 'true');
    let last = -1;
    await until('the last packet under way has come', async () => {
      const { packets } = await received(bob.page);
      const same = packets === last;
      last = packets;
      return same || packets;
    });
    const before = await received(bob.page);
    await new Promise((resolve) => setTimeout(resolve, 2_000)); // the measurement itself
    assert.deepEqual((await received(bob.page)).packets, before.packets);
    await click(ada.page, 'pause');
    await until('Bob gets packets again', () => received(bob.page).then(({ video, audio }) => video > before.video + 10 && audio > before.audio + 10));
  });

  test('leaving erases, and the closing page shows a receipt that verifies', { timeout: 30_000 }, async () => {
    const { page } = ada;
    await say(ada, 'last words');
    await until('Bob reads them', () => messagesOf(bob.page).then((messages) => messages.some((text) => text.includes('last words'))));
    if (!await page.$eval('#data-panel', (panel) => !panel.hidden)) await click(page, 'my-data');
    await click(page, 'leave-erase');
    await until('the closing page', async () => new URL(page.url()).pathname === '/bye');
    await until('a checked receipt', () => page.$eval(testid('verdict'), (verdict) => verdict.dataset.verdict === 'genuine' || verdict.textContent), 10_000);
    assert.doesNotMatch(page.url(), /receipt/, 'it is taken out of the address');
    assert.deepEqual(await stored(page), NOTHING);
    assert.equal(await page.evaluate(() => history.state), null);
    assert.deepEqual(await page.browserContext().cookies(), []);
    await until('her words are gone at Bob', () => messagesOf(bob.page).then((messages) => messages.every((text) => !text.includes('last words'))));

    const text = await page.$eval('#paper-text', (paper) => paper.textContent);
    const receipt = JSON.parse(text);
    assert.equal(receipt.erased.media_connections, 1);
    assert.equal(receipt.chat_lines_relayed, 3);
    assert.doesNotMatch(text, /Ada|canary/);
    assert.equal(await forged(page), 'false', 'another receipt with this signature does not verify');
    await page.mouse.click(5, 5);
    await page.waitForSelector(testid('stay'), { hidden: true });
    assert.ok(await page.$(`${testid('home')}[href^="/"]`), 'a link leads home, and nobody is sent');
  });

  only('an address with a made-up receipt shows none, or that it is not this server’s', { timeout: 30_000 }, async () => {
    const { page } = ada;
    const at = '2026-03-02T09:15:00Z';
    const whole = { receipt: 'saal-receipt-1', joined_at: at, left_at: at, erased_at: at, erased: { names: 1, states: 1, rate_counters: 3, media_connections: 1, chat_lines: 0 }, chat_lines_relayed: 1 };
    for (const [words, verdict] of [[null, null], [{ receipt: 'saal-receipt-1' }, null], [{ ...whole, left_at: 'x' }, null], [{ ...whole, chat_lines_relayed: '<b>' }, null], [whole, 'false']]) {
      await page.goto('about:blank');
      await page.goto(`${new URL('/bye', server.url)}#en&receipt=${encodeURIComponent(JSON.stringify({ receipt: JSON.stringify(words), signature: '00' }))}`);
      await until(`${verdict ?? 'no receipt'}, and the way home`, () => page.evaluate((verdict) => {
        const paper = document.querySelector('#paper');
        const shown = paper.hidden ? null : document.querySelector('#paper-verdict').dataset.verdict;
        return shown === verdict && document.querySelector('#countdown').textContent !== '' || `${shown}`;
      }, verdict));
    }
    assert.deepEqual(ada.complaints, []);
  });

  only('closing the tab leaves what the browser keeps, and the start page offers to forget it', { timeout: 30_000 }, async () => {
    const { page } = bob;
    await click(page, 'mic');
    await until('the microphone is on', async () => (await stored(page)).local['saal.microphone'] === 'on');
    const next = await page.browserContext().newPage();
    await page.close();
    await next.goto(link);
    await next.waitForSelector(testid('as-before'), { visible: true, timeout: 10_000 });
    assert.equal(await next.$eval(testid('display-name'), ({ value }) => value), 'Bob');
    await next.goto(server.url);
    await next.waitForSelector('[data-forget]', { visible: true, timeout: 10_000 });
    assert.deepEqual(Object.keys((await stored(next)).local).sort(), ['saal.microphone', 'saal.name']);
    await next.click('[data-forget]');
    await until('nothing kept', async () => JSON.stringify(await stored(next)) === JSON.stringify(NOTHING));
    bob.page = next;
  });

  only('/bye wipes when it is opened directly, with and without its scripts', { timeout: 30_000 }, async () => {
    const { page } = bob;
    for (const scripts of [true, false]) {
      await page.goto(server.url);
      await page.evaluate(leaveTraces);
      assert.notDeepEqual(await stored(page), NOTHING);
      await page.setJavaScriptEnabled(scripts);
      await page.goto(new URL('/bye', server.url).href);
      await page.setJavaScriptEnabled(true);
      // A page that wipes nothing by itself looks.
      await until(`nothing is left ${scripts ? 'with' : 'without'} scripts`, async () => {
        const left = await stored(page);
        return JSON.stringify(left) === JSON.stringify(NOTHING) || left;
      });
    }
  });
});

const NOTHING = { local: {}, session: {}, databases: [], caches: [] };

/** Everything that the browser keeps of the page's origin. */
const stored = (page) => page.evaluate(async () => ({
  local: { ...localStorage }, session: { ...sessionStorage },
  databases: (await indexedDB.databases()).map(({ name }) => name), caches: await caches.keys(),
}));

const sorted = (object) => Object.fromEntries(Object.entries(object).sort());

/** Runs in the page: something in every store. */
async function leaveTraces() {
  localStorage.setItem('trace', 'x');
  sessionStorage.setItem('trace', 'x');
  await caches.open('trace');
  await new Promise((done) => (indexedDB.open('trace').onsuccess = ({ target }) => done(target.result.close())));
}

/** Packets that a page has received so far. */
const received = (page) => page.evaluate(async () => {
  const inbound = [...(await window.saal.pc.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
  const of = (kind) => inbound.filter((entry) => entry.kind === kind).reduce((sum, { packetsReceived }) => sum + (packetsReceived ?? 0), 0);
  return { audio: of('audio'), video: of('video'), packets: of('audio') + of('video') };
});

const messagesOf = (page) => page.$$eval(testid('chat-message'), (messages) => messages.map((message) => message.textContent));

const idOf = ({ page }) => page.evaluate(() => seen.told.map((text) => JSON.parse(text)).find(({ type }) => type === 'welcome').participant);

/** Writes into the chat, whichever panel is open, and waits for the echo. */
async function say({ page }, text) {
  if (await page.$eval('#chat-panel', (panel) => panel.hidden)) await click(page, 'chat-toggle');
  await fill(page, 'chat-input', text);
  await click(page, 'chat-send');
  await until('the echo', () => messagesOf(page).then((messages) => messages.some((message) => message.includes(text))));
}

async function downloaded(name) {
  await until(`the file ${name}`, () => readdirSync(downloads).includes(name));
  const file = join(downloads, name);
  await until('all of it', () => readFileSync(file, 'utf8').endsWith('}\n'));
  const data = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(file);
  return data;
}

/** What the page's own check says of a changed receipt. */
const forged = (page) => page.evaluate(async () => {
  const { verify } = await import('/assets/js/receipt.js');
  const text = (id) => document.querySelector(id).textContent;
  const changed = text('#paper-text').replace('"chat_lines":0', '"chat_lines":1');
  return (await verify({ receipt: changed, signature: text('#paper-signature') })).verdict;
});
