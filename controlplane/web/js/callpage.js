// The page during the call: joins the conference's state to tiles, toolbar, panels and notices.

import { Chat } from './chat.js';
import { Connection } from './connection.js';
import { Devices, Trouble } from './devices.js';
import { prepareDialogs } from './dialogs.js';
import { button, copy, find, stamp } from './dom.js';
import { onLanguage, t, translate } from './i18n.js';
import { MyData } from './mydata.js';
import { Notices, say } from './notices.js';
import { Moderation } from './moderation.js';
import { listPeople } from './people.js';
import { troubleText } from './prejoin.js';
import { invitation } from './signalling.js';
import { Stage } from './stage.js';
import { Toolbar } from './toolbar.js';

/** @typedef {import('./conference.js').Conference} Conference */
/** @typedef {import('./signalling.js').Participant} Participant */
/** @typedef {import('./signalling.js').Source} Source */

const TELL_UP_TO = 12; // in a large room joining and leaving is no news
const RENDER_STEP_MS = 50;
const CONNECTING_SILENT_MS = 2_000;
const INTERRUPTED_SILENT_MS = 800;
const THIS_COMPUTER = new Set(['localhost', '127.0.0.1', '[::1]']);

export class CallPage {
  #root;
  #conference;
  #devices;
  #stage;
  #chat;
  #notices;
  #toolbar;
  #moderation;
  #unread = 0;
  #rosterTimer = 0;

  /**
   * @param {HTMLElement} root
   * @param {Conference} conference
   * @param {Devices} devices
   * @param {() => void} hangUp
   */
  constructor(root, conference, devices, hangUp) {
    root.replaceChildren(stamp('call-template'));
    translate(root);
    this.#root = root;
    this.#conference = conference;
    this.#devices = devices;
    this.#notices = new Notices(root);
    this.#stage = new Stage(root, conference, devices);
    this.#chat = new Chat(root, { onSend: (text) => conference.chat(text), onDelete: (line) => conference.deleteChat(line) });
    const dialogs = prepareDialogs(root, conference, devices, (error) => this.#complain(error));
    this.#toolbar = new Toolbar(root, {
      toggle: (source) => void this.#toggle(source),
      toggleHand: () => conference.raiseHand(!conference.me.hand),
      openSettings: dialogs.openSettings,
      openKeys: dialogs.openKeys,
      askEnd: dialogs.askEnd,
      hangUp,
      onPanel: (panel) => this.#onPanel(panel),
    });
    this.#moderation = new Moderation(root, conference, this.#notices, () => this.#toolbar.open('people'));
    this.#myData = new MyData(root, conference, () => this.#chat.own, { pause: (on) => this.#pause(on), leaveAndErase: () => this.#leaveAndErase() });
    this.#connection = new Connection(root, conference, (key, verdict, words) => this.#stage.mark(key, verdict, words), {
      stopCamera: () => devices.switchOff('camera', { pressed: true }),
      save: (on) => {
        conference.saving = on;
        devices.save(on).catch((error) => this.#complain(error));
      },
    });
    this.#hangUp = hangUp;
    this.#showScreenShareOffer();
    for (const testid of ['copy-invitation', 'people-invite']) {
      const press = button(root, testid);
      press.addEventListener('click', () => {
        void copy(find(press, '[data-t]', HTMLElement), invitation(conference.room, conference.invitationPassword()), t('copied'));
      });
    }
    devices.addEventListener('lost', () => this.#complain(new Trouble('ended')));
    onLanguage(() => this.#showEverything());
    this.#showEverything();
    this.showStatus(conference.status);
    button(root, 'mic').focus({ preventScroll: true });
  }

  #hangUp;
  #myData;
  #connection;

  /** Of the document. */
  title() {
    const title = t('prejoin.document', { room: this.#conference.room });
    return this.#unread > 0 ? `(${this.#unread}) ${title}` : title;
  }

  /** Many changes at once (a class comes in) are drawn once. */
  showRoster() {
    if (this.#rosterTimer) return;
    this.#rosterTimer = window.setTimeout(() => {
      this.#rosterTimer = 0;
      this.#showEverything();
    }, RENDER_STEP_MS);
  }

  showPictures() { this.#stage.showPictures(); }

  showSpeakers() { this.#stage.update(); }

  /** @param {Participant | null} before @param {Participant | null} after */
  tellPerson(before, after) {
    const name = after?.name ?? before?.name ?? '';
    const few = this.#conference.participants.size < TELL_UP_TO;
    if (!before && few) this.#notices.toast(t('said.joined', { name }));
    if (!after && few) this.#notices.toast(t('said.left', { name }));
    if (after?.hand && before && !before.hand) this.#notices.toast(t('said.hand', { name }));
    if (after?.screen && !before?.screen) say(t('said.sharing', { name }));
  }

  /** @param {string} from @param {number} [line] */
  removeChat(from, line) {
    this.#chat.remove(from, line);
    this.#notices.clearToasts();
    this.#myData.refresh();
  }

  /** @param {{ from: string, name: string, text: string, line: number }} message */
  addChat(message) {
    const own = message.from === this.#conference.me.id;
    this.#chat.add({ ...message, own });
    if (own) return;
    say(t('said.chat', message));
    if (this.#toolbar.panel !== 'chat' || document.hidden) this.#setUnread(this.#unread + 1);
    if (this.#toolbar.panel !== 'chat') this.#notices.glimpse(message.name, message.text);
  }

  offerSound() {
    this.#notices.bar('sound', {
      text: 'call.sound',
      actions: [{
        text: 'call.sound.on', testid: 'turn-on-sound', run: () => {
          void this.#conference.turnOnSound();
          this.#notices.bar('sound', null);
        },
      }],
    });
  }

  /** @param {'camera' | 'screen'} source */
  sayFull(source) {
    this.#notices.bar('full', {
      text: source === 'screen' ? 'call.full.screen' : 'call.full.camera',
      actions: [{ text: 'close', testid: 'dismiss-full', run: () => this.#notices.bar('full', null) }],
    });
  }

  /** @param {Source[]} sources */
  saySilenced(sources) {
    for (const source of sources) {
      this.#notices.bar(`silenced-${source}`, {
        text: this.#conference.may(source) ? `silenced.${source}` : `silenced.${source}.blocked`,
        actions: [{ text: 'close', testid: `dismiss-silenced-${source}`, run: () => this.#notices.bar(`silenced-${source}`, null) }],
      });
    }
  }

  sayDeposed() {
    this.#notices.bar('deposed', {
      text: 'call.deposed',
      actions: [{ text: 'close', testid: 'dismiss-deposed', run: () => this.#notices.bar('deposed', null) }],
    });
  }

  /** @param {import('./conference.js').Status} status */
  showStatus(status) {
    const retry = { text: /** @type {const} */ ('call.retry'), testid: 'retry', run: () => void this.#conference.comeBack() };
    const leave = { text: /** @type {const} */ ('call.leave'), testid: 'leave-lost', run: this.#hangUp };
    switch (status) {
      case 'connected': return this.#notices.bar('connection', null);
      case 'connecting':
        setTimeout(() => { // a connection that comes up at once needs no words
          if (this.#conference.status === 'connecting') this.#notices.bar('connection', { text: 'call.connecting' });
        }, CONNECTING_SILENT_MS);
        return;
      case 'interrupted':
        setTimeout(() => { // nor does a hiccup
          if (this.#conference.status === 'interrupted') this.#notices.bar('connection', { text: 'call.reconnecting' });
        }, INTERRUPTED_SILENT_MS);
        return;
      case 'blocked': return this.#notices.bar('connection', { text: THIS_COMPUTER.has(location.hostname) ? 'call.blocked.local' : 'call.blocked', tone: 'warning', actions: [retry] });
      case 'lost': return this.#notices.bar('connection', { text: 'call.lost', tone: 'warning', actions: [retry, leave] });
      case 'waiting': return this.#notices.bar('connection', { text: 'call.waiting', actions: [leave] });
      case 'locked': return this.#notices.bar('connection', { text: 'refused.locked', tone: 'warning', actions: [retry, leave] });
      case 'gone': return this.#notices.bar('connection', { text: 'call.gone', tone: 'warning', actions: [leave] });
    }
  }

  #showEverything() {
    const { me, participants, room } = this.#conference;
    find(this.#root, '#call-room', HTMLElement).textContent = room;
    find(this.#root, '#alone', HTMLElement).hidden = participants.size > 0;
    this.#toolbar.show(me, (source) => this.#conference.may(source));
    this.#chat.allow(this.#conference.may('chat'));
    this.#moderation.show();
    this.#stage.update();
    this.#listPeople();
    this.#chat.showPaused(me.paused);
    this.#myData.show();
    this.#connection.show();
    document.title = this.title();
    const pausing = this.#root.querySelector('[data-testid="notice-paused"]') !== null;
    if (pausing !== me.paused) {
      this.#notices.bar('paused', !me.paused ? null : {
        text: 'call.paused',
        actions: [{ text: 'call.paused.resume', testid: 'resume', run: () => this.#pause(false) }],
      });
    }
    const sharing = this.#root.querySelector('[data-testid="notice-sharing"]') !== null;
    if (sharing !== me.screen) {
      this.#notices.bar('sharing', !me.screen ? null : {
        text: 'call.sharing',
        actions: [{ text: 'call.sharing.stop', testid: 'stop-sharing', run: () => this.#devices.switchOff('screen') }],
      });
    }
  }

  #listPeople() {
    const { me, participants } = this.#conference;
    listPeople(this.#root, me, participants.values(), (participant) => this.#moderation.openPerson(participant));
  }

  /** @param {boolean} on */
  #pause(on) {
    this.#conference.pause(on);
    this.#myData.refresh();
  }

  /** The others' pages lose my lines, then the same as hanging up. */
  #leaveAndErase() {
    this.#conference.deleteChat();
    this.#hangUp();
  }

  #showScreenShareOffer() {
    button(this.#root, 'share').hidden = !Devices.canShareScreen;
  }

  /** @param {Source} source */
  async #toggle(source) {
    this.#notices.bar('trouble', null);
    this.#notices.bar('full', null);
    if (this.#devices.isOn(source)) return this.#devices.switchOff(source, { pressed: true });
    try {
      await this.#devices.switchOn(source);
    } catch (error) {
      this.#complain(error, source);
    }
  }

  /** @param {unknown} error @param {Source} [source] */
  #complain(error, source) {
    const words = troubleText(error);
    // Closing the browser's own dialog for choosing a screen is an answer, not a failure.
    if (source === 'screen' && words === 'device.denied') return;
    this.#notices.bar('trouble', {
      text: source === 'screen' ? 'share.failed' : words,
      tone: 'warning',
      actions: [{ text: 'close', testid: 'dismiss-trouble', run: () => this.#notices.bar('trouble', null) }],
    });
  }

  /** @param {import('./toolbar.js').Panel | null} panel */
  #onPanel(panel) {
    if (panel === 'chat') {
      this.#setUnread(0);
      this.#notices.clearToasts();
      this.#chat.focus();
    }
    this.#myData.open(panel === 'data');
    this.#connection.open(panel === 'stats');
    if (panel === 'people') this.#listPeople();
  }

  /** @param {number} unread */
  #setUnread(unread) {
    this.#unread = unread;
    this.#toolbar.showUnread(unread);
    document.title = this.title();
  }
}
