// The page: its views by the address's fragment, the line that says how the server is, the key and the theme.

import { askForKey, key } from "./key.js";
import { button, h } from "./dom.js";
import { sentenceOf, watchServer } from "./server.js";
import { themeButton } from "./theme.js";
import { askView } from "./ask/view.js";
import { statusView } from "./status/view.js";
import { vaultView } from "./vault/view.js";

const VIEWS = { ask: ["Ask", askView], vault: ["Vault", vaultView], status: ["Status", statusView] };

const made = {};
const main = document.getElementById("main");
const links = Object.fromEntries(Object.entries(VIEWS).map(([name, [label]]) => [name, h("a", { href: `#${name}` }, label)]));
const state = h("p", { id: "state", role: "status" }, "…");
const keyButton = button("Key", () => askForKey("A server with keys answers only those who hold one."), { class: "quiet", id: "key" });

function show() {
  const [name] = location.hash.slice(1).split("/");
  const chosen = name in VIEWS ? name : "ask";
  const view = made[chosen] ??= VIEWS[chosen][1]();
  for (const [other, link] of Object.entries(links)) {
    if (other === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view.element.isConnected) return view.shown?.(location.hash);
  document.title = `${VIEWS[chosen][0]} · MiniVault`;
  main.replaceChildren(view.element);
  view.shown?.(location.hash);
  return view.focus?.();
}

const markKey = () => keyButton.classList.toggle("held", Boolean(key()));

document.getElementById("top").append(h("h1", {}, "MiniVault"), h("nav", { "aria-label": "Views" }, ...Object.values(links)), state,
  h("div", { class: "row" }, h("a", { href: document.body.dataset.docs, class: "quiet" }, "API"), keyButton, themeButton()));
let hasAsked = false;
watchServer((facts) => {
  const words = sentenceOf(facts);
  if (state.textContent !== words) state.textContent = words;
  state.dataset.status = facts.status;
  if (facts.status === "locked" && !hasAsked) {
    hasAsked = true;
    askForKey(facts.problem);
  }
});
document.addEventListener("keychange", markKey);
addEventListener("hashchange", show);
markKey();
show();
