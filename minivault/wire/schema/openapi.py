"""Builds the document from the table of operations."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from minivault.wire import ndjson, sse
from minivault.wire.schema.operations import OPERATIONS, Operation

DIALECT = "https://spec.openapis.org/oas/3.1/dialect/base"
REFERENCE = "#/components/schemas/{model}"
QUALIFIED = re.compile(r"minivault__wire__(?:schema__)?([a-z]+)(?:__[a-z_]+)??__([A-Z])")
"""How pydantic names models of the same name from different modules: the dialect is enough to tell ours apart."""

ERRORS = {
    "400": "A value or the body cannot be used; the message names the field.",
    "401": "A valid key is needed.",
    "404": "There is no such model.",
    "429": "A limit was reached; `Retry-After` says when to come back.",
    "503": "Loading, busy, stopping, or the vault cannot be written; `Retry-After` says when to come back.",
}


def build_document(version: str) -> dict[str, Any]:
    """The whole document; `version` is this server's."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    document = {
        "openapi": "3.1.0",
        "jsonSchemaDialect": DIALECT,
        "info": {"title": "MiniVault", "version": version, "description": ABOUT, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }
    renamed: dict[str, Any] = json.loads(QUALIFIED.sub(_short_name, json.dumps(document)))
    return renamed


ABOUT = (
    "A private, offline LLM endpoint that keeps the evidence: every answer is in the vault before its last byte is "
    "sent. `X-Request-Id` of a reply is the id of its record."
)
TAGS = {
    "native": "MiniVault's own dialect: NDJSON streams, every parameter, the fingerprint and the seed in the reply.",
    "ollama": "What Ollama's clients speak.",
    "openai": "What OpenAI's clients speak.",
    "server": "The state of this server.",
}


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {operation.status: _reply(operation)} | _errors(operation),
    }
    if operation.request is not None:
        content = {"application/json": _content(operation.request) | _examples(operation.request)}
        described["requestBody"] = {"required": True, "content": content}
    if operation.parameters:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in operation.parameters
        ]
    return described


def _reply(operation: Operation) -> dict[str, Any]:
    content = {operation.media_type: _content(operation.reply)} if operation.reply else {}
    if operation.text_type:
        content[operation.text_type] = {"schema": {"type": "string"}}
    if operation.lines:
        item = {"anyOf": [_reference(model) for model in operation.lines]}
        for media_type in operation.stream_types:
            content[media_type] = {"schema": {"type": "string", "description": FRAMING[media_type]}, "x-item": item}
    described: dict[str, Any] = {"description": operation.gives}
    return described | ({"content": content} if content else {})


FRAMING = {
    ndjson.CONTENT_TYPE: "One JSON object and one newline a line; each is one of `x-item`.",
    sse.CONTENT_TYPE: "Server-sent events; the data of each is one of `x-item`, or `[DONE]`.",
}


def _errors(operation: Operation) -> dict[str, Any]:
    if operation.error is None:
        return {}
    content = {"application/json": _content(operation.error)}
    return {status: {"description": ERRORS[status], "content": content} for status in operation.errors}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": _reference(model)}


def _examples(model: type[BaseModel]) -> dict[str, Any]:
    extra = model.model_config.get("json_schema_extra") or {}
    examples = extra.get("examples", []) if isinstance(extra, dict) else []
    assert isinstance(examples, list)
    return {"examples": {f"example{number}": {"value": value} for number, value in enumerate(examples, start=1)}}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    names, _ = _names()
    return {"$ref": names[model]}


def _models() -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {}
    for operation in OPERATIONS:
        for model in (operation.request, operation.reply, operation.error, *operation.lines):
            if model is not None:
                found[model] = None
    return list(found)


@functools.cache
def _names() -> tuple[dict[type[BaseModel], str], dict[str, Any]]:
    """Where each model stands in the document, and all definitions."""
    models = _models()
    schemas, definitions = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    return {model: schemas[model, "validation"]["$ref"] for model in models}, definitions["$defs"]


def _schemas() -> dict[str, Any]:
    return _names()[1]


def _short_name(match: re.Match[str]) -> str:
    dialect, initial = match.groups()
    return dialect.title() + initial
