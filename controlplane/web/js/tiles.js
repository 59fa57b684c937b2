// One tile: a participant's camera or screen, or an avatar while there is no picture.

import { el, setIcon } from './dom.js';
import { icon } from './icons.js';
import { t } from './i18n.js';
import { isWorthSaying } from './verdict.js';

/** @typedef {import('./signalling.js').Participant} Participant */

const COLOURS = 10;
/** A slot's first frames after a change of mapping may still be the ones that were on their way before it. */
const SETTLE_MS = 120;
const REVEAL_AT_LATEST_MS = 1_500;

/** Up to two letters of a name, titles such as "Dr." aside. @param {string} name */
export function initials(name) {
  const words = name.trim().split(/[\s_-]+/u).filter(Boolean);
  const names = words.filter((word) => !word.endsWith('.'));
  const [first = '?', ...rest] = (names.length > 0 ? names : words).map((word) => [...word][0] ?? '');
  const joins = /\p{Script=Arabic}/u.test(first); // two such letters would be written as one word
  return (first + (joins ? '' : rest.pop() ?? '')).toLocaleUpperCase();
}

/** The number of one of the avatar colours in the style sheet, always the same for a name. @param {string} name */
export function colourOf(name) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  return (hash >>> 8) % COLOURS;
}

/** @param {string} name */
export function avatar(name) {
  return el('span', { class: `avatar avatar-${colourOf(name)}`, 'aria-hidden': 'true' }, initials(name));
}

export class Tile {
  #avatarOf = '';
  /** @type {MediaStream | null} */
  #stream = null;
  #revealTimer = 0;
  #personPaused = false;
  /** @type {import('./verdict.js').Limit | null} */
  #stalled = null;

  /**
   * @param {string} participant
   * @param {'camera' | 'screen'} source
   * @param {boolean} self
   * @param {() => void} onPin
   */
  constructor(participant, source, self, onPin) {
    this.participant = participant;
    this.source = source;
    this.self = self;
    this.video = el('video', { autoplay: true, playsinline: true, muted: true });
    this.video.muted = true;
    this.avatarPlace = el('div', { class: 'tile-avatar' });
    this.name = el('bdi', { class: 'plate-name' });
    this.muted = el('span', { class: 'plate-muted', role: 'img', hidden: true });
    this.speaking = el('span', { class: 'plate-speaking', role: 'img', hidden: true });
    this.hand = el('span', { class: 'tile-hand', role: 'img', hidden: true });
    this.pausedWords = el('span', {});
    this.paused = el('div', { class: 'tile-paused', hidden: true }, icon('pause'), this.pausedWords);
    this.awayWords = el('span', {});
    this.away = el('div', { class: 'tile-away', hidden: true }, icon('reconnect'), this.awayWords);
    this.bars = el('span', { class: 'bars', role: 'img', hidden: true });
    this.why = el('span', { class: 'plate-why', hidden: true });
    this.pin = el('button', { type: 'button', class: 'tile-pin', 'aria-pressed': 'false' });
    setIcon(this.muted, 'mic-off');
    setIcon(this.speaking, 'speaking');
    setIcon(this.hand, 'hand');
    setIcon(this.pin, 'pin');
    this.root = el('div', {
      class: `tile tile-${source}`,
      'data-testid': source === 'camera' ? 'tile' : 'screen-tile',
      'data-participant': participant,
      'data-self': self,
      role: 'group',
    }, this.avatarPlace, this.video, this.paused, this.away, this.hand, el('div', { class: 'plate' }, this.muted, this.speaking, this.name, this.bars, this.why), this.pin);
    this.root.addEventListener('click', onPin); // the pin button inside is the way for keyboards
  }

  /** @param {Participant} person @param {boolean} speaking */
  describe(person, speaking) {
    const name = this.self ? t('call.you', { name: person.name }) : person.name;
    const screen = this.source === 'screen';
    const title = screen ? t('tile.screen', { name: person.name }) : name;
    setText(this.name, title);
    this.root.setAttribute('aria-label', title);
    this.pin.setAttribute('aria-label', t(screen ? 'tile.pin.screen' : 'tile.pin', { name: person.name }));
    this.pin.title = this.pin.getAttribute('aria-label') ?? '';
    this.muted.hidden = screen || person.microphone || person.paused;
    this.#personPaused = person.paused;
    this.#showPaused();
    this.root.classList.toggle('is-paused', person.paused);
    this.away.hidden = !person.away;
    setText(this.awayWords, t('tile.away'));
    this.root.classList.toggle('is-away', person.away);
    this.muted.setAttribute('aria-label', t('tile.muted'));
    this.speaking.hidden = screen || !speaking;
    this.speaking.setAttribute('aria-label', t('tile.speaking'));
    this.hand.hidden = screen || !person.hand;
    this.hand.setAttribute('aria-label', t('tile.hand'));
    this.root.classList.toggle('is-speaking', !screen && speaking);
    if (this.#avatarOf !== person.name) {
      this.#avatarOf = person.name;
      this.avatarPlace.replaceChildren(avatar(person.name));
    }
  }

  /** How its line is, and what limits the picture. @param {import('./verdict.js').Verdict | null} verdict @param {string} words */
  mark(verdict, words) {
    this.bars.hidden = verdict === null;
    this.why.hidden = verdict === null || !isWorthSaying(verdict);
    if (!verdict) return;
    setIcon(this.bars, `bars-${verdict.level}`);
    this.bars.className = `bars is-${verdict.level}`;
    this.bars.setAttribute('aria-label', words);
    this.bars.title = words;
    setText(this.why, verdict.cause === 'none' ? '' : t(`line.short.${verdict.cause}`));
  }

  /** @param {import('./verdict.js').Limit | null} stalled what does not carry the picture */
  stall(stalled) {
    this.#stalled = stalled;
    this.#showPaused();
  }

  #showPaused() {
    this.paused.hidden = !this.#personPaused && this.#stalled === null;
    const self = this.self ? 'tile.paused.self' : 'tile.paused';
    setText(this.pausedWords, t(this.#personPaused ? self : this.#stalled === 'server' ? 'tile.stalled.server' : 'tile.stalled'));
  }

  /** @param {import('./layout.js').Rect | null} rect null hides the tile */
  place(rect) {
    this.root.hidden = rect === null;
    if (!rect) return;
    const { style } = this.root;
    style.left = `${rect.x}px`;
    style.top = `${rect.y}px`;
    style.width = `${rect.width}px`;
    style.height = `${rect.height}px`;
    this.root.classList.toggle('is-small', rect.width < 220);
    this.root.classList.toggle('is-large', rect.width > 560);
  }

  /** @param {boolean} pinned */
  showPinned(pinned) {
    this.pin.setAttribute('aria-pressed', String(pinned));
    this.root.classList.toggle('is-pinned', pinned);
  }

  /**
   * Shows a stream as soon as a frame of it is there; until then, and with null, the avatar.
   * @param {MediaStream | null} stream
   * @param {number} since when the slot began to show this participant (performance.now())
   */
  show(stream, since) {
    if (this.#stream === stream) return;
    this.#stream = stream;
    clearTimeout(this.#revealTimer);
    this.root.classList.remove('has-picture');
    this.video.srcObject = stream;
    if (!stream) return;
    this.video.play().catch(() => { /* muted video plays by itself; a page in the background catches up */ });
    const reveal = () => { if (this.#stream === stream) this.root.classList.add('has-picture'); };
    const settle = () => { setTimeout(reveal, Math.max(0, since + SETTLE_MS - performance.now())); };
    if ('requestVideoFrameCallback' in this.video) this.video.requestVideoFrameCallback(settle);
    this.#revealTimer = window.setTimeout(() => {
      if (this.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) reveal();
      else this.video.addEventListener('loadeddata', settle, { once: true });
    }, REVEAL_AT_LATEST_MS);
  }

  remove() {
    clearTimeout(this.#revealTimer);
    this.video.srcObject = null;
    this.root.remove();
  }
}

/** @param {HTMLElement} node @param {string} text */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
