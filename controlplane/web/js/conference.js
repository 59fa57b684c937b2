// One stay in one room: who is there, what is switched on, which slot shows whom, and how to come back when the
// connection breaks. The page reads this state and is told of changes; only this file changes it.

import { Call } from './call.js';
import { t } from './i18n.js';
import { Signalling } from './signalling.js';
import { assign, videoKey } from './slots.js';

/** @typedef {import('./signalling.js').Participant} Participant */
/** @typedef {import('./signalling.js').Source} Source */
/** @typedef {import('./signalling.js').ServerMessage} ServerMessage */
/** @typedef {'connecting' | 'connected' | 'interrupted' | 'blocked' | 'lost' | 'gone' | 'locked' | 'waiting'} Status */
/** @typedef {import('./signalling.js').Rules} Rules */
/** @typedef {{ participant: string, source: 'camera' | 'screen', height: number }} WishedVideo */

/**
 * @typedef {object} Listener
 * @property {() => void} onRoster somebody came, went or changed
 * @property {() => void} onPictures a slot shows something else
 * @property {() => void} onSpeakers
 * @property {(before: Participant | null, after: Participant | null) => void} onPerson one change, to be told in words
 * @property {(message: { from: string, name: string, text: string, line: number }) => void} onChat
 * @property {(from: string, line?: number) => void} onChatDeleted without a line: all of this author
 * @property {(status: Status) => void} onStatus
 * @property {() => void} onSoundBlocked
 * @property {(source: 'camera' | 'screen') => void} onVideoRefused the server has no time for it
 * @property {(sources: Source[]) => void} onSilenced an organizer switched these off, or lets nobody switch them on
 * @property {() => void} onAdmitted after waiting
 * @property {(reason: import('./signalling.js').Refusal) => void} onRefused after waiting
 * @property {() => void} onDeposed we organize the room no more, and stay
 * @property {(reason: 'by-organizer' | 'shutdown' | 'removed') => void} onEnded
 */

const ANSWER_MS = 3_000;
const ENTER_MS = 8_000; // a network that is gone answers nothing at all
const CONNECT_MS = 10_000;
const INTERRUPTED_MS = 1_500;
/** A working path brings something within this: media, or the answer to a check. */
const FLOWS_MS = 2_800;
/** What changes within this is asked for at once. */
const VIEW_WAIT_MS = 150;
/** So many times as high as before, a picture is another one. */
const LARGER = 1.5;
/** Heights of pictures for whoever saves data: a screen has to be read. */
const SAVING = { screen: 720, first: 360, others: 180 };
/** Once the usual attempts have failed. */
const LATER_MS = 20_000;
const RETRIES_MS = [300, 1_000, 2_000, 4_000, 8_000, 15_000];

/** Streams and viewers without our page have a number only. @param {Participant} person @returns {Participant} */
function named(person) {
  if (person.kind === 'person') return person;
  return { ...person, name: t(`people.${person.kind}`, { number: person.name }) };
}

export class Conference {
  /** @type {Participant} */
  me;
  room;
  /** @type {Map<string, Participant>} everybody else */
  participants = new Map();
  /** @type {string[]} */
  speakers = [];
  /** @type {Status} */
  status = 'connecting';
  /** @type {Rules} */
  rules = { lobby: false, locked: false, password: false, microphone: true, camera: true, screen: true, chat: true };
  /** @type {Map<string, string>} id -> name of those in the lobby; organizers only */
  waiting = new Map();
  /** Where sound comes out: for this stay only. */
  speaker = '';

  #devices;
  #password;
  /** @type {string | null} the one that we asked for */
  #nextPassword = null;
  #on;
  /** @type {Signalling | null} */
  #signalling = null;
  /** @type {Call | null} */
  #call = null;
  /** @type {Map<string, string>} slot -> video: what we asked for */
  #wished = new Map();
  /** @type {Map<string, { key: string, since: number, paused: boolean, limit: import('./verdict.js').Limit | null }>} slot -> video: what the server shows */
  #shown = new Map();
  /** @type {Map<string, string>} slot -> whose sound it plays */
  #heard = new Map();
  /** @type {WishedVideo[]} */
  #wishes = [];
  #viewTimer = 0;
  /** @type {Map<string, { at: number, height: number }>} video -> since when it is asked for so high */
  #asked = new Map();
  #audioOnly = false;
  #saving = false;
  /** @type {import('./verdict.js').Quality | null} the server's word on the line to us */
  #quality = null;
  #unmeasured = false;
  #mediaTimer = 0;
  #left = false;
  #coming = false;
  /** Ends the pause before the next attempt to come back. */
  #hurry = () => {};
  /** Signalling is interrupted; it comes back by itself, or the stay is over. */
  #lost = false;
  #objects = false;
  /** @type {((data: import('./signalling.js').Record | null) => void)[]} */
  #askers = [];

  /**
   * @param {{ room: string, name: string, password: string | null, devices: import('./devices.js').Devices }} stay
   * @param {Listener} on
   */
  constructor({ room, name, password, devices }, on) {
    this.room = room;
    this.#password = password;
    this.#devices = devices;
    this.#on = on;
    this.me = { id: '', name, kind: 'person', organizer: false, microphone: false, camera: false, screen: false, hand: false, blocked: [], paused: false, away: false };
    devices.addEventListener('change', () => this.#publish());
  }

  /** @returns {Promise<import('./signalling.js').Refusal | 'unreachable' | 'welcome' | 'waiting'>} */
  enter() {
    return new Promise((resolve) => {
      const late = setTimeout(() => {
        signalling.close();
        resolve('unreachable');
      }, ENTER_MS);
      const signalling = new Signalling(this.room, { name: this.me.name, password: this.#password }, {
        onMessage: (message) => {
          clearTimeout(late);
          if (message.type === 'refused' && this.#signalling !== signalling) {
            signalling.close();
            resolve(message.reason);
          } else if (message.type === 'welcome') {
            const waited = this.status === 'waiting';
            this.#signalling = signalling;
            this.#welcome(message);
            resolve('welcome');
            if (waited) this.#on.onAdmitted();
          } else if (message.type === 'waiting') {
            this.#signalling = signalling;
            this.#setStatus('waiting');
            resolve('waiting');
          } else {
            this.#onMessage(message);
          }
        },
        onLost: () => { if (this.#signalling === signalling) this.#onLost(); },
        onBack: () => { if (this.#signalling === signalling) void this.#onBack(); },
        onClose: () => {
          clearTimeout(late);
          resolve('unreachable');
          if (this.#signalling === signalling) void this.comeBack();
        },
      });
    });
  }

  /** @param {string} id */
  person(id) { return id === this.me.id ? this.me : this.participants.get(id) ?? null; }

  /**
   * The stream that shows this video at this moment, since when, whether it stands still, and why it is not larger.
   * @param {string} participant
   * @param {'camera' | 'screen'} source
   */
  picture(participant, source) {
    const key = videoKey(participant, source);
    for (const [slot, wish] of this.#wished) {
      if (wish !== key) continue;
      const shown = this.#shown.get(slot);
      const stream = this.#call?.stream(slot);
      return shown?.key === key && stream ? { stream, ...shown } : null;
    }
    return null;
  }

  /** In the lobby, and while the connection is interrupted, there is nothing to say. */
  get #line() { return this.#call ? this.#signalling : null; }

  get videoSlots() { return this.#call?.videoSlots.length ?? 0; }

  /** What the layout shows, the most important first. @param {WishedVideo[]} wishes */
  show(wishes) {
    this.#wishes = wishes;
    // What changes meanwhile does not put it off: where many come at once, something always does.
    this.#viewTimer ||= window.setTimeout(() => this.#sendView(), VIEW_WAIT_MS);
  }

  /** Nobody's picture is received. For this stay only. */
  get audioOnly() { return this.#audioOnly; }

  set audioOnly(on) {
    this.#audioOnly = on;
    this.#sendView();
  }

  /** Small pictures only. For this stay only. */
  get saving() { return this.#saving; }

  set saving(on) {
    this.#saving = on;
    this.#sendView();
  }

  /** What the server says of the line to us, while we do not object. */
  get quality() { return this.#quality; }

  /** Whether I object to that. */
  get unmeasured() { return this.#unmeasured; }

  set unmeasured(on) {
    this.#unmeasured = on;
    this.#quality = null;
    this.#line?.objectToQuality(on);
  }

  /** What this browser measures; null without a connection. */
  async measure() { return await this.#call?.measure() ?? null; }

  /** The pictures that are asked for, and whether the server sends them. */
  wishedPictures() {
    const now = performance.now();
    return [...this.#wished].map(([slot, key]) => {
      const [participant = '', source] = key.split('/');
      const { height, at } = this.#asked.get(key) ?? { height: 0, at: now };
      const shown = this.#shown.get(slot);
      const { paused, limit } = shown?.key === key ? shown : { paused: false, limit: null };
      return { key, slot, participant, source: /** @type {'camera' | 'screen'} */ (source), height, shown: shown?.key === key, paused, limit, askedMs: now - at };
    });
  }

  /** @param {boolean} hand */
  raiseHand(hand) {
    this.me.hand = hand;
    this.#publish();
  }

  /** @param {string} text */
  chat(text) { this.#line?.chat(text); }

  /** @param {string} name */
  rename(name) {
    this.me.name = name;
    this.#line?.rename(name);
    this.#on.onRoster();
  }

  /** Own lines of this stay: at everybody's page. @param {number} [line] without it: all */
  deleteChat(line) { this.#line?.deleteChat(line); }

  /** The server forwards and looks at nothing of mine meanwhile, and this page sends nothing. @param {boolean} on */
  pause(on) {
    this.me.paused = on;
    this.#line?.pause(on);
    this.#publish();
  }

  /** Whether I object to being detected as a speaker. */
  get objects() { return this.#objects; }

  /** @param {boolean} objects */
  object(objects) {
    this.#objects = objects;
    this.#line?.object(objects);
  }

  /** @returns {Promise<import('./signalling.js').Record | null>} what the server holds on me; null when it does not answer */
  myData() {
    return new Promise((resolve) => {
      this.#askers.push(resolve);
      this.#line?.askMyData();
      setTimeout(() => resolve(null), ANSWER_MS);
    });
  }

  async ownAddress() { return await this.#call?.ownAddress() ?? null; }

  end() { this.#line?.end(); }

  /** Whether the organizers let us use it. @param {Source | 'chat'} what */
  may(what) {
    return this.me.organizer || (this.rules[what] && (what === 'chat' || !this.me.blocked.includes(what)));
  }

  /** @param {Partial<Omit<Rules, 'password'>>} wish */
  setRules(wish) { this.#line?.rules(wish); }

  /** @param {string} password */
  setPassword(password) {
    this.#nextPassword = password;
    this.#line?.password(password);
  }

  /** Those who are seen waiting, or one of them. @param {string} [participant] */
  admit(participant) { this.#line?.admit(participant ? [participant] : [...this.waiting.keys()]); }

  /** @param {string} participant */
  turnAway(participant) { this.#line?.turnAway([participant]); }

  /** @param {Source} source @param {string} [participant] without: all guests */
  mute(source, participant) { this.#line?.mute(source, participant); }

  /** @param {string} participant @param {Source} source @param {boolean} blocked */
  block(participant, source, blocked) { this.#line?.block(participant, source, blocked); }

  /** @param {string} participant */
  remove(participant) { this.#line?.remove(participant); }

  turnOnSound() { return this.#call?.turnOnSound(); }

  /** @param {string} deviceId empty: the system's default */
  useSpeaker(deviceId) {
    this.speaker = deviceId;
    return this.#call?.useSpeaker(deviceId);
  }

  invitationPassword() { return this.#password; }

  /** @returns {Promise<import('./signalling.js').Receipt | null>} */
  async leave() {
    this.#left = true;
    clearTimeout(this.#mediaTimer);
    clearTimeout(this.#viewTimer);
    const told = this.#signalling?.leave();
    this.#call?.close();
    this.#password = null;
    return await told ?? null;
  }

  #onLost() {
    this.#lost = true;
    this.#setStatus('interrupted');
  }

  /** The same stay goes on. Media does too, on the path that it had, or on a new one. */
  async #onBack() {
    this.#lost = false;
    const call = this.#call;
    if (!call) return this.#setStatus('waiting');
    if (!call.isNegotiating && !await call.flows(FLOWS_MS) && this.#call === call && !this.#lost) return this.#restartMedia();
    if (call.state === 'connected') this.#onMediaState('connected');
  }

  /** Enters again when the place is gone, as a new participant: ids and connections are valid for one stay only. */
  async comeBack() {
    if (this.#left) return;
    this.#setStatus('interrupted');
    if (this.#coming) return this.#hurry();
    this.#coming = true;
    this.#drop();
    for (let tries = 0; ; tries++) {
      if (tries >= RETRIES_MS.length) this.#setStatus('lost'); // and the page goes on trying
      await this.#pause(RETRIES_MS[tries] ?? LATER_MS);
      if (this.#left) return;
      const outcome = await this.enter();
      if (outcome === 'unreachable' || outcome === 'busy' || outcome === 'full') continue;
      this.#coming = false;
      if (outcome === 'not-admitted') this.#setStatus('gone');
      else if (outcome === 'locked') this.#setStatus('locked');
      else if (outcome !== 'welcome' && outcome !== 'waiting') this.#setStatus('lost');
      return;
    }
  }

  /** Ends early when the browser says that its network is back, when somebody looks at the page again, and by `#hurry`. @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const over = new AbortController();
      const wake = () => {
        over.abort();
        clearTimeout(timer);
        resolve(undefined);
      };
      const timer = setTimeout(wake, ms);
      window.addEventListener('online', wake, { signal: over.signal });
      document.addEventListener('visibilitychange', () => { if (!document.hidden) wake(); }, { signal: over.signal });
      this.#hurry = wake;
    });
  }

  #drop() {
    clearTimeout(this.#mediaTimer);
    this.#signalling?.close();
    this.#call?.close();
    this.#signalling = null;
    this.#call = null;
    this.#lost = false;
    this.#shown.clear();
    this.#heard.clear();
    this.#wished.clear();
    this.#asked.clear();
    this.#quality = null;
    this.speakers = [];
    this.#on.onPictures();
  }

  /** @param {import('./signalling.js').Welcome} message */
  #welcome(message) {
    this.me = { ...this.me, id: message.participant, organizer: message.organizer, blocked: [] };
    this.rules = message.rules;
    this.waiting = new Map(message.waiting.map(({ id, name }) => [id, name]));
    this.room = message.room;
    this.participants = new Map(message.participants.map((person) => [person.id, named(person)]));
    this.speakers = message.speakers;
    const call = new Call({ audioSlots: message.audio_slots, videoSlots: message.video_slots }, {
      onState: (state) => { if (this.#call === call) this.#onMediaState(state); },
      onSoundBlocked: () => this.#on.onSoundBlocked(),
      pairs: () => this.#pairs(),
    });
    this.#call = call;
    if (this.speaker) void call.useSpeaker(this.speaker);
    // A new stay of somebody who paused or objected: nothing may flow in between.
    if (this.me.paused) this.#signalling?.pause(true);
    if (this.#objects) this.#signalling?.object(true);
    if (this.#unmeasured) this.#signalling?.objectToQuality(true);
    this.#setStatus('connecting');
    this.#mediaTimer = window.setTimeout(() => this.#setStatus('blocked'), CONNECT_MS);
    void this.#offer();
    this.#on.onRoster();
  }

  /** @param {{ iceRestart?: boolean }} [how] */
  async #offer(how) {
    const offer = await this.#call?.offer(how);
    if (!offer) return;
    this.#signalling?.offer(offer.sdp, offer.sources);
    this.#publish();
    this.#sendView();
  }

  /** Tells the server and the connection what is switched on. */
  #publish() {
    const { me } = this;
    for (const source of /** @type {const} */ (['microphone', 'camera', 'screen'])) {
      me[source] = this.#devices.isOn(source);
      this.#call?.send(source, me.paused ? null : this.#devices.track(source));
    }
    this.#line?.state(me);
    this.#on.onRoster();
  }

  /** How high each video shall come, the most important first. @returns {Map<string, number>} */
  #heights() {
    if (this.#audioOnly) return new Map();
    return new Map(this.#wishes.map(({ participant, source, height }, i) => {
      const most = !this.#saving ? Infinity : source === 'screen' ? SAVING.screen : i === 0 ? SAVING.first : SAVING.others;
      return [videoKey(participant, source), Math.min(height, most)];
    }));
  }

  #sendView() {
    clearTimeout(this.#viewTimer);
    this.#viewTimer = 0;
    const call = this.#call;
    if (!call || !this.#signalling) return;
    const heights = this.#heights();
    this.#wished = assign(this.#wished, [...heights.keys()], call.videoSlots);
    this.#asked = new Map([...this.#wished.values()].map((key) => {
      const height = heights.get(key) ?? 0;
      const before = this.#asked.get(key);
      // A much larger picture is another one: it has to come first.
      return [key, { height, at: before && height <= LARGER * before.height ? before.at : performance.now() }];
    }));
    this.#signalling.view([...this.#wished].map(([slot, key]) => {
      const [participant = '', source] = key.split('/');
      return { slot, participant, source: source === 'screen' ? 'screen' : 'camera', height: heights.get(key) ?? 0 };
    }));
    this.#on.onPictures();
  }

  /** @param {ServerMessage} message */
  #onMessage(message) {
    switch (message.type) {
      case 'answer':
        this.#call?.answer(message.sdp).catch(() => void this.comeBack());
        return;
      case 'joined':
      case 'changed':
        this.#onPerson(message.participant);
        return;
      case 'left': {
        const gone = this.participants.get(message.participant) ?? null;
        this.participants.delete(message.participant);
        if (gone) this.#on.onPerson(gone, null);
        this.#on.onRoster();
        return;
      }
      case 'slot':
        this.#heard.delete(message.slot);
        if (message.participant === null) this.#shown.delete(message.slot);
        else if (message.source === 'microphone') this.#heard.set(message.slot, message.participant);
        else this.#onShown(message.slot, videoKey(message.participant, message.source), message.paused === true, message.limit ?? null);
        this.#on.onPictures();
        return;
      case 'layers':
        this.#call?.limitLayers(message.source, message.layers);
        return;
      case 'speakers':
        this.speakers = message.participants;
        this.#on.onSpeakers();
        return;
      case 'chat':
        this.#on.onChat(message);
        return;
      case 'chat-deleted':
        this.#on.onChatDeleted(message.from, message.line);
        return;
      case 'my-data':
        for (const resolve of this.#askers.splice(0)) resolve(message.data);
        return;
      case 'quality':
        this.#quality = message;
        return;
      case 'media':
        this.#onMediaWord(message);
        return;
      case 'video-refused':
        for (const source of message.sources) {
          this.#devices.switchOff(source);
          this.#on.onVideoRefused(source);
        }
        return;
      case 'knocked':
        this.waiting.set(message.participant.id, message.participant.name);
        this.#on.onRoster();
        return;
      case 'knock-over':
        this.waiting.delete(message.participant);
        this.#on.onRoster();
        return;
      case 'rules': {
        const { type, ...rules } = message;
        this.rules = rules;
        this.#on.onRoster();
        return;
      }
      case 'password-changed': // whoever did not choose it does not know it: their invitations go without
        this.#password = this.#nextPassword || null;
        this.#nextPassword = null;
        this.#on.onRoster();
        return;
      case 'switched-off':
        for (const id of message.participants) {
          const person = this.participants.get(id);
          if (person) this.participants.set(id, { ...person, [message.source]: false });
        }
        this.#on.onRoster();
        return;
      case 'silenced':
        for (const source of message.sources) this.#devices.switchOff(source);
        this.#on.onSilenced(message.sources);
        return;
      case 'ended':
        this.#left = true;
        this.#on.onEnded(message.reason);
        return;
      case 'refused': // the server ends the stay, for example because of a message it did not understand
        if (this.status === 'waiting') {
          this.#drop();
          this.#setStatus('gone');
          this.#on.onRefused(message.reason);
        } else {
          void this.comeBack();
        }
        return;
      case 'waiting':
      case 'welcome':
    }
  }

  /** @param {Participant} told */
  #onPerson(told) {
    const person = named(told);
    if (person.id === this.me.id) {
      if (this.me.organizer && !person.organizer) {
        this.waiting.clear();
        this.#on.onDeposed();
      }
      this.me = { ...this.me, name: person.name, organizer: person.organizer, blocked: person.blocked };
    } else {
      const before = this.participants.get(person.id) ?? null;
      this.participants.set(person.id, person);
      this.#on.onPerson(before, person);
    }
    this.#on.onRoster();
  }

  /** @param {string} slot @param {string} key @param {boolean} paused @param {import('./verdict.js').Limit | null} limit */
  #onShown(slot, key, paused, limit) {
    const before = this.#shown.get(slot);
    const since = before?.key === key && !before.paused ? before.since : performance.now();
    this.#shown.set(slot, { key, since, paused, limit });
  }

  /** Which sound belongs to which picture, by slot of the picture. */
  #pairs() {
    const sounds = new Map([...this.#heard].map(([slot, participant]) => [participant, slot]));
    return new Map([...this.#shown].map(([slot, { key }]) => {
      const [participant = ''] = key.split('/');
      return [slot, { key, sound: sounds.get(participant) ?? null }];
    }));
  }

  /** @param {{ state: 'connected' | 'gone', reason?: import('./signalling.js').MediaLoss }} message */
  #onMediaWord({ state, reason }) {
    if (state === 'connected') return;
    if (reason === 'handshake-failed' || reason === 'fingerprint-mismatch') this.#setStatus('blocked');
    else void this.comeBack();
  }

  /** @param {RTCPeerConnectionState} state */
  #onMediaState(state) {
    if (state === 'connected') {
      clearTimeout(this.#mediaTimer);
      if (!this.#lost) this.#setStatus('connected');
    } else if (state === 'disconnected') {
      this.#setStatus('interrupted');
      this.#signalling?.check();
      clearTimeout(this.#mediaTimer);
      this.#mediaTimer = window.setTimeout(() => this.#restartMedia(), INTERRUPTED_MS);
    } else if (state === 'failed') {
      this.#restartMedia();
    }
  }

  /** A new path for the same connection (the laptop changed networks); if that does not come up, a new stay. */
  #restartMedia() {
    clearTimeout(this.#mediaTimer);
    const before = this.status;
    if (before === 'blocked' || before === 'connecting') return this.#setStatus('blocked');
    this.#setStatus('interrupted');
    // Without a network there is nothing to look for a path in; #onBack looks again.
    if (this.#lost) return;
    this.#mediaTimer = window.setTimeout(() => void this.comeBack(), CONNECT_MS);
    void this.#offer({ iceRestart: true });
    void this.#untilItFlows();
  }

  /** A path that was found before the old one was given up changes no state. */
  async #untilItFlows() {
    const call = this.#call;
    if (await call?.flows(CONNECT_MS) && this.#call === call && !call?.isNegotiating) this.#onMediaState('connected');
  }

  /** @param {Status} status */
  #setStatus(status) {
    if (this.status === status) return;
    this.status = status;
    this.#on.onStatus(status);
  }
}
