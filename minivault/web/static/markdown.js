// An answer's Markdown as nodes. HTML in it is shown as the text it is; what the renderer makes is sanitised as well, and
// pictures are left out, since fetching one would tell its server what was asked.

import DOMPurify from "./vendor/purify.js";
import hljs from "./vendor/highlight.js";
import { Marked } from "./vendor/marked.js";
import { button, copy, h } from "./dom.js";

const TAGS = ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "del", "code", "pre", "blockquote",
  "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a", "span"];
const SANITISED = { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "class", "start", "align"], ALLOW_DATA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, RETURN_DOM_FRAGMENT: true };

const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

const marked = new Marked({ gfm: true, breaks: true, renderer: {
  html: ({ text }) => escaped(text),
  image: ({ text, href }) => escaped(`[picture: ${text || href}]`),
} });

/** Nodes for `text`; with `isWhole` code is coloured and can be copied. */
export function rendered(text, { isWhole = true } = {}) {
  const fragment = DOMPurify.sanitize(marked.parse(text), SANITISED);
  for (const link of fragment.querySelectorAll("a")) {
    link.setAttribute("rel", "noopener noreferrer");
    link.setAttribute("target", "_blank");
  }
  for (const table of fragment.querySelectorAll("table")) scrollable(table, "Table");
  for (const code of fragment.querySelectorAll("pre > code")) {
    if (isWhole) colour(code);
    scrollable(code.parentElement, "Code");
  }
  return fragment;
}

function scrollable(element, label) {
  const box = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label });
  element.replaceWith(box);
  box.append(element);
  if (label === "Code") {
    const text = element.textContent;
    box.before(h("div", { class: "code-bar" }, h("span", {}, languageOf(element.firstElementChild)),
      button("Copy code", (event) => copy(text, event.currentTarget), { class: "quiet" })));
  }
}

const languageOf = (code) => /language-([\w+#-]+)/.exec(code.className)?.[1] ?? "";

function colour(code) {
  const language = languageOf(code);
  if (!hljs.getLanguage(language)) return;
  const { value } = hljs.highlight(code.textContent, { language, ignoreIllegals: true });
  code.replaceChildren(DOMPurify.sanitize(value, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
}
