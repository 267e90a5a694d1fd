// One answer on the page: what was thought, said and called, how it ended, its figures and its proof.

import { button, copy, h } from "../dom.js";
import { rendered } from "../markdown.js";
import { serverNow } from "../server.js";
import { endOf, figuresOf } from "./figures.js";
import { factsOf, proofButtons } from "./proof.js";
import { asCurl, asPython } from "./snippets.js";

const DRAW_EVERY_MS = 120;

/** `{element, draw}`; `actions` are what may be done with the answer: `{regenerate, choose}`, each where it can be. */
export function answerView(answer, actions) {
  const thoughts = h("p", { class: "thoughts" });
  const fold = h("details", { class: "thought" }, h("summary", {}, "Thoughts"), thoughts);
  const text = h("div", { class: "markdown" });
  const calls = h("div", { class: "calls" });
  const end = h("p", { class: "end" });
  const figures = h("p", { class: "figures" });
  const facts = h("p", { class: "facts" });
  const tools = h("div", { class: "row tools" });
  const verdict = h("output", { class: "verdict" });
  const element = h("article", { class: "answer", "aria-label": "Answer" }, fold, text, calls, end, figures, facts, tools, verdict);
  let timer = null;

  function drawNow() {
    timer = null;
    const isRunning = answer.state === "running";
    element.dataset.state = answer.end?.finish === "length" ? "cut" : answer.state;
    element.setAttribute("aria-busy", String(isRunning));
    fold.hidden = !answer.reasoning;
    thoughts.textContent = answer.reasoning;
    text.replaceChildren(rendered(answer.text, { isWhole: !isRunning }));
    calls.replaceChildren(...answer.calls.filter(Boolean).map(callView));
    end.textContent = isRunning ? "" : endOf(answer);
    end.hidden = !end.textContent;
    if (answer.state === "failed") end.setAttribute("role", "alert");
    const told = figuresOf(answer, serverNow()?.context);
    figures.textContent = isRunning && !answer.pieces ? "waiting for the first token…" : told.join(" · ");
    facts.replaceChildren(...factsOf(answer));
    if (!isRunning) tools.replaceChildren(...toolsFor(answer, actions, verdict));
  }

  /** Draws soon, or now at the end. */
  function draw() {
    if (answer.state !== "running") {
      clearTimeout(timer);
      drawNow();
    } else {
      timer ??= setTimeout(drawNow, DRAW_EVERY_MS);
    }
  }

  drawNow();
  return { element, draw };
}

function callView({ name, args }) {
  return h("details", { class: "call", open: true }, h("summary", {}, "Calls ", h("code", {}, name)), h("pre", { tabindex: "0" }, indented(args)));
}

function indented(args) {
  try {
    return JSON.stringify(JSON.parse(args), null, 2);
  } catch {
    return args;
  }
}

function toolsFor(answer, { regenerate, choose }, verdict) {
  const copies = (label, make) => button(label, (event) => copy(make(), event.currentTarget), { class: "quiet" });
  return [
    choose && button("Go on with this one", choose, { class: "quiet choose" }),
    answer.text && copies("Copy", () => answer.text),
    regenerate && button("Regenerate", regenerate, { class: "quiet" }),
    answer.body && copies("curl", () => asCurl(answer)),
    answer.body && copies("Python", () => asPython(answer)),
    ...(answer.id && (answer.state !== "failed" || answer.text) ? proofButtons(answer, verdict) : []),
  ].filter(Boolean);
}
