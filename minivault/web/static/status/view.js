// Status: how busy this server is and was in the last hour, the caller's limits, the vault's health.

import { get } from "../api.js";
import { h } from "../dom.js";
import { sentenceOf, watchServer } from "../server.js";
import { chartView } from "./chart.js";

const EVERY_MS = 5000;
const HOUR_S = 3600;
const number = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);
const bytes = (value) => (value < 1e9 ? `${Math.round(value / 1e6)} MB` : `${(value / 1e9).toFixed(1)} GB`);
const share = (value) => `${Math.round(value * 100)} %`;

export function statusView() {
  const charts = [
    chartView("Tokens per second", [["tokens_per_s", "", "asked"]], number),
    chartView("Running / waiting", [["running", "running, most in a batch", "asked"], ["waiting", "waiting", "unsure"]], number),
    chartView("Time to first token", [["first_token_p50_s", "half within", "asked"], ["first_token_p95_s", "95 % within", "unsure"]], seconds),
    chartView("Whole answer", [["total_p50_s", "half within", "asked"], ["total_p95_s", "95 % within", "unsure"]], seconds),
    chartView("Requests / refused per second", [["requests_per_s", "answered", "asked"], ["refused_per_s", "refused", "bad"]], number),
    chartView("Prompt tokens from the cache", [["cache_hit_ratio", "", "asked"]], share),
    chartView("Cache in use", [["cache_used_ratio", "", "asked"]], share),
    chartView("Memory", [["resident_bytes", "", "asked"]], bytes),
  ];
  const facts = h("dl", { class: "facts-list" });
  const vault = h("dl", { class: "facts-list" });
  const limits = h("dl", { class: "facts-list" });
  const fault = h("p", { class: "fault", role: "alert" });
  const element = h("div", { class: "status-view" }, h("h2", { class: "visually-hidden" }, "Status"), fault,
    h("div", { class: "cards" }, card("Server", facts), card("Vault", vault), card("Your limits", limits)),
    h("div", { class: "cards" }, ...charts.map((chart) => chart.element)),
    h("p", { class: "hint" }, "The last hour, all workers together; kept by the server."));

  async function draw() {
    try {
      const { points, step_s: step, limits: windows, workers } = await get("status", { quiet: true });
      const until = Date.now() / 1000;
      for (const chart of charts) chart.draw(points, { from: until - HOUR_S, until, step });
      element.dataset.workers = workers;
      list(limits, windows.length ? Object.fromEntries(windows.map((one) =>
        [one.unit, `${number(one.remaining)} of ${number(one.limit)} left in ${one.window_s} s`])) : { limits: "none" });
      fault.textContent = "";
    } catch (error) {
      fault.textContent = error.message;
    }
  }

  watchServer((now) => {
    if (!element.isConnected) return;
    list(facts, { state: sentenceOf(now), ...(now.version && { version: now.version, up: upFor(now.uptime_s), answers: number(now.requests),
      "mean answer": seconds(now.average_response_ms / 1000), "tokens made": number(now.tokens), context: now.context ? `${number(now.context)} tokens` : "–" }) });
    if (now.vault) list(vault, { state: now.vault.error ?? "can be written", records: now.vault.seq === null ? "–" : number(now.vault.seq),
      head: now.vault.head ?? "–", "free on its disk": now.vault.bytes_free === null ? "–" : bytes(now.vault.bytes_free) });
  });
  setInterval(() => { if (element.isConnected && !document.hidden) draw(); }, EVERY_MS);
  return { element, shown: draw };
}

const card = (title, content) => h("section", { class: "card", "aria-label": title }, h("h3", {}, title), content);

const list = (target, values) => target.replaceChildren(...Object.entries(values).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

function upFor(uptime) {
  const minutes = Math.floor(uptime / 60);
  return minutes < 1 ? `${Math.round(uptime)} s` : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}
