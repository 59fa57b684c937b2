// The receipt of a stay: from the call to the closing page in the address's fragment, which no server sees, and the check
// of its signature (docs/protocol.md, 2.5).

import { receiptKey } from './signalling.js';

/** @typedef {import('./signalling.js').Receipt} Receipt */

/**
 * What the server signs.
 * @typedef {object} Words
 * @property {string} joined_at
 * @property {string} left_at
 * @property {string} erased_at
 * @property {{ names: number, states: number, rate_counters: number, media_connections: number, chat_lines: number }} erased
 * @property {number} chat_lines_relayed
 */

const COUNTED = ['names', 'states', 'rate_counters', 'media_connections', 'chat_lines'];
const MARK = '&receipt=';

/** @param {Receipt} receipt */
export const asFragment = (receipt) => MARK + encodeURIComponent(JSON.stringify(receipt));

/** Takes the receipt out of the page's address, so that it stays in memory only. @returns {Receipt | null} */
export function takeReceiptFromAddress() {
  const [before = '', found] = location.hash.split(MARK);
  if (found === undefined) return null;
  history.replaceState(null, '', location.pathname + before);
  try {
    const { receipt, signature } = JSON.parse(decodeURIComponent(found));
    return typeof receipt === 'string' && typeof signature === 'string' ? { receipt, signature } : null;
  } catch {
    return null;
  }
}

/** Anybody can make an address with a text in it. @param {Receipt} receipt @returns {Words | null} null when this is no receipt */
export function read({ receipt }) {
  try {
    const words = JSON.parse(receipt);
    const moments = [words.joined_at, words.left_at, words.erased_at];
    const numbers = [...COUNTED.map((kind) => words.erased[kind]), words.chat_lines_relayed];
    const isOne = words.receipt === 'saal-receipt-1' && moments.every((at) => !Number.isNaN(Date.parse(at))) && numbers.every(Number.isSafeInteger);
    return isOne ? words : null;
  } catch {
    return null;
  }
}

/**
 * Whether the server that this page comes from has signed it, with the key that it has since its start.
 * @param {Receipt} receipt
 * @returns {Promise<{ verdict: 'genuine' | 'false' | 'unknown', publicKey: string | null }>} unknown: the browser cannot check, or the server does not answer
 */
export async function verify({ receipt, signature }) {
  /** @type {string | null} */
  let publicKey = null;
  try {
    publicKey = (await receiptKey()).public_key;
    const key = await crypto.subtle.importKey('raw', bytes(publicKey), 'Ed25519', false, ['verify']);
    const genuine = await crypto.subtle.verify('Ed25519', key, bytes(signature), new TextEncoder().encode(receipt));
    return { verdict: genuine ? 'genuine' : 'false', publicKey };
  } catch {
    return { verdict: 'unknown', publicKey };
  }
}

/** @param {string} hex */
function bytes(hex) {
  return Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16));
}
