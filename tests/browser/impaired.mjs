// Lines that saal-impair makes bad, between browsers and a server that listens behind it, as docs/operations.md has it.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { ADDRESS, SAAL } from './server.mjs';

/** Where the server listens, on its own host only, and where everybody believes it to be. */
const BEHIND = '127.0.0.2';
export const PORT = 10_000;
/** The port of those whose line is none of a test's. */
export const ASIDE = 10_100;
/** Of such a server. */
export const MEDIA = `bind = "${BEHIND}"\nport = ${PORT}\ncores = [0]`;

/** A saal-impair in front of the server. */
export function impair(port, ...words) {
  const child = spawn('ip', ['netns', 'exec', process.env.SAAL_NETNS_SERVER, join(dirname(SAAL), 'saal-impair'), '--listen', `${ADDRESS}:${port}`, '--to', `${BEHIND}:${PORT}`, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.setEncoding('utf8').resume();
  return child;
}

/** Runs in the page before its own scripts: a screen on which the largest layer is worth asking for, without the pixels. */
export function dense() {
  Object.defineProperty(window, 'devicePixelRatio', { value: 2 });
}

/** Runs in the page before its own scripts: media goes to another port of the server's. */
export function detour(from, to) {
  const { setRemoteDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return setRemoteDescription.call(this, { type, sdp: sdp.replaceAll(` ${from} typ host`, ` ${to} typ host`) });
  };
}
