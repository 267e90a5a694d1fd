// Reads an answer as it comes into an answer's value, from the native stream or, where tools are offered, from OpenAI's.

import { linesOf, Refused, send } from "../api.js";

/** Fills `answer` until it has ended, calling `onChange` at every piece. Never throws: how it ended is its state. */
export async function follow(answer, { path, body }, signal, onChange) {
  Object.assign(answer, { path, body });
  const begun = performance.now();
  try {
    const reply = await send(path, { method: "POST", body, signal });
    answer.id = reply.headers.get("X-Request-Id") ?? "";
    const read = path === "stream-generate" ? readNative : readChat;
    for await (const piece of read(reply)) {
      take(answer, piece, performance.now() - begun);
      onChange();
    }
    if (answer.state === "running") answer.state = "cut";
  } catch (error) {
    if (error.name === "AbortError") answer.state = "stopped";
    else if (error instanceof Refused) fail(answer, error);
    else answer.state = "cut";
  }
  answer.tookMs = performance.now() - begun;
  onChange();
}

function take(answer, piece, afterMs) {
  if (piece.error) return fail(answer, piece.error);
  if (piece.end) return Object.assign(answer, { state: "done", end: piece.end });
  answer.text += piece.text ?? "";
  answer.reasoning += piece.reasoning ?? "";
  for (const { index, id, name = "", args = "" } of piece.calls ?? []) {
    const call = answer.calls[index] ??= { id, name: "", args: "" };
    call.name += name;
    call.args += args;
  }
  answer.pieces += 1;
  answer.firstAfterMs ??= afterMs;
  return answer;
}

function fail(answer, error) {
  answer.error = { message: error.message, field: error.field ?? error.param ?? null, code: error.code };
  answer.state = "failed";
}

async function* readNative(reply) {
  for await (const line of linesOf(reply)) {
    const item = JSON.parse(line);
    if (item.error) yield { error: item.error };
    else if (!item.done) yield { text: item.token, reasoning: item.reasoning };
    else yield { end: { finish: item.finish_reason, fingerprint: item.fingerprint, model: item.model, usage: item.usage,
      timings: item.timings, dropped: item.dropped_messages, seed: /"seed": ?(\d+)/.exec(line)?.[1] } };
  }
}

async function* readChat(reply) {
  let finish = null;
  for await (const line of linesOf(reply)) {
    if (!line.startsWith("data: {")) continue;
    const item = JSON.parse(line.slice("data: ".length));
    if (item.error) yield { error: item.error };
    else if (item.usage) yield { end: { finish, fingerprint: item.system_fingerprint, model: item.model, usage: item.usage } };
    else {
      const [{ delta, finish_reason: reason }] = item.choices;
      finish = reason ?? finish;
      if (reason === null) yield { text: delta.content ?? "", reasoning: delta.reasoning_content, calls: delta.tool_calls?.map(callOf) };
    }
  }
}

const callOf = ({ index, id, function: { name, arguments: args } }) => ({ index, id, name, args });
