// The only user of browser storage. What may be kept on the device is the closed list KEYS; wipe() leaves nothing.

/** @typedef {'name' | 'language' | 'microphone' | 'camera' | 'speaker' | 'shortcuts'} Key */

/** @type {readonly Key[]} */
export const KEYS = ['name', 'language', 'microphone', 'camera', 'speaker', 'shortcuts'];

const PREFIX = 'saal.';

/**
 * @param {Key} key
 * @returns {string | null}
 */
export function read(key) {
  try {
    return localStorage.getItem(PREFIX + key);
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
    if (value === null || value === '') localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, value);
  } catch { /* as in read */ }
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
