"""Requests with more choices than there are places: they wait their turn, and go on as places come free."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from tests.api.records import records
from tests.scripted import backend

MODEL = "scripted"
PROMPTS = [f"say {number}" for number in range(128)]


@contextmanager
def serving(settings: Settings, **changes: Any) -> Iterator[tuple[FlaskClient, LocalModel]]:
    changed = replace(settings, **changes)
    model = LocalModel(changed, backend)
    recorder = Recorder(changed, Roster(model))
    model.wait_loaded(30)
    yield create_app(changed, recorder).test_client(), model
    model.close()
    recorder.close()


def complete(client: FlaskClient, prompt: Any, **fields: Any) -> Any:
    return client.post("/v1/completions", json={"model": MODEL, "prompt": prompt, **fields})


def test_128_prompts_are_answered_in_their_order(client: FlaskClient, settings: Settings) -> None:
    reply = complete(client, PROMPTS).get_json()
    assert [choice["text"] for choice in reply["choices"]] == list(map(str, range(128)))
    assert [choice["index"] for choice in reply["choices"]] == list(range(128))
    kept = records(settings)
    assert len({record["id"] for record in kept}) == 128
    assert {record["prompt"] for record in kept} == set(PROMPTS)


def test_128_prompts_are_streamed_one_after_the_other(client: FlaskClient) -> None:
    texts = [""] * 128
    *events, done = complete(client, PROMPTS, stream=True).text.split("\n\n")[:-1]
    indexes = []
    for event in events:
        (choice,) = json.loads(event.removeprefix("data: "))["choices"]
        texts[choice["index"]] += choice["text"]
        indexes.append(choice["index"])
    assert texts == list(map(str, range(128)))
    assert indexes == sorted(indexes)
    assert done == "data: [DONE]"


def test_a_caller_with_few_rights_has_the_choices_one_after_the_other(settings: Settings) -> None:
    with serving(settings, concurrency_limit=2) as (client, _):
        for _ in range(2):  # all rights are given back
            assert len(complete(client, PROMPTS[:9], n=2).get_json()["choices"]) == 18
        held = complete(client, "delay=0.05 say abcdefghij", stream=True)
        assert len(complete(client, PROMPTS[:3]).get_json()["choices"]) == 3
        held.close()


def test_a_server_with_a_single_place_answers_many_prompts(settings: Settings) -> None:
    with serving(settings, max_running=1, max_waiting=0) as (client, _):
        assert len(complete(client, PROMPTS[:5]).get_json()["choices"]) == 5


def test_a_request_that_finds_no_place_at_all_is_refused(settings: Settings, tmp_path: Any) -> None:
    with serving(settings, max_running=1, max_waiting=0) as (client, _):
        go = tmp_path / "go"
        held = client.post(
            "/v1/completions",
            json={"model": MODEL, "prompt": f"delay=0.02 until={go} say ab", "stream": True, "max_tokens": 400},
            buffered=False,
        )
        refused = complete(client, PROMPTS[:5])
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["Retry-After"]
        go.touch()
        held.close()


def test_a_choice_that_cannot_begin_ends_the_stream_with_the_error(settings: Settings) -> None:
    with serving(settings, max_running=1) as (client, model):
        response = client.post(
            "/v1/completions", json={"model": MODEL, "prompt": PROMPTS[:3], "stream": True}, buffered=False
        )
        pieces = iter(response.response)
        next(pieces)
        model.drain()
        rest = b"".join(pieces).decode().split("\n\n")
        response.close()
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == "draining"
        assert "[DONE]" not in rest[-2]


def test_choices_that_have_not_begun_end_with_their_client(client: FlaskClient, settings: Settings) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        body = {"model": MODEL, "prompt": ["delay=0.05 say abcdefgh"] * 40}
        client.post("/v1/completions", json=body, environ_overrides={"gunicorn.socket": ours})
    kept = records(settings)
    assert [record["status"] for record in kept] == ["cancelled"] * len(kept)
    assert len(kept) <= settings.max_running


@pytest.mark.parametrize(("num_prompts", "n"), [(129, 1), (65, 2)])
def test_no_request_has_more_than_128(client: FlaskClient, num_prompts: int, n: int) -> None:
    assert complete(client, ["say x"] * num_prompts, n=n).status_code == 400
