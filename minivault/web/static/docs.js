// Draws /openapi.json: every operation with its fields, its examples and what it gives back. Like the page it makes no HTML
// of strings; what stands in `backticks` becomes code.

import { send } from "./api.js";
import { h } from "./dom.js";
import { themeButton } from "./theme.js";

/** Words with what is in backticks as code. */
function prose(text) {
  return (text ?? "").split(/(`[^`]+`)/).filter(Boolean).map((part) => (part.startsWith("`") ? h("code", {}, part.slice(1, -1)) : part));
}

/** Whole numbers that a double cannot hold stay digit by digit, where the browser lets us see them. */
const exact = (_key, value, context) =>
  (typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value);

const nameOf = (reference) => reference.split("/").pop();
const resolve = (api, schema) => (schema?.$ref ? api.components.schemas[nameOf(schema.$ref)] : schema ?? {});

/** A type in words, with links to the models that it names. */
function typeOf(schema) {
  if (schema.$ref) return [h("a", { href: `#${nameOf(schema.$ref)}` }, nameOf(schema.$ref))];
  if (schema.const !== undefined) return [h("code", {}, JSON.stringify(schema.const))];
  if (schema.enum) return joined(schema.enum.map((value) => [h("code", {}, JSON.stringify(value))]));
  const branches = schema.anyOf ?? schema.oneOf;
  if (branches) return joined(branches.map(typeOf));
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? {})];
  return [schema.type ?? "any"];
}

/** The same without links, for where none may be. */
const wordsOf = (schema) => typeOf(schema).map((part) => part.textContent ?? part).join("");

const joined = (parts) => parts.flatMap((part, index) => (index ? [" or ", ...part] : part));

const SIGNS = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", minLength: "length ≥", maxLength: "length ≤",
  minItems: "items ≥", maxItems: "items ≤" };

function rangeOf(schema) {
  const found = [schema, ...(schema.anyOf ?? [])].flatMap((part) =>
    Object.entries(SIGNS).filter(([key]) => key in part).map(([key, sign]) => `${sign} ${part[key]}`));
  return [...new Set(found)].join(", ");
}

function fieldView(name, schema, isRequired) {
  const preset = isRequired ? h("span", { class: "needed" }, "required") : schema.default === undefined ? null : ["default ", h("code", {}, JSON.stringify(schema.default))];
  return [h("dt", {}, h("code", {}, name)), h("dd", {},
    h("p", { class: "hint" }, ...typeOf(schema), ...[rangeOf(schema), preset].filter(Boolean).flatMap((part) => [" · ", part].flat())),
    schema.description && h("p", {}, ...prose(schema.description)))];
}

const fieldList = (model) => h("dl", { class: "fields" }, ...Object.entries(model.properties ?? {}).flatMap(([name, schema]) =>
  fieldView(name, schema, (model.required ?? []).includes(name))));

const fold = (summary, ...content) => h("details", {}, h("summary", {}, ...summary), ...content);

function bodyView(api, [type, content]) {
  const examples = Object.values(content.examples ?? {}).map((example) =>
    h("pre", { class: "text", tabindex: "0", "aria-label": "Example" }, JSON.stringify(example.value, null, 2)));
  return [h("h4", {}, "Request "), h("p", { class: "hint" }, type), ...examples, fieldList(resolve(api, content.schema))];
}

function replyView(api, [status, reply]) {
  const kinds = Object.entries(reply.content ?? {}).map(([type, content]) => {
    const lines = (content["x-item"]?.anyOf ?? []).flatMap((item) => [h("p", {}, ...typeOf(item)), fieldList(resolve(api, item))]);
    return fold([h("code", {}, type), " ", wordsOf(content.schema)], h("p", {}, ...prose(content.schema.description)),
      fieldList(resolve(api, content.schema)), ...lines);
  });
  return [h("p", {}, h("strong", {}, status), " ", ...prose(reply.description)), ...kinds];
}

const anchorOf = (path, method) => `${method}-${path.replace(/\W+/g, "-")}`;

function operationView(api, path, method, operation) {
  const placed = (operation.parameters ?? []).map((one) => h("li", {}, h("code", {}, one.name), ` in the ${one.in}`));
  return h("section", { class: "card operation", id: anchorOf(path, method), "data-words": `${method} ${path} ${operation.summary}`.toLowerCase() },
    h("h3", {}, h("span", { class: "method" }, method.toUpperCase()), " ", path), h("p", {}, ...prose(operation.summary)),
    placed.length > 0 && h("ul", {}, ...placed),
    ...(operation.requestBody ? bodyView(api, Object.entries(operation.requestBody.content)[0]) : []),
    h("h4", {}, "Replies"), ...Object.entries(operation.responses).flatMap((entry) => replyView(api, entry)));
}

function operationsOf(api, tag) {
  return Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods)
    .filter(([, operation]) => operation.tags.includes(tag)).map(([method, operation]) => ({ path, method, operation })));
}

function modelView([name, model]) {
  return h("section", { class: "card operation", id: name, "data-words": name.toLowerCase() }, h("h3", {}, name),
    model.description && h("p", {}, ...prose(model.description)), fieldList(model));
}

function draw(api) {
  const search = h("input", { type: "search", placeholder: "Find a route or a model", "aria-label": "Find a route or a model", oninput: narrow });
  const contents = h("nav", { class: "contents", "aria-label": "Contents" }, search);
  const parts = h("div", { class: "reference" }, h("h1", {}, "API"), h("p", {}, ...prose(api.info.description)));
  const shown = new Set();
  for (const tag of api.tags) {
    const operations = operationsOf(api, tag.name);
    contents.append(h("h2", {}, tag.name), h("ul", {}, ...operations.map(({ path, method }) =>
      h("li", { "data-words": `${method} ${path}` }, h("a", { href: `#${anchorOf(path, method)}` }, h("span", { class: "method" }, method), " ", path)))));
    const fresh = operations.filter(({ operation }) => !shown.has(operation.operationId) && shown.add(operation.operationId));
    parts.append(h("h2", {}, tag.name), h("p", {}, ...prose(tag.description)),
      ...fresh.map(({ path, method, operation }) => operationView(api, path, method, operation)));
  }
  parts.append(h("h2", {}, "Models"), ...Object.entries(api.components.schemas).map(modelView));

  function narrow() {
    const words = search.value.trim().toLowerCase();
    for (const one of document.querySelectorAll("[data-words]")) one.hidden = !one.dataset.words.includes(words);
  }

  document.getElementById("main").replaceChildren(h("div", { class: "docs" }, contents, parts));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

document.getElementById("theme-place").append(themeButton());
try {
  const text = await (await send("openapi.json")).text();
  draw(JSON.parse(text, exact));
} catch (error) {
  document.getElementById("main").replaceChildren(h("p", { class: "fault", role: "alert" }, error.message));
}
