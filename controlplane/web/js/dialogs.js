// The dialogs of the call: settings, keys, and the question before a meeting is ended for everybody.

import { RESOLUTIONS } from './devices.js';
import { button, el, find } from './dom.js';
import { fillChoices } from './prejoin.js';
import { onLanguage, t } from './i18n.js';
import { offerLanguages } from './page.js';
import { read, write } from './settings.js';

/** @typedef {import('./conference.js').Conference} Conference */

/**
 * @param {ParentNode} root
 * @param {Conference} conference
 * @param {import('./devices.js').Devices} devices
 * @param {(error: unknown) => void} onTrouble
 */
export function prepareDialogs(root, conference, devices, onTrouble) {
  const settings = find(root, '#settings-dialog', HTMLDialogElement);
  const keys = find(root, '#keys-dialog', HTMLDialogElement);
  const end = find(root, '#end-dialog', HTMLDialogElement);
  for (const dialog of [settings, keys, end]) {
    dialog.addEventListener('click', (event) => {
      const target = /** @type {Element} */ (event.target);
      if (target === dialog || target.closest('[data-close]')) dialog.close();
    });
  }

  const name = find(root, '#rename-input', HTMLInputElement);
  find(root, '#rename-form', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    const typed = name.value.trim();
    if (!typed) return;
    conference.rename(typed);
    write('name', typed);
    settings.close();
  });

  const microphone = find(root, '#microphone-select', HTMLSelectElement);
  const camera = find(root, '#camera-select', HTMLSelectElement);
  const speaker = find(root, '#speaker-select', HTMLSelectElement);
  const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;
  find(root, '#speaker-field', HTMLElement).hidden = !canChooseSpeaker;
  microphone.addEventListener('change', () => devices.choose('microphone', microphone.value).catch(onTrouble));
  camera.addEventListener('change', () => devices.choose('camera', camera.value).catch(onTrouble));
  speaker.addEventListener('change', () => {
    void conference.useSpeaker(speaker.value);
  });

  const resolution = find(root, '#resolution-select', HTMLSelectElement);
  resolution.addEventListener('change', () => devices.useResolution(Number(resolution.value)).catch(onTrouble));

  const shortcuts = find(root, '#shortcuts-on', HTMLInputElement);
  shortcuts.addEventListener('change', () => write('shortcuts', shortcuts.checked ? null : 'off'));

  async function fill() {
    name.value = conference.me.name;
    shortcuts.checked = read('shortcuts') !== 'off';
    resolution.replaceChildren(...RESOLUTIONS.map((height) => el('option', { value: String(height) }, t(`resolution.${height}`))));
    resolution.value = String(devices.resolution);
    await fillChoices(devices, microphone, 'audioinput', devices.chosen('microphone'));
    await fillChoices(devices, camera, 'videoinput', devices.chosen('camera'));
    if (canChooseSpeaker) await fillChoices(devices, speaker, 'audiooutput', conference.speaker);
  }

  offerLanguages(settings);
  onLanguage(() => { if (settings.open) void fill(); });
  button(root, 'show-keys').addEventListener('click', () => {
    settings.close();
    keys.showModal();
  });
  button(root, 'confirm-end').addEventListener('click', () => {
    end.close();
    conference.end();
  });

  return {
    openSettings() {
      settings.showModal();
      void fill();
    },
    openKeys() { keys.showModal(); },
    askEnd() { end.showModal(); },
  };
}
