// All tiles of the call: who is visible, where, how large, and what the server is therefore asked for.

import { button, find } from './dom.js';
import { t } from './i18n.js';
import * as layout from './layout.js';
import { videoKey } from './slots.js';
import { Tile } from './tiles.js';

/** @typedef {import('./conference.js').Conference} Conference */

const EDGE = 10;
const PAGER_HEIGHT = 52;

export class Stage {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {string[]} everybody else, in the order of their tiles */
  #order = [];
  /** @type {Map<string, number>} */
  #lastSpoke = new Map();
  #turn = 0;
  /** @type {string | null} */
  #pinned = null;
  /** @type {string[]} screens being shared, the newest first */
  #screens = [];
  #page = 0;
  /** @type {Set<string>} */
  #visible = new Set();
  #conference;
  #devices;
  #root;
  #place;
  #ownStream = new MediaStream();
  #ownSince = 0;

  /**
   * @param {ParentNode} root
   * @param {Conference} conference
   * @param {import('./devices.js').Devices} devices
   */
  constructor(root, conference, devices) {
    this.#conference = conference;
    this.#devices = devices;
    this.#root = root;
    this.#place = find(root, '#tiles', HTMLElement);
    button(root, 'previous-page').addEventListener('click', () => this.#turnPage(-1));
    button(root, 'next-page').addEventListener('click', () => this.#turnPage(1));
    new ResizeObserver(() => this.arrange()).observe(this.#place);
  }

  /** After every change of people, switches or speakers. */
  update() {
    const { me, participants, speakers } = this.#conference;
    // Viewers have nothing to show; the list of people names them.
    const shown = [...participants.values()].filter((person) => person.kind !== 'viewer').map((person) => person.id);
    this.#order = this.#order.filter((id) => shown.includes(id));
    for (const id of shown) if (!this.#order.includes(id)) this.#order.push(id);
    const sharing = [...participants.values()].filter((person) => person.screen).map((person) => person.id);
    this.#screens = this.#screens.filter((id) => sharing.includes(id));
    for (const id of sharing) if (!this.#screens.includes(id)) this.#screens.unshift(id);
    this.#promote();

    const wanted = new Set([videoKey(me.id, 'camera'), ...this.#order.map((id) => videoKey(id, 'camera')), ...this.#screens.map((id) => videoKey(id, 'screen'))]);
    for (const [key, tile] of this.#tiles) {
      if (wanted.has(key)) continue;
      tile.remove();
      this.#tiles.delete(key);
    }
    for (const key of wanted) if (!this.#tiles.has(key)) this.#add(key);
    if (this.#pinned !== null && !this.#tiles.has(this.#pinned)) this.#pinned = null;
    for (const tile of this.#tiles.values()) {
      const person = this.#conference.person(tile.participant);
      if (person) tile.describe(person, speakers[0] === person.id && person.microphone);
    }
    this.arrange();
  }

  /** Computes the places anew and asks the server for what is visible. */
  arrange() {
    const box = this.#place.getBoundingClientRect();
    const { me, videoSlots } = this.#conference;
    if (box.width === 0 || me.id === '') return;
    const alone = find(this.#root, '#alone', HTMLElement);
    const whole = { x: EDGE, y: EDGE, width: box.width - 2 * EDGE, height: box.height - 2 * EDGE - alone.offsetHeight - (alone.hidden ? 0 : EDGE) };
    const own = videoKey(me.id, 'camera');
    const main = this.#pinned ?? (this.#screens[0] ? videoKey(this.#screens[0], 'screen') : null);
    const others = [
      ...this.#screens.map((id) => videoKey(id, 'screen')),
      ...this.#order.map((id) => videoKey(id, 'camera')),
    ].filter((key) => key !== main);

    let places = this.#placeAll(whole, main, own, others, videoSlots);
    if (places.size < this.#tiles.size) { // some are on another page: room for the buttons that lead there
      places = this.#placeAll({ ...whole, height: whole.height - PAGER_HEIGHT }, main, own, others, videoSlots);
    }

    for (const [key, tile] of this.#tiles) {
      tile.place(places.get(key) ?? null);
      tile.showPinned(key === this.#pinned);
      tile.root.classList.toggle('is-main', key === main);
    }
    this.#visible = new Set(places.keys());
    this.#wish(places, main);
    this.showPictures();
  }

  /**
   * @param {layout.Rect} area @param {string | null} main @param {string} own @param {string[]} others
   * @param {number} slots how many videos the server sends at once
   * @returns {Map<string, layout.Rect>}
   */
  #placeAll(area, main, own, others, slots) {
    /** @type {Map<string, layout.Rect>} */
    const places = new Map();
    if (main === null) {
      const shown = [own, ...this.#choosePage(others, layout.capacity(area, slots + 1) - 1)];
      layout.grid(area, shown.length).forEach((rect, i) => places.set(shown[i] ?? '', rect));
      return places;
    }
    const ownBeside = main === own ? [] : [own];
    const split = layout.stage(area);
    const most = layout.stripCapacity(split, slots - 1 + ownBeside.length) - ownBeside.length;
    const shown = [...ownBeside, ...this.#choosePage(others, Math.max(most, 0))];
    places.set(main, split.main);
    layout.strip(split, shown.length).forEach((rect, i) => places.set(shown[i] ?? '', rect));
    return places;
  }

  /** Gives every visible tile the stream of its slot, and the others none. */
  showPictures() {
    for (const [key, tile] of this.#tiles) {
      if (tile.self) {
        this.#showOwn(tile);
        continue;
      }
      const person = this.#conference.person(tile.participant);
      const picture = this.#visible.has(key) && person?.[tile.source] && !person.paused ? this.#conference.picture(tile.participant, tile.source) : null;
      tile.show(picture && !picture.paused ? picture.stream : null, picture?.since ?? 0);
      tile.stall(picture?.paused ? picture.limit : null);
    }
  }

  /** @param {string} key @param {import('./verdict.js').Verdict | null} verdict @param {string} words */
  mark(key, verdict, words) { this.#tiles.get(key)?.mark(verdict, words); }

  /** @param {Tile} tile */
  #showOwn(tile) {
    const track = this.#conference.me.paused ? null : this.#devices.track('camera');
    if ((this.#ownStream.getVideoTracks()[0] ?? null) !== track) {
      this.#ownStream = new MediaStream(track ? [track] : []);
      this.#ownSince = 0;
    }
    tile.show(track ? this.#ownStream : null, this.#ownSince);
  }

  /** @param {string} key */
  #add(key) {
    const [id = '', source] = key.split('/');
    const tile = new Tile(id, source === 'screen' ? 'screen' : 'camera', id === this.#conference.me.id, () => {
      this.#pinned = this.#pinned === key ? null : key;
      this.#page = 0;
      this.arrange();
    });
    this.#tiles.set(key, tile);
    this.#place.append(tile.root);
  }

  /** @param {string[]} others @param {number} size */
  #choosePage(others, size) {
    const pages = size > 0 ? Math.max(1, Math.ceil(others.length / size)) : 1;
    this.#page = Math.min(this.#page, pages - 1);
    find(this.#root, '#pager', HTMLElement).hidden = pages === 1;
    find(this.#root, '#pager-text', HTMLElement).textContent = t('call.page', { page: this.#page + 1, pages });
    button(this.#root, 'previous-page').disabled = this.#page === 0;
    button(this.#root, 'next-page').disabled = this.#page === pages - 1;
    return others.slice(this.#page * size, (this.#page + 1) * size);
  }

  /** @param {number} by */
  #turnPage(by) {
    this.#page = Math.max(0, this.#page + by);
    this.arrange();
  }

  /** Whoever begins to speak outside the first page takes the place of the one there who has been silent longest. */
  #promote() {
    const [speaker] = this.#conference.speakers;
    if (speaker === undefined || this.#lastSpoke.get(speaker) === this.#turn) return;
    // Before anybody has a place, nobody can take one.
    if (!this.#order.some((id) => this.#visible.has(videoKey(id, 'camera')))) return;
    this.#turn += 1;
    this.#lastSpoke.set(speaker, this.#turn);
    const key = videoKey(speaker, 'camera');
    if (this.#page !== 0 || this.#visible.has(key) || !this.#conference.participants.has(speaker)) return;
    const seen = this.#order.filter((id) => this.#visible.has(videoKey(id, 'camera')));
    const [quietest] = seen.sort((a, b) => (this.#lastSpoke.get(a) ?? 0) - (this.#lastSpoke.get(b) ?? 0));
    if (quietest === undefined) return;
    const from = this.#order.indexOf(speaker);
    const to = this.#order.indexOf(quietest);
    this.#order[from] = quietest;
    this.#order[to] = speaker;
  }

  /** @param {Map<string, layout.Rect>} places @param {string | null} main */
  #wish(places, main) {
    /** @type {import('./conference.js').WishedVideo[]} */
    const wishes = [];
    for (const [key, rect] of places) {
      const tile = this.#tiles.get(key);
      const person = tile && !tile.self ? this.#conference.person(tile.participant) : null;
      if (!tile || !person?.[tile.source] || person.paused) continue;
      const wish = { participant: tile.participant, source: tile.source, height: Math.round(rect.height * devicePixelRatio) };
      if (key === main) wishes.unshift(wish);
      else wishes.push(wish);
    }
    this.#conference.show(wishes);
  }
}
