// Conversations in this browser's own database, and nowhere else.

const NAME = "minivault";
const TABLE = "conversations";

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

/** Every conversation, the one last used first. */
export const all = async () =>
  (await within("readonly", (store) => store.getAll())).sort((one, other) => other.updated - one.updated);
