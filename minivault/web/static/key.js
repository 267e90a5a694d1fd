// The key of whoever sits here: kept for this tab's session, sent in a header, and never part of an address.

import { h } from "./dom.js";

const PLACE = "minivault.key";
let asking = null;

export const key = () => sessionStorage.getItem(PLACE) ?? "";

/** Asks for a key; resolves to true once one was given. Whoever asks meanwhile waits for the same answer. */
export function askForKey(reason) {
  asking ??= opened(reason).finally(() => { asking = null; });
  return asking;
}

function opened(reason) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", name: "key", autocomplete: "off", spellcheck: "false", value: key(),
      placeholder: "mv_…", "aria-describedby": "key-reason" });
    const dialog = h("dialog", { class: "key", "aria-labelledby": "key-title", onclose: () => {
      dialog.remove();
      if (dialog.returnValue === "use") keep(input.value.trim());
      resolve(dialog.returnValue === "use" && input.value.trim() !== "");
    } }, h("form", { method: "dialog" },
      h("h2", { id: "key-title" }, "Key"),
      h("p", { id: "key-reason" }, reason),
      h("label", {}, "Access key", input),
      h("p", { class: "hint" }, "It stays in this tab until you close it."),
      h("div", { class: "row end" }, h("button", { value: "cancel", formnovalidate: true }, "Cancel"),
        h("button", { value: "use", class: "primary" }, "Use this key"))));
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}

function keep(value) {
  if (value) sessionStorage.setItem(PLACE, value);
  else sessionStorage.removeItem(PLACE);
  document.dispatchEvent(new Event("keychange"));
}
