// The buttons of the call and their keys, and which side panel is open.

import { button, find, setIcon } from './dom.js';
import { t } from './i18n.js';
import { read } from './settings.js';

/** @typedef {'chat' | 'people' | 'data' | 'stats'} Panel */

/** @type {Record<Panel, string>} each panel's button */
const OPENERS = { chat: 'chat-toggle', people: 'people', data: 'my-data', stats: 'connection' };

/** @typedef {import('./signalling.js').Source} Source */

/**
 * @typedef {object} Actions
 * @property {(source: Source) => void} toggle
 * @property {() => void} toggleHand
 * @property {() => void} openSettings
 * @property {() => void} openKeys
 * @property {() => void} askEnd
 * @property {() => void} hangUp
 * @property {(panel: Panel | null) => void} onPanel
 */

const NARROW = matchMedia('(max-width: 780px)'); // as in call.css

export class Toolbar {
  /** @type {Panel | null} */
  panel = null;
  #root;
  #actions;

  /** @param {ParentNode} root @param {Actions} actions */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
    /** @type {Record<string, () => void>} */
    const presses = {
      mic: () => actions.toggle('microphone'),
      camera: () => actions.toggle('camera'),
      share: () => actions.toggle('screen'),
      hand: actions.toggleHand,
      'chat-toggle': () => this.#togglePanel('chat'),
      'chat-close': () => this.#togglePanel('chat'),
      people: () => this.#togglePanel('people'),
      'people-close': () => this.#togglePanel('people'),
      'my-data': () => this.#togglePanel('data'),
      'data-close': () => this.#togglePanel('data'),
      connection: () => this.#togglePanel('stats'),
      'stats-close': () => this.#togglePanel('stats'),
      settings: actions.openSettings,
      'leave-end': actions.askEnd,
      'hang-up': actions.hangUp,
      more: () => this.#showMore(this.#more.getAttribute('aria-expanded') !== 'true'),
    };
    this.#placeChat();
    NARROW.addEventListener('change', () => this.#placeChat());
    for (const [testid, run] of Object.entries(presses)) {
      button(root, testid).addEventListener('click', () => {
        if (testid !== 'more') this.#showMore(false);
        run();
      });
    }
    const bar = find(root, '#toolbar', HTMLElement);
    document.addEventListener('keydown', (event) => { if (bar.isConnected) this.#onKey(event); });
    document.addEventListener('pointerdown', (event) => {
      if (bar.isConnected && !bar.contains(/** @type {Node} */ (event.target))) this.#showMore(false);
    });
  }

  /** @param {import('./signalling.js').Participant} me @param {(source: Source) => boolean} may what the organizers let us use */
  show(me, may) {
    this.#allow('mic', may('microphone'), 'call.mic.title');
    this.#allow('camera', may('camera'), 'call.camera.title');
    this.#allow('share', may('screen'), 'call.share.title');
    this.#press('mic', me.microphone);
    setIcon(find(button(this.#root, 'mic'), '.tool-icon', HTMLElement), me.microphone ? 'mic' : 'mic-off');
    this.#press('camera', me.camera);
    setIcon(find(button(this.#root, 'camera'), '.tool-icon', HTMLElement), me.camera ? 'camera' : 'camera-off');
    this.#press('share', me.screen);
    this.#press('hand', me.hand);
    button(this.#root, 'leave-end').hidden = !me.organizer;
  }

  /** @param {number} count */
  showUnread(count) {
    const badge = find(this.#root, '#unread', HTMLElement);
    badge.hidden = count === 0;
    badge.textContent = count > 99 ? '99+' : String(count);
    badge.title = t('chat.unread', { count });
  }

  /** On a narrow window chat stays in the bar while the rest of its group moves behind "more". */
  #placeChat() {
    if (NARROW.matches) this.#more.before(button(this.#root, 'chat-toggle'));
    else button(this.#root, 'hand').after(button(this.#root, 'chat-toggle'));
  }

  get #more() { return button(this.#root, 'more'); }

  /** @param {string} testid @param {boolean} allowed @param {import('./i18n.js').TextKey} title */
  #allow(testid, allowed, title) {
    const press = button(this.#root, testid);
    const words = allowed ? title : 'call.withheld';
    press.disabled = !allowed;
    press.setAttribute('data-t-title', words);
    press.title = t(words);
  }

  /** @param {string} testid @param {boolean} on */
  #press(testid, on) { button(this.#root, testid).setAttribute('aria-pressed', String(on)); }

  /** @param {boolean} open */
  #showMore(open) {
    this.#more.setAttribute('aria-expanded', String(open));
    find(this.#root, '#tools-more', HTMLElement).classList.toggle('is-open', open);
  }

  /** @param {Panel} panel */
  open(panel) {
    if (this.panel !== panel) this.#togglePanel(panel);
  }

  /** @param {Panel} panel */
  #togglePanel(panel) {
    const next = this.panel === panel ? null : panel;
    this.panel = next;
    for (const [name, opener] of Object.entries(OPENERS)) {
      find(this.#root, `#${name}-panel`, HTMLElement).hidden = next !== name;
      this.#press(opener, next === name);
    }
    if (next !== null && next !== 'chat') button(this.#root, `${next}-close`).focus();
    if (next === null) this.#focus(OPENERS[panel]);
    this.#actions.onPanel(next);
  }

  /** Back to the button that opened it; on a phone that may lie behind "more". @param {string} testid */
  #focus(testid) {
    const opener = button(this.#root, testid);
    (opener.offsetParent === null ? this.#more : opener).focus();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (this.#root instanceof Element && this.#root.querySelector('dialog[open]')) return;
    if (event.key === 'Escape') {
      if (this.#more.getAttribute('aria-expanded') === 'true') this.#showMore(false);
      else if (this.panel) this.#togglePanel(this.panel);
      return;
    }
    const inText = event.target instanceof Element && event.target.closest('input, textarea, select, [contenteditable]');
    if (inText || event.ctrlKey || event.metaKey || event.altKey || event.repeat || read('shortcuts') === 'off') return;
    const run = this.#keys()[event.key.toLowerCase()];
    if (!run) return;
    event.preventDefault();
    run();
  }

  /** @returns {Record<string, () => void>} */
  #keys() {
    return {
      m: () => { if (!button(this.#root, 'mic').disabled) this.#actions.toggle('microphone'); },
      v: () => { if (!button(this.#root, 'camera').disabled) this.#actions.toggle('camera'); },
      d: () => { if (!button(this.#root, 'share').hidden && !button(this.#root, 'share').disabled) this.#actions.toggle('screen'); },
      r: this.#actions.toggleHand,
      c: () => this.#togglePanel('chat'),
      p: () => this.#togglePanel('people'),
      t: () => this.#togglePanel('stats'),
      '?': this.#actions.openKeys,
    };
  }
}
