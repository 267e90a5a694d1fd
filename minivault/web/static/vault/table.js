// The records that were found, newest first, a row each; a row opens the record.

import { button, h, shortened } from "../dom.js";

const COLUMNS = ["When", "Record", "What", "Who", "Status", "Tokens"];

/** `{element, draw, add}`; `open(seq)` is called for the row that was chosen. */
export function tableView(open) {
  const body = h("tbody");
  const element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Records found" },
    h("table", { class: "records" }, h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col" }, name)))), body));

  const row = (record) => h("tr", { "data-seq": record.seq, class: record.type === "interaction" ? null : "event" },
    h("td", {}, new Date(record.timestamp).toLocaleString()),
    h("td", {}, button(String(record.seq), () => open(record.seq), { class: "id", "aria-label": `Open record ${record.seq}` })),
    h("td", { class: "what" }, shortened(whatOf(record).replace(/\s+/g, " "), 140)),
    h("td", {}, record.key ?? record.by ?? record.client ?? ""),
    h("td", { class: `status ${record.status ?? ""}` }, record.status ?? ""),
    h("td", { class: "number" }, record.usage ? `${record.usage.prompt_tokens} + ${record.usage.completion_tokens}` : ""));

  return { element, draw: (records) => body.replaceChildren(...records.map(row)), add: (record) => body.prepend(row(record)) };
}

function whatOf(record) {
  if (record.redacted) return "(redacted)";
  if (record.type === "interaction") return `${record.prompt ?? ""} → ${record.response ?? ""}`;
  return [record.type.replace("_", " "), record.command, record.reason, record.target_seq && `of record ${record.target_seq}`]
    .filter(Boolean).join(" ");
}
