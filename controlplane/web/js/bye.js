// The closing page: deletes whatever this origin left in the browser, says so, shows the receipt, and leads home unless
// somebody is still at it. It works when it is opened directly, whatever happened before.

import { button, el, find, save } from './dom.js';
import { language, onLanguage, t } from './i18n.js';
import { startPage } from './page.js';
import { read, takeReceiptFromAddress, verify } from './receipt.js';
import { wipe } from './settings.js';

const HOME_AFTER_SECONDS = 15;

const home = find(document, '[data-testid="home"]', HTMLAnchorElement);
const countdown = find(document, '#countdown', HTMLElement);
const said = find(document, '#said', HTMLElement);
const stay = button(document, 'stay');
/** @param {string} selector */
const place = (selector) => find(document, selector, HTMLElement);

const receipt = takeReceiptFromAddress();
const words = receipt && read(receipt);
/** @type {'checking' | 'genuine' | 'false' | 'unknown'} */
let verdict = 'checking';
/** @type {string | null} */
let publicKey = null;
let seconds = HOME_AFTER_SECONDS;
let stopped = false;

function heading() {
  if (location.hash.endsWith('.by-organizer')) return t('bye.heading.ended');
  if (location.hash.endsWith('.removed')) return t('bye.heading.removed');
  if (location.hash.endsWith('.shutdown')) return t('bye.heading.shutdown');
  return t('bye.heading');
}

function show() {
  place('#bye-heading').textContent = heading();
  countdown.textContent = stopped ? t('bye.stopped') : t('bye.countdown', { seconds });
  home.href = `/#${language()}`;
  showReceipt();
}

function showReceipt() {
  place('#paper').hidden = !words;
  place('#bye-server').hidden = words !== null;
  if (!receipt || !words) return;
  /** @param {string} at */
  const time = (at) => new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(at));
  const { erased } = words;
  /** @type {[import('./i18n.js').TextKey, string][]} */
  const lines = [
    ['receipt.joined', time(words.joined_at)],
    ['receipt.left', time(words.left_at)],
    ['receipt.erased', time(words.erased_at)],
    ['receipt.names', String(erased.names)],
    ['receipt.states', String(erased.states)],
    ['receipt.media', String(erased.media_connections)],
    ['receipt.counters', String(erased.rate_counters)],
    ['receipt.lines', t('receipt.lines.count', { held: erased.chat_lines, relayed: words.chat_lines_relayed })],
  ];
  place('#paper-lines').replaceChildren(...lines.map(([name, value]) => el('div', {}, el('dt', {}, t(name)), el('dd', {}, value))));
  place('#paper-verdict').textContent = t(`receipt.${verdict}`);
  place('#paper-verdict').dataset['verdict'] = verdict;
  place('#paper-text').textContent = receipt.receipt;
  place('#paper-signature').textContent = receipt.signature;
  place('#paper-key').textContent = publicKey ?? '';
}

const wiped = wipe();
startPage(() => t('bye.document'));
onLanguage(() => { void wipe(); show(); });
show();
said.textContent = countdown.textContent;

wiped.then(() => place('#receipt').classList.add('done'));

if (receipt && words) {
  verify(receipt).then((checked) => {
    ({ verdict, publicKey } = checked);
    showReceipt();
  });
  button(document, 'save-receipt').addEventListener('click', () => {
    save(`${JSON.stringify({ ...receipt, public_key: publicKey }, null, 2)}\n`, 'saal-receipt.json');
  });
}

const timer = setInterval(() => {
  seconds -= 1;
  if (seconds > 0) {
    show();
    return;
  }
  clearInterval(timer);
  location.replace(home.href);
}, 1000);

function stop() {
  if (stopped) return;
  clearInterval(timer);
  stopped = true;
  stay.hidden = true;
  show();
  said.textContent = t('bye.stopped');
}

stay.addEventListener('click', () => {
  stop();
  home.focus();
});
// Whoever does anything here is not sent away.
for (const sign of /** @type {const} */ (['pointerdown', 'keydown', 'wheel'])) document.addEventListener(sign, stop, { passive: true });
