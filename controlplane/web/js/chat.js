// The chat panel: messages of this stay, in memory only.

import { el, find } from './dom.js';
import { language } from './i18n.js';

const MESSAGES_MAX = 500; // a long meeting's chat must not grow the page without end
const LINK = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;

export class Chat {
  #list;
  #empty;
  #input;
  #lastFrom = '';

  /** @param {ParentNode} root @param {(text: string) => void} onSend */
  constructor(root, onSend) {
    this.#list = find(root, '#messages', HTMLElement);
    this.#empty = find(root, '#chat-empty', HTMLElement);
    this.#input = find(root, '[data-testid="chat-input"]', HTMLTextAreaElement);
    const form = find(root, '#chat-form', HTMLFormElement);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.#input.value.trim();
      if (!text) return;
      onSend(text);
      this.#input.value = '';
      this.#fit();
      this.#input.focus();
    });
    this.#input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.#input.addEventListener('input', () => this.#fit());
  }

  focus() {
    this.#input.focus();
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** @param {{ from: string, name: string, text: string, own: boolean }} message */
  add({ from, name, text, own }) {
    this.#empty.hidden = true;
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    const time = new Intl.DateTimeFormat(language(), { hour: '2-digit', minute: '2-digit' }).format(new Date());
    const goesOn = this.#lastFrom === from;
    this.#lastFrom = from;
    const item = el('div', { class: `message${own ? ' message-own' : ''}${goesOn ? ' message-goes-on' : ''}`, 'data-testid': 'chat-message' },
      el('p', { class: 'message-head' }, el('bdi', {}, name), ' ', el('time', {}, time)),
      el('p', { class: 'message-text', dir: 'auto' }, ...withLinks(text)));
    this.#list.append(item);
    while (this.#list.childElementCount > MESSAGES_MAX) this.#list.firstElementChild?.remove();
    if (atEnd || own) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #fit() {
    this.#input.style.height = 'auto';
    this.#input.style.height = `${Math.min(this.#input.scrollHeight + 2, 140)}px`;
  }
}

/** @param {string} text @returns {(Node | string)[]} */
function withLinks(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    parts.push(text.slice(end, match.index));
    parts.push(el('a', { href: match[0], target: '_blank', rel: 'noopener noreferrer' }, match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}
