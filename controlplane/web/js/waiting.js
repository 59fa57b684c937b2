// The lobby as a guest sees it: nothing of the room, and nobody in the room sees or hears anything of the guest.

import { button, find, stamp } from './dom.js';
import { translate } from './i18n.js';
import { offerLanguages } from './page.js';

/**
 * @param {HTMLElement} place
 * @param {{ room: string, name: string }} given
 * @param {() => void} giveUp
 * @returns {() => void} takes the page away
 */
export function showWaiting(place, { room, name }, giveUp) {
  place.replaceChildren(stamp('waiting-template'));
  translate(place);
  offerLanguages(place);
  find(place, '#waiting-room', HTMLElement).textContent = room;
  find(place, '#waiting-name', HTMLElement).textContent = name;
  button(place, 'leave-lobby').addEventListener('click', giveUp);
  find(place, '#waiting-heading', HTMLElement).focus();
  return () => place.replaceChildren();
}
