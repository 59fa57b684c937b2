// What organizers have beside everybody's page: who waits, the rules of the room, and one participant's switches.

import { button, el, find, input, setIcon } from './dom.js';
import { language, t } from './i18n.js';
import { avatar } from './tiles.js';

/** @typedef {import('./conference.js').Conference} Conference */
/** @typedef {import('./signalling.js').Source} Source */

const SOURCES = /** @type {const} */ (['microphone', 'camera', 'screen']);
const RULES = /** @type {const} */ (['lobby', 'locked', 'microphone', 'camera', 'screen', 'chat']);
const ICONS = /** @type {const} */ ({ microphone: ['mic', 'mic-off'], camera: ['camera', 'camera-off'], screen: ['share', 'share'] });

/** Letters and digits that nobody confuses when read aloud or copied by hand, as on the server. */
const ALPHABET = 'abcdefghjkmnpqrstuvwxyz023456789';

export class Moderation {
  #root;
  #conference;
  #notices;
  #rules;
  #person;
  /** @type {string | null} whose switches are shown */
  #shown = null;
  #told = '';

  /**
   * @param {HTMLElement} root
   * @param {Conference} conference
   * @param {import('./notices.js').Notices} notices
   * @param {() => void} showPeople
   */
  constructor(root, conference, notices, showPeople) {
    this.#root = root;
    this.#conference = conference;
    this.#notices = notices;
    this.showPeople = showPeople;
    this.#rules = find(root, '#rules-dialog', HTMLDialogElement);
    this.#person = find(root, '#person-dialog', HTMLDialogElement);
    for (const dialog of [this.#rules, this.#person]) {
      dialog.addEventListener('click', (event) => {
        const target = /** @type {Element} */ (event.target);
        if (target === dialog || target.closest('[data-close]')) dialog.close();
      });
    }
    this.#person.addEventListener('close', () => { this.#shown = null; });
    button(root, 'room-rules').addEventListener('click', () => this.#openRules());
    button(root, 'admit-all').addEventListener('click', () => conference.admit());
    button(root, 'mute-all').addEventListener('click', () => {
      conference.mute('microphone');
      notices.toast(t('rules.muted'));
    });
    for (const rule of RULES) {
      const box = input(root, `rule-${rule}`);
      box.addEventListener('change', () => conference.setRules({ [rule]: box.checked }));
    }
    this.#preparePassword();
    button(root, 'remove-person').addEventListener('click', () => {
      if (this.#shown) conference.remove(this.#shown);
      this.#person.close();
    });
  }

  /** After every change. */
  show() {
    const { me, waiting, rules } = this.#conference;
    button(this.#root, 'room-rules').hidden = !me.organizer;
    if (!me.organizer) for (const dialog of [this.#rules, this.#person]) dialog.close();
    for (const rule of RULES) input(this.#root, `rule-${rule}`).checked = rules[rule];
    find(this.#root, '#waiting', HTMLElement).hidden = waiting.size === 0;
    find(this.#root, '#waiting-title', HTMLElement).textContent = t('lobby.heading', { count: waiting.size });
    button(this.#root, 'admit-all').hidden = waiting.size < 2;
    this.#showWaiting();
    if (this.#shown) this.#fillPerson();
  }

  /** @param {string} participant */
  openPerson(participant) {
    this.#shown = participant;
    this.#fillPerson();
    this.#person.showModal();
  }

  /** Only when somebody else waits or in another language. */
  #showWaiting() {
    const { waiting } = this.#conference;
    const [first] = waiting.values();
    const told = [language(), ...waiting.keys()].join();
    if (told === this.#told) return;
    this.#told = told;
    this.#listWaiting();
    const one = waiting.size === 1;
    this.#notices.bar('waiting', first === undefined ? null : {
      text: one ? 'lobby.one' : 'lobby.many',
      values: { name: first, count: waiting.size },
      actions: [
        { text: one ? 'lobby.admit' : 'lobby.all', testid: 'admit-from-notice', run: () => this.#conference.admit() },
        { text: 'lobby.show', testid: 'show-waiting', run: this.showPeople },
      ],
    });
  }

  /** Who waits on keeps their row, and its buttons the focus. */
  #listWaiting() {
    const { waiting } = this.#conference;
    const list = find(this.#root, '#waiting-list', HTMLElement);
    if (list.lang !== language()) list.replaceChildren();
    list.lang = language();
    const focused = list.contains(document.activeElement);
    for (const row of [...list.children]) if (!waiting.has(row.getAttribute('data-participant') ?? '')) row.remove();
    const there = new Set([...list.children].map((row) => row.getAttribute('data-participant')));
    list.append(...[...waiting].filter(([id]) => !there.has(id)).map(([id, name]) => this.#waiter(id, name)));
    if (focused && !list.contains(document.activeElement)) list.querySelector('button')?.focus();
  }

  /** @param {string} id @param {string} name */
  #waiter(id, name) {
    const admit = el('button', { type: 'button', class: 'on-dark', 'data-testid': 'admit', 'aria-label': t('lobby.admit.name', { name }) }, t('lobby.admit'));
    const away = el('button', { type: 'button', class: 'round', 'data-testid': 'turn-away', 'aria-label': t('lobby.away.name', { name }), title: t('lobby.away') });
    setIcon(away, 'close');
    admit.addEventListener('click', () => this.#conference.admit(id));
    away.addEventListener('click', () => this.#conference.turnAway(id));
    return el('li', { class: 'person', 'data-testid': 'waiter', 'data-participant': id }, avatar(name),
      el('span', { class: 'person-words' }, el('bdi', { class: 'person-name' }, name)), admit, away);
  }

  #openRules() {
    input(this.#root, 'new-password').value = this.#conference.invitationPassword() ?? '';
    this.#rules.showModal();
  }

  #preparePassword() {
    const field = input(this.#root, 'new-password');
    button(this.#root, 'make-password').addEventListener('click', () => { field.value = madeUp(); });
    find(this.#root, '#password-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#conference.setPassword(field.value.trim());
      this.#rules.close();
    });
  }

  #fillPerson() {
    const person = this.#shown ? this.#conference.participants.get(this.#shown) : undefined;
    if (!person) return this.#person.close();
    find(this.#person, '#person-heading', HTMLElement).textContent = person.name;
    const sources = person.kind === 'viewer' ? [] : SOURCES;
    const focused = document.activeElement?.getAttribute('data-testid');
    const list = find(this.#person, '#person-sources', HTMLElement);
    list.replaceChildren(...sources.map((source) => this.#switches(person, source)));
    list.querySelectorAll('button').forEach((press) => { if (press.dataset.testid === focused) press.focus(); });
    find(this.#person, '#remove-hint', HTMLElement).textContent = t(person.kind === 'person' ? 'person.remove.hint' : 'person.remove.token');
  }

  /** @param {import('./signalling.js').Participant} person @param {Source} source */
  #switches(person, source) {
    const blocked = person.blocked.includes(source);
    const off = el('button', { type: 'button', class: 'on-dark', 'data-testid': `mute-${source}`, hidden: person.kind !== 'person', disabled: !person[source] }, t('person.off'));
    const block = el('button', { type: 'button', class: 'on-dark', 'data-testid': `block-${source}`, 'aria-pressed': String(blocked) }, t(blocked ? 'person.allow' : 'person.block'));
    off.addEventListener('click', () => this.#conference.mute(source, person.id));
    block.addEventListener('click', () => this.#conference.block(person.id, source, !blocked));
    const mark = el('span', { class: `person-state ${person[source] ? '' : 'is-off'}` });
    setIcon(mark, ICONS[source][person[source] ? 0 : 1]);
    const state = blocked ? 'person.state.blocked' : person[source] ? 'person.state.on' : 'person.state.off';
    return el('li', { class: 'switches', role: 'group', 'aria-label': t(`person.${source}`) }, mark,
      el('span', { class: 'person-words' }, t(`person.${source}`), el('span', { class: 'person-role' }, t(state))), off, block);
  }
}

/** 80 random bits in four groups. */
function madeUp() {
  const letters = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => ALPHABET[byte % ALPHABET.length]);
  return letters.join('').replace(/(.{4})(?=.)/g, '$1-');
}
