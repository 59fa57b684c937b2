// The panel "My data": what the server holds on me at this moment, what this browser keeps, and my rights as buttons.

import { button, el, find, save } from './dom.js';
import { language, onLanguage, t } from './i18n.js';
import { say } from './notices.js';
import { kept, write } from './settings.js';
import { ownAccount } from './signalling.js';

/** @typedef {import('./conference.js').Conference} Conference */
/** @typedef {import('./signalling.js').Record} Record */
/** @typedef {import('./signalling.js').OwnAccount} OwnAccount */

const REFRESH_MS = 2_000;
const FORMAT = 'saal-my-data-1'; // docs/protocol.md, 2.4

export class MyData {
  /** @type {Record | null} */
  #data = null;
  /** @type {string | null} */
  #address = null;
  /** Of organizers. @type {OwnAccount | null} */
  #account = null;
  #open = false;
  #timer = 0;
  #renaming = false;
  #root;
  #conference;
  #ownChat;
  #facts;

  /**
   * @param {ParentNode} root
   * @param {Conference} conference
   * @param {() => { at: string, text: string }[]} ownChat my lines that this page shows
   * @param {{ pause: (on: boolean) => void, leaveAndErase: () => void }} actions
   */
  constructor(root, conference, ownChat, actions) {
    this.#root = root;
    this.#conference = conference;
    this.#ownChat = ownChat;
    this.#facts = find(root, '#data-facts', HTMLElement);
    button(root, 'pause').addEventListener('click', () => actions.pause(!conference.me.paused));
    button(root, 'object').addEventListener('click', () => {
      conference.object(!conference.objects);
      this.refresh();
    });
    button(root, 'object-quality').addEventListener('click', () => {
      conference.unmeasured = !conference.unmeasured;
      this.refresh();
    });
    button(root, 'delete-chat').addEventListener('click', () => {
      conference.deleteChat();
      this.#answer(t('data.chat.deleted'));
      this.refresh();
    });
    button(root, 'download-data').addEventListener('click', () => void this.#download());
    button(root, 'leave-erase').addEventListener('click', actions.leaveAndErase);
    find(root, '#data-rename-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#rename();
    });
    button(root, 'data-rename').addEventListener('click', () => this.#showRenaming(true));
    button(root, 'data-rename-cancel').addEventListener('click', () => this.#showRenaming(false));
    onLanguage(() => this.show());
  }

  /** @param {boolean} open */
  open(open) {
    if (this.#open === open) return;
    this.#open = open;
    clearInterval(this.#timer);
    this.#answer('');
    this.#showRenaming(false);
    if (!open) return;
    this.#timer = window.setInterval(() => this.refresh(), REFRESH_MS);
    this.refresh();
    if (this.#conference.me.organizer) void this.#askAccount();
  }

  refresh() {
    if (this.#open) void this.#ask();
  }

  show() {
    if (!this.#open) return;
    const { me, objects } = this.#conference;
    press(button(this.#root, 'pause'), me.paused);
    press(button(this.#root, 'object'), objects);
    press(button(this.#root, 'object-quality'), this.#conference.unmeasured);
    const own = this.#ownChat().length;
    button(this.#root, 'delete-chat').disabled = own === 0;
    find(this.#root, '#delete-chat-text', HTMLElement).textContent = own === 0 ? t('data.chat.none') : t('data.chat.delete', { count: own });
    find(this.#root, '#data-name', HTMLElement).textContent = this.#data?.name ?? me.name;
    find(this.#root, '#data-device', HTMLElement).replaceChildren(...this.#deviceWords());
    if (!this.#data) return;
    this.#facts.replaceChildren(...this.#factsOf(this.#data).map(([name, ...lines]) =>
      el('div', {}, el('dt', {}, t(name)), el('dd', {}, ...lines))));
  }

  async #ask() {
    const [data, address] = await Promise.all([this.#conference.myData(), this.#conference.ownAddress().catch(() => null)]);
    if (!data) return;
    this.#data = data;
    this.#address = address;
    this.show();
  }

  async #askAccount() {
    this.#account = await ownAccount().catch(() => null);
    this.show();
  }

  /** @param {Record} data @returns {[import('./i18n.js').TextKey, ...(Node | string)[]][]} */
  #factsOf(data) {
    const on = /** @type {const} */ (['microphone', 'camera', 'screen', 'hand']).filter((source) => data.switched_on[source]);
    const since = new Intl.DateTimeFormat(language(), { hour: '2-digit', minute: '2-digit' }).format(new Date(data.joined_at));
    const { connection } = data;
    return [
      ['data.role', t(data.organizer ? 'data.role.organizer' : 'data.role.guest')],
      ['data.since', t('data.since.at', { time: since })],
      ['data.on', on.length === 0 ? t('data.on.nothing') : on.map((source) => t(`data.on.${source}`)).join(', ')],
      ['data.speaking', t(data.speaking ? 'data.speaking.yes' : 'data.speaking.no')],
      ['data.lines', t('data.lines.count', { count: data.chat_lines_relayed })],
      ['data.address', ...this.#address ? [el('span', { class: 'mono' }, this.#address), ' '] : [], hint(t('data.address.hint'))],
      ['data.id', el('span', { class: 'mono' }, data.participant), ' ', hint(t('data.id.hint'))],
      ['data.place', hint(t('data.place.hint'))],
      ...connection ? [
        /** @type {[import('./i18n.js').TextKey, ...(Node | string)[]]} */ (['data.connection', t('data.connection.lines', { slots: connection.slots.length, shown: connection.view.length }), ' ', hint(t('data.connection.hint'))]),
        /** @type {[import('./i18n.js').TextKey, ...(Node | string)[]]} */ (['data.counters', t('data.counters.left', { chat: data.chat_lines_allowed, messages: connection.messages_allowed, offers: connection.offers_allowed }), ' ', hint(t('data.counters.hint'))]),
      ] : [],
      ['data.consents', t('data.consents.none')],
      ...this.#account ? [
        /** @type {[import('./i18n.js').TextKey, ...(Node | string)[]]} */ (['data.account', el('bdi', {}, this.#account.account), ' · ', signIns(this.#account), ' ', hint(t('data.account.hint'))]),
      ] : [],
    ];
  }

  #deviceWords() {
    const entries = Object.values(kept()).flatMap((store) => Object.entries(store));
    if (entries.length === 0) return [el('p', {}, t('data.device.nothing'))];
    return [el('ul', { class: 'kept' }, ...entries.map(([key, value]) => el('li', {}, el('span', { class: 'mono' }, key), el('bdi', {}, String(value)))))];
  }

  #rename() {
    const field = find(this.#root, '#data-rename-input', HTMLInputElement);
    const typed = field.value.trim();
    if (!typed) return field.focus();
    this.#conference.rename(typed);
    write('name', typed);
    this.#showRenaming(false);
    this.#answer(t('data.renamed'));
    this.refresh();
  }

  /** @param {boolean} renaming */
  #showRenaming(renaming) {
    const form = find(this.#root, '#data-rename-form', HTMLFormElement);
    form.hidden = !renaming;
    find(this.#root, '#data-name-row', HTMLElement).hidden = renaming;
    if (renaming) {
      const field = find(this.#root, '#data-rename-input', HTMLInputElement);
      field.value = this.#conference.me.name;
      field.select();
    } else if (this.#renaming) {
      button(this.#root, 'data-rename').focus();
    }
    this.#renaming = renaming;
  }

  /** What has been done, beside the buttons and for screen readers. @param {string} text */
  #answer(text) {
    find(this.#root, '#data-answer', HTMLElement).textContent = text;
    if (text) say(text);
  }

  /** A file that this browser makes; the server has no part in it but its record. */
  async #download() {
    await this.#ask();
    if (!this.#data) return this.#answer(t('data.unanswered'));
    const file = {
      format: FORMAT,
      exported_at: new Date().toISOString(),
      control_plane: this.#data,
      control_plane_also: ['hash-of-address', 'hash-of-return-token', 'messages-under-way'],
      ...this.#account ? { account: this.#account } : {},
      media_plane: {
        holds_while_connected: ['address', 'keys', 'formats', 'packet-numbers', 'sender-clock', 'latest-packets', ...this.#data.objections.speaker_detection ? [] : ['loudness'], 'line-quality'],
        address: this.#address,
      },
      browser: { ...kept(), own_chat_lines: this.#ownChat() },
    };
    save(`${JSON.stringify(file, null, 2)}\n`, 'saal-my-data.json');
    this.#answer(t('data.downloaded'));
  }
}

/** @param {HTMLButtonElement} pressed @param {boolean} on */
function press(pressed, on) { pressed.setAttribute('aria-checked', String(on)); }

/** @param {string} text */
const hint = (text) => el('span', { class: 'hint' }, text);

/** @param {OwnAccount} account */
const signIns = ({ sign_ins }) => sign_ins?.length ? t('data.account.signins', { count: sign_ins.length }) : t('data.account.none');
