"""The sampling values of a model's makers apply where a request is silent, in every dialect, and the record says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from minivault.config import Settings
from minivault.replay import replay
from minivault.service import Loaded
from tests.api.records import records
from tests.api.serving import serving
from tests.scripted import backend

WISHES = {"min_p": 0.01, "repetition_penalty": 1.5, "temperature": 0.25, "top_k": 64, "top_p": 0.5}
MESSAGES = [{"role": "user", "content": "say x"}]
CALLS: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "say x"},
    "/api/generate": {"model": "scripted", "prompt": "say x", "stream": False},
    "/v1/completions": {"model": "scripted", "prompt": "say x"},
    "/v1/chat/completions": {"model": "scripted", "messages": MESSAGES},
    "/v1/responses": {"model": "scripted", "input": "say x"},
    "/v1/messages": {"model": "scripted", "messages": MESSAGES, "max_tokens": 9},
}
each_call = pytest.mark.parametrize("path", CALLS)


def with_wishes(settings: Settings) -> Loaded:
    loaded = backend(settings)
    return replace(loaded, info=replace(loaded.info, sampling=tuple(WISHES.items())))


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    with serving(settings, with_wishes) as app:
        yield app


def asked(app: Flask, settings: Settings, path: str, **more: Any) -> dict[str, Any]:
    """The parameters that the record of such a request has."""
    reply = app.test_client().post(path, json=CALLS[path] | more)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = records(settings)[-1]["parameters"]
    return found


@each_call
def test_a_request_that_says_nothing_is_drawn_as_the_model_wishes(app: Flask, settings: Settings, path: str) -> None:
    found = asked(app, settings, path)
    assert {name: found[name] for name in WISHES} == WISHES
    assert sorted(found["from_model"]) == sorted(WISHES)
    (verdict,) = replay(app.extensions["minivault"].roster.default, records(settings), 1)
    assert verdict.outcome == "identical"


@each_call
def test_what_a_request_says_holds_also_where_it_is_what_its_dialect_has_anyway(
    app: Flask, settings: Settings, path: str
) -> None:
    said = {"temperature": 1.0, "top_p": 1.0}
    found = asked(app, settings, path, **({"options": said} if path.startswith("/api") else said))
    assert (found["temperature"], found["top_p"], found["top_k"]) == (1.0, 1.0, 64)
    assert sorted(found["from_model"]) == ["min_p", "repetition_penalty", "top_k"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/completions", {"repeat_penalty": 1.0}),
        ("/v1/completions", {"repetition_penalty": 1.0}),
        ("/api/generate", {"options": {"repeat_penalty": 1.0}}),
        ("/api/generate", {"options": {"repeat_last_n": 0}}),
    ],
)
def test_a_penalty_is_switched_off_under_any_of_its_names(
    app: Flask, settings: Settings, path: str, said: dict[str, Any]
) -> None:
    found = asked(app, settings, path, **said)
    assert found["repetition_penalty"] == 1.0
    assert "repetition_penalty" not in found["from_model"]


def test_null_says_nothing(app: Flask, settings: Settings) -> None:
    assert asked(app, settings, "/v1/completions", temperature=None)["temperature"] == 0.25


def test_a_model_without_wishes_leaves_the_dialects_values_and_no_word_of_it(settings: Settings) -> None:
    with serving(settings, backend) as app:
        found = asked(app, settings, "/generate")
        assert (found["temperature"], found["top_k"]) == (0.7, 40)
        assert "from_model" not in found


def test_ollama_shows_what_holds(app: Flask) -> None:
    shown = app.test_client().post("/api/show", json={"model": "scripted"}).get_json()["parameters"]
    assert dict(line.split() for line in shown.splitlines()) == {
        "num_ctx": "512",
        "min_p": "0.01",
        "repeat_penalty": "1.5",
        "temperature": "0.25",
        "top_k": "64",
        "top_p": "0.5",
    }
