from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from minivault.config import Settings
from minivault.replay import replay
from tests.api.records import records

MODEL = "scripted"
HELLO = [{"role": "user", "content": "say Hello"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/api/generate", {"prompt": "say Hello", "options": {"temperature": 1.5, "repeat_penalty": 1.2}}),
    ("/api/generate", {"prompt": "say x", "format": SCHEMA, "options": {"temperature": 2}}),
    ("/api/chat", {"messages": HELLO, "format": "json", "options": {"num_predict": 30}}),
    ("/v1/chat/completions", {"messages": HELLO, "n": 2, "temperature": 2, "logit_bias": {"90": 60}, "max_tokens": 20}),
    (
        "/v1/chat/completions",
        {
            "messages": HELLO,
            "stream": True,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        },
    ),
    ("/v1/completions", {"prompt": [1, 2, 3], "stop": ["z"]}),
    ("/v1/responses", {"input": "say Hello"}),
]


def test_every_dialects_answers_replay(app: Flask, client: FlaskClient, settings: Settings) -> None:
    for path, body in ASKED:
        assert client.post(path, json={"model": MODEL, **body}).status_code == 200
    kept = records(settings)
    assert len(kept) == len(ASKED) + 1
    verdicts = list(replay(app.extensions["minivault"].roster.default, kept, 3))
    assert [verdict.outcome for verdict in verdicts] == ["identical"] * len(kept)
    assert len({record["api"] for record in kept}) == 5


def test_embeddings_are_no_answers_to_replay(app: Flask, client: FlaskClient, settings: Settings) -> None:
    client.post("/v1/embeddings", json={"model": MODEL, "input": "one"})
    (verdict,) = replay(app.extensions["minivault"].roster.default, records(settings), 1)
    assert verdict.outcome == "not comparable"
