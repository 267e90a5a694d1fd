"""Every dialect keeps its client's trace in the record and tells it in the reply."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.config import Settings
from tests.api.records import records

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"

CALLS = [
    ("/generate", {"prompt": "say x"}),
    ("/stream-generate", {"prompt": "say x"}),
    ("/api/chat", {"model": "scripted", "messages": [{"role": "user", "content": "say x"}]}),
    ("/v1/completions", {"model": "scripted", "prompt": ["say x", "say y"], "stream": True}),
    ("/v1/embeddings", {"model": "scripted", "input": "x"}),
]


@pytest.mark.parametrize(("path", "body"), CALLS)
def test_every_dialect_keeps_the_trace_in_record_and_reply(
    client: FlaskClient, settings: Settings, path: str, body: dict[str, Any]
) -> None:
    response = client.post(path, json=body, headers={"traceparent": GOOD})
    assert response.headers["X-Trace-Id"] == TRACE
    assert {record["trace_id"] for record in records(settings)} == {TRACE}
    plain = client.post(path, json=body, headers={"traceparent": "nonsense"})
    assert "X-Trace-Id" not in plain.headers
    assert "trace_id" not in records(settings)[-1]


def test_an_error_tells_its_trace_too(client: FlaskClient) -> None:
    assert client.post("/generate", json={}, headers={"traceparent": GOOD}).headers["X-Trace-Id"] == TRACE
