// The closing page: deletes whatever this origin left in the browser, says so, and leads home unless told to stay.
// It works when it is opened directly, whatever happened before.

import { button, find } from './dom.js';
import { language, onLanguage, t } from './i18n.js';
import { startPage } from './page.js';
import { wipe } from './settings.js';

const HOME_AFTER_SECONDS = 10;

const home = find(document, '[data-testid="home"]', HTMLAnchorElement);
const countdown = find(document, '#countdown', HTMLElement);
const said = find(document, '#said', HTMLElement);
const stay = button(document, 'stay');

let seconds = HOME_AFTER_SECONDS;
let stopped = false;

function heading() {
  if (location.hash.endsWith('.by-organizer')) return t('bye.heading.ended');
  if (location.hash.endsWith('.removed')) return t('bye.heading.removed');
  if (location.hash.endsWith('.shutdown')) return t('bye.heading.shutdown');
  return t('bye.heading');
}

function show() {
  find(document, '#bye-heading', HTMLElement).textContent = heading();
  countdown.textContent = stopped ? t('bye.stopped') : t('bye.countdown', { seconds });
  home.href = `/#${language()}`;
}

const wiped = wipe();
startPage(() => t('bye.document'));
onLanguage(() => { void wipe(); show(); });
show();
said.textContent = countdown.textContent;

wiped.then(() => find(document, '#receipt', HTMLElement).classList.add('done'));

const timer = setInterval(() => {
  seconds -= 1;
  if (seconds > 0) {
    show();
    return;
  }
  clearInterval(timer);
  location.replace(home.href);
}, 1000);

stay.addEventListener('click', () => {
  clearInterval(timer);
  stopped = true;
  stay.hidden = true;
  show();
  said.textContent = t('bye.stopped');
  home.focus();
});
