// The log as a picture: a bar for each span, and marks for what stands out: gaps, redactions, checkpoints.

import { get } from "../api.js";
import { h, svg } from "../dom.js";

const [WIDTH, HEIGHT, BASE] = [960, 100, 84];
const MARKS = { gap: "bad", redaction: "unsure", prune: "unsure", hold: "unsure", admin: "unsure", recovered: "unsure", auth_failed: "bad", checkpoint: "good" };
const SPANS = { "last hour": 3600e3, "last day": 86400e3, "last week": 7 * 86400e3, "last 30 days": 30 * 86400e3 };

/** `{element, refresh}`; `onSpan(since, until)` hears of a span that was chosen, as RFC 3339. */
export function timelineView(onSpan) {
  const choice = h("select", { "aria-label": "Time shown", onchange: () => refresh() },
    ...Object.keys(SPANS).map((name) => h("option", { selected: name === "last day" }, name)));
  const picture = h("div", { class: "picture" });
  const ends = h("p", { class: "hint ends" });
  const legend = h("p", { class: "hint legend" });
  const element = h("section", { class: "card timeline", "aria-label": "Timeline" },
    h("div", { class: "row" }, h("h2", {}, "Records over time"), choice), picture, ends, legend);

  async function refresh() {
    const now = Date.now() + 1000;
    const query = new URLSearchParams({ since: new Date(now - SPANS[choice.value]).toISOString(), until: new Date(now).toISOString() });
    const drawn = await get(`vault/timeline?${query}`);
    picture.replaceChildren(draw(drawn, onSpan));
    ends.replaceChildren(h("span", {}, timeOf(drawn.since_ns).toLocaleString()), h("span", {}, "now"));
    legend.replaceChildren(...legendOf(drawn));
  }

  return { element, refresh };
}

const total = (counts) => Object.values(counts).reduce((sum, number) => sum + number, 0);
const said = (counts) => Object.entries(counts).map(([type, number]) => `${number} ${type}`).join(", ");
const timeOf = (ns) => new Date(ns / 1e6);

function draw({ since_ns: since, until_ns: until, counts, events }, onSpan) {
  const most = Math.max(1, ...counts.map(total));
  const step = WIDTH / counts.length;
  const at = (ns) => (ns - since) / (until - since) * WIDTH;
  const startOf = (index) => timeOf(since + (until - since) * index / counts.length);
  const bars = counts.flatMap((count, index) => {
    if (!total(count)) return [];
    const [asked, all] = [count.interaction ?? 0, total(count)].map((number) => number / most * (BASE - 8));
    const pick = () => onSpan(startOf(index).toISOString(), startOf(index + 1).toISOString());
    return [svg("g", { class: "bar", onclick: pick },
      svg("title", {}, `${startOf(index).toLocaleString()}: ${said(count)}`),
      svg("rect", { x: index * step + 1, y: BASE - all, width: step - 2, height: Math.max(1, all), class: "other" }),
      svg("rect", { x: index * step + 1, y: BASE - asked, width: step - 2, height: Math.max(0, asked), class: "asked" }))];
  });
  const marks = events.map(({ type, seq, time_ns: time }) => svg("g", { class: `mark ${MARKS[type] ?? "unsure"}` },
    svg("title", {}, `${type}, record ${seq}, ${timeOf(time).toLocaleString()}`),
    svg("rect", { x: Math.min(WIDTH - 4, at(time)), y: BASE + 3, width: 4, height: 12 })));
  const label = `${counts.map(total).reduce((sum, number) => sum + number, 0)} records from ${timeOf(since).toLocaleString()} to ${timeOf(until).toLocaleString()}`;
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("line", { x1: 0, x2: WIDTH, y1: BASE, y2: BASE, class: "axis" }), ...bars, ...marks);
}

function legendOf({ counts, events }) {
  const sums = {};
  for (const count of counts) for (const [type, number] of Object.entries(count)) sums[type] = (sums[type] ?? 0) + number;
  const checkpoints = events.filter((event) => event.type === "checkpoint").length;
  if (checkpoints) sums.checkpoint = checkpoints;
  if (!Object.keys(sums).length) return ["Nothing was recorded in this time."];
  return Object.entries(sums).map(([type, number]) =>
    h("span", { class: `key ${type === "interaction" ? "asked" : MARKS[type] ?? "other"}` }, `${number} ${type.replace("_", " ")}`));
}
