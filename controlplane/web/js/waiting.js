// The lobby as a guest sees it: nothing of the room, and nobody in the room sees or hears anything of the guest. A camera
// that is on is shown, so that its light is no riddle.

import { button, find, stamp } from './dom.js';
import { onLanguage, t, translate } from './i18n.js';
import { offerLanguages } from './page.js';
import { showOwnDevices, troubleText } from './prejoin.js';

/**
 * @param {HTMLElement} place
 * @param {{ room: string, name: string, devices: import('./devices.js').Devices }} given
 * @param {() => void} giveUp
 * @returns {() => void} takes the page away
 */
export function showWaiting(place, { room, name, devices }, giveUp) {
  place.replaceChildren(stamp('waiting-template'));
  translate(place);
  offerLanguages(place);
  /** @param {string} selector */
  const part = (selector) => find(place, selector, HTMLElement);
  part('#waiting-room').textContent = room;
  part('#waiting-name').textContent = name;
  button(place, 'leave-lobby').addEventListener('click', giveUp);
  part('#waiting-heading').focus();

  const mic = button(place, 'preview-mic');
  const camera = button(place, 'preview-camera');
  const video = find(place, '#waiting-video', HTMLVideoElement);
  function show() {
    showOwnDevices(devices, { mic, camera, video });
    const seen = devices.isOn('camera');
    part('#waiting-preview').hidden = !seen;
    part('#waiting-hall').hidden = seen;
    part('#waiting-own').hidden = !seen && !devices.isOn('microphone');
    part('#waiting-own').textContent = t(seen ? 'waiting.own' : 'waiting.own.sound');
  }
  for (const [press, source] of /** @type {const} */ ([[mic, 'microphone'], [camera, 'camera']])) {
    press.addEventListener('click', () => {
      part('#waiting-error').textContent = '';
      if (devices.isOn(source)) devices.switchOff(source, { release: true, pressed: true });
      else devices.switchOn(source).catch((error) => { part('#waiting-error').textContent = t(troubleText(error)); });
    });
  }
  let present = true;
  onLanguage(() => { if (present) show(); });
  devices.addEventListener('change', show);
  show();

  return () => {
    present = false;
    devices.removeEventListener('change', show);
    video.srcObject = null;
    place.replaceChildren();
  };
}
