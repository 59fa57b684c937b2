// /r/{room}: from the door into the call and out again.

import { CallPage } from './callpage.js';
import { Conference } from './conference.js';
import { Devices } from './devices.js';
import { find, stamp } from './dom.js';
import { language, t, translate } from './i18n.js';
import { startPage } from './page.js';
import { showPrejoin } from './prejoin.js';
import { wipe } from './settings.js';
import { roomOfPage, takePasswordFromAddress } from './signalling.js';

const ANSWER_MS = 2_000;

const password = takePasswordFromAddress();
const room = roomOfPage();
const devices = new Devices();
/** @type {CallPage | null} */
let page = null;

startPage(() => page?.title() ?? t('prejoin.document', { room }));

const place = find(document, '#stage-of-page', HTMLElement);
const leaveDoor = showPrejoin(place, { room, password, devices }, async (entry) => {
  const conference = new Conference({ room, devices, ...entry }, {
    onRoster: () => page?.showRoster(),
    onPictures: () => page?.showPictures(),
    onSpeakers: () => page?.showSpeakers(),
    onPerson: (before, after) => page?.tellPerson(before, after),
    onChat: (message) => page?.addChat(message),
    onStatus: (status) => page?.showStatus(status),
    onSoundBlocked: () => page?.offerSound(),
    onVideoRefused: (source) => page?.sayFull(source),
    onEnded: (reason) => void goodbye(conference, reason),
  });
  const outcome = await conference.enter();
  if (outcome !== 'welcome') return t(`refused.${outcome}`);
  leaveDoor();
  page = new CallPage(place, conference, devices, () => void goodbye(conference));
  return null;
});

// The link pasted into the address of this very page loads nothing by itself.
window.addEventListener('hashchange', () => {
  if (page) takePasswordFromAddress();
  else location.reload();
});

/**
 * Hanging up: everything stops, the server is told, nothing stays on the device.
 * @param {Conference} conference
 * @param {string} [reason]
 */
async function goodbye(conference, reason) {
  const bye = reason ? `/bye#${language()}.${reason}` : `/bye#${language()}`;
  devices.stopAll();
  try {
    await conference.leave();
    await wipe();
  } finally {
    await fetch('/bye', { signal: AbortSignal.timeout(ANSWER_MS) }).then(() => location.replace(bye), () => sayGoodbyeHere(bye, reason));
  }
}

/** The server is gone, and with it the closing page: the same words without it. @param {string} bye @param {string} [reason] */
function sayGoodbyeHere(bye, reason) {
  page = null;
  history.replaceState(null, '', bye);
  place.replaceChildren(stamp('farewell-template'));
  translate(place);
  const heading = find(place, '#farewell-heading', HTMLElement);
  heading.textContent = document.title = t(reason === 'shutdown' ? 'bye.heading.shutdown' : 'bye.heading');
  heading.focus();
}
