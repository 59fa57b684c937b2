// One participant's WebSocket for the length of their stay. It may break, and then goes on where it broke off: what was said
// meanwhile, on either side, arrives once and in order (docs/protocol.md, 2.6).

/** @typedef {{ type: string } & Record<string, any>} Message */

/**
 * @typedef {object} Listener
 * @property {(message: any) => void} onMessage
 * @property {() => void} onLost the connection is broken, and this tries to go on
 * @property {() => void} onBack it goes on
 * @property {() => void} onClose it is over for good
 */

const PING_MS = 3_000;
/** A network that is there answers within this. */
const PONG_MS = 2_500;
const ATTEMPT_MS = 4_000;
const ANSWER_MS = 8_000;
const RETRIES_MS = [0, 300, 700, 1_000, 1_500, 2_000, 2_000, 3_000, 3_000, 4_000, 5_000];
/** A timer that is this late has slept, and the network under it with it. */
const SLEPT_MS = PING_MS + 5_000;
/** Says that this connection is given up for another one; every ordinary code would mean goodbye. */
const BROKEN = 4_000;
/** Of these only the last counts. */
const WHOLE = new Set(['state', 'view']);

export class Line {
  #url;
  #on;
  /** @type {WebSocket | null} null while it is broken */
  #socket = null;
  /** @type {string | null} brings us back; counts once */
  #token = null;
  /** Messages that have come. */
  #heard = 0;
  /** Messages of ours that are known to have arrived. */
  #arrived = 0;
  /** @type {{ type: string, text: string, sent: boolean }[]} the others */
  #unconfirmed = [];
  #closed = false;
  #pingTimer = 0;
  #pongTimer = 0;
  #looked = Date.now();
  /** Ends the pause before the next attempt. */
  #hurry = () => {};
  #watching = new AbortController();

  /**
   * @param {string} url
   * @param {Message} first
   * @param {Listener} on
   */
  constructor(url, first, on) {
    this.#url = url;
    this.#on = on;
    const socket = this.#open(JSON.stringify(first), () => this.#onClosed(socket));
    this.#socket = socket;
    const { signal } = this.#watching;
    window.addEventListener('online', () => this.#look(), { signal });
    window.addEventListener('offline', () => this.#probe(), { signal });
    window.addEventListener('pageshow', () => this.#look(), { signal });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.#look(); }, { signal });
    this.#pingTimer = window.setInterval(() => {
      const slept = Date.now() - this.#looked > SLEPT_MS;
      this.#looked = Date.now();
      if (slept) this.#hurry();
      this.#probe();
    }, PING_MS);
  }

  get isOpen() { return this.#socket?.readyState === WebSocket.OPEN; }

  /** Said now, or as soon as the connection goes on. @param {Message} message */
  send(message) {
    if (this.#closed) return;
    const { type } = message;
    // What the server has not been told yet need not be told twice.
    if (WHOLE.has(type)) this.#unconfirmed = this.#unconfirmed.filter((other) => other.sent || other.type !== type);
    const said = { type, text: JSON.stringify(message), sent: this.isOpen };
    this.#unconfirmed.push(said);
    if (said.sent) this.#socket?.send(said.text);
  }

  /** Something suggests that the network is another one: is anybody there? */
  check() { this.#look(); }

  /** Nothing more is heard or said; messages that were sent before still arrive. */
  close() {
    this.#stop();
    this.#socket?.close();
  }

  /** What comes still comes, but a broken connection does not go on. */
  end() {
    this.#token = null;
    if (!this.isOpen) this.close();
  }

  #stop() {
    this.#closed = true;
    this.#watching.abort();
    clearInterval(this.#pingTimer);
    clearTimeout(this.#pongTimer);
    this.#hurry();
  }

  /**
   * @param {string} first
   * @param {() => void} onClosed
   */
  #open(first, onClosed) {
    const socket = new WebSocket(this.#url);
    socket.onopen = () => socket.send(first);
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === 'resumed') this.#goOn(socket, message);
      else if (message.type === 'pong') this.#onPong(message.heard);
      else this.#onMessage(message);
    };
    socket.onclose = onClosed;
    return socket;
  }

  /** @param {Message} message */
  #onMessage(message) {
    this.#heard += 1;
    if (message.type === 'welcome') this.#token = message.resume;
    // The server ends the stay by itself.
    if (message.type === 'refused' || message.type === 'ended') this.#token = null;
    this.#on.onMessage(message);
  }

  /** @param {number} arrived */
  #onPong(arrived) {
    clearTimeout(this.#pongTimer);
    this.#pongTimer = 0;
    this.#confirm(arrived);
  }

  /** @param {number} arrived */
  #confirm(arrived) {
    this.#unconfirmed.splice(0, arrived - this.#arrived);
    this.#arrived = arrived;
  }

  #probe() {
    if (!this.isOpen || this.#token === null || this.#pongTimer) return;
    this.#socket?.send('{"type":"ping"}');
    this.#pongTimer = window.setTimeout(() => this.#break(), PONG_MS);
  }

  #look() {
    if (this.isOpen) this.#probe();
    else this.#hurry();
  }

  /** @param {WebSocket} socket */
  #onClosed(socket) {
    if (socket !== this.#socket) return;
    if (this.#closed || this.#token === null) {
      this.#stop();
      this.#on.onClose();
    } else {
      this.#break();
    }
  }

  #break() {
    clearTimeout(this.#pongTimer);
    this.#pongTimer = 0;
    if (this.#socket) abandon(this.#socket);
    this.#socket = null;
    this.#on.onLost();
    void this.#comeBack();
  }

  async #comeBack() {
    for (const wait of RETRIES_MS) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#hurry = () => {
          clearTimeout(timer);
          resolve(undefined);
        };
      });
      if (this.#closed) return;
      const outcome = await this.#attempt();
      if (outcome === 'back' || this.#closed) return;
      if (outcome === 'refused') break;
    }
    this.#stop();
    this.#on.onClose();
  }

  /** @returns {Promise<'back' | 'refused' | 'unreachable'>} refused: the place is gone */
  #attempt() {
    return new Promise((resolve) => {
      const giveUp = () => {
        abandon(socket);
        resolve('unreachable');
      };
      let late = setTimeout(giveUp, ATTEMPT_MS);
      const socket = this.#open(JSON.stringify({ type: 'resume', token: this.#token, heard: this.#heard }), () => {
        clearTimeout(late);
        if (this.#socket === socket) this.#onClosed(socket);
        else resolve('unreachable');
      });
      socket.addEventListener('open', () => { // the token is spent: the answer is worth some patience
        clearTimeout(late);
        late = setTimeout(giveUp, ANSWER_MS);
      });
      const { onmessage } = socket;
      socket.onmessage = (event) => {
        clearTimeout(late);
        socket.onmessage = onmessage;
        if (JSON.parse(event.data).type === 'refused') {
          abandon(socket);
          resolve('refused');
        } else {
          onmessage?.call(socket, event);
          resolve('back');
        }
      };
    });
  }

  /**
   * What of ours had not arrived is said again, and then what has piled up.
   * @param {WebSocket} socket
   * @param {Message} resumed
   */
  #goOn(socket, resumed) {
    if (this.#closed) return socket.close();
    this.#socket = socket;
    this.#token = resumed.resume;
    this.#confirm(resumed.heard);
    for (const said of this.#unconfirmed) {
      said.sent = true;
      socket.send(said.text);
    }
    this.#on.onBack();
  }
}

/** Hears nothing more of it and leaves it to the browser. @param {WebSocket} socket */
function abandon(socket) {
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close(BROKEN);
}
