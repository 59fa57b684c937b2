// The panel "Connection": how the lines are, what limits which picture, and the two switches for whoever has little of them.
// It also marks the tiles. Everything is measured here; of the line to this browser the server adds what it knows.

import { button, el, find, setIcon } from './dom.js';
import { language, onLanguage, t } from './i18n.js';
import { say } from './notices.js';
import { videoKey } from './slots.js';
import { GOOD, Steady, judgeDown, judgePicture, judgeUp } from './verdict.js';

/** @typedef {import('./conference.js').Conference} Conference */
/** @typedef {import('./verdict.js').Verdict} Verdict */
/** @typedef {import('./stats.js').Reading} Reading */
/** @typedef {import('./stats.js').Picture} Picture */
/** @typedef {import('./i18n.js').TextKey} TextKey */

const LOOK_MS = 2_000;
/** @type {Verdict} what I have chosen myself is no trouble */
const SAVES = { level: 'good', cause: 'saving' };

export class Connection {
  #root;
  #conference;
  #mark;
  #steady = new Steady();
  #open = false;
  #timer = 0;
  #looks = false;
  #lookedAt = -Infinity;
  /** @type {Reading | null} */
  #reading = null;
  /** @type {{ up: Verdict, down: Verdict, pictures: Map<string, Verdict> }} */
  #verdicts = { up: GOOD, down: GOOD, pictures: new Map() };

  /**
   * @param {ParentNode} root
   * @param {Conference} conference
   * @param {(key: string, verdict: Verdict | null, words: string) => void} mark of a tile; null takes it away
   * @param {{ stopCamera: () => void, save: (on: boolean) => void }} actions
   */
  constructor(root, conference, mark, actions) {
    this.#root = root;
    this.#conference = conference;
    this.#mark = mark;
    button(root, 'audio-only').addEventListener('click', () => {
      conference.audioOnly = !conference.audioOnly;
      say(t(conference.audioOnly ? 'line.audio.on' : 'line.audio.off'));
      this.show();
    });
    button(root, 'save-data').addEventListener('click', () => {
      actions.save(!conference.saving);
      this.show();
    });
    button(root, 'also-camera').addEventListener('click', actions.stopCamera);
    onLanguage(() => this.show());
    this.#timer = window.setInterval(() => void this.#look(), LOOK_MS);
    void this.#look();
  }

  /** @param {boolean} open */
  open(open) {
    if (this.#open === open) return;
    this.#open = open;
    if (open) void this.#look();
  }

  async #look() {
    if (!this.#root.querySelector('#stats-panel')) return clearInterval(this.#timer); // the call is over
    // Within a moment no picture comes, and that is no trouble.
    if (this.#looks || performance.now() - this.#lookedAt < LOOK_MS / 2) return this.show();
    this.#looks = true;
    const reading = await this.#conference.measure().catch(() => null);
    this.#looks = false;
    this.#lookedAt = performance.now();
    if (!reading) return;
    this.#reading = reading;
    const { quality, participants, me } = this.#conference;
    const wishes = this.#conference.wishedPictures();
    const saves = (/** @type {Verdict} */ verdict) => (this.#conference.saving && verdict.level === 'good' ? SAVES : verdict);
    this.#verdicts.up = saves(this.#steady.settle('up', judgeUp(reading)));
    const pictures = wishes.map((wish) => judgePicture(wish, reading.down.pictures.get(wish.slot) ?? null, reading, quality));
    this.#verdicts.down = this.#steady.settle('down', judgeDown(reading, quality, pictures));
    this.#verdicts.pictures = new Map(wishes.map(({ key }, i) => [key, saves(this.#steady.settle(key, pictures[i] ?? GOOD))]));
    this.#steady.keep((key) => key === 'up' || key === 'down' || this.#verdicts.pictures.has(key));
    const own = worst(this.#verdicts.up, this.#verdicts.down);
    this.#mark(videoKey(me.id, 'camera'), own, this.#ownWords());
    for (const person of participants.values()) {
      for (const source of /** @type {const} */ (['camera', 'screen'])) {
        const key = videoKey(person.id, source);
        const verdict = this.#verdictOf(key, person[source] && !person.paused && !person.away);
        this.#mark(key, verdict, verdict ? wordsOf(verdict) : '');
      }
    }
    this.show();
  }

  /** @param {string} key @param {boolean} isOn @returns {Verdict | null} */
  #verdictOf(key, isOn) {
    if (!isOn) return null;
    if (this.#conference.audioOnly) return { level: 'good', cause: 'audio-only' };
    return this.#verdicts.pictures.get(key) ?? null;
  }

  #ownWords() {
    return `${t('line.up')}: ${wordsOf(this.#verdicts.up)}. ${t('line.down')}: ${wordsOf(this.#verdicts.down)}`;
  }

  show() {
    const { audioOnly, saving, me } = this.#conference;
    button(this.#root, 'audio-only').setAttribute('aria-checked', String(audioOnly));
    button(this.#root, 'save-data').setAttribute('aria-checked', String(saving));
    find(this.#root, '#also-camera', HTMLElement).hidden = !audioOnly || !me.camera;
    if (!this.#open) return;
    const overall = worst(this.#verdicts.up, this.#verdicts.down);
    const state = find(this.#root, '#line-state', HTMLElement);
    state.className = `line-state is-${overall.level}`;
    setIcon(find(this.#root, '#line-bars', HTMLElement), `bars-${overall.level}`);
    setText(find(this.#root, '#line-words', HTMLElement), t(`line.${overall.level}`));
    if (!this.#reading) return;
    fill(find(this.#root, '#line-up', HTMLElement), this.#upFacts(this.#reading));
    fill(find(this.#root, '#line-down', HTMLElement), this.#downFacts(this.#reading));
    find(this.#root, '#line-pictures', HTMLElement).replaceChildren(...this.#pictureRows(this.#reading));
  }

  /** @param {Reading} reading @returns {[TextKey, string][]} */
  #upFacts({ up, roundTripMs }) {
    const [camera, screen] = [up.pictures.get('camera'), up.pictures.get('screen')];
    return [
      ['line.state', wordsOf(this.#verdicts.up)],
      ['line.rate', rate(up.bps)],
      ['line.loss', percent(up.loss)],
      ['line.roundtrip', milliseconds(roundTripMs)],
      ...camera ? [/** @type {[TextKey, string]} */ (['line.camera', pictureWords(camera)])] : [],
      ...screen ? [/** @type {[TextKey, string]} */ (['line.screen', pictureWords(screen)])] : [],
    ];
  }

  /** @param {Reading} reading @returns {[TextKey, string][]} */
  #downFacts({ down }) {
    const { quality, unmeasured } = this.#conference;
    return [
      ['line.state', wordsOf(this.#verdicts.down)],
      ['line.rate', rate(down.bps)],
      ...quality || unmeasured ? [/** @type {[TextKey, string]} */ (['line.estimate', unmeasured ? t('line.objected') : rateOrUnknown(quality?.estimate_bps ?? null)])] : [],
      ['line.loss', percent(quality?.loss_permille == null ? down.loss : quality.loss_permille / 1_000)],
      ['line.concealed', percent(down.concealed)],
    ];
  }

  /** @param {Reading} reading */
  #pictureRows({ down }) {
    const wishes = this.#conference.wishedPictures();
    if (wishes.length === 0) return [el('li', { class: 'hint' }, t(this.#conference.audioOnly ? 'line.pictures.audio' : 'line.pictures.none'))];
    return wishes.map(({ key, slot, participant, source }) => {
      const verdict = this.#verdicts.pictures.get(key) ?? GOOD;
      const picture = down.pictures.get(slot);
      const name = this.#conference.person(participant)?.name ?? '';
      const bars = el('span', { class: `bars is-${verdict.level}`, 'aria-hidden': 'true' });
      setIcon(bars, `bars-${verdict.level}`);
      return el('li', { class: 'line-picture' }, bars,
        el('span', { class: 'person-words' },
          el('bdi', { class: 'person-name' }, source === 'screen' ? t('tile.screen', { name }) : name),
          el('span', { class: 'person-role' }, picture && picture.fps > 0 ? pictureWords(picture) : t('line.nothing')),
          el('span', { class: 'line-why' }, verdict.cause === 'none' ? t('line.fits') : wordsOf(verdict))));
    });
  }
}

/** @param {Verdict} verdict */
const wordsOf = ({ level, cause }) => (cause === 'none' ? t(`line.level.${level}`) : t(`line.cause.${cause}`));

/** @param {Verdict} a @param {Verdict} b */
function worst(a, b) {
  const rank = { good: 0, fair: 1, poor: 2 };
  return rank[b.level] > rank[a.level] ? b : a;
}

/** @param {Picture} picture */
function pictureWords({ width, height, fps, bps, codec, loss, limit }) {
  const size = `${width}\u00a0×\u00a0${height}`;
  const limited = limit === 'none' || limit === 'other' ? '' : ` · ${t(limit === 'cpu' ? 'line.cause.processor' : 'line.cause.own-line')}`;
  const lost = loss === null ? '' : ` · ${t('line.lost', { share: percent(loss) })}`;
  return `${size} · ${t('line.fps', { count: Math.round(fps) })} · ${rate(bps)} · ${codec}${lost}${limited}`;
}

/** @param {number} value @param {number} digits */
const number = (value, digits) => new Intl.NumberFormat(language(), { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);

/** @param {number} bps */
const rate = (bps) => (bps >= 1e6 ? `${number(bps / 1e6, 1)}\u00a0Mbit/s` : `${number(bps / 1e3, 0)}\u00a0kbit/s`);

/** @param {number | null} bps */
const rateOrUnknown = (bps) => (bps === null ? t('line.unknown') : rate(bps));

/** @param {number | null} share */
const percent = (share) => (share === null ? '–' : `${number(share * 100, 1)}\u00a0%`);

/** @param {number | null} ms */
const milliseconds = (ms) => (ms === null ? '–' : `${ms < 1 ? '<\u00a01' : ms}\u00a0ms`);

/** Keeps the nodes, so that whoever reads with a screen reader does not lose their place. @param {HTMLElement} list @param {[TextKey, string][]} facts */
function fill(list, facts) {
  while (list.childElementCount > facts.length) list.lastElementChild?.remove();
  facts.forEach(([name, words], i) => {
    let row = list.children[i];
    if (!row) {
      row = el('div', {}, el('dt'), el('dd'));
      list.append(row);
    }
    setText(/** @type {HTMLElement} */ (row.children[0]), t(name));
    setText(/** @type {HTMLElement} */ (row.children[1]), words);
  });
}

/** @param {HTMLElement} node @param {string} text */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
