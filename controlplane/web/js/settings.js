// The only user of browser storage. What may be kept on the device is the closed lists below; wipe() leaves nothing.

/** @typedef {'name' | 'resolution' | 'microphone' | 'camera'} DeviceKey microphone and camera: 'on' or 'off', as last pressed */
/** @typedef {'language' | 'shortcuts'} TabKey */
/** @typedef {DeviceKey | TabKey} Key */

/** Stays on the device until hang-up. @type {readonly DeviceKey[]} */
export const DEVICE_KEYS = ['name', 'resolution', 'microphone', 'camera'];
/** Goes with the tab. @type {readonly TabKey[]} */
export const TAB_KEYS = ['language', 'shortcuts'];

const PREFIX = 'saal.';

/** @param {Key} key */
const storeOf = (key) => /** @type {readonly string[]} */ (TAB_KEYS).includes(key) ? sessionStorage : localStorage;

/**
 * @param {Key} key
 * @returns {string | null}
 */
export function read(key) {
  try {
    return storeOf(key).getItem(PREFIX + key);
  } catch {
    return null; // storage may be switched off in the browser; everything works without it
  }
}

/**
 * @param {Key} key
 * @param {string | null} value null removes the entry
 */
export function write(key, value) {
  try {
    if (value === null || value === '') storeOf(key).removeItem(PREFIX + key);
    else storeOf(key).setItem(PREFIX + key, value);
  } catch { /* as in read */ }
}

/** What this site keeps in the browser at this moment, as it keeps it. */
export function kept() {
  /** @param {readonly Key[]} keys */
  const entries = (keys) => Object.fromEntries(keys.map((key) => [PREFIX + key, read(key)]).filter(([, value]) => value !== null));
  return { localStorage: entries(DEVICE_KEYS), sessionStorage: entries(TAB_KEYS) };
}

/** True when this device remembers anything of this site. */
export function anythingStored() {
  try {
    return localStorage.length + sessionStorage.length > 0;
  } catch {
    return false;
  }
}

/** Removes everything this origin may have left in the browser. Resolves when it is gone; never rejects. */
export async function wipe() {
  /** @type {(() => unknown)[]} */
  const steps = [
    () => localStorage.clear(),
    () => sessionStorage.clear(),
    () => history.replaceState(null, ''),
    async () => {
      for (const { name } of await indexedDB.databases()) {
        if (name) await deleteDatabase(name);
      }
    },
    async () => {
      for (const name of await caches.keys()) await caches.delete(name);
    },
    async () => {
      for (const registration of await navigator.serviceWorker.getRegistrations()) await registration.unregister();
    },
  ];
  await Promise.all(steps.map(async (step) => {
    try {
      await step();
    } catch { /* a store that this browser does not have, or has switched off, holds nothing */ }
  }));
}

/** @param {string} name */
function deleteDatabase(name) {
  return new Promise((resolve) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = request.onerror = request.onblocked = () => resolve(undefined);
  });
}
