// What the server says of itself, asked for again and again, told to whoever listens.

import { get } from "./api.js";

const EVERY_MS = 2000;
const AWAY_MS = 15000;
const listeners = new Set();
let latest = null;

/** Calls `listener` with the facts now and whenever they have been asked for: `/health`, or `{status, problem}`. */
export function watchServer(listener) {
  listeners.add(listener);
  if (latest) listener(latest);
  return () => listeners.delete(listener);
}

export const serverNow = () => latest;

async function look() {
  try {
    latest = await get("health", { quiet: true });
  } catch (error) {
    latest = { status: error.status === 401 ? "locked" : error.code || "unreachable", problem: error.message };
  }
  for (const listener of listeners) listener(latest);
}

async function lookForever() {
  for (;;) {
    await look();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, document.hidden ? AWAY_MS : EVERY_MS);
      document.addEventListener("keychange", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}

lookForever();

const SAID = {
  ok: (facts) => `${facts.model}: ready${facts.running ? `, ${facts.running} running` : ""}${facts.waiting ? `, ${facts.waiting} waiting` : ""}`,
  loading: (facts) => `${facts.model} is loading`,
  unloaded: (facts) => `${facts.model} is not loaded yet`,
  failed: (facts) => `${facts.model} does not serve: ${facts.reason}`,
  draining: () => "The server is stopping",
  vault_unavailable: (facts) => `The vault cannot be written: ${facts.vault.error}`,
  locked: () => "A key is needed",
  unreachable: () => "The server cannot be reached",
};

/** The same in a sentence. */
export const sentenceOf = (facts) => (SAID[facts.status] ?? (() => facts.problem ?? facts.status))(facts);
