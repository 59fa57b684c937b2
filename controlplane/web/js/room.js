// /r/{room}: from the door, by way of the lobby if there is one, into the call and out again.

import { CallPage } from './callpage.js';
import { Conference } from './conference.js';
import { Devices } from './devices.js';
import { find, stamp } from './dom.js';
import { language, t, translate } from './i18n.js';
import { startPage } from './page.js';
import { showPrejoin } from './prejoin.js';
import { asFragment } from './receipt.js';
import { wipe } from './settings.js';
import { roomOfPage, takePasswordFromAddress } from './signalling.js';
import { showWaiting } from './waiting.js';

const ANSWER_MS = 2_000;

/** What ended the wait in the lobby. @type {Partial<Record<import('./conference.js').Status, import('./i18n.js').TextKey>>} */
const LOST = { lost: 'refused.unreachable', gone: 'refused.not-admitted', locked: 'refused.locked' };

const password = takePasswordFromAddress();
const room = roomOfPage();
const devices = new Devices();
/** @type {CallPage | null} */
let page = null;
/** Takes the door or the lobby away. */
let leave = () => {};

startPage(() => page?.title() ?? t('prejoin.document', { room }));

const place = find(document, '#stage-of-page', HTMLElement);
showDoor(password);

/** @param {string | null} known the password, from the link @param {import('./i18n.js').TextKey} [trouble] why we are here again */
function showDoor(known, trouble) {
  leave();
  leave = showPrejoin(place, { room, password: known, devices, trouble }, async (entry) => {
    /** @type {Conference} */
    const conference = new Conference({ room, devices, ...entry }, {
      onRoster: () => page?.showRoster(),
      onPictures: () => page?.showPictures(),
      onSpeakers: () => page?.showSpeakers(),
      onPerson: (before, after) => page?.tellPerson(before, after),
      onChat: (message) => page?.addChat(message),
      onChatDeleted: (from, line) => page?.removeChat(from, line),
      onStatus: (status) => {
        page?.showStatus(status);
        const why = LOST[status];
        if (!page && why) {
          void conference.leave(); // it would go on trying
          showDoor(entry.password, why);
        }
      },
      onSoundBlocked: () => page?.offerSound(),
      onVideoRefused: (source) => page?.sayFull(source),
      onSilenced: (sources) => page?.saySilenced(sources),
      onDeposed: () => page?.sayDeposed(),
      onAdmitted: () => { if (!page) enter(conference); },
      onRefused: (reason) => {
        // A password that is not right any more is asked for, not tried again.
        if (!page) showDoor(reason === 'not-admitted' ? null : entry.password, `refused.${reason}`);
      },
      onEnded: (reason) => void goodbye(conference, reason),
    });
    const outcome = await conference.enter();
    if (outcome === 'welcome') enter(conference);
    else if (outcome === 'waiting') showLobby(conference, entry.password);
    else return t(`refused.${outcome}`);
    return null;
  });
}

/** @param {Conference} conference @param {string | null} known */
function showLobby(conference, known) {
  leave();
  leave = showWaiting(place, { room, name: conference.me.name, devices }, () => {
    void conference.leave();
    showDoor(known);
  });
}

/** @param {Conference} conference */
function enter(conference) {
  leave();
  page = new CallPage(place, conference, devices, () => void goodbye(conference));
}

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
  let bye = reason ? `/bye#${language()}.${reason}` : `/bye#${language()}`;
  devices.stopAll();
  try {
    const receipt = await conference.leave();
    if (receipt) bye += asFragment(receipt);
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
