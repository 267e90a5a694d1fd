"""A 503 that served nothing counts against nobody: neither requests, nor tokens, nor generations at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import Settings
from minivault.errors import Unavailable, VaultUnavailable
from minivault.interaction import Recorder
from minivault.interaction.recording import Recording
from minivault.service import LocalModel, Roster
from tests.scripted import backend, broken_backend

MESSAGES = [{"role": "user", "content": "say x"}]
CALLS: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "say x"},
    "/stream-generate": {"prompt": "say x"},
    "/api/chat": {"model": "scripted", "messages": MESSAGES},
    "/api/embed": {"model": "scripted", "input": "x"},
    "/v1/completions": {"model": "scripted", "prompt": ["say x", "say y"]},
    "/v1/chat/completions": {"model": "scripted", "messages": MESSAGES, "stream": True},
    "/v1/embeddings": {"model": "scripted", "input": "x"},
    "/v1/messages": {"model": "scripted", "messages": MESSAGES, "max_tokens": 9},
}
LIMITS = {"rate_limit": "2/hour", "token_limit": "10/hour", "concurrency_limit": 2}
each_call = pytest.mark.parametrize("path", CALLS)


@contextmanager
def serving(settings: Settings, load: Callable[[Settings], Any]) -> Iterator[FlaskClient]:
    limited = replace(settings, **LIMITS)
    model = LocalModel(limited, load)
    recorder = Recorder(limited, Roster(model))
    app = create_app(limited, recorder)
    try:
        with pytest.raises(Unavailable) if load is broken_backend else nullcontext():
            model.wait_loaded(30)
        yield app.test_client()
    finally:
        app.extensions["minivault_guard"].meter.rates.close()
        model.close()
        recorder.close()


@each_call
def test_while_no_model_can_be_had_nothing_is_used_up(settings: Settings, path: str) -> None:
    with serving(settings, broken_backend) as client:
        replies = [client.post(path, json=CALLS[path]) for _ in range(5)]
        assert {(reply.status_code, reply.headers["X-RateLimit-Remaining"]) for reply in replies} == {(503, "2")}
        assert client.post(path, json=[]).headers["X-RateLimit-Remaining"] == "1", "a wrong request counts"


@each_call
def test_while_nothing_can_be_recorded_nothing_is_used_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise VaultUnavailable("the disk is full")

    call = {**CALLS[path], "stream": False} if "embed" not in path else CALLS[path]
    path = path.replace("stream-", "")
    with serving(settings, backend) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Recording, "close", refuse)
            assert {client.post(path, json=call).status_code for _ in range(5)} == {503}
        served = client.post(path, json=call)
        assert (served.status_code, served.headers["X-RateLimit-Remaining"]) == (200, "1")


@each_call
def test_what_is_served_is_used_up(settings: Settings, path: str) -> None:
    with serving(settings, backend) as client:
        statuses = [client.post(path, json=CALLS[path], buffered=True).status_code for _ in range(3)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
