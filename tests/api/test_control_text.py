"""The record says where people wrote what spells a control token, whichever way it came in."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.config import Settings
from tests.api.records import records
from tests.scripted import CONTROL_TEXT

MODEL = {"model": "scripted", "stream": False}
LAST = [{"role": "user", "content": "say a {}"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/generate": {"messages": LAST},
    "/stream-generate": {"prompt": "say a {}"},
    "/api/chat": MODEL | {"messages": LAST},
    "/api/generate": MODEL | {"prompt": "say a {}"},
    "/api/embed": {"model": "scripted", "input": ["x", "{}"]},
    "/api/embeddings": {"model": "scripted", "prompt": "{}"},
    "/v1/chat/completions": MODEL | {"messages": LAST},
    "/v1/responses": MODEL | {"input": "say a {}"},
    "/v1/embeddings": {"model": "scripted", "input": "{}"},
}
CONTINUED = MODEL | {"prompt": "say a {}", "context": [32, 33]}
CUT = MODEL | {"prompt": "x" * 600 + " say a {}"}


def filled(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace("{}", text)
    if isinstance(value, dict):
        return {key: filled(item, text) for key, item in value.items()}
    return [filled(item, text) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("path", "body"), [*REQUESTS.items(), ("/api/generate", CONTINUED), ("/api/generate", CUT)])
def test_the_record_says_that_control_text_was_met(
    client: FlaskClient, settings: Settings, path: str, body: dict[str, Any]
) -> None:
    for text in (CONTROL_TEXT, "plain"):
        assert client.post(path, json=filled(body, text)).status_code == 200
    met, plain = records(settings)
    assert met["control_text"] is True
    assert "control_text" not in plain


@pytest.mark.parametrize(("path", "extra"), [("/generate", {"raw": True}), ("/v1/completions", MODEL)])
def test_a_raw_prompt_is_as_its_author_wrote_it(
    client: FlaskClient, settings: Settings, path: str, extra: dict[str, Any]
) -> None:
    assert client.post(path, json={"prompt": f"say a {CONTROL_TEXT}", **extra}).status_code == 200
    (record,) = records(settings)
    assert "control_text" not in record
