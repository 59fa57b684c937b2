// The page before the room: name, password, and camera and microphone for those who want to try them.
// Nothing is captured before a button here is pressed.

import { button, el, find, input, setIcon, stamp } from './dom.js';
import { Trouble, follow } from './devices.js';
import { onLanguage, t, translate } from './i18n.js';
import { offerLanguages } from './page.js';
import { read, write } from './settings.js';

const METER_BARS = 16;

/** @typedef {import('./devices.js').Devices} Devices */
/** @typedef {{ name: string, password: string | null }} Entry */

/** @param {unknown} error */
export const troubleText = (error) => /** @type {const} */ (`device.${error instanceof Trouble ? error.code : 'failed'}`);

const KIND_NAMES = /** @type {const} */ ({ audioinput: 'device.microphone', videoinput: 'device.camera', audiooutput: 'device.speaker' });

/**
 * @param {Devices} devices
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceKind} kind
 * @param {string} chosen its id; empty: the system's default
 */
export async function fillChoices(devices, select, kind, chosen) {
  const found = (await devices.list(kind)).filter((device) => device.deviceId !== 'default');
  select.replaceChildren(el('option', { value: '' }, t('device.default')), ...found.map((device, i) =>
    el('option', { value: device.deviceId }, device.label || t('device.numbered', { kind: t(KIND_NAMES[kind]), number: i + 1 }))));
  select.value = found.some((device) => device.deviceId === chosen) ? chosen : '';
}

/**
 * Both switches as they stand, and one's own picture.
 * @param {Devices} devices
 * @param {{ mic: HTMLButtonElement, camera: HTMLButtonElement, video: HTMLVideoElement }} parts
 */
export function showOwnDevices(devices, { mic, camera, video }) {
  const [micOn, cameraOn] = [devices.isOn('microphone'), devices.isOn('camera')];
  toggle(mic, micOn, t(micOn ? 'prejoin.mic.off' : 'prejoin.mic.on'), micOn ? 'mic' : 'mic-off');
  toggle(camera, cameraOn, t(cameraOn ? 'prejoin.camera.off' : 'prejoin.camera.on'), cameraOn ? 'camera' : 'camera-off');
  const track = devices.track('camera');
  const shown = video.srcObject instanceof MediaStream ? video.srcObject.getVideoTracks()[0] ?? null : null;
  if (shown !== track) video.srcObject = track ? new MediaStream([track]) : null;
}

/**
 * @param {HTMLButtonElement} pressed
 * @param {boolean} on
 * @param {string} text
 * @param {import('./icons.js').IconName} name
 */
function toggle(pressed, on, text, name) {
  pressed.setAttribute('aria-pressed', String(on));
  find(pressed, '.toggle-text', HTMLElement).textContent = text;
  setIcon(find(pressed, '[data-icon]', HTMLElement), name);
}

/**
 * @param {HTMLElement} place
 * @param {{ room: string, password: string | null, devices: Devices, trouble?: import('./i18n.js').TextKey }} given password: from the link
 * @param {(entry: Entry) => Promise<string | null>} enter resolves with what went wrong, in words, or null
 * @returns {() => void} takes the page away
 */
export function showPrejoin(place, { room, password, devices, trouble: before }, enter) {
  place.replaceChildren(stamp('prejoin-template'));
  translate(place);
  offerLanguages(place);
  /** @param {string} selector */
  const part = (selector) => find(place, selector, HTMLElement);

  part('#room-title').textContent = room;
  const name = input(place, 'display-name');
  const passwordField = input(place, 'room-password');
  name.value = read('name') ?? '';
  if (before) part('#join-error').textContent = t(before);
  part('#password-field').hidden = password !== null;
  part('#password-from-link').hidden = password === null;

  const mic = button(place, 'preview-mic');
  const camera = button(place, 'preview-camera');
  const asBefore = button(place, 'as-before');
  const video = find(place, '#preview-video', HTMLVideoElement);
  const meter = part('#meter');
  meter.replaceChildren(...Array.from({ length: METER_BARS }, () => el('span')));
  let stopMeter = () => {};
  /** @type {MediaStreamTrack | null} */
  let metered = null;
  let joining = false;

  function show() {
    const micOn = devices.isOn('microphone');
    const cameraOn = devices.isOn('camera');
    showOwnDevices(devices, { mic, camera, video });
    video.hidden = !cameraOn;
    part('#preview-off').hidden = cameraOn;
    part('#microphone-choice').hidden = !micOn;
    part('#camera-choice').hidden = !cameraOn;
    part('#optional-hint').hidden = micOn || cameraOn;
    const before = lastOn();
    asBefore.hidden = micOn || cameraOn || before.length === 0;
    asBefore.textContent = t(before.length === 2 ? 'prejoin.before.both' : before[0] === 'camera' ? 'prejoin.before.camera' : 'prejoin.before.microphone');
    part('#join-text').textContent = t(joining ? 'prejoin.joining' : 'prejoin.join');
    const micTrack = devices.track('microphone');
    if (micTrack !== metered) {
      stopMeter();
      metered = micTrack;
      stopMeter = micTrack ? follow(micTrack, showLevel) : () => {};
    }
  }

  /** @param {number} level */
  function showLevel(level) {
    meter.setAttribute('aria-valuenow', String(Math.round(level * 100)));
    [...meter.children].forEach((bar, i) => bar.classList.toggle('lit', level * METER_BARS > i));
  }

  function fillSelects() {
    if (devices.isOn('microphone')) void fillChoices(devices, find(place, '#microphone-select', HTMLSelectElement), 'audioinput', devices.chosen('microphone'));
    if (devices.isOn('camera')) void fillChoices(devices, find(place, '#camera-select', HTMLSelectElement), 'videoinput', devices.chosen('camera'));
  }

  /** @param {unknown} error */
  const complain = (error) => { part('#device-error').textContent = t(troubleText(error)); };

  /** @param {'microphone' | 'camera'} source */
  function press(source) {
    part('#device-error').textContent = '';
    if (devices.isOn(source)) devices.switchOff(source, { release: true, pressed: true });
    else devices.switchOn(source).then(fillSelects, complain);
  }

  /** What was on when this device was last here without hanging up. */
  const lastOn = () => /** @type {const} */ (['microphone', 'camera']).filter((source) => read(source) === 'on');

  asBefore.addEventListener('click', () => {
    for (const source of lastOn()) press(source);
  });
  mic.addEventListener('click', () => press('microphone'));
  camera.addEventListener('click', () => press('camera'));
  for (const source of /** @type {const} */ (['microphone', 'camera'])) {
    const select = find(place, `#${source}-select`, HTMLSelectElement);
    select.addEventListener('change', () => devices.choose(source, select.value).catch(complain));
  }

  find(place, '#prejoin-form', HTMLFormElement).addEventListener('submit', async (event) => {
    event.preventDefault();
    if (joining) return;
    const typed = name.value.trim();
    part('#name-error').textContent = typed ? '' : t('prejoin.name.missing');
    name.setAttribute('aria-invalid', String(!typed));
    if (!typed) return name.focus();
    write('name', typed);
    joining = true;
    button(place, 'join').disabled = true;
    part('#join-error').textContent = '';
    show();
    const trouble = await enter({ name: typed, password: password ?? (passwordField.value || null) });
    if (trouble === null) return;
    joining = false;
    if (password !== null) passwordField.value = password; // the link may be wrong: it can be corrected
    password = null;
    part('#password-field').hidden = false;
    part('#password-from-link').hidden = true;
    button(place, 'join').disabled = false;
    part('#join-error').textContent = trouble;
    passwordField.focus();
    show();
  });

  let present = true;
  onLanguage(() => {
    if (!present) return;
    show();
    fillSelects();
  });
  const onLost = () => complain(new Trouble('ended'));
  devices.addEventListener('change', show);
  devices.addEventListener('lost', onLost);
  show();
  fillSelects(); // back from the lobby, devices may be on
  if (matchMedia('(hover: hover)').matches) name.focus(); // on a phone this would raise the keyboard over the page

  return () => {
    present = false;
    devices.removeEventListener('change', show);
    devices.removeEventListener('lost', onLost);
    stopMeter();
    video.srcObject = null;
    place.replaceChildren();
  };
}
