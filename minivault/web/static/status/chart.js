// One figure over the last hour: a line, its newest value in words, and the same for those who cannot see it.

import { h, svg } from "../dom.js";

const [WIDTH, HEIGHT] = [320, 70];

/** A card with a chart. `lines` are `[key, name, class]` of points; `say` makes words of a value. */
export function chartView(title, lines, say) {
  const value = h("p", { class: "value" }, "–");
  const picture = h("div", { class: "picture" });
  const names = lines.length > 1 ? h("p", { class: "hint legend" }, ...lines.map(([, name, kind]) => h("span", { class: `key ${kind}` }, name))) : null;
  const element = h("section", { class: "card chart", "aria-label": title }, h("h3", {}, title), value, picture, names);

  function draw(points, { from, until, step }) {
    const all = lines.flatMap(([key]) => points.map((point) => point[key])).filter((number) => number !== null && number !== undefined);
    const most = Math.max(...all, 0);
    const last = points.at(-1);
    const isNow = last && until - last.time_s < 3 * step;
    value.textContent = isNow ? lines.map(([key]) => (last[key] === null ? "–" : say(last[key]))).join(" / ") : "–";
    const label = all.length ? `${title}: now ${value.textContent}, at most ${say(most)} in the last hour` : `${title}: nothing in the last hour`;
    picture.replaceChildren(svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1, class: "axis" }),
      ...lines.map(([key, , kind]) => svg("path", { class: `line ${kind}`, "vector-effect": "non-scaling-stroke",
        d: pathOf(points, key, (time) => (time - from) / (until - from) * WIDTH, (number) => HEIGHT - 2 - number / (most || 1) * (HEIGHT - 8), step) }))));
  }

  return { element, draw };
}

/** A line through the points, broken where there is none for a while. */
function pathOf(points, key, x, y, step) {
  let before = null;
  return points.map((point) => {
    if (point[key] === null || point[key] === undefined) return "";
    const joins = before !== null && point.time_s - before < 3 * step;
    before = point.time_s;
    const at = `${x(point.time_s).toFixed(1)} ${y(point[key]).toFixed(1)}`;
    return joins ? `L${at}` : `M${at}h1`;
  }).join("");
}
