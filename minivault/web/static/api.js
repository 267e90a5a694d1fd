// Speaks to the server this page came from: one way to send, one kind of error, one reader of lines.

import { askForKey, key } from "./key.js";

const BASE = new URL("../", import.meta.url);

/** What the server refused, in its own words; `field` is the part of the request that mends it. */
export class Refused extends Error {
  constructor(message, { status = 0, code = "", field = null, id = "" } = {}) {
    super(message);
    Object.assign(this, { status, code, field, id });
  }
}

/** The address of a path, also where the server lies below another's path. */
export const addressOf = (path) => new URL(path, BASE);

export function headersWith(extra = {}) {
  return { ...extra, ...(key() && { Authorization: `Bearer ${key()}` }) };
}

/** A reply that is well; asks for a key where one is needed, unless `quiet`. Throws Refused, or AbortError. */
export async function send(path, { method = "GET", body, signal, quiet = false } = {}) {
  const headers = headersWith(body === undefined ? {} : { "Content-Type": "application/json" });
  let reply;
  try {
    reply = await fetch(addressOf(path), { method, headers, body, signal, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server cannot be reached", { code: "unreachable" });
  }
  if (reply.ok) return reply;
  const refused = await refusal(reply);
  if (reply.status === 401 && !quiet && await askForKey(refused.message)) return send(path, { method, body, signal });
  throw refused;
}

export const get = async (path, options) => (await send(path, options)).json();

export const post = async (path, value = {}, options = {}) =>
  (await send(path, { method: "POST", body: JSON.stringify(value), ...options })).json();

async function refusal(reply) {
  const about = { status: reply.status, id: reply.headers.get("X-Request-Id") };
  try {
    const { error } = await reply.json();
    return new Refused(error.message, { ...about, code: error.code, field: error.field ?? error.param });
  } catch {
    return new Refused(`the server answered ${reply.status}`, about);
  }
}

/** The lines of a reply as they come; a last one without its end is left out. */
export async function* linesOf(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop();
    yield* lines;
  }
}
