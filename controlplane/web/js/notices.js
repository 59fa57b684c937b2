// What the page says by itself: bars that stay while something is the matter, short toasts, and the live region.

import { el, find } from './dom.js';
import { icon } from './icons.js';
import { t } from './i18n.js';

/** @typedef {import('./i18n.js').TextKey} TextKey */
/** @typedef {{ text: TextKey, values?: Record<string, string | number>, tone?: 'calm' | 'warning', actions?: { text: TextKey, testid: string, run: () => void }[] }} Notice */

const TOAST_MS = 4_000;
const TOASTS_AT_ONCE = 2;

/** For screen readers. @param {string} text */
export function say(text) {
  const place = find(document, '#said', HTMLElement);
  place.append(el('span', {}, text));
  while (place.childElementCount > 4) place.firstElementChild?.remove();
}

export class Notices {
  #bars;
  #toasts;
  /** @type {Map<string, HTMLElement>} */
  #shown = new Map();

  /** @param {ParentNode} root */
  constructor(root) {
    this.#bars = find(root, '#notices', HTMLElement);
    this.#toasts = find(root, '#toasts', HTMLElement);
  }

  /**
   * Puts a bar at a subject, replaces it, or with null takes it away.
   * @param {string} subject
   * @param {Notice | null} notice
   */
  bar(subject, notice) {
    this.#shown.get(subject)?.remove();
    this.#shown.delete(subject);
    if (!notice) return;
    const { text, values, tone = 'calm', actions = [] } = notice;
    const words = t(text, values);
    const bar = el('div', { class: `bar bar-${tone}`, 'data-testid': `notice-${subject}` },
      icon(tone === 'warning' ? 'warning' : 'info'), el('span', { class: 'bar-text', 'data-t': values ? null : text }, words));
    const presses = el('span', { class: 'bar-actions', hidden: actions.length === 0 });
    bar.append(presses);
    for (const action of actions) {
      const press = el('button', { type: 'button', class: 'on-dark', 'data-testid': action.testid, 'data-t': action.text }, t(action.text));
      press.addEventListener('click', action.run);
      presses.append(press);
    }
    this.#bars.append(bar);
    this.#shown.set(subject, bar);
    say(words);
  }

  /** Said and shown for a moment. @param {string} text */
  toast(text) {
    say(text);
    this.#show(el('p', { class: 'toast', dir: 'auto' }, text));
  }

  /** A chat message that came while the panel is closed. @param {string} name @param {string} text */
  glimpse(name, text) {
    this.#show(el('p', { class: 'toast toast-chat' }, el('bdi', {}, name), el('span', { dir: 'auto' }, text)));
  }

  clearToasts() { this.#toasts.replaceChildren(); }

  /** @param {HTMLElement} toast */
  #show(toast) {
    this.#toasts.append(toast);
    while (this.#toasts.childElementCount > TOASTS_AT_ONCE) this.#toasts.firstElementChild?.remove();
    setTimeout(() => toast.remove(), TOAST_MS);
  }
}
