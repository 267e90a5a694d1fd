"""docs/wire.md: its examples work and no route is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.api.schema_client import DOCUMENT

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "wire.md").read_text()
EXAMPLES = re.findall(r"```json POST (\S+)\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("path", "body"), EXAMPLES, ids=[path for path, _ in EXAMPLES])
def test_examples_of_the_manual_are_accepted(client: FlaskClient, path: str, body: str) -> None:
    asked = json.loads(body)
    response = client.post(path, json=asked | ({"model": "scripted"} if "model" in asked else {}))
    assert response.status_code == 200, response.text


def test_the_manual_names_every_published_route_of_the_dialects() -> None:
    published = {path for path in DOCUMENT["paths"] if path.startswith(("/api/", "/v1/", "/generate", "/stream"))}
    assert {path for path in published if f"`{path}`" not in TEXT and f"POST {path}\n" not in TEXT} == set()
