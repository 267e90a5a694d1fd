// What is looked for: text, time, model, key, status, kind. As query parameters, which hold no key's secret.

import { button, h } from "../dom.js";

const KINDS = ["interaction", "any", "redaction", "hold", "admin", "gap", "recovered", "read", "auth_failed", "start", "stop"];
const STATUSES = ["", "completed", "cancelled", "failed", "interrupted"];

/** `{element, query, fill}`; `onSearch()` is called when something is to be looked for. */
export function filtersView(onSearch) {
  const inputs = {
    text: h("input", { type: "search", placeholder: "words in prompt or answer" }),
    since: h("input", { placeholder: "2026-11-27" }),
    until: h("input", { placeholder: "2026-11-28T12:00Z" }),
    model: h("input"),
    key: h("input", { placeholder: "key's id" }),
    status: h("select", {}, ...STATUSES.map((value) => h("option", { value }, value || "any"))),
    type: h("select", {}, ...KINDS.map((value) => h("option", { value }, value.replace("_", " ")))),
  };
  const labels = { text: "Text", since: "Since", until: "Until", model: "Model", key: "Key", status: "Status", type: "Kind" };
  const element = h("form", { class: "filters", role: "search", "aria-label": "Records", onsubmit: (event) => { event.preventDefault(); onSearch(); } },
    ...Object.entries(inputs).map(([name, input]) => h("label", { class: name }, labels[name], input)),
    h("button", { class: "primary" }, "Search"), button("Clear", () => { fill({}); onSearch(); }));

  function fill(values) {
    for (const [name, input] of Object.entries(inputs)) input.value = values[name] ?? (name === "type" ? "interaction" : "");
  }

  function query(more = {}) {
    const given = Object.entries(inputs).map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value);
    return new URLSearchParams([...given, ...Object.entries(more)]);
  }

  return { element, query, fill, inputs };
}
