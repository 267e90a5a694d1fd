// The conversations at the side: search, open, export, import, delete.

import { button, confirmed, download, h } from "../dom.js";
import { asMarkdown, fromExport, matches, titleOf } from "./conversation.js";

/** `{element, draw}`; `on` has `open(conversation)`, `create()`, `close()`, `remove(conversation)`,
    `removeAll()` and `bring(conversations)`. */
export function listView(on) {
  const search = h("input", { type: "search", "aria-label": "Search conversations", placeholder: "Search" });
  const list = h("ul");
  const found = h("p", { class: "hint", role: "status" });
  let state = { conversations: [], current: null };

  function draw(conversations = state.conversations, current = state.current) {
    state = { conversations, current };
    const words = search.value.trim();
    const shown = conversations.filter((one) => one.turns.length && (!words || matches(one, words)));
    found.textContent = words ? `${shown.length} found` : shown.length ? "" : "None yet: ask something.";
    list.replaceChildren(...shown.map(entry));
  }

  const entry = (conversation) => h("li", {}, button(titleOf(conversation), () => on.open(conversation),
    { class: "title", "aria-current": conversation === state.current ? "page" : null }),
  button("×", () => forget(conversation), { class: "quiet", "aria-label": `Delete “${titleOf(conversation)}”`, title: "Delete" }));

  async function forget(conversation) {
    if (await confirmed(`Delete “${titleOf(conversation)}” from this browser? The vault keeps its records.`, "Delete")) on.remove(conversation);
  }

  async function forgetAll() {
    if (await confirmed("Delete every conversation from this browser? The vault keeps its records.", "Delete all")) on.removeAll();
  }

  const file = h("input", { type: "file", accept: ".json,application/json", hidden: true, "aria-label": "File to import", onchange: bring });

  async function bring() {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    try {
      const brought = fromExport(await chosen.text());
      await on.bring(brought);
      found.textContent = `${brought.length} imported`;
    } catch (error) {
      found.textContent = `${chosen.name} was not imported: ${error.message}.`;
    }
  }

  search.addEventListener("input", () => draw());
  const element = h("nav", { class: "conversations", id: "conversations", "aria-label": "Conversations" },
    button("Close", on.close, { class: "close" }), button("New conversation", on.create, { class: "primary wide" }), search, found, list,
    h("div", { class: "row" },
      button("Export as Markdown", () => download(`${fileName(state.current)}.md`, asMarkdown(state.current), "text/markdown"), { class: "quiet" }),
      button("as JSON", () => download(`${fileName(state.current)}.json`, JSON.stringify(state.current, null, 2)),
        { class: "quiet", "aria-label": "Export as JSON" }),
      button("Export all", () => download("minivault-conversations.json", JSON.stringify(state.conversations, null, 2)), { class: "quiet" }),
      button("Import", () => file.click(), { class: "quiet" }), file,
      button("Delete all", forgetAll, { class: "quiet" })));
  return { element, draw };
}

const fileName = (conversation) => titleOf(conversation).replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40) || "conversation";
