// Vault: the chain's light, the log as a picture, its records, and one of them in full.

import { linesOf, send } from "../api.js";
import { button, download, h } from "../dom.js";
import { filtersView } from "./filters.js";
import { lightView } from "./light.js";
import { recordView } from "./record.js";
import { tableView } from "./table.js";
import { timelineView } from "./timeline.js";

const SHOWN = 100;

export function vaultView() {
  let records = [];
  let tailing = null;

  const light = lightView();
  const filters = filtersView(search);
  const timeline = timelineView((since, until) => { filters.fill({ since, until, type: "any" }); search(); });
  const table = tableView(open);
  const found = h("p", { class: "hint", role: "status" });
  const fault = h("p", { class: "fault", role: "alert" });
  const pane = h("div", { class: "pane" });
  const live = button("Follow live", follow, { "aria-pressed": "false" });
  const element = h("div", { class: "vault" }, h("h2", { class: "visually-hidden" }, "Vault"), fault, light.element, timeline.element,
    h("section", { class: "card", "aria-label": "Search" }, filters.element,
      h("div", { class: "row" }, found, h("span", { class: "spring" }), live, button("Export with proof", () => exportAs("jsonl")),
        button("Export CSV", () => exportAs("csv"))),
      table.element), pane);

  /** Runs what may be refused; the refusal is said at the top. */
  async function trying(act) {
    fault.textContent = "";
    try {
      await act();
    } catch (error) {
      if (error.name === "AbortError") return;
      const input = filters.inputs[error.field];
      if (input) input.setAttribute("aria-invalid", "true");
      fault.textContent = error.message;
      input?.focus();
    }
  }

  function search() {
    return trying(async () => {
      for (const input of Object.values(filters.inputs)) input.removeAttribute("aria-invalid");
      const lines = [];
      for await (const line of linesOf(await send(`vault/records?${filters.query({ limit: SHOWN })}`))) lines.push(JSON.parse(line));
      records = lines.reverse();
      table.draw(records);
      found.textContent = records.length === SHOWN ? `The last ${SHOWN} that match` : `${records.length} found`;
    });
  }

  function open(seq) {
    return trying(async () => {
      const record = await (await send(`vault/records/${seq}`)).json();
      const view = recordView(record, records, { open, close: () => { location.hash = "vault"; pane.replaceChildren(); }, changed });
      pane.replaceChildren(view);
      history.replaceState(null, "", `#vault/${seq}`);
      view.scrollIntoView({ block: "nearest" });
      view.focus();
    });
  }

  async function changed(seq) {
    await Promise.all([search(), trying(light.refresh), trying(timeline.refresh)]);
    await open(seq);
  }

  async function follow() {
    if (tailing) return tailing.abort();
    tailing = new AbortController();
    live.setAttribute("aria-pressed", "true");
    live.textContent = "Following; stop";
    await trying(async () => {
      const newest = () => Math.max(0, ...records.map((record) => record.seq));
      for await (const line of linesOf(await send("vault/tail?limit=20", { signal: tailing.signal }))) {
        const record = JSON.parse(line);
        if (record.error) throw new Error(record.error.message);
        if (record.alive || record.seq <= newest()) continue;
        records.unshift(record);
        table.add(record);
      }
    });
    tailing = null;
    live.setAttribute("aria-pressed", "false");
    live.textContent = "Follow live";
    return null;
  }

  function exportAs(format) {
    return trying(async () => {
      const reply = await send(`vault/export?${filters.query({ format })}`);
      download(`minivault-export.${format}`, await reply.text(), format === "csv" ? "text/csv" : "application/x-ndjson");
    });
  }

  function shown(hash) {
    trying(light.refresh).then(() => Promise.all([trying(timeline.refresh), search()])).then(() => {
      const seq = hash.split("/")[1];
      if (seq) open(seq);
    });
  }

  return { element, shown };
}
