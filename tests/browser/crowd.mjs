// A crowd that saal-load brings into a room that is there already: it takes this door for a server of its own, and the door lets its
// people in one after the other, as WHEP viewers, each with a line, keys and requests of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { SAAL } from './server.mjs';

const WORDS = `publishers = 1
audio = { packets_per_second = 5, bytes = 90 }
`;

/**
 * @param {{ server: { url: string }, link: string, token: string, viewers: number, perSecond: number, seconds: number, sends?: string }} given
 *   link, token: of the room; seconds: how long they stay at the most; sends: what comes with them, as a scenario has it: else a few words, or saal-load would
 *   not know that they have arrived
 */
export async function startCrowd({ server, link, token, viewers, perSecond, seconds, sends = WORDS }) {
  const directory = mkdtempSync(join(tmpdir(), 'saal-test-crowd-'));
  const agent = new https.Agent({ keepAlive: true, maxSockets: 32, rejectUnauthorized: false });
  const crowd = { entered: 0, refused: 0, said: '', ended: false };
  let turn = 0;

  /** Lets somebody in, when it is their turn. */
  const pass = async (request, reply) => {
    const body = (await request.toArray()).map(String).join('');
    if (request.url.startsWith('/whep/')) {
      turn = Math.max(turn + 1_000 / perSecond, performance.now());
      await new Promise((done) => setTimeout(done, turn - performance.now()));
    }
    const { 'content-type': type, authorization } = request.headers;
    const headers = { 'content-type': type, authorization, 'content-length': Buffer.byteLength(body) };
    const passed = https.request(new URL(request.url, server.url), { method: 'POST', agent, headers });
    passed.end(body);
    const [answer] = await once(passed, 'response');
    crowd[answer.statusCode === 201 ? 'entered' : 'refused'] += 1;
    reply.writeHead(answer.statusCode, { 'content-type': answer.headers['content-type'] ?? 'text/plain' });
    answer.pipe(reply);
  };
  const door = http.createServer((request, reply) => {
    if (/^\/wh[ie]p\//.test(request.url)) return void pass(request, reply).catch(() => reply.destroy());
    if (request.url === '/api/v1/rooms') return void reply.writeHead(201).end(JSON.stringify({ name: new URL(link).pathname.split('/').at(-1), password: '', media_token: token }));
    return void reply.writeHead(204, { 'set-cookie': 'door=open' }).end();
  });
  await once(door.listen(0, '127.0.0.1'), 'listening');

  const scenario = join(directory, 'crowd.toml');
  writeFileSync(scenario, `
about = "Many come into a room."
signalling = "whip"
viewers = ${viewers}
audio_slots = 1
video_slots = 1
transport_feedback = true
${sends}`);
  const words = ['--server', `http://127.0.0.1:${door.address().port}`, '--account', 'crowd', '--server-core', '0', '--cpu-only', '--seconds', String(seconds)];
  const child = spawn(join(dirname(SAAL), 'saal-load'), ['run', scenario, ...words], { env: { ...process.env, SAAL_PASSWORD: 'open' }, stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.setEncoding('utf8').on('data', (text) => { crowd.said += text; });
  const exited = once(child, 'exit').then(() => { crowd.ended = true; });
  return Object.assign(crowd, {
    async stop() {
      child.kill('SIGTERM');
      await exited;
      door.closeAllConnections();
      door.close();
      agent.destroy();
      rmSync(directory, { recursive: true, force: true });
    },
  });
}
