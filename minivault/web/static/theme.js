// Light, dark, or as the system has it; kept in this browser.

import { button } from "./dom.js";

const PLACE = "minivault.theme";
const NAMES = ["auto", "light", "dark"];

function apply(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}

const kept = () => (NAMES.includes(localStorage.getItem(PLACE)) ? localStorage.getItem(PLACE) : "auto");

export function themeButton() {
  const told = (name) => `Theme: ${name}`;
  const made = button(told(kept()), () => {
    const next = NAMES[(NAMES.indexOf(kept()) + 1) % NAMES.length];
    localStorage.setItem(PLACE, next);
    apply(next);
    made.textContent = told(next);
  }, { class: "quiet", id: "theme" });
  return made;
}

apply(kept());
