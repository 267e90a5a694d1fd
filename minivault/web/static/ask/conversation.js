// A conversation as a value: turns of the user, each with the answers it got and the one that the next turn builds on.

export const newConversation = (settings = {}) => ({ id: crypto.randomUUID(), title: "", created: Date.now(),
  updated: Date.now(), settings, turns: [] });

export const newAnswer = () => ({ state: "running", text: "", reasoning: "", calls: [], begun: Date.now(),
  firstAfterMs: null, pieces: 0, id: "", end: null, error: null, body: "", path: "" });

/** A turn is what the user said or, with `results`, what the tools gave back. */
export const newTurn = (text, results = null) => ({ text, results, answers: [], chosen: 0 });

export const titleOf = (conversation) => conversation.title || conversation.turns[0]?.text.trim().split("\n")[0] ||
  "New conversation";

/** What ended without its end: the page was left while the server was answering. */
export function settle(conversation) {
  let isChanged = false;
  for (const answer of conversation.turns.flatMap((turn) => turn.answers)) {
    if (answer.state === "running") {
      answer.state = "cut";
      isChanged = true;
    }
  }
  return isChanged;
}

export const chosenAnswer = (turn) => turn.answers[turn.chosen] ?? turn.answers[0];

export function matches(conversation, words) {
  const wanted = words.toLowerCase();
  const texts = conversation.turns.flatMap((turn) => [turn.text, ...turn.answers.map((answer) => answer.text)]);
  return [titleOf(conversation), ...texts].some((text) => text.toLowerCase().includes(wanted));
}

/** The conversations of a file that was exported as JSON, made anew from what is text in it. Throws what is wrong with it. */
export function fromExport(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error("it is no JSON");
  }
  const all = [found].flat().filter((one) => Array.isArray(one?.turns) && one.turns.length);
  if (!all.length) throw new Error("it holds no conversation that this page exported as JSON");
  return all.map((one) => ({ ...newConversation({ system: words(one.settings?.system) }), title: words(one.title),
    updated: Number(one.updated) || Date.now(), turns: one.turns.map(turnFrom) }));
}

const words = (value) => (typeof value === "string" ? value : "");

const turnFrom = (turn) => ({ ...newTurn(words(turn?.text)), chosen: Number.isInteger(turn?.chosen) ? turn.chosen : 0,
  answers: [turn?.answers ?? []].flat().map(answerFrom) });

const answerFrom = (answer) => ({ ...newAnswer(), text: words(answer?.text), reasoning: words(answer?.reasoning),
  state: ["done", "stopped"].includes(answer?.state) ? answer.state : "cut", id: /^[\w-]{1,64}$/.test(words(answer?.id)) ? answer.id : "" });

/** The conversation as a text that people read. */
export function asMarkdown(conversation) {
  const parts = [`# ${titleOf(conversation)}`];
  if (conversation.settings.system) parts.push(`**System**\n\n${conversation.settings.system}`);
  for (const turn of conversation.turns) {
    parts.push(`**${turn.results ? "Tool" : "User"}**\n\n${turn.text}`);
    for (const answer of turn.answers) {
      const proof = answer.end ? `record ${answer.id}, ${answer.end.fingerprint}` : `record ${answer.id}, ${answer.state}`;
      parts.push(`**Assistant** (${proof})\n\n${answer.text}`);
    }
  }
  return `${parts.join("\n\n")}\n`;
}
