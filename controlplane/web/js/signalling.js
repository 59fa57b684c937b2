// The only file that knows the messages of the protocol (docs/protocol.md): REST for accounts and rooms, one WebSocket
// for a call.

import { Line } from './line.js';

/** @typedef {{ id: string, name: string, kind: 'person' | 'stream' | 'viewer', organizer: boolean, microphone: boolean, camera: boolean, screen: boolean, hand: boolean, blocked: Source[], paused: boolean, away: boolean }} Participant away: their connection is interrupted */
/** @typedef {{ microphone: boolean, camera: boolean, screen: boolean, hand: boolean }} OwnState */
/** @typedef {'microphone' | 'camera' | 'screen'} Source */
/** @typedef {{ mid: string, source: Source }} SourceLine */
/** @typedef {{ slot: string, participant: string, source: 'camera' | 'screen', height: number }} Wish */
/** @typedef {'not-admitted' | 'full' | 'bad-message' | 'busy' | 'too-many-attempts' | 'locked' | 'turned-away'} Refusal */
/** @typedef {{ lobby: boolean, locked: boolean, password: boolean, microphone: boolean, camera: boolean, screen: boolean, chat: boolean }} Rules the last four: what guests may use */
/** @typedef {{ id: string, name: string }} Waiter */
/** @typedef {{ receipt: string, signature: string }} Receipt */

/**
 * All that the control plane holds on me; docs/protocol.md, 2.4.
 * @typedef {object} Record
 * @property {string} participant
 * @property {string} name
 * @property {'person' | 'stream' | 'viewer'} kind
 * @property {boolean} organizer
 * @property {string} joined_at
 * @property {OwnState} switched_on
 * @property {boolean} speaking
 * @property {Source[]} blocked
 * @property {boolean} paused
 * @property {{ speaker_detection: boolean, quality: boolean }} objections
 * @property {[]} consents
 * @property {number} chat_lines_relayed
 * @property {number} chat_lines_allowed
 * @property {Connection | null} connection
 */
/**
 * @typedef {object} Connection
 * @property {string} ice_ufrag
 * @property {string} certificate_sha256
 * @property {string} cname
 * @property {number} offers
 * @property {string[]} slots
 * @property {Wish[]} view
 * @property {number} messages_allowed
 * @property {number} offers_allowed
 */
/** @typedef {'consent-expired' | 'close-notify' | 'handshake-failed' | 'fingerprint-mismatch'} MediaLoss */

/**
 * @typedef {{ type: 'welcome', participant: string, resume: string, room: string, organizer: boolean, participants: Participant[], speakers: string[], rules: Rules, waiting: Waiter[], audio_slots: number, video_slots: number }} Welcome
 * @typedef {Welcome
 *   | { type: 'refused', reason: Refusal }
 *   | { type: 'waiting' }
 *   | { type: 'knocked', participant: Waiter }
 *   | { type: 'knock-over', participant: string }
 *   | ({ type: 'rules' } & Rules)
 *   | { type: 'password-changed' }
 *   | { type: 'switched-off', source: Source, participants: string[] }
 *   | { type: 'silenced', sources: Source[] }
 *   | { type: 'answer', sdp: string }
 *   | { type: 'joined' | 'changed', participant: Participant }
 *   | { type: 'left', participant: string }
 *   | { type: 'slot', slot: string, participant: string | null, source: Source, paused?: boolean, limit?: import('./verdict.js').Limit }
 *   | { type: 'layers', source: Source, layers: number }
 *   | { type: 'speakers', participants: string[] }
 *   | { type: 'chat', from: string, name: string, text: string, line: number }
 *   | { type: 'chat-deleted', from: string, line?: number }
 *   | { type: 'my-data', data: Record }
 *   | ({ type: 'quality' } & import('./verdict.js').Quality)
 *   | { type: 'media', state: 'connected' | 'gone', reason?: MediaLoss }
 *   | { type: 'video-refused', sources: ('camera' | 'screen')[] }
 *   | { type: 'ended', reason: 'by-organizer' | 'shutdown' | 'removed' }} ServerMessage
 */

/** As long as the server waits for its media plane to erase a participant. */
const FAREWELL_MS = 1_000;

/** What one participant says and hears. */
export class Signalling {
  #line;
  #closing = false;
  /** @type {(receipt: Receipt | null) => void} */
  #onReceipt = () => {};
  /** @type {Promise<Receipt | null>} what the server says last, or null when it says nothing more */
  #receipt = new Promise((resolve) => { this.#onReceipt = resolve; });

  /**
   * @param {string} room
   * @param {{ name: string, password: string | null }} join
   * @param {{ onMessage: (message: ServerMessage) => void, onLost: () => void, onBack: () => void, onClose: () => void }} on onLost: the
   *   connection broke and is being repaired; onClose: it is over, and nobody here asked for it
   */
  constructor(room, join, on) {
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const first = { type: 'join', name: join.name, ...(join.password === null ? {} : { password: join.password }) };
    this.#line = new Line(`${scheme}//${location.host}/api/v1/rooms/${encodeURIComponent(room)}/ws`, first, {
      onMessage: (message) => {
        if (message.type === 'receipt') this.#onReceipt({ receipt: message.receipt, signature: message.signature });
        else if (!this.#closing) on.onMessage(message);
      },
      onLost: () => { if (!this.#closing) on.onLost(); },
      onBack: () => { if (!this.#closing) on.onBack(); },
      onClose: () => {
        this.#onReceipt(null);
        if (!this.#closing) on.onClose();
      },
    });
  }

  /** The network may be another one. */
  check() { this.#line.check(); }

  /** @param {string} sdp @param {SourceLine[]} sources */
  offer(sdp, sources) { this.#send({ type: 'offer', sdp, sources }); }

  /** @param {OwnState} state */
  state({ microphone, camera, screen, hand }) { this.#send({ type: 'state', microphone, camera, screen, hand }); }

  /** @param {Wish[]} slots */
  view(slots) { this.#send({ type: 'view', slots }); }

  /** @param {string} text */
  chat(text) { this.#send({ type: 'chat', text }); }

  /** @param {number} [line] without it: all of mine */
  deleteChat(line) { this.#send({ type: 'delete-chat', ...(line === undefined ? {} : { line }) }); }

  /** @param {boolean} on */
  pause(on) { this.#send({ type: 'pause', on }); }

  /** @param {boolean} objects to being detected as a speaker */
  object(objects) { this.#send({ type: 'object', speaker_detection: objects }); }

  /** @param {boolean} objects to being told how the line to this page is */
  objectToQuality(objects) { this.#send({ type: 'object', quality: objects }); }

  askMyData() { this.#send({ type: 'my-data' }); }

  /** @param {string} name */
  rename(name) { this.#send({ type: 'rename', name }); }

  end() { this.#send({ type: 'end' }); }

  /** @param {Partial<Omit<Rules, 'password'>>} wish */
  rules(wish) { this.#send({ type: 'rules', ...wish }); }

  /** @param {string} password */
  password(password) { this.#send({ type: 'password', password }); }

  /** @param {string[]} participants */
  admit(participants) { this.#send({ type: 'admit', participants }); }

  /** @param {string[]} participants */
  turnAway(participants) { this.#send({ type: 'turn-away', participants }); }

  /** @param {Source} source @param {string} [participant] without: all guests */
  mute(source, participant) { this.#send({ type: 'mute', source, ...(participant ? { participant } : {}) }); }

  /** @param {string} participant @param {Source} source @param {boolean} blocked */
  block(participant, source, blocked) { this.#send({ type: 'block', participant, source, blocked }); }

  /** @param {string} participant */
  remove(participant) { this.#send({ type: 'remove', participant }); }

  /**
   * Says goodbye and waits for the receipt.
   * @returns {Promise<Receipt | null>} null when the server does not answer soon
   */
  async leave() {
    this.#closing = true;
    this.#send({ type: 'leave' });
    this.#line.end();
    const receipt = await Promise.race([this.#receipt, /** @type {Promise<null>} */ (new Promise((resolve) => setTimeout(() => resolve(null), FAREWELL_MS)))]);
    this.#line.close();
    return receipt;
  }

  close() {
    this.#closing = true;
    this.#line.close();
  }

  /** @param {import('./line.js').Message} message */
  #send(message) { this.#line.send(message); }
}

/** @typedef {'wrong-credentials' | 'too-many-attempts' | 'sign-in' | 'name-taken' | 'bad-name' | 'bad-password' | 'busy' | 'no-room' | 'not-stored' | 'unreadable' | 'unreachable' | 'unknown'} ErrorCode */
/** @typedef {{ name: string, url: string, password?: string, media_token: string, waiting_seconds: number }} OpenedRoom */

const CODES = new Set(['wrong-credentials', 'too-many-attempts', 'sign-in', 'name-taken', 'bad-name', 'bad-password', 'busy', 'no-room', 'not-stored', 'unreadable']);

export class Refused extends Error {
  /** @param {ErrorCode} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>} the JSON of the answer, or null when it has none
 */
async function call(method, path, body) {
  const answer = await fetch(`/api/v1/${path}`, {
    method,
    headers: body ? { 'content-type': 'application/json' } : {},
    ...(body ? { body: JSON.stringify(body) } : {}),
  }).catch(() => { throw new Refused('unreachable'); });
  const json = await answer.json().catch(() => null);
  if (answer.ok) return json;
  throw new Refused(CODES.has(json?.error) ? json.error : 'unknown');
}

/** @returns {Promise<string | null>} the account that is signed in */
export const session = async () => (await call('GET', 'session')).account;

/** @param {string} account @param {string} password @returns {Promise<void>} */
export const login = (account, password) => call('POST', 'login', { account, password });

/** @returns {Promise<void>} */
export const logout = () => call('POST', 'logout');

/**
 * @param {{ name?: string, password?: string, lobby?: boolean }} wish an empty password opens the room without one
 * @returns {Promise<OpenedRoom>}
 */
export const openRoom = (wish) => call('POST', 'rooms', wish);

/**
 * @typedef {object} OwnAccount
 * @property {string} account
 * @property {{ name: string, participants: number }[]} rooms
 * @property {{ ends_at: string }[]} sessions
 * @property {{ at: string, result: 'ok' | 'wrong-password' }[] | null} sign_ins null: this server notes none
 */

/** @returns {Promise<OwnAccount>} what is held on the organizer who is signed in */
export const ownAccount = () => call('GET', 'account');

/** Deletes the account that is signed in. @param {string} password @returns {Promise<void>} */
export const deleteAccount = (password) => call('DELETE', 'account', { password });

/** @returns {Promise<{ algorithm: string, public_key: string }>} what receipts of this server are signed with */
export const receiptKey = () => call('GET', 'receipt-key');

/** @param {string} name @returns {Promise<void>} */
export const deleteRoom = (name) => call('DELETE', `rooms/${encodeURIComponent(name)}`);

const ROOM_NAME = /^[\p{L}\p{N}_-]{1,64}$/u;

/** @param {string} name */
export const isRoomName = (name) => ROOM_NAME.test(name);

/** The room this page is for. */
export function roomOfPage() {
  const part = location.pathname.split('/')[2] ?? '';
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Takes the password out of the address (`#p=...`), so that it stays in memory only. */
export function takePasswordFromAddress() {
  const found = /^#p=(.*)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, '', location.pathname + location.search);
  try {
    return decodeURIComponent(found[1] ?? '');
  } catch {
    return found[1] ?? '';
  }
}

/** @param {string} room @param {string | null} password */
export function invitation(room, password) {
  return `${location.origin}/r/${encodeURIComponent(room)}${password ? `#p=${encodeURIComponent(password)}` : ''}`;
}
