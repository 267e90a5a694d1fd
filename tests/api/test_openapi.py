from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.web import pages
from tests.api.schema_client import DOCUMENT, UNPUBLISHED, SchemaClient, check, find_operation

STATIC = Path(pages.__file__).resolve().parent / "static"
MANAGEMENT = {"/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/<path:digest>"}

EXAMPLES = [
    (path, operation["operationId"], example["value"])
    for path, methods in DOCUMENT["paths"].items()
    for operation in methods.values()
    if "requestBody" in operation
    for example in operation["requestBody"]["content"].get("application/json", {"examples": {}})["examples"].values()
]
FORMS = {"postV1Files"}
"""Requests that are no JSON."""
NEED_ANOTHER = {"postV1Batches"}
"""Requests that name what another one has made."""
NEED_A_KEY = {
    *("postVaultRecordsIdOrSeqRedaction", "postVaultHolds", "postVaultHoldsNameRelease"),
    *("postSaid", "postWatermarkDetect"),
}
"""Requests that nobody in particular may make."""


def test_the_document_is_served_as_it_is_built(client: FlaskClient) -> None:
    served = client.get("/openapi.json").get_json()
    assert served["openapi"] == "3.1.0"
    assert served["paths"] == DOCUMENT["paths"]


def test_every_route_is_published_but_for_those_left_out_on_purpose(app: Flask) -> None:
    served = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule not in MANAGEMENT and not UNPUBLISHED.match(rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}


def test_every_schema_is_a_schema_and_every_reference_leads_somewhere() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(DOCUMENT))
    assert set(references) <= set(DOCUMENT["components"]["schemas"])
    assert not any("__" in name for name in DOCUMENT["components"]["schemas"])


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_every_request_has_an_example() -> None:
    with_body = {
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    }
    assert {operation_id for _, operation_id, _ in EXAMPLES} == with_body - FORMS


@pytest.mark.parametrize(("path", "_id", "body"), EXAMPLES, ids=lambda value: value if isinstance(value, str) else "")
def test_documented_examples_are_accepted(client: FlaskClient, path: str, _id: str, body: dict[str, Any]) -> None:
    response = client.post(path, json=body | ({"model": "scripted"} if "model" in body else {}))
    expected = 403 if _id in NEED_A_KEY else 404 if _id in NEED_ANOTHER else 200
    assert response.status_code == expected, response.text


def test_requests_that_break_the_schema_are_refused(client: FlaskClient) -> None:
    for path in ("/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"):
        content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        body = {"model": 1}
        with pytest.raises(jsonschema.ValidationError):
            validator = jsonschema.Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]})
            validator.validate(body)
        assert client.post(path, json=body).status_code == 400


def test_the_check_of_replies_can_fail(client: FlaskClient) -> None:
    response = client.get("/api/version")
    operation = find_operation("/api/tags", "get")
    assert operation is not None
    with pytest.raises(jsonschema.ValidationError):
        check(operation, response)


def test_replies_are_held_against_the_document(client: FlaskClient) -> None:
    assert isinstance(client, SchemaClient)
    for path in ("/", "/ready", "/metrics", "/api/tags", "/api/ps", "/api/status", "/v1/models", "/v1/models/scripted"):
        assert client.get(path).status_code == 200


def test_browsers_get_pages_that_load_nothing_from_elsewhere(client: FlaskClient) -> None:
    for path in ("/", "/docs"):
        page = client.get(path, headers={"Accept": "text/html"})
        assert page.mimetype == "text/html"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        files = re.findall(r'(?:src|href)="([^#"][^"]*)"', page.text)
        assert files
        for file in files:
            assert file.startswith("/")
            with client.get(file) as response:
                assert response.status_code == 200
    ours = [path for path in STATIC.rglob("*.*") if path.parent.name != "vendor"]
    assert {"main.js", "docs.js", "page.css", "view.js"} <= {path.name for path in ours}
    for path in ours:
        assert "://" not in path.read_text().replace("http://www.w3.org/2000/svg", ""), path


def test_everything_that_a_page_imports_is_served(client: FlaskClient) -> None:
    for path in STATIC.rglob("*.js"):
        for name in re.findall(r'^import .*from "(\./[^"]+|\.\./[^"]+)";$', path.read_text(), flags=re.MULTILINE):
            with client.get(f"/static/{(path.parent / name).resolve().relative_to(STATIC)}") as response:
                assert (response.status_code, response.mimetype) == (200, "text/javascript"), name


def test_clients_that_ask_for_no_page_are_told_that_ollama_is_running(client: FlaskClient) -> None:
    for accept in ("*/*", "", "application/json"):
        assert client.get("/", headers={"Accept": accept}).text == "Ollama is running"
    assert client.head("/").status_code == 200
