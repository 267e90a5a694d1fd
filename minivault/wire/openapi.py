"""The published API document: what every route takes and gives, as OpenAPI 3.1.

Requests are described by the very models that validate them. Replies are described by the models of each dialect's
`schema`, which nothing but this document and the tests use: the tests hold every reply against them.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from minivault.wire.dialect import Dialect, Model, Operation
from minivault.wire.framing import NDJSON, SSE
from minivault.wire.server import SERVER, VAULT

JSON_SCHEMA_DIALECT = "https://spec.openapis.org/oas/3.1/dialect/base"
REFERENCE = "#/components/schemas/{model}"
QUALIFIED = re.compile(r"minivault__wire__([a-z]+)__[a-z_]+?__([A-Z])")
"""How pydantic names models of the same name from different modules: the dialect is enough to tell ours apart."""

ABOUT = (
    "A private, offline LLM endpoint that keeps the evidence: every answer is in the vault before its last byte is "
    "sent. `X-Request-Id` of a reply is the id of its record."
)
OTHER_TAGS = (
    {"name": "server", "description": "The state of this server."},
    {"name": "vault", "description": "The records, for those who audit them: with a key of the role `audit`."},
)
"""Of what belongs to no dialect."""

ERRORS = {
    "400": "A value or the body cannot be used; the message names the field.",
    "401": "A valid key is needed.",
    "403": "This key may not do it.",
    "404": "There is nothing of this name.",
    "429": "A limit was reached; `Retry-After` says when to come back.",
    "529": "Every place is taken; `Retry-After` says when to come back.",
    "503": "Loading, busy, stopping, or the vault cannot be written; `Retry-After` says when to come back.",
}
STREAMS = {
    NDJSON.content_type: "One JSON object and one newline a line; each is one of `x-item`.",
    SSE.content_type: "Server-sent events; the data of each is one of `x-item`, or `[DONE]`.",
}


@functools.cache
def build_document(version: str, dialects: tuple[Dialect, ...]) -> dict[str, Any]:
    """The whole document, not to be changed; `version` is this server's."""
    tagged = [(dialect.name, operation) for dialect in dialects for operation in dialect.operations]
    tagged += [("server", operation) for operation in SERVER] + [("vault", operation) for operation in VAULT]
    references, schemas = _schemas([model for _, operation in tagged for model in operation.models])
    paths: dict[str, dict[str, Any]] = {}
    for tag, operation in tagged:
        methods = paths.setdefault(operation.path, {})
        described = _Description(operation, references).render(tag)
        first = methods.get(operation.method)
        methods[operation.method] = _shared(first, described) if first else described
    document = {
        "openapi": "3.1.0",
        "jsonSchemaDialect": JSON_SCHEMA_DIALECT,
        "info": {"title": "MiniVault", "version": version, "description": ABOUT, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}],
        "tags": [
            *({"name": dialect.name, "description": dialect.about} for dialect in dialects),
            *OTHER_TAGS,
        ],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
    renamed: dict[str, Any] = json.loads(QUALIFIED.sub(_short_name, json.dumps(document)))
    return renamed


class _Description:
    """Describes one operation; `references` holds where each model stands in the document."""

    def __init__(self, operation: Operation, references: dict[Model, dict[str, Any]]) -> None:
        self._operation, self._references = operation, references

    def render(self, tag: str) -> dict[str, Any]:
        operation = self._operation
        described: dict[str, Any] = {
            "operationId": operation.name,
            "summary": operation.summary,
            "tags": [tag],
            "responses": {"200": self._reply()} | self._errors(),
        }
        if operation.request is not None:
            content = {operation.request_type: self._content(operation.request) | _examples(operation.request)}
            described["requestBody"] = {"required": True, "content": content}
        placed = [(name, "path") for name in operation.parameters] + [(name, "query") for name in operation.query]
        if placed:
            described["parameters"] = [
                {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
                for name, place in placed
            ]
        return described

    def _reply(self) -> dict[str, Any]:
        operation = self._operation
        content = {"application/json": self._content(operation.reply)} if operation.reply else {}
        if operation.text_type:
            content[operation.text_type] = {"schema": {"type": "string"}}
        item = {"anyOf": [self._references[model] for model in operation.lines]}
        for media_type in operation.stream_types:
            content[media_type] = {"schema": {"type": "string", "description": STREAMS[media_type]}, "x-item": item}
        return {"description": "OK"} | ({"content": content} if content else {})

    def _errors(self) -> dict[str, Any]:
        if self._operation.error is None:
            return {}
        content = {"application/json": self._content(self._operation.error)}
        return {status: {"description": ERRORS[status], "content": content} for status in self._operation.errors}

    def _content(self, model: Model) -> dict[str, Any]:
        return {"schema": self._references[model]}


def _shared(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """One operation that two dialects offer, with the replies of both. What they say of it in words is the first's."""
    responses = {
        status: response | {"content": _either(response["content"], second["responses"][status]["content"])}
        for status, response in first["responses"].items()
    }
    return first | {"tags": first["tags"] + second["tags"], "responses": responses}


def _either(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": {"anyOf": [first[kind]["schema"], second[kind]["schema"]]}} for kind in first}


def _examples(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config.get("json_schema_extra") or {}
    examples = extra.get("examples", []) if isinstance(extra, dict) else []
    assert isinstance(examples, list)
    return {"examples": {f"example{number}": {"value": value} for number, value in enumerate(examples, start=1)}}


def _schemas(models: list[Model]) -> tuple[dict[Model, dict[str, Any]], dict[str, Any]]:
    """Where each model stands in the document, and all definitions: those of `schema` modules after the others."""
    named = dict.fromkeys(models)
    references, definitions = models_json_schema([(model, "validation") for model in named], ref_template=REFERENCE)
    schemas = sorted(definitions["$defs"].items(), key=lambda item: "__schema__" in item[0])
    return {model: references[model, "validation"] for model in named}, dict(schemas)


def _short_name(match: re.Match[str]) -> str:
    dialect, initial = match.groups()
    return dialect.title() + initial
