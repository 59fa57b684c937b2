// Starts the real server on the namespace's server host, with a configuration of its own in a directory that is deleted
// with it, and keeps every line it writes.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const SAAL = process.env.SAAL_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(repository, 'target'), 'release/saal');
const HOST = process.env.SAAL_NETNS_SERVER;

export const ADDRESS = '10.99.0.1';
export const ACCOUNT = 'organizer';

/**
 * Watches the wires to both clients, where they meet at the server's host.
 * @param {string[]} words to look for in the clear
 * @returns {Promise<{ stop: () => Promise<{ packets: number, flows: [string, string, number, string, number][], names: string[], seen: string[] }> }>}
 */
export async function startCapture(words) {
  return startWatch('capture.py', words);
}

/**
 * Watches how long the server keeps what comes by the wire to Chromium's host and leaves by it again.
 * @param {number[]} payloadTypes
 * @returns {Promise<{ stop: () => Promise<[number, number | null][]> }>} the Unix time at which each packet came, and after how many milliseconds it left
 */
export const startDelays = (payloadTypes) => startWatch('delays.py', ['left', ...payloadTypes.map(String)]);

async function startWatch(program, words) {
  const child = spawn('ip', ['netns', 'exec', HOST, 'python3', join(repository, 'tests/browser', program), ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  const ended = new Promise((done) => child.on('close', done));
  await new Promise((ready, failed) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      said += text;
      if (said.startsWith('ready')) ready();
    });
    child.on('error', failed);
    ended.then(() => failed(new Error(`${program} did not begin`)));
  });
  return {
    async stop() {
      child.stdin.end();
      await ended;
      return JSON.parse(said.slice(said.indexOf('\n')));
    },
  };
}

/** @param {{ io: 'uring' | 'mio' | 'auto', log?: string, media?: string }} options media: lines for that section */
export async function startServer({ io, log = 'debug', media = '' }) {
  if (!HOST) throw new Error('run this through netns.sh');
  const directory = mkdtempSync(join(tmpdir(), 'saal-test-server-'));
  const config = join(directory, 'saal.toml');
  // The namespace is new: every port of it is free.
  writeFileSync(config, `
[http]
listen = "${ADDRESS}:8443"
self_signed = true
[media]
announce = ["${ADDRESS}"]
io = "${io}"
${media}
[operator]
name = "Studierendenwerk Beispielstadt, Anstalt des öffentlichen Rechts"
address = "Am Marktplatz 1\\n12345 Beispielstadt"
email = "konferenz@studierendenwerk.example"
phone = "+49 30 555 0100"
represented_by = "Dr. Maria Muster, Geschäftsführerin"
data_protection_officer = "Datenschutzbeauftragte des Studierendenwerks\\ndatenschutz@studierendenwerk.example"
supervisory_authority = "Die Landesbeauftragte für den Datenschutz\\nhttps://datenschutz.land.example"
[organizers]
file = "${join(directory, 'organizers.toml')}"
[log]
level = "${log}"
`);
  const password = randomBytes(12).toString('hex');
  const added = spawnSync(SAAL, ['organizer', 'add', ACCOUNT, '--password-stdin', '--config', config], { encoding: 'utf8', input: password });
  if (added.status !== 0) throw new Error(`saal organizer add: ${added.error ?? ''} ${added.stderr}`);

  const child = spawn('ip', ['netns', 'exec', HOST, SAAL, 'serve', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] });
  const server = { url: '', password, log: '', exited: new Promise((done) => child.on('exit', (code, signal) => done(code ?? signal))) };
  const listening = new Promise((ready, failed) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        server.log += text;
        const url = /^address: (\S+)$/m.exec(server.log)?.[1];
        if (url) ready(url);
      });
    }
    child.on('error', failed);
    server.exited.then((code) => failed(new Error(`saal ended with ${code}: ${server.log}`)));
    setTimeout(() => failed(new Error(`saal printed no address in 10 s: ${server.log}`)), 10_000).unref();
  });

  server.stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
    const code = await server.exited;
    clearTimeout(late);
    rmSync(directory, { recursive: true, force: true });
    return code;
  };
  /** The admin listener answers on the server host only. */
  const ask = (path, method) => {
    const work = `fetch('http://127.0.0.1:8081${path}', { method: '${method}' }).then((answer) => answer.text()).then((text) => process.stdout.write(text))`;
    const asked = spawnSync('ip', ['netns', 'exec', HOST, process.execPath, '-e', work], { encoding: 'utf8' });
    if (asked.status !== 0) throw new Error(`${path}: ${asked.stderr}`);
    return asked.stdout;
  };
  /** As the administrator does it while the server runs. */
  server.removeOrganizer = () => {
    const removed = spawnSync(SAAL, ['organizer', 'remove', ACCOUNT, '--config', config], { encoding: 'utf8' });
    if (removed.status !== 0) throw new Error(`saal organizer remove: ${removed.error ?? ''} ${removed.stderr}`);
  };
  server.metrics = () => ask('/metrics', 'GET');
  server.selfCheck = () => ask('/self-check', 'POST');
  try {
    server.url = await listening;
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}
