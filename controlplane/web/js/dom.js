// Building and finding elements. Text goes in as text nodes only: nothing here parses markup.

import { icon } from './icons.js';

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | boolean | null | undefined>} [attributes] `true` sets an empty attribute; `false` and null leave it out
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children) {
    if (child !== null) node.append(child);
  }
  return node;
}

/**
 * The element the page's own HTML promises; its absence is a programming error.
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T}
 */
export function find(root, selector, type) {
  const node = root.querySelector(selector);
  if (!(node instanceof type)) throw new Error(`missing in the page: ${selector}`);
  return node;
}

/**
 * @param {ParentNode} root
 * @param {string} testid
 */
export const button = (root, testid) => find(root, `[data-testid="${testid}"]`, HTMLButtonElement);

/**
 * @param {ParentNode} root
 * @param {string} testid
 */
export const input = (root, testid) => find(root, `[data-testid="${testid}"]`, HTMLInputElement);

/**
 * Fills every `<span data-icon="mic">` of the static HTML.
 * @param {ParentNode} root
 */
export function fillIcons(root) {
  for (const place of root.querySelectorAll('[data-icon]')) {
    place.replaceChildren(icon(/** @type {import('./icons.js').IconName} */ (place.getAttribute('data-icon'))));
  }
}

/**
 * @param {HTMLElement} place
 * @param {import('./icons.js').IconName} name
 */
export function setIcon(place, name) {
  if (place.getAttribute('data-icon') === name && place.firstChild) return;
  place.setAttribute('data-icon', name);
  place.replaceChildren(icon(name));
}

/**
 * A copy of a `<template>` of the page.
 * @param {string} id
 */
export function stamp(id) {
  const copy = find(document, `#${id}`, HTMLTemplateElement).content.cloneNode(true);
  if (!(copy instanceof DocumentFragment)) throw new Error(`not a template: ${id}`);
  fillIcons(copy);
  return copy;
}

/**
 * Copies to the clipboard and says so on the button for two seconds.
 * @param {HTMLElement} label the text inside the button
 * @param {string} text
 * @param {string} done
 */
export async function copy(label, text, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    return; // no permission: the field beside the button can be selected by hand
  }
  const before = label.textContent;
  label.textContent = done;
  setTimeout(() => { if (label.textContent === done) label.textContent = before; }, 2000);
}

/** Offers a text as a file to keep. @param {string} text @param {string} name */
export function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1_000);
}
