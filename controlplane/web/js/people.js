// The list of people in the room.

import { el, find, setIcon } from './dom.js';
import { t } from './i18n.js';
import { avatar } from './tiles.js';

/** @typedef {import('./signalling.js').Participant} Participant */

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
  find(root, '#people-list', HTMLElement).replaceChildren(...everybody.map((person) => row(person, person === me, me.organizer && !person.organizer ? onMore : null)));
}

/** @param {Participant} person @param {boolean} self @param {((participant: string) => void) | null} onMore */
function row(person, self, onMore) {
  const roles = [self ? t('people.you') : '', person.organizer ? t('people.organizer') : ''].filter(Boolean).join(' · ');
  return el('li', { class: 'person', 'data-testid': 'person', 'data-participant': person.id },
    avatar(person.name),
    el('span', { class: 'person-words' }, el('bdi', { class: 'person-name' }, person.name), roles ? el('span', { class: 'person-role' }, roles) : null),
    person.paused ? state('pause', t('people.paused'), 'is-off') : null,
    person.hand ? state('hand', t('tile.hand'), 'is-hand') : null,
    person.blocked.length > 0 ? state('lock', t('people.blocked'), 'is-off') : null,
    ...person.kind === 'viewer' ? [] : [
    state(person.microphone ? 'mic' : 'mic-off', t(person.microphone ? 'people.mic.on' : 'people.mic.off'), person.microphone ? '' : 'is-off'),
    state(person.camera ? 'camera' : 'camera-off', t(person.camera ? 'people.camera.on' : 'people.camera.off'), person.camera ? '' : 'is-off'),
    ],
    onMore ? more(person, onMore) : null);
}

/** @param {Participant} person @param {(participant: string) => void} onMore */
function more(person, onMore) {
  const press = el('button', { type: 'button', class: 'round', 'data-testid': 'person-more', 'aria-haspopup': 'dialog', 'aria-label': t('people.more', { name: person.name }), title: t('people.more', { name: person.name }) });
  setIcon(press, 'more');
  press.addEventListener('click', () => onMore(person.id));
  return press;
}

/** @param {import('./icons.js').IconName} name @param {string} label @param {string} kind */
function state(name, label, kind) {
  const mark = el('span', { class: `person-state ${kind}`, role: 'img', 'aria-label': label, title: label });
  setIcon(mark, name);
  return mark;
}
