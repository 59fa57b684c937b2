// Chooses the language and puts the words of lang/*.js into the page.

import { de } from './lang/de.js';
import { en } from './lang/en.js';
import { read, write } from './settings.js';

/** @typedef {'de' | 'en'} Language */
/** @typedef {keyof typeof en} TextKey */

/** @type {Record<Language, Record<TextKey, string>>} */
const TEXTS = { de, en };

/** @type {Language} */
let current = choose();
/** @type {(() => void)[]} */
const listeners = [];

/** @returns {Language} */
function choose() {
  const wished = /^#(de|en)\b/.exec(location.hash)?.[1] ?? read('language') ?? navigator.language.slice(0, 2);
  return wished === 'de' ? 'de' : 'en';
}

export const language = () => current;

/** @param {Language} next */
export function setLanguage(next) {
  current = next;
  write('language', next);
  translate(document);
  for (const listener of listeners) listener();
}

/**
 * Called after every change of language, for text that is not in the HTML.
 * @param {() => void} listener
 */
export function onLanguage(listener) {
  listeners.push(listener);
}

/**
 * @param {TextKey} key
 * @param {Record<string, string | number>} [values] for the {placeholders}
 */
export function t(key, values = {}) {
  return TEXTS[current][key].replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** Attribute of the HTML -> what it fills. */
const TARGETS = { 'data-t': null, 'data-t-label': 'aria-label', 'data-t-title': 'title', 'data-t-placeholder': 'placeholder' };

/** @param {Document | DocumentFragment | Element} root */
export function translate(root) {
  if (root === document) document.documentElement.lang = current;
  for (const [source, target] of Object.entries(TARGETS)) {
    for (const node of root.querySelectorAll(`[${source}]`)) {
      const text = t(/** @type {TextKey} */ (node.getAttribute(source)));
      if (target) node.setAttribute(target, text);
      else node.textContent = text;
    }
  }
  // The server writes these two, in the language that their address names.
  for (const link of root.querySelectorAll('a[href^="/privacy"], a[href^="/imprint"]')) {
    link.setAttribute('href', `${link.getAttribute('href')?.split('?')[0]}?lang=${current}`);
  }
}
