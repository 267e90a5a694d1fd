"use strict";
// Asks over the native NDJSON stream and shows, with each answer, the facts that let it be found and run again.

const at = (id) => document.getElementById(id);
let running = null;

function headers() {
  const key = at("key").value;
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

async function showState() {
  const reply = await fetch("/health", { headers: headers() });
  const facts = await reply.json();
  at("state").textContent = reply.ok ? `${facts.model}: ${facts.status}` : facts.error.message;
}

function wanted() {
  const body = { prompt: at("prompt").value, max_tokens: Number(at("max_tokens").value) };
  // A seed may be larger than a double holds exactly: it goes into the text as its digits.
  const seed = at("seed").value;
  const text = JSON.stringify(body);
  return seed ? `${text.slice(0, -1)},"seed":${BigInt(seed)}}` : text;
}

async function* readLines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop();
    yield* lines;
  }
}

function showFacts(line) {
  const shown = /"seed": ?(\d+)/.exec(line);
  const end = JSON.parse(line);
  const facts = { record: end.id, seed: shown && shown[1], fingerprint: end.fingerprint, ended: end.finish_reason,
    tokens: `${end.usage.prompt_tokens} + ${end.usage.completion_tokens}` };
  at("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
}

function fail(message) {
  at("answer").classList.add("failed");
  at("answer").append(`\n[${message}]`);
}

async function ask() {
  running = new AbortController();
  const response = await fetch("/stream-generate", {
    method: "POST", headers: headers(), body: wanted(), signal: running.signal,
  });
  if (!response.ok) return fail((await response.json()).error.message);
  for await (const line of readLines(response)) {
    const item = JSON.parse(line);
    if (item.error) return fail(item.error.message);
    if (item.done) return showFacts(line);
    at("answer").append(item.token);
  }
  fail("the answer was cut: the connection ended before its last line");
}

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("answer").replaceChildren();
  at("answer").classList.remove("failed");
  at("facts").replaceChildren();
  at("send").disabled = true;
  at("stop").disabled = false;
  try {
    await ask();
  } catch (error) {
    fail(error.name === "AbortError" ? "stopped" : error.message);
  } finally {
    at("send").disabled = false;
    at("stop").disabled = true;
  }
});
at("stop").addEventListener("click", () => running && running.abort());
at("key").addEventListener("change", showState);
showState().catch((error) => { at("state").textContent = error.message; });
