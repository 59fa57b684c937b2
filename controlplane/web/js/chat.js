// The chat panel: messages of this stay, in memory only.

import { el, find } from './dom.js';
import { icon } from './icons.js';
import { language, t } from './i18n.js';
import { say } from './notices.js';

const MESSAGES_MAX = 500; // a long meeting's chat must not grow the page without end
const ECHO_MS = 4_000; // one's own words come back from the server; what does not was not relayed
const LINK = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;

export class Chat {
  #list;
  #empty;
  #input;
  #form;
  #withheld;
  #lastFrom = '';
  /** @type {{ text: string, timer: number, failed: Element | null }[]} */
  #unconfirmed = [];
  /** @type {Map<Element, { from: string, line: number, own: boolean, text: string, at: string }>} what each message is */
  #known = new Map();
  #onDelete;

  /**
   * @param {ParentNode} root
   * @param {{ onSend: (text: string) => void, onDelete: (line: number) => void }} on onDelete: one of my lines of this stay
   */
  constructor(root, { onSend, onDelete }) {
    this.#onDelete = onDelete;
    this.#list = find(root, '#messages', HTMLElement);
    this.#empty = find(root, '#chat-empty', HTMLElement);
    this.#input = find(root, '[data-testid="chat-input"]', HTMLTextAreaElement);
    const form = find(root, '#chat-form', HTMLFormElement);
    this.#form = form;
    this.#withheld = find(root, '#chat-withheld', HTMLElement);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.#input.value.trim();
      if (!text) return;
      onSend(text);
      this.#expectEcho(text);
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

  /** @param {boolean} may */
  allow(may) {
    this.#form.hidden = !may;
    this.#withheld.hidden = may;
  }

  focus() {
    this.#input.focus();
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** My lines that are still to be seen here, for a copy of my data. */
  get own() {
    return [...this.#known.values()].filter(({ own }) => own).map(({ at, text }) => ({ at, text }));
  }

  /** Nothing can be said meanwhile. @param {boolean} paused */
  showPaused(paused) {
    this.#input.disabled = paused;
    this.#input.placeholder = t(paused ? 'chat.paused' : 'chat.field');
  }

  /** Takes lines of an author out, as the author wishes. @param {string} from @param {number} [line] without it: all */
  remove(from, line) {
    for (const [item, message] of this.#known) {
      if (message.from !== from || (line !== undefined && message.line !== line)) continue;
      const next = item.nextElementSibling;
      if (!item.classList.contains('message-goes-on')) next?.classList.remove('message-goes-on');
      if (!next) this.#lastFrom = '';
      item.remove();
      this.#known.delete(item);
    }
    this.#empty.hidden = this.#list.childElementCount > 0;
  }

  /** @param {{ from: string, name: string, text: string, line: number, own: boolean }} message */
  add({ from, name, text, line, own }) {
    if (own) this.#confirm(text);
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    const time = new Intl.DateTimeFormat(language(), { hour: '2-digit', minute: '2-digit' }).format(new Date());
    const goesOn = this.#lastFrom === from;
    this.#lastFrom = from;
    const item = el('div', { class: `message${own ? ' message-own' : ''}${goesOn ? ' message-goes-on' : ''}`, 'data-testid': 'chat-message' },
      el('p', { class: 'message-head' }, el('bdi', {}, name), ' ', el('time', {}, time)),
      el('p', { class: 'message-text', dir: 'auto' }, ...withLinks(text)));
    if (own) item.append(this.#deleteButton(line));
    this.#known.set(item, { from, line, own, text, at: new Date().toISOString() });
    this.#append(item);
    if (atEnd || own) this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** @param {Element} item */
  #append(item) {
    this.#empty.hidden = true;
    this.#list.append(item);
    while (this.#list.childElementCount > MESSAGES_MAX) {
      const first = this.#list.firstElementChild;
      if (!first) break;
      this.#known.delete(first);
      first.remove();
    }
  }

  /** @param {number} line */
  #deleteButton(line) {
    const press = el('button', { type: 'button', class: 'message-delete', 'data-testid': 'delete-message', 'aria-label': t('chat.delete'), title: t('chat.delete') }, icon('trash'));
    press.addEventListener('click', () => {
      this.#onDelete(line);
      this.#input.focus();
    });
    return press;
  }

  /** @param {string} text */
  #expectEcho(text) {
    /** @type {{ text: string, timer: number, failed: Element | null }} */
    const sent = { text, timer: 0, failed: null };
    sent.timer = window.setTimeout(() => {
      sent.failed = el('div', { class: 'message message-own message-failed', 'data-testid': 'chat-undelivered' },
        el('p', { class: 'message-text', dir: 'auto' }, text), el('p', { class: 'message-trouble' }, t('chat.undelivered')));
      this.#lastFrom = '';
      this.#append(sent.failed);
      this.#list.scrollTop = this.#list.scrollHeight;
      say(t('chat.undelivered'));
    }, ECHO_MS);
    this.#unconfirmed.push(sent);
    if (this.#unconfirmed.length > MESSAGES_MAX) this.#unconfirmed.shift();
  }

  /** @param {string} text */
  #confirm(text) {
    const at = this.#unconfirmed.findIndex((sent) => sent.text === text);
    const [sent] = this.#unconfirmed.splice(Math.max(at, 0), 1);
    clearTimeout(sent?.timer);
    sent?.failed?.remove();
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
