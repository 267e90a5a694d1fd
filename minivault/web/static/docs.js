"use strict";
// Draws /openapi.json: every operation with its fields, its examples and what it gives back.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolve(api, schema) {
  return schema && schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema || {};
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const branches = schema.anyOf || schema.oneOf;
  if (branches) return branches.map(typeOf).join(" | ");
  if (schema.type === "array") return `[${typeOf(schema.items || {})}]`;
  return schema.type || "any";
}

function rangeOf(schema) {
  const names = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", minLength: "length ≥",
    maxLength: "length ≤", minItems: "items ≥", maxItems: "items ≤" };
  const found = [schema, ...(schema.anyOf || [])].flatMap((part) =>
    Object.entries(names).filter(([key]) => key in part).map(([key, sign]) => `${sign} ${part[key]}`));
  return found.join(", ");
}

function fieldRow(name, schema, required) {
  const preset = required ? "required" : schema.default === undefined ? "" : JSON.stringify(schema.default);
  const meaning = [schema.description, rangeOf(schema)].filter(Boolean).join("; ");
  return element("tr", "", ...[name, typeOf(schema), preset, meaning].map((text) => element("td", text)));
}

function fieldTable(model) {
  const head = element("tr", "", ...["field", "type", "default", "meaning"].map((text) => element("th", text)));
  const rows = Object.entries(model.properties || {}).map(([name, schema]) =>
    fieldRow(name, schema, (model.required || []).includes(name)));
  return element("table", "", head, ...rows);
}

function describeBody(api, content) {
  const nodes = [fieldTable(resolve(api, content.schema))];
  for (const example of Object.values(content.examples || {})) {
    nodes.push(element("pre", JSON.stringify(example.value, null, 2)));
  }
  return nodes;
}

function describeReply(api, status, reply) {
  const nodes = [element("p", `${status}: ${reply.description}`)];
  for (const [mediaType, content] of Object.entries(reply.content || {})) {
    const note = content.schema.description ? `: ${content.schema.description}` : "";
    const model = resolve(api, content.schema);
    const details = element("details", "", element("summary", `${mediaType} ${typeOf(content.schema)}${note}`));
    if (model.properties) details.append(fieldTable(model));
    for (const item of (content["x-item"] || {}).anyOf || []) {
      details.append(element("p", typeOf(item)), fieldTable(resolve(api, item)));
    }
    nodes.push(details);
  }
  return nodes;
}

function describe(api, path, method, operation) {
  const section = element("section", "", element("h3", `${method.toUpperCase()} ${path}`),
    element("p", operation.summary));
  if (operation.requestBody) section.append(...describeBody(api, Object.values(operation.requestBody.content)[0]));
  for (const [status, reply] of Object.entries(operation.responses)) {
    section.append(...describeReply(api, status, reply));
  }
  return section;
}

function draw(api) {
  const nodes = [element("p", api.info.description)];
  for (const tag of api.tags) {
    nodes.push(element("h2", tag.name), element("p", tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (operation.tags.includes(tag.name)) nodes.push(describe(api, path, method, operation));
      }
    }
  }
  nodes.push(element("h2", "Models"));
  for (const [name, model] of Object.entries(api.components.schemas)) {
    const details = element("details", "", element("summary", name));
    if (model.description) details.append(element("p", model.description));
    details.append(fieldTable(model));
    nodes.push(details);
  }
  document.getElementById("reference").replaceChildren(...nodes);
}

fetch("/openapi.json").then((reply) => reply.json()).then(draw).catch((error) => {
  document.getElementById("reference").textContent = error.message;
});
