// Where the tiles go. Pure geometry in CSS pixels.

/** @typedef {{ x: number, y: number, width: number, height: number }} Rect */

const GAP = 8;
const WIDEST = 16 / 9;
const SMALLEST_WIDTH = 132;
const SMALLEST_HEIGHT = 92;
const STRIP_SHARE = 0.19;
const STRIP_MIN = 150;
const STRIP_MAX = 250;

/** Faces survive a portrait crop on a phone; on a wide window 4:3 is the narrowest. @param {Rect} area */
const narrowest = (area) => (area.width < area.height ? 3 / 4 : 4 / 3);

/**
 * The largest equal tiles that fit, the last row centred.
 * @param {Rect} area
 * @param {number} count
 * @returns {Rect[]}
 */
export function grid(area, count) {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    let width = (area.width - GAP * (columns - 1)) / columns;
    let height = (area.height - GAP * (rows - 1)) / rows;
    if (width / height > WIDEST) width = height * WIDEST;
    if (width / height < narrowest(area)) height = width / narrowest(area);
    if (width * height > best.width * best.height) best = { columns, width, height };
  }
  const { columns } = best;
  const width = Math.floor(best.width);
  const height = Math.floor(best.height);
  const rows = Math.ceil(count / columns);
  const top = area.y + (area.height - rows * height - (rows - 1) * GAP) / 2;
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor(i / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = area.x + (area.width - inRow * width - (inRow - 1) * GAP) / 2;
    return { x: Math.round(left + (i % columns) * (width + GAP)), y: Math.round(top + row * (height + GAP)), width, height };
  });
}

/**
 * How many tiles, at most `most`, are still large enough to recognise somebody.
 * @param {Rect} area
 * @param {number} most
 */
export function capacity(area, most) {
  for (let count = most; count > 2; count--) {
    const [first] = grid(area, count);
    if (first && first.width >= SMALLEST_WIDTH && first.height >= SMALLEST_HEIGHT) return count;
  }
  return Math.min(most, 2);
}

/**
 * One large tile and an area for the others: beside it on a wide window, below it on a tall one.
 * @param {Rect} area
 * @returns {{ main: Rect, rest: Rect, wide: boolean }}
 */
export function stage(area) {
  const wide = area.width > area.height;
  if (wide) {
    const strip = Math.round(Math.min(STRIP_MAX, Math.max(STRIP_MIN, area.width * STRIP_SHARE)));
    const width = area.width - strip - GAP;
    return {
      main: { x: area.x, y: area.y, width, height: area.height },
      rest: { x: area.x + width + GAP, y: area.y, width: strip, height: area.height },
      wide,
    };
  }
  const height = Math.round(Math.min(area.height * 0.62, Math.max(area.width / WIDEST, area.height * 0.5)));
  return {
    main: { x: area.x, y: area.y, width: area.width, height },
    rest: { x: area.x, y: area.y + height + GAP, width: area.width, height: area.height - height - GAP },
    wide,
  };
}

/**
 * The others beside a large tile: a column of 16:9 on a wide window, else a grid.
 * @param {{ rest: Rect, wide: boolean }} place
 * @param {number} most
 */
export function stripCapacity({ rest, wide }, most) {
  if (!wide) return capacity(rest, most);
  return Math.max(1, Math.min(most, Math.floor((rest.height + GAP) / (rest.width / WIDEST + GAP))));
}

/**
 * @param {{ rest: Rect, wide: boolean }} place
 * @param {number} count
 * @returns {Rect[]}
 */
export function strip({ rest, wide }, count) {
  if (!wide) return grid(rest, count);
  const height = Math.floor(rest.width / WIDEST);
  const top = rest.y + Math.max(0, (rest.height - count * height - (count - 1) * GAP) / 2);
  return Array.from({ length: count }, (_, i) => ({ x: rest.x, y: Math.round(top + i * (height + GAP)), width: rest.width, height }));
}
