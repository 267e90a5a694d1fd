// The drawer of a conversation's settings: system prompt, sampling, structured output, tools. Each says what it does.

import { get } from "../api.js";
import { button, h } from "../dom.js";
import { watchServer } from "../server.js";
import { FIELDS } from "./request.js";

const THINK = [["", "as the model does"], ["yes", "yes"], ["no", "no"], ["low", "low"], ["medium", "medium"], ["high", "high"]];
const EXAMPLE_TOOL = '[{"name": "weather", "description": "…",\n  "parameters": {"type": "object", "properties": {…}}}]';

/** `{element, fill, mark}` around the settings of the conversation at hand; `onChange(name, value)` hears of changes. */
export function settingsView(onChange, close) {
  const inputs = {};
  const wrong = {};

  function field(name, label, hint, control) {
    inputs[name] = control;
    control.id = `set-${name}`;
    wrong[name] = h("p", { class: "fault", id: `fault-${name}`, role: "alert", hidden: true });
    control.setAttribute("aria-describedby", `hint-${name} fault-${name}`);
    control.addEventListener("input", () => { mark(name, ""); onChange(name, control.value); });
    return h("div", { class: "field" }, h("label", { for: control.id }, label), control,
      h("p", { class: "hint", id: `hint-${name}` }, hint), wrong[name]);
  }

  /** Says at a field what is wrong with it; with no words that nothing is. */
  function mark(name, words) {
    inputs[name].toggleAttribute("aria-invalid", false);
    if (words) inputs[name].setAttribute("aria-invalid", "true");
    wrong[name].textContent = words;
    wrong[name].hidden = !words;
  }

  const area = (rows, placeholder = "") => h("textarea", { rows, placeholder, spellcheck: "false" });
  const model = h("select");
  const modelField = field("model", "Model", "which of the models that are served", model);
  const draws = h("select", {}, ...[1, 2, 3, 4].map((number) => h("option", { value: number }, String(number))));
  const element = h("aside", { class: "settings", id: "settings", "aria-label": "Settings" },
    button("Close", close, { class: "close" }), h("h2", {}, "Settings"),
    modelField,
    field("system", "System prompt", "what the model is told before everything else", area(4)),
    field("draws", "Answers side by side", "so many answers to each prompt", draws),
    ...FIELDS.map(({ name, label, hint, preset }) =>
      field(name, label, hint, h("input", { inputmode: "decimal", autocomplete: "off", placeholder: preset ?? "default" }))),
    field("stop", "Stop at", "texts that end the answer, one a line", area(2)),
    field("think", "Think first", "for models that can", h("select", {}, ...THINK.map(([value, text]) => h("option", { value }, text)))),
    field("format", "Structured output", "a JSON schema that the answer keeps to, or the word json", area(4, '{"type": "object", …}')),
    field("tools", "Tools", "a JSON list of functions that the model may call; you give the results", area(4, EXAMPLE_TOOL)));

  function fill(settings) {
    for (const [name, control] of Object.entries(inputs)) {
      control.value = settings[name] ?? (name === "draws" ? "1" : "");
      mark(name, "");
    }
  }

  listModels(model, modelField);
  return { element, fill, mark, has: (name) => name in inputs && !inputs[name].closest("[hidden]"), focus: (name) => inputs[name].focus() };
}

/** Fills the chooser as soon as the server can say what it serves; hidden where there is nothing to choose. */
function listModels(select, field) {
  field.hidden = true;
  const stop = watchServer(async (facts) => {
    if (facts.status !== "ok" || select.options.length) return;
    try {
      const { data } = await get("v1/models", { quiet: true });
      const chosen = select.value;
      select.replaceChildren(...data.map(({ id }) => h("option", { value: id }, id)));
      if (chosen) select.value = chosen;
      field.hidden = data.length < 2;
      stop();
    } catch { /* asked again with the next look at the server */ }
  });
}
