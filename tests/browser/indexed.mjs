// A picture with at most 256 colours, as a PNG of a third of the size: for the repository, where pictures stay forever.
import { deflateSync } from 'node:zlib';

/**
 * @param {import('puppeteer-core').Page} page any page: it decodes the picture
 * @param {Uint8Array} png
 */
export async function indexed(page, png) {
  const { width, height, palette, pixels } = await page.evaluate(fewColours, Buffer.from(png).toString('base64'));
  const indices = Buffer.from(pixels, 'base64');
  const rows = Buffer.alloc(height * (width + 1));
  for (let y = 0; y < height; y++) indices.copy(rows, y * (width + 1) + 1, y * width, (y + 1) * width);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3], 8); // 8 bits, palette
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', head),
    chunk('PLTE', Buffer.from(palette.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]))),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** Runs in the page. The commonest colours stay exactly as they are, the rest of the palette is spread over the others. */
async function fewColours(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const counts = new Map();
  for (let i = 0; i < data.length; i += 4) {
    const colour = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  const distance = (a, b) => ((a >> 16) - (b >> 16)) ** 2 + (((a >> 8) & 255) - ((b >> 8) & 255)) ** 2 + ((a & 255) - (b & 255)) ** 2;
  const byCount = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  const common = [];
  for (const colour of byCount) {
    if (common.length < 176 && common.every((other) => distance(colour, other) > 12)) common.push(colour);
  }
  let palette;
  for (let apart = 12; ; apart *= 1.6) {
    palette = [...common];
    for (const colour of byCount) {
      if (palette.every((other) => distance(colour, other) > apart)) palette.push(colour);
      if (palette.length > 256) break;
    }
    if (palette.length <= 256) break;
  }
  const nearest = new Map(byCount.map((colour) => [colour, palette.reduce((best, other, i) => (distance(colour, other) < distance(colour, palette[best]) ? i : best), 0)]));
  let pixels = '';
  for (let i = 0; i < data.length; i += 4) pixels += String.fromCharCode(nearest.get((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]));
  return { width, height, palette, pixels: btoa(pixels) };
}

/** @param {string} type @param {Buffer} data */
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  framed.set(body, 4);
  framed.writeUInt32BE(crc(body), body.length + 4);
  return framed;
}

/** @param {Buffer} bytes */
function crc(bytes) {
  let remainder = 0xffffffff;
  for (const byte of bytes) {
    remainder ^= byte;
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
  }
  return (remainder ^ 0xffffffff) >>> 0;
}
