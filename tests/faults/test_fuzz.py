"""Requests made by chance, from the published schema outwards: never a 5xx, and every reply is as the document says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.schema_client import DOCUMENT

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    path: [
        {**example["value"], **({"model": "scripted"} if "model" in example["value"] else {})}
        for example in body["examples"].values()
    ]
    for path, methods in DOCUMENT["paths"].items()
    for operation in methods.values()
    for body in [operation.get("requestBody", {}).get("content", {}).get("application/json", {})]
    if "examples" in body
}
REFUSED = {
    "/v1/batches": 404,  # its example names a file that is not there
    "/said": 403,
    "/watermark/detect": 403,
    "/vault/holds": 403,
    "/vault/holds/{name}/release": 403,
    "/vault/records/{id_or_seq}/redaction": 403,  # nobody knows who is asking, without a connection
}
FIELDS = sorted(
    {name for schema in DOCUMENT["components"]["schemas"].values() for name in schema.get("properties", {})}
)
EDGES = [None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 1e308, -0.0, 0.5, "", "x", "\x00", "\u2028", [], {}]

scalars = (
    st.sampled_from(EDGES) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
fuzzed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to every value inside a value, the outermost one first."""
    found = [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        found += places(child, (*path, key))
    return found


@st.composite
def nearly_valid(draw: st.DrawFn, examples: list[dict[str, Any]]) -> Any:
    """A documented example with one to three values replaced, removed or added."""
    body = copy.deepcopy(draw(st.sampled_from(examples)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(body)))
        if not path:
            body[draw(st.sampled_from(FIELDS))] = draw(values)
            continue
        parent = body
        for key in path[:-1]:
            parent = parent[key]
        if draw(st.integers(0, 3)) == 0:
            del parent[path[-1]]
        else:
            parent[path[-1]] = draw(values)
    return body


def ensure_decent(client: FlaskClient, path: str, body: bytes) -> None:
    reply = client.post(path, data=body, content_type="application/json")
    assert reply.status_code < 500, (path, body, reply.text)
    assert reply.headers["X-Request-Id"]
    if reply.status_code >= 400:
        assert reply.get_json()["error"], (path, body)
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_examples_that_the_fuzzing_starts_from_are_answered(client: FlaskClient, path: str) -> None:
    statuses = [client.post(path, json=example).status_code for example in EXAMPLES[path]]
    assert REFUSED.get(path, 200) in statuses


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_request_that_is_nearly_right_gets_a_decent_reply(client: FlaskClient, path: str) -> None:
    @fuzzed
    @given(nearly_valid(EXAMPLES[path]))
    def check(body: Any) -> None:
        ensure_decent(client, path, json.dumps(body).encode())

    check()


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_request_that_is_nonsense_gets_a_decent_reply(client: FlaskClient, path: str) -> None:
    @fuzzed
    @given(values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
    def check(body: bytes) -> None:
        ensure_decent(client, path, body)

    check()


@fuzzed
@given(st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]), st.text(max_size=40))
def test_any_path_and_method_gets_a_decent_reply(client: FlaskClient, method: str, tail: str) -> None:
    for prefix in ("/", "/api/", "/v1/models/", "/static/"):
        reply = client.open(prefix + tail.lstrip("/"), method=method, base_url="http://localhost")
        assert reply.status_code < 500, (method, prefix + tail)
