// Starts Debian's own Chromium and Firefox ESR, headless, with a pretended camera and microphone, and watches what a page
// does: which requests it makes, what it captures, what it is told. Every browser gets a profile of its own that is
// deleted with it.
import puppeteer from 'puppeteer-core';
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ACCOUNT } from './server.mjs';

// Debian's wrapper script /usr/bin/chromium adds flags of its own, so the program behind it is started.
const CHROMIUM = process.env.CHROMIUM ?? '/usr/lib/chromium/chromium';
const FIREFOX = process.env.FIREFOX ?? '/usr/lib/firefox-esr/firefox-esr';

/** What the machine lacks for these tests; empty when they can run. */
export const missing = () => [CHROMIUM, FIREFOX].filter((program) => !existsSync(program));

const CHROMIUM_FLAGS = [
  '--headless=new',
  '--no-sandbox', // refused to root otherwise
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--hide-scrollbars',
  '--mute-audio',
  '--password-store=basic',
  // Nothing but the page may use the network.
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-domain-reliability',
  '--disable-extensions',
  '--disable-sync',
  '--no-pings',
  // A tab in the background has to keep up: all tabs but one are.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
  '--autoplay-policy=no-user-gesture-required',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=fps=10',
  '--ignore-certificate-errors',
  // The raw address in the page's hands: the tests look whether it gets out.
  '--disable-features=WebRtcHideLocalIpsWithMdns',
];

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  // Nothing but the page may use the network.
  'app.normandy.enabled': false,
  'app.update.auto': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-manager.url': '',
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,#remote-settings-dummy/v1',
  'toolkit.telemetry.enabled': false,
};

/**
 * @param {'chromium' | 'firefox'} name
 * @param {{ netns?: string, viewport?: { width: number, height: number }, downloads?: string, media?: { video: string, audio: string } }} [options]
 *   netns: the host that it runs on (Chromium only: Firefox is driven over a local port); downloads: where Firefox puts files (Chromium is
 *   told by the test); media: files that Chromium's camera and microphone take in; loudspeaker: a pretended one for Firefox, whose
 *   AudioContext does not run without
 */
export async function launch(name, { netns, viewport = { width: 1000, height: 640 }, downloads, media, loudspeaker = false } = {}) {
  const profile = mkdtempSync(join(tmpdir(), `saal-test-${name}-`));
  const common = { acceptInsecureCerts: true, defaultViewport: viewport, userDataDir: profile, protocolTimeout: 60_000, dumpio: !!process.env.DUMPIO };
  const browser = name === 'firefox'
    ? await puppeteer.launch({ ...common, browser: 'firefox', executablePath: FIREFOX, headless: true, extraPrefsFirefox: { ...FIREFOX_PREFS, 'media.cubeb.force_mock_context': loudspeaker, ...downloads ? { 'browser.download.folderList': 2, 'browser.download.dir': downloads } : {} } })
    : await puppeteer.launch({
        ...common,
        browser: 'chrome',
        executablePath: netns ? '/bin/sh' : CHROMIUM,
        pipe: true,
        ignoreDefaultArgs: true,
        args: [...(netns ? ['-c', 'exec ip netns exec "$0" "$@"', netns, CHROMIUM] : []), ...CHROMIUM_FLAGS, ...(media ? [`--use-file-for-fake-video-capture=${media.video}`, `--use-file-for-fake-audio-capture=${media.audio}`] : []), `--user-data-dir=${profile}`, '--remote-debugging-pipe', 'about:blank'],
      });
  const { pid } = browser.process();
  let killed = false;
  return {
    name,
    browser,
    /** As a crash or a dead battery ends it: all its processes at once, no goodbye. */
    kill() {
      process.kill(-pid, 'SIGKILL');
      killed = true;
    },
    async close() {
      if (!killed) await browser.close().catch(() => {});
      // Its last processes may still be writing.
      for (let tries = 0; tries < 50 && existsSync(profile); tries++) {
        await rm(profile, { recursive: true, force: true }).catch(() => new Promise((resolve) => setTimeout(resolve, 100)));
      }
    },
  };
}

// Runs in the page before the page's own scripts. It keeps what the page was told and counts what it did, independently
// of what the page says about itself, and leaves the browser's behaviour as it is but for the picture's size.
function probe(camera) {
  const seen = { captures: 0, displayCaptures: 0, remoteDescriptions: 0, answeredAt: 0, told: [], said: [], sockets: [], violations: [], iceServers: 0 };
  Object.defineProperty(window, 'seen', { value: seen });

  document.addEventListener('securitypolicyviolation', (event) => seen.violations.push(`${event.violatedDirective} ${event.blockedURI}`));

  const devices = globalThis.MediaDevices?.prototype;
  if (devices) {
    const { getUserMedia, getDisplayMedia } = devices;
    devices.getUserMedia = function (wish = {}) {
      seen.captures += 1;
      const video = typeof wish.video === 'object' ? { ...wish.video, ...camera } : wish.video && camera;
      return getUserMedia.call(this, { ...wish, video });
    };
    devices.getDisplayMedia = function (wish) {
      seen.displayCaptures += 1;
      return getDisplayMedia.call(this, wish);
    };
  }

  const Connection = window.RTCPeerConnection;
  const { setRemoteDescription } = Connection.prototype;
  Connection.prototype.setRemoteDescription = function (...of) {
    seen.remoteDescriptions += 1;
    seen.answeredAt ||= performance.now();
    return setRemoteDescription.apply(this, of);
  };
  window.RTCPeerConnection = class extends Connection {
    constructor(configuration) {
      super(configuration);
      seen.iceServers += configuration?.iceServers?.length ?? 0;
    }
  };

  window.WebSocket = class extends window.WebSocket {
    constructor(...of) {
      super(...of);
      seen.sockets.push(this);
      this.addEventListener('message', (event) => seen.told.push(String(event.data)));
    }
    send(text) {
      seen.said.push(String(text));
      super.send(text);
    }
  };
}

/** Two cores carry three senders and the server: a small picture, whatever the page asks for. */
const SMALL_CAMERA = { width: 640, height: 360, frameRate: 10 };

/** A tab in a cookie jar of its own, watched from its first request on. */
export async function openTab({ name, browser }, { camera = SMALL_CAMERA } = {}) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const tab = { name, page, requests: [], complaints: [] };
  page.on('request', (request) => tab.requests.push(request.url()));
  page.on('pageerror', (error) => tab.complaints.push(`uncaught: ${error?.message ?? error}`));
  page.on('console', (message) => {
    if (message.type() === 'error') tab.complaints.push(`console: ${message.text()} ${message.location()?.url ?? ''}`);
  });
  await page.evaluateOnNewDocument(probe, camera);
  return tab;
}

export const testid = (name) => `[data-testid="${name}"]`;

/** Fills a field as a person does. */
export async function fill(page, name, text) {
  const field = await page.waitForSelector(testid(name), { visible: true, timeout: 10_000 });
  await field.click({ count: 3 });
  await field.press('Backspace');
  await field.type(text);
}

export async function click(page, name) {
  const button = await page.waitForSelector(`${testid(name)}:not([disabled])`, { visible: true, timeout: 10_000 });
  await button.click();
}

/** The organizer comes to the start page and signs in. @param {{ url: string, password: string }} server */
export async function signIn(page, { url, password }) {
  // The wires are seconds old: Chromium may break off what it began before it saw the last address of its host.
  await until('the page', () => page.goto(url).then(() => true));
  await fill(page, 'account', ACCOUNT);
  await fill(page, 'password', password);
  await click(page, 'sign-in');
}

/** An organizer who is signed in opens a room. @returns its link */
export async function openRoom(page) {
  await click(page, 'open-room');
  const field = await page.waitForSelector(testid('room-link'), { visible: true, timeout: 10_000 });
  await until('a link', () => field.evaluate(({ value }) => value !== ''));
  return field.evaluate(({ value }) => value);
}

/** A room whose organizer has closed the start page. @returns its link */
export async function newRoom(browser, server) {
  const { page } = await openTab(browser);
  await signIn(page, server);
  const link = await openRoom(page);
  await page.close();
  return link;
}

/** Somebody comes in by the link, with everything off. */
export async function enter(page, link, name) {
  await page.goto(link);
  await fill(page, 'display-name', name);
  await click(page, 'join');
  await until(`${name} is connected`, () => page.evaluate(() => window.saal?.pc?.connectionState === 'connected'));
}

/**
 * Asks until the answer is true and says what it was asked if that takes too long.
 * @returns the milliseconds it took
 */
export async function until(what, ask, timeout = 15_000) {
  const start = performance.now();
  let last;
  for (;;) {
    try {
      last = await answered(ask());
      if (last === true) return performance.now() - start;
    } catch (error) {
      last = error.message;
    }
    if (performance.now() - start > timeout) throw new Error(`after ${timeout} ms still not: ${what}; last answer ${JSON.stringify(last)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A page that does not answer is asked again. */
function answered(asked) {
  let timer;
  const silence = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('no answer')), 5_000); });
  return Promise.race([asked, silence]).finally(() => clearTimeout(timer));
}
