"""A test client that holds every reply against the published API document."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import jsonschema
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.app import DIALECTS
from minivault.wire.openapi import build_document

DOCUMENT = build_document("test", tuple(bp.dialect for bp in DIALECTS))
UNPUBLISHED = re.compile(r"^/(static/.*|docs|openapi\.json)$")


class SchemaClient(FlaskClient):
    """Fails a test whose reply is not what the document promises."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        request = response.request
        operation = find_operation(request.path, request.method.lower())
        if operation is not None and kwargs.get("buffered") is not False:  # else the test wants to read it itself
            check(operation, response)
        return response


def find_operation(path: str, method: str) -> dict[str, Any] | None:
    """The published operation of a request; None for routes that are not published."""
    for template, methods in DOCUMENT["paths"].items():
        pattern = re.escape(template).replace(r"\{name\}", ".+")
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", pattern)
        if re.fullmatch(pattern, path):
            found: dict[str, Any] | None = methods.get(method)
            return found
    return None


def check(operation: dict[str, Any], response: TestResponse) -> None:
    """Hold one reply against the schemas that its operation gives for its status and content type."""
    described = operation["responses"].get(str(response.status_code), operation["responses"].get("400"))
    content = described["content"] if described else {}
    media_type = response.mimetype
    if media_type == "application/json":
        if "application/json" in content:
            validate(content["application/json"]["schema"], response.get_json())
        else:
            raise AssertionError(f"{operation['operationId']} may not answer {media_type}")
    elif "x-item" in content.get(media_type, {}):
        for item in items(response):
            validate(content[media_type]["x-item"], item)
    else:
        assert media_type in content or media_type == "text/html", f"{operation['operationId']}: {media_type}"


def items(response: TestResponse) -> list[dict[str, Any]]:
    """The objects of a stream, whichever way they are framed."""
    if response.mimetype == "application/x-ndjson":
        return [json.loads(line) for line in response.data.splitlines()]
    data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(item) for item in data if item != "[DONE]"]


def validate(schema: dict[str, Any], value: Any) -> None:
    """Raises jsonschema.ValidationError naming what does not fit."""
    _validator(json.dumps(schema)).validate(value)


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**json.loads(schema), "components": DOCUMENT["components"]})
