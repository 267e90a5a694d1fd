// Makes the request for a turn. Numbers are kept as the digits that were typed: a seed may be larger than a double holds.

import { chosenAnswer } from "./conversation.js";

/** The settings there are: their names on the wire and what they do. An empty box is left to the server and the model. */
export const FIELDS = [
  { name: "max_tokens", label: "Most tokens", hint: "the answer is cut there; -1 = what the context leaves", preset: "1024", whole: true },
  { name: "temperature", label: "Temperature", hint: "0 = always the likeliest word, 2 = wild" },
  { name: "top_p", label: "Top p", hint: "only the likeliest words that together have this probability" },
  { name: "top_k", label: "Top k", hint: "only so many likeliest words; 0 = all", whole: true },
  { name: "min_p", label: "Min p", hint: "no word less likely than this share of the likeliest" },
  { name: "repetition_penalty", label: "Repetition penalty", hint: "above 1: what was said is said less" },
  { name: "presence_penalty", label: "Presence penalty", hint: "above 0: new subjects" },
  { name: "frequency_penalty", label: "Frequency penalty", hint: "above 0: fewer of the same words" },
  { name: "seed", label: "Seed", hint: "the same seed gives the same answer; drawn when empty", whole: true },
  { name: "thinking_budget", label: "Thinking budget", hint: "most tokens of thought", whole: true },
];

const NUMBER = /^-?\d+(\.\d+)?$/;

/** What is wrong with what was typed: name → words. */
export function faults(settings) {
  const found = {};
  for (const { name, label, whole } of FIELDS) {
    const text = settings[name] ?? "";
    if (text && !(NUMBER.test(text) && (!whole || !text.includes(".")))) found[name] = `${label} must be a ${whole ? "whole " : ""}number`;
  }
  for (const [name, check] of [["format", formatOf], ["tools", toolsOf]]) {
    try {
      check(settings);
    } catch (error) {
      found[name] = error.message;
    }
  }
  if (settings.format?.trim() && settings.tools?.trim()) found.format ??= "an answer keeps to a schema or calls tools: empty one of the two";
  return found;
}

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${what} is not JSON: ${error.message}`);
  }
}

function formatOf({ format = "" }) {
  const text = format.trim();
  return !text ? null : text === "json" ? "json" : parsed(text, "the schema");
}

function toolsOf({ tools = "" }) {
  if (!tools.trim()) return [];
  const list = [parsed(tools, "the list of tools")].flat();
  return list.map((tool) => (tool.function ? tool : { type: "function", function: tool }));
}

const numbersOf = (settings) => FIELDS.map(({ name, preset }) => [name, (settings[name] ?? "").trim() || preset || ""])
  .filter(([, digits]) => digits);

/** `{path, body}` for the last turn of a conversation; `draw` counts answers side by side, whose seeds follow; `model` is
 * asked where none was chosen. */
export function requestFor(conversation, turns, { draw = 0, model = "" } = {}) {
  const settings = { ...conversation.settings, model: conversation.settings.model || model };
  const tools = toolsOf(settings);
  const numbers = new Map(numbersOf(settings));
  if (numbers.has("seed") && draw) numbers.set("seed", String(BigInt.asUintN(63, BigInt(numbers.get("seed")) + BigInt(draw))));
  const members = { ...(settings.model && { model: settings.model }), messages: messagesOf(settings, turns),
    ...(tools.length ? chatMembers(settings, tools, numbers) : nativeMembers(settings)) };
  const text = JSON.stringify(members).slice(0, -1);
  const digits = [...numbers].map(([name, number]) => `,${JSON.stringify(name)}:${number}`).join("");
  return { path: tools.length ? "v1/chat/completions" : "stream-generate", body: `${text}${digits}}` };
}

function nativeMembers(settings) {
  const format = formatOf(settings);
  return { ...stops(settings), ...thinks(settings), ...(format && { format }) };
}

/** Tools are OpenAI's way: the same engine, the same record. */
function chatMembers(settings, tools, numbers) {
  if (numbers.get("max_tokens") === "-1") numbers.delete("max_tokens");
  return { tools, stream: true, stream_options: { include_usage: true }, ...stops(settings), ...thinks(settings) };
}

const stops = ({ stop = "" }) => (stop ? { stop: stop.split("\n").filter(Boolean) } : {});

const thinks = ({ think = "" }) => (think ? { think: { yes: true, no: false }[think] ?? think } : {});

function messagesOf(settings, turns) {
  const messages = settings.system ? [{ role: "system", content: settings.system }] : [];
  for (const [index, turn] of turns.entries()) {
    if (turn.results) messages.push(...turn.results.map((one) => ({ role: "tool", tool_call_id: one.id, content: one.content })));
    else messages.push({ role: "user", content: turn.text });
    const answer = chosenAnswer(turn);
    if (index < turns.length - 1 && answer) messages.push(said(answer));
  }
  return messages;
}

function said(answer) {
  if (!answer.calls.length) return { role: "assistant", content: answer.text };
  const calls = answer.calls.map(({ id, name, args }) => ({ id, type: "function", function: { name, arguments: args } }));
  return { role: "assistant", content: answer.text || null, tool_calls: calls };
}
