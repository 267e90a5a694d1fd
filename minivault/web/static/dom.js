// Makes elements. Text becomes text nodes and nothing else: no string of anybody's is ever read as HTML here.

const SVG = "http://www.w3.org/2000/svg";

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element: `h("button", { class: "quiet", onclick: act }, "Copy")`. */
export const h = (name, attributes = {}, ...children) => made(document.createElement(name), attributes, children);

/** The same of a drawing. */
export const svg = (name, attributes = {}, ...children) =>
  made(document.createElementNS(SVG, name), attributes, children);

export const button = (label, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, label);

/** Puts `text` on the clipboard and says so on the button for a moment. */
export async function copy(text, target) {
  const before = target.textContent;
  try {
    await navigator.clipboard.writeText(text);
    target.textContent = "Copied";
  } catch {
    target.textContent = "Not allowed";
  }
  setTimeout(() => { target.textContent = before; }, 1500);
}

/** Hands the reader a file. */
export function download(name, text, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Asks yes or no in a dialog; resolves to true or false. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": question, onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); } },
      h("form", { method: "dialog" }, h("p", {}, question), h("div", { class: "row end" },
        h("button", { value: "no" }, "Cancel"), h("button", { value: "yes", class: "danger" }, action))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

export const shortened = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
