// A stand-in for the server, for work on the page and for its screenshots: serves controlplane/web with the real
// Content-Security-Policy and speaks docs/protocol.md with invented participants, without media.
//
//   node tests/page/mock-server.mjs [port]        http://localhost:8090
//
// Sign-in: demo / demo. Rooms: any name whose password is empty or "open-sesame"; a number at the end of the name is
// the number of other people (`seminar-7`), default 3. "closed" is never open.

import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = fileURLToPath(new URL('../../controlplane/web/', import.meta.url));
const PAGES = { '/': 'index.html', '/privacy': 'privacy.html', '/imprint': 'imprint.html', '/bye': 'bye.html' };
const TYPES = { '.html': 'text/html; charset=utf-8', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml' };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'";
const NAMES = ['Ada Lovelace', 'Prof. Dr. Kurt Gödel', 'مريم ميرزاخاني', 'Grace', 'Emmy Noether', 'Alan Turing', 'Lise Meitner', 'Max', 'Rózsa Péter',
  'Konrad Zuse', 'Hedy', 'Katherine Johnson', 'Donald', 'Barbara Liskov', 'Ein sehr langer Name, der nirgends wirklich hineinpassen will'];

const port = Number(process.argv[2] ?? 8090);
const rooms = new Map();
let signedIn = false;

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://mock');
  /** @param {number} status @param {object} [body] */
  const json = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(body ? JSON.stringify(body) : undefined);
  };
  if (pathname.startsWith('/api/')) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : {};
    const what = `${request.method} ${pathname.slice('/api/v1/'.length).split('/')[0]}`;
    if (what === 'GET session') return json(200, { account: signedIn ? 'demo' : null });
    if (what === 'POST login') {
      signedIn = body.account === 'demo' && body.password === 'demo';
      return signedIn ? json(204) : json(401, { error: 'wrong-credentials' });
    }
    if (what === 'POST logout') { signedIn = false; return json(204); }
    if (!signedIn) return json(401, { error: 'sign-in' });
    if (what === 'POST rooms') {
      const name = body.name ?? `seminar-${randomBytes(2).toString('hex')}`;
      if (rooms.has(name)) return json(409, { error: 'name-taken' });
      const password = body.password ?? randomBytes(9).toString('base64url');
      rooms.set(name, password);
      const url = `http://${request.headers.host}/r/${encodeURIComponent(name)}${password ? `#p=${password}` : ''}`;
      return json(201, { name, url, password, media_token: 'none', waiting_seconds: 600 });
    }
    if (what === 'DELETE rooms') { rooms.delete(decodeURIComponent(pathname.split('/')[4])); return json(204); }
    return json(404, { error: 'no-room' });
  }
  const file = pathname.startsWith('/r/') ? 'room.html' : pathname.startsWith('/assets/') ? normalize(pathname.slice(8)) : PAGES[pathname];
  try {
    const content = await readFile(join(WEB, file ?? 'none'));
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-security-policy': CSP, 'cache-control': 'no-store' });
    response.end(content);
  } catch {
    response.writeHead(404);
    response.end();
  }
});

server.on('upgrade', (request, socket) => {
  const room = decodeURIComponent(new URL(request.url, 'http://mock').pathname.split('/')[4]);
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`);
  const send = (message) => { if (socket.writable) socket.write(frame(0x1, Buffer.from(JSON.stringify(message)))); };
  const stay = new Stay(room, send, () => { socket.end(frame(0x8, Buffer.alloc(0))); });
  let pending = Buffer.alloc(0);
  socket.on('data', (data) => {
    pending = Buffer.concat([pending, data]);
    for (let got; (got = unframe(pending)); pending = pending.subarray(got.length)) {
      if (got.opcode === 0x8) socket.end(frame(0x8, Buffer.alloc(0)));
      if (got.opcode === 0x1) stay.on(JSON.parse(got.payload.toString()));
    }
  });
  socket.on('error', () => {});
  socket.on('close', () => stay.over());
});

class Stay {
  #timers = [];

  constructor(room, send, hangUp) {
    Object.assign(this, { room, send, hangUp });
    this.id = randomBytes(6).toString('hex');
    const count = Number(/(\d+)$/.exec(room)?.[1] ?? 3);
    this.people = Array.from({ length: Math.min(count, 60) }, (_, i) => ({
      id: `p${i}`, name: NAMES[i % NAMES.length], organizer: i === 1, microphone: i % 3 !== 1, camera: false, screen: false, hand: i === 3,
    }));
  }

  on(message) {
    if (process.env.VERBOSE) console.log(JSON.stringify(message).slice(0, 300));
    if (message.type === 'offer') console.log(`offer: ${Buffer.byteLength(JSON.stringify(message))} bytes`);
    switch (message.type) {
      case 'join': {
        const known = rooms.get(this.room) ?? 'open-sesame';
        if (this.room === 'closed' || (message.password && message.password !== known)) {
          this.send({ type: 'refused', reason: 'not-admitted' });
          return this.hangUp();
        }
        this.send({ type: 'welcome', participant: this.id, room: this.room, organizer: signedIn, participants: this.people, audio_slots: 3, video_slots: 16 });
        if (this.people.length > 1) {
          this.#later(700, { type: 'speakers', participants: ['p0'] });
          this.#later(1500, { type: 'chat', from: 'p0', name: NAMES[0], text: 'Guten Morgen! Die Folien liegen unter https://example.org/folien.pdf.' });
          this.#later(1600, { type: 'chat', from: 'p0', name: NAMES[0], text: 'Wir fangen in fünf Minuten an.' });
          this.#later(1700, { type: 'chat', from: 'p2', name: NAMES[2], text: 'صباح الخير <b>!</b>' });
        }
        return;
      }
      case 'chat': return this.send({ type: 'chat', from: this.id, name: 'Ich', text: message.text });
      case 'end': this.send({ type: 'ended', reason: 'by-organizer' }); return this.hangUp();
      case 'leave': return this.hangUp();
    }
  }

  over() { this.#timers.forEach(clearTimeout); }

  #later(ms, message) { this.#timers.push(setTimeout(() => this.send(message), ms)); }
}

function frame(opcode, payload) {
  const { length } = payload;
  const head = length < 126 ? Buffer.from([0x80 | opcode, length]) : Buffer.from([0x80 | opcode, 126, length >> 8, length & 255]);
  return Buffer.concat([head, payload]);
}

/** One masked client frame, or null while it is incomplete. */
function unframe(data) {
  if (data.length < 6) return null;
  let length = data[1] & 127;
  let at = 2;
  if (length === 126) { length = data.readUInt16BE(2); at = 4; }
  if (length === 127) { length = Number(data.readBigUInt64BE(2)); at = 10; }
  if (data.length < at + 4 + length) return null;
  const mask = data.subarray(at, at + 4);
  const payload = Buffer.from(data.subarray(at + 4, at + 4 + length));
  for (let i = 0; i < length; i++) payload[i] ^= mask[i % 4];
  return { opcode: data[0] & 15, payload, length: at + 4 + length };
}

server.listen(port, '127.0.0.1', () => console.log(`http://localhost:${port}`));
