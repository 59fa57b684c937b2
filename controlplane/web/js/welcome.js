// The welcome page: a way into a room for everybody, and the opening of rooms for organizers.

import { button, copy, el, find, input, save } from './dom.js';
import { language, onLanguage, t } from './i18n.js';
import { startPage } from './page.js';
import * as server from './signalling.js';

startPage(() => t('welcome.document'));

/** @param {string} selector */
const place = (selector) => find(document, selector, HTMLElement);

/** @param {string} id @param {HTMLInputElement} field @param {string} text */
function complain(id, field, text) {
  place(id).textContent = text;
  field.setAttribute('aria-invalid', String(text !== ''));
  if (text) field.focus();
}

/** @param {unknown} error */
function words(error) {
  return t(`error.${error instanceof server.Refused ? error.code : 'unknown'}`);
}

// Join

const target = input(document, 'join-target');

place('#join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const typed = target.value.trim();
  const link = asLink(typed);
  if (link && link.host !== location.host) return complain('#join-error', target, t('join.foreign', { host: link.host }));
  const path = link ? link.pathname + link.hash : typed;
  const [, room = '', hash = ''] = /^(?:.*\/r\/)?([^/#?]*)(#p=.*)?$/.exec(path) ?? [];
  const name = decoded(room).replace(/\s+/g, '-');
  if (!server.isRoomName(name)) return complain('#join-error', target, t('join.bad'));
  complain('#join-error', target, '');
  location.assign(`/r/${encodeURIComponent(name)}${hash}`);
});

/** @param {string} typed */
function asLink(typed) {
  try {
    return /^https?:\/\//i.test(typed) ? new URL(typed) : null;
  } catch {
    return null;
  }
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Sign in and out

/** @type {string | null} */
let account = null;
/** @type {server.OpenedRoom | null} */
let opened = null;

const signInForm = place('#sign-in-form');
const openForm = place('#open-form');
const accountField = input(document, 'account');
const passwordField = input(document, 'password');

function show() {
  signInForm.hidden = account !== null;
  openForm.hidden = account === null || opened !== null;
  place('#opened').hidden = account === null || opened === null;
  place('#own-account').hidden = account === null || opened !== null;
  place('#signed-in-as').textContent = account === null ? '' : t('open.signedin', { account });
  if (opened) showOpened(opened);
}

/**
 * Runs one request of a form: the button rests meanwhile, and an error is told in words.
 * @param {HTMLButtonElement} pressed
 * @param {string} errorPlace
 * @param {() => Promise<void>} work
 */
async function attempt(pressed, errorPlace, work) {
  pressed.disabled = true;
  place(errorPlace).textContent = '';
  place('#open-status').textContent = '';
  try {
    await work();
  } catch (error) {
    place(errorPlace).textContent = words(error);
    if (error instanceof server.Refused && error.code === 'sign-in') {
      account = null;
      place('#sign-in-error').textContent = words(error);
    }
  } finally {
    pressed.disabled = false;
    show();
  }
}

signInForm.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!accountField.value.trim()) return accountField.focus();
  if (!passwordField.value) return passwordField.focus();
  void attempt(button(document, 'sign-in'), '#sign-in-error', async () => {
    await server.login(accountField.value.trim(), passwordField.value);
    account = accountField.value.trim();
    passwordField.value = '';
    show();
    roomName.focus();
  });
});

button(document, 'sign-out').addEventListener('click', (event) => {
  void attempt(/** @type {HTMLButtonElement} */ (event.currentTarget), '#open-error', async () => {
    await server.logout();
    account = null;
    opened = null;
    show();
    accountField.focus();
  });
});

// My account

const ownAccount = find(document, '#own-account', HTMLDetailsElement);
const deletePassword = input(document, 'delete-account-password');
const sure = input(document, 'delete-account-sure');

/** @type {server.OwnAccount | null} */
let held = null;

ownAccount.addEventListener('toggle', () => {
  held = null;
  place('#account-error').textContent = '';
  showAccount();
  if (ownAccount.open) server.ownAccount().then((answer) => { held = answer; showAccount(); }, (error) => { place('#account-error').textContent = words(error); });
});

function showAccount() {
  button(document, 'download-account').disabled = held === null;
  place('#account-held').replaceChildren(...held ? accountFacts(held) : []);
}

/** @param {server.OwnAccount} held */
function accountFacts({ rooms, sessions, sign_ins }) {
  const moment = new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'short' });
  /** @param {string} at */
  const when = (at) => moment.format(new Date(at));
  /** @param {string[]} lines @param {string} none @param {boolean} [scrolls] */
  const list = (lines, none, scrolls = false) => el('dd', {}, lines.length === 0 ? none
    : el('ul', scrolls ? { class: 'lines', tabindex: '0', 'aria-label': t('account.signins') } : {}, ...lines.map((line) => el('li', {}, el('bdi', {}, line)))));
  return [
    el('dt', {}, t('account.rooms')),
    list(rooms.map(({ name, participants }) => t('account.room', { name, count: participants })), t('account.rooms.none')),
    el('dt', {}, t('account.sessions')),
    list(sessions.map(({ ends_at }) => t('account.session', { time: when(ends_at) })), ''),
    el('dt', {}, t('account.signins')),
    sign_ins === null ? el('dd', {}, t('account.signins.off'))
      : list(sign_ins.map(({ at, result }) => `${when(at)} · ${t(`account.result.${result}`)}`).reverse(), t('account.signins.none'), true),
  ];
}

button(document, 'download-account').addEventListener('click', () => {
  if (held) save(`${JSON.stringify(held, null, 2)}\n`, 'saal-my-account.json');
});

place('#delete-account-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!deletePassword.value) return deletePassword.focus();
  if (!sure.checked) {
    place('#delete-account-error').textContent = t('account.delete.unsure');
    return sure.focus();
  }
  void attempt(button(document, 'delete-account'), '#delete-account-error', async () => {
    await server.deleteAccount(deletePassword.value);
    account = null;
    deletePassword.value = '';
    sure.checked = false;
    ownAccount.open = false;
    show();
    place('#open-status').textContent = t('account.deleted');
    accountField.focus();
  });
});

// Open a room

const roomName = input(document, 'room-name');
const roomPassword = input(document, 'room-password');
const noPassword = input(document, 'no-password');

noPassword.addEventListener('change', () => {
  roomPassword.disabled = noPassword.checked;
  if (noPassword.checked) roomPassword.value = '';
});

openForm.addEventListener('submit', (event) => {
  event.preventDefault();
  const name = roomName.value.trim().replace(/\s+/g, '-');
  if (name && !server.isRoomName(name)) return complain('#open-error', roomName, t('error.bad-name'));
  roomName.removeAttribute('aria-invalid');
  void attempt(button(document, 'open-room'), '#open-error', async () => {
    opened = await server.openRoom({
      ...(name ? { name } : {}),
      lobby: input(document, 'lobby').checked,
      ...(noPassword.checked ? { password: '' } : roomPassword.value ? { password: roomPassword.value } : {}),
    });
    show();
    place('#opened-heading').focus();
  });
});

/** @param {server.OpenedRoom} room */
function showOpened(room) {
  const link = input(document, 'room-link');
  const enter = find(document, '[data-testid="enter-room"]', HTMLAnchorElement);
  place('#opened-heading').textContent = t('open.ready', { room: room.name });
  link.value = room.url;
  place('#link-hint').textContent = t(room.password ? 'open.link.hint' : 'open.link.hint.none');
  place('#shown-password').hidden = !room.password;
  input(document, 'shown-password').value = room.password ?? '';
  for (const door of ['whip', 'whep']) {
    input(document, `${door}-url`).value = new URL(`/${door}/${encodeURIComponent(room.name)}`, room.url).href;
  }
  input(document, 'media-token').value = room.media_token;
  const minutes = room.waiting_seconds / 60;
  place('#waits').textContent = Number.isInteger(minutes)
    ? t('open.waits', { minutes }) : t('open.waits.seconds', { seconds: room.waiting_seconds });
  const url = new URL(room.url, location.href);
  enter.href = url.pathname + url.hash; // on this origin, whatever name the server gives itself
}

for (const [testid, field] of /** @type {const} */ ([['copy-link', 'room-link'], ['copy-password', 'shown-password'],
  ['copy-whip-url', 'whip-url'], ['copy-whep-url', 'whep-url'], ['copy-media-token', 'media-token']])) {
  button(document, testid).addEventListener('click', (event) => {
    const pressed = /** @type {HTMLButtonElement} */ (event.currentTarget);
    const source = input(document, field);
    source.select();
    void copy(find(pressed, '[data-t]', HTMLElement), source.value, t('copied'));
  });
}

input(document, 'room-link').addEventListener('focus', (event) => /** @type {HTMLInputElement} */ (event.currentTarget).select());

function anotherRoom() {
  opened = null;
  roomName.value = '';
  roomPassword.value = '';
  show();
  roomName.focus();
}

button(document, 'open-another').addEventListener('click', anotherRoom);

button(document, 'delete-room').addEventListener('click', (event) => {
  const room = opened;
  if (!room) return;
  void attempt(/** @type {HTMLButtonElement} */ (event.currentTarget), '#opened-error', async () => {
    await server.deleteRoom(room.name);
    anotherRoom();
    place('#open-status').textContent = t('open.deleted');
  });
});

onLanguage(() => { show(); showAccount(); });
server.session().then((name) => { account = name; show(); }, () => show());
