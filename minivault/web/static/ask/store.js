// Conversations in this browser's own database, and nowhere else.

const NAME = "minivault";
const TABLE = "conversations";
const LEFT = "minivault.left";

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

let opened = null;

async function within(mode, act) {
  opened ??= database();
  const store = (await opened).transaction(TABLE, mode).objectStore(TABLE);
  return new Promise((resolve, reject) => {
    const asked = act(store);
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

export const save = (conversation) => within("readwrite", (store) => store.put(conversation));

export const remove = (id) => within("readwrite", (store) => store.delete(id));

export const removeAll = () => within("readwrite", (store) => store.clear());

/** Keeps a conversation that is left in the middle: at once, since a page that goes waits for no database. */
export function leave(conversation) {
  try {
    localStorage.setItem(LEFT, JSON.stringify(conversation));
  } catch { /* no room: what was saved last is there */ }
}

async function takeUp() {
  const left = localStorage.getItem(LEFT);
  localStorage.removeItem(LEFT);
  if (left) await save(JSON.parse(left));
}

/** Every conversation, the one last used first. */
export async function all() {
  await takeUp();
  return (await within("readonly", (store) => store.getAll())).sort((one, other) => other.updated - one.updated);
}
