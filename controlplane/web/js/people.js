// The list of people in the room. Rows are kept for as long as their person is there, so that the keyboard's focus and the
// scroll position survive what others do.

import { button, el, find, setIcon } from './dom.js';
import { language, t } from './i18n.js';
import { avatar } from './tiles.js';

/** @typedef {import('./signalling.js').Participant} Participant */

/** What a row shows, to leave alone what has not changed. @type {WeakMap<Element, string>} */
const shown = new WeakMap();

/**
 * @param {ParentNode} root
 * @param {Participant} me
 * @param {Iterable<Participant>} others
 * @param {(participant: string) => void} onMore for organizers
 */
export function listPeople(root, me, others, onMore) {
  const everybody = [me, ...[...others].sort((a, b) => Number(b.hand) - Number(a.hand) || a.name.localeCompare(b.name))];
  find(root, '#people-count', HTMLElement).textContent = String(everybody.length);
  find(root, '#people-heading', HTMLElement).textContent = t('people.heading', { count: everybody.length });
  if (find(root, '#people-panel', HTMLElement).hidden) return;
  const list = find(root, '#people-list', HTMLElement);
  const focused = list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
  const before = new Map([...list.children].map((row) => [row.getAttribute('data-participant'), row]));
  everybody.forEach((person, place) => {
    const row = before.get(person.id) ?? el('li', { class: 'person', 'data-testid': 'person', 'data-participant': person.id });
    before.delete(person.id);
    fill(row, person, person === me, me.organizer && !person.organizer ? onMore : null);
    if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  });
  for (const row of before.values()) row.remove();
  if (!focused || focused === document.activeElement) return;
  // It was moved, which takes the focus away, or its person has left.
  if (focused.isConnected) focused.focus();
  else button(root, 'people-close').focus();
}

/** @param {Element} row @param {Participant} person @param {boolean} self @param {((participant: string) => void) | null} onMore */
function fill(row, person, self, onMore) {
  const shows = JSON.stringify([language(), person, self, onMore !== null]);
  if (shown.get(row) === shows) return;
  shown.set(row, shows);
  const press = row.querySelector('button') ?? (onMore ? more(person.id, onMore) : null);
  for (const child of [...row.children]) if (child !== press) child.remove();
  const words = describe(person, self);
  if (!press || !onMore) return row.replaceChildren(...words);
  const label = t('people.more', { name: person.name });
  press.setAttribute('aria-label', label);
  press.title = label;
  if (!press.isConnected) row.append(press);
  press.before(...words);
}

/** @param {Participant} person @param {boolean} self */
function describe(person, self) {
  const roles = [self ? t('people.you') : '', person.organizer ? t('people.organizer') : ''].filter(Boolean).join(' · ');
  const marks = [
    person.paused ? state('pause', t('people.paused'), 'is-off') : null,
    person.away ? state('reconnect', t('tile.away'), 'is-off') : null,
    person.hand ? state('hand', t('tile.hand'), 'is-hand') : null,
    person.blocked.length > 0 ? state('lock', t('people.blocked'), 'is-off') : null,
    ...person.kind === 'viewer' ? [] : [
      state(person.microphone ? 'mic' : 'mic-off', t(person.microphone ? 'people.mic.on' : 'people.mic.off'), person.microphone ? '' : 'is-off'),
      state(person.camera ? 'camera' : 'camera-off', t(person.camera ? 'people.camera.on' : 'people.camera.off'), person.camera ? '' : 'is-off'),
    ],
  ];
  return [
    avatar(person.name),
    el('span', { class: 'person-words' }, el('bdi', { class: 'person-name' }, person.name), roles ? el('span', { class: 'person-role' }, roles) : null),
    ...marks.filter((mark) => mark !== null),
  ];
}

/** @param {string} participant @param {(participant: string) => void} onMore */
function more(participant, onMore) {
  const press = el('button', { type: 'button', class: 'round', 'data-testid': 'person-more', 'aria-haspopup': 'dialog' });
  setIcon(press, 'more');
  press.addEventListener('click', () => onMore(participant));
  return press;
}

/** @param {import('./icons.js').IconName} name @param {string} label @param {string} kind */
function state(name, label, kind) {
  const mark = el('span', { class: `person-state ${kind}`, role: 'img', 'aria-label': label, title: label });
  setIcon(mark, name);
  return mark;
}
