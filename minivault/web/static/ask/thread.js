// The turns of one conversation, one below the other, with what can be done with each.

import { button, copy, h } from "../dom.js";
import { answerView } from "./answer.js";

/** The nodes of a turn. `on` has `edit(turn, text)`, `regenerate(turn)`, `choose(turn, index)` and `giveResults(turn, results)`. */
export function turnView(turn, { isLast, isIdle, on }) {
  const views = turn.answers.map((answer, index) => answerView(answer, {
    regenerate: isLast && on.regenerate ? () => on.regenerate(turn) : null,
    choose: isLast && turn.answers.length > 1 && index !== turn.chosen ? () => on.choose(turn, index) : null,
  }));
  views[turn.chosen]?.element.classList.toggle("chosen", turn.answers.length > 1);
  const chosen = turn.answers[turn.chosen];
  const asks = isLast && isIdle && chosen?.calls.length ? resultsForm(turn, chosen.calls, on) : null;
  const element = h("div", { class: "turn" }, turn.results ? resultsView(turn) : promptView(turn, on),
    h("div", { class: "answers", "data-number": turn.answers.length }, ...views.map((view) => view.element)), asks);
  return { element, draw: (answer) => views[turn.answers.indexOf(answer)]?.draw() };
}

function promptView(turn, on) {
  const text = h("p", {}, turn.text);
  const tools = h("div", { class: "row tools" }, button("Edit", edit, { class: "quiet" }),
    button("Copy", (event) => copy(turn.text, event.currentTarget), { class: "quiet" }));
  const article = h("article", { class: "prompt", "aria-label": "Your prompt" }, text, tools);

  function edit() {
    const input = h("textarea", { "aria-label": "Edit the prompt", rows: Math.min(12, turn.text.split("\n").length + 1), value: turn.text,
      onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(); if (event.key === "Escape") back(); } });
    const back = () => article.replaceChildren(text, tools);
    const send = () => input.value.trim() && on.edit(turn, input.value);
    article.replaceChildren(input, h("div", { class: "row tools" }, button("Send again", send, { class: "primary" }), button("Cancel", back),
      h("span", { class: "hint" }, "What came after it is dropped.")));
    input.focus();
  }

  return article;
}

const resultsView = (turn) => h("article", { class: "prompt", "aria-label": "Results of tools" },
  ...turn.results.map(({ name, content }) => h("details", { class: "call", open: true },
    h("summary", {}, "Result of ", h("code", {}, name)), h("pre", { tabindex: "0" }, content))));

function resultsForm(turn, calls, on) {
  const boxes = calls.map(({ id, name }) => ({ id, name, box: h("textarea", { rows: 2, required: true }) }));
  return h("form", { class: "results", onsubmit: (event) => {
    event.preventDefault();
    on.giveResults(boxes.map(({ id, name, box }) => ({ id, name, content: box.value })));
  } }, ...boxes.map(({ name, box }) => h("label", {}, h("span", {}, "Result of ", h("code", {}, name)), box)),
  h("div", { class: "row end" }, h("button", { class: "primary" }, "Give the results")));
}
