// Every icon of the page, drawn on a 24 x 24 grid with a 1.8 px line. Decoration only: the words stand beside them.

const PATHS = {
  mic: 'M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3z M5.5 11a6.5 6.5 0 0 0 13 0 M12 17.5V21 M8.5 21h7',
  'mic-off': 'M15 9.5V6a3 3 0 0 0-5.6-1.5 M9 9v2a3 3 0 0 0 4.6 2.5 M5.5 11a6.5 6.5 0 0 0 10.2 5.3 M18.5 11a6.4 6.4 0 0 1-.6 2.7 M12 17.5V21 M8.5 21h7 M4 3.5l16 17',
  camera: 'M4.5 6h9A1.5 1.5 0 0 1 15 7.5v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5v-9A1.5 1.5 0 0 1 4.5 6z M15 10.5l6-3.5v10l-6-3.5',
  'camera-off': 'M9 6h4.5A1.5 1.5 0 0 1 15 7.5V12 M15 15.5v1a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 3 16.5v-9A1.5 1.5 0 0 1 4.5 6H5 M15 10.5l6-3.5v10l-3.5-2 M3.5 3.5l17 17',
  share: 'M4.5 4.5h15A1.5 1.5 0 0 1 21 6v9a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 15V6a1.5 1.5 0 0 1 1.5-1.5z M8.5 20h7 M12 16.5V20 M12 13.5v-6 M9.3 10L12 7.3l2.7 2.7',
  hand: 'M7.5 12.5V6.2a1.4 1.4 0 0 1 2.8 0V11 M10.3 11V4.4a1.4 1.4 0 0 1 2.8 0V11 M13.1 11V5.4a1.4 1.4 0 0 1 2.8 0v6.1 M15.9 11.5V8.2a1.4 1.4 0 0 1 2.8 0v6.3a6.5 6.5 0 0 1-6.5 6.5c-2.4 0-4-1-5.2-2.9L4.4 14a1.4 1.4 0 0 1 2.3-1.6l1.8 2',
  chat: 'M5 4.5h14A1.5 1.5 0 0 1 20.5 6v9a1.5 1.5 0 0 1-1.5 1.5h-7L7.5 20v-3.5H5A1.5 1.5 0 0 1 3.5 15V6A1.5 1.5 0 0 1 5 4.5z M8 9h8 M8 12.3h5',
  people: 'M9 11.5a3.3 3.3 0 1 0 0-6.6 3.3 3.3 0 0 0 0 6.6z M2.8 19.5c.3-3.3 2.8-5.3 6.2-5.3s5.9 2 6.2 5.3 M15.5 5.3a3.1 3.1 0 0 1 0 6 M17.3 14.5c2.2.6 3.6 2.3 3.9 5',
  settings: 'M4 7h9 M17.5 7H20 M4 17h3.5 M12 17h8 M15.2 9.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4z M9.7 19.2a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4z',
  'hang-up': 'M3.2 13.4c4.9-4.9 12.7-4.9 17.6 0 .5.5.5 1.2.1 1.7l-1.5 1.6c-.4.5-1.1.5-1.6.2l-2.3-1.5c-.4-.3-.6-.8-.5-1.2l.3-1.5c-2.1-.7-4.5-.7-6.6 0l.3 1.5c.1.5-.1 1-.5 1.2l-2.3 1.5c-.5.3-1.2.2-1.6-.2l-1.5-1.6c-.4-.5-.4-1.2.1-1.7z',
  'end-all': 'M10 4H5.5A1.5 1.5 0 0 0 4 5.5v13A1.5 1.5 0 0 0 5.5 20H10 M12.5 8l7 8 M19.5 8l-7 8',
  more: 'M5 12h.01 M12 12h.01 M19 12h.01',
  close: 'M6 6l12 12 M18 6L6 18',
  pin: 'M9 3.5h6l-.8 6.5 3.3 3.5H6.5L9.8 10 9 3.5z M12 13.5V21',
  lock: 'M6.5 10.5h11A1.5 1.5 0 0 1 19 12v7a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 5 19v-7a1.5 1.5 0 0 1 1.5-1.5z M8 10.5V7.5a4 4 0 0 1 8 0v3',
  copy: 'M9.5 8.5h9A1.5 1.5 0 0 1 20 10v9a1.5 1.5 0 0 1-1.5 1.5h-9A1.5 1.5 0 0 1 8 19v-9a1.5 1.5 0 0 1 1.5-1.5z M16 8.5V5A1.5 1.5 0 0 0 14.5 3.5h-9A1.5 1.5 0 0 0 4 5v9a1.5 1.5 0 0 0 1.5 1.5H8',
  send: 'M4 12l16-7.5-5.5 15.5-3.2-6z M11.3 14L20 4.5',
  speaking: 'M4 10.5v3 M8 7.5v9 M12 4.5v15 M16 7.5v9 M20 10.5v3',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  info: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 11v5.5 M12 7.6h.01',
  warning: 'M12 3.5l9.3 16.5H2.7z M12 10v4.5 M12 17.2h.01',
  clock: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 7v5.2l3.3 2',
  arrow: 'M4.5 12h15 M13.5 6l6 6-6 6',
  door: 'M6 20.5V5a1.5 1.5 0 0 1 1.5-1.5h9A1.5 1.5 0 0 1 18 5v15.5 M3.5 20.5h17 M14.5 12h.01',
  previous: 'M14.5 6l-6 6 6 6',
  next: 'M9.5 6l6 6-6 6',
  sound: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z M15.5 9a4.2 4.2 0 0 1 0 6 M18 6.5a7.7 7.7 0 0 1 0 11',
  keyboard: 'M4 6.5h16A1.5 1.5 0 0 1 21.5 8v8a1.5 1.5 0 0 1-1.5 1.5H4A1.5 1.5 0 0 1 2.5 16V8A1.5 1.5 0 0 1 4 6.5z M6.5 10h.01 M10 10h.01 M14 10h.01 M17.5 10h.01 M8.5 14h7',
  globe: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M3.5 12h17 M12 3c2.5 2.5 3.7 5.5 3.7 9s-1.2 6.5-3.7 9c-2.5-2.5-3.7-5.5-3.7-9S9.5 5.5 12 3z',
};

/** @typedef {keyof typeof PATHS} IconName */

const SVG = 'http://www.w3.org/2000/svg';
const FILLED = new Set(['hang-up']);

/**
 * @param {IconName} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', FILLED.has(name) ? 'icon icon-filled' : 'icon');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('focusable', 'false');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}
