// Light, dark, or as the system has it; kept in this browser.

import { h } from "./dom.js";

const PLACE = "minivault.theme";
const NAMES = ["auto", "light", "dark"];

function apply(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

const kept = () => (NAMES.includes(localStorage.getItem(PLACE)) ? localStorage.getItem(PLACE) : "auto");

export function themeButton() {
  const told = (name) => [h("span", { class: "long" }, "Theme: "), name];
  const made = h("button", { type: "button", class: "quiet", id: "theme", onclick: () => {
    const next = NAMES[(NAMES.indexOf(kept()) + 1) % NAMES.length];
    localStorage.setItem(PLACE, next);
    apply(next);
    made.replaceChildren(...told(next));
  } }, ...told(kept()));
  return made;
}

apply(kept());
