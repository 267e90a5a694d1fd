"""Fields as clients send them: told in a header, kept in the record, honoured by the engine, replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.replay import replay
from minivault.replay.exact import params_from_record
from minivault.service import LocalModel, Roster
from minivault.types import SamplingParams
from tests.api.records import records
from tests.scripted import EOS, backend

MODEL = "scripted"
HELLO = [{"role": "user", "content": "say Hello"}]
CHAT = {"model": MODEL, "messages": HELLO}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/generate", {"prompt": "say Hello"}),
    ("/api/generate", {"model": MODEL, "prompt": "say Hello"}),
    ("/api/chat", CHAT),
    ("/api/embed", {"model": MODEL, "input": "x"}),
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", {"model": MODEL, "prompt": "say Hello"}),
    ("/v1/responses", {"model": MODEL, "input": "say Hello"}),
    ("/v1/embeddings", {"model": MODEL, "input": "x"}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
def test_what_binds_nobody_is_told_in_a_header_and_kept_in_the_record(
    client: FlaskClient, settings: Settings, path: str, body: dict[str, Any]
) -> None:
    response = client.post(path, json=body | {"temprature": 1, "trace": {"a": [1]}})
    assert response.status_code == 200
    assert response.headers["MiniVault-Noted"] == "temprature, trace"
    (record,) = records(settings)
    assert record["noted"] == ["temprature", "trace"]
    assert json.loads(record["request"])["trace"] == {"a": [1]}


@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions"])
def test_streams_tell_it_too(client: FlaskClient, path: str) -> None:
    body = dict(ASKED)[path] | {"stream": True, "colour": "red"}
    assert client.post(path, json=body).headers["MiniVault-Noted"] == "colour"


def test_nothing_is_told_where_all_is_honoured(client: FlaskClient, settings: Settings) -> None:
    for path, body in ASKED:
        assert "MiniVault-Noted" not in client.post(path, json=body).headers
    assert not any("noted" in record for record in records(settings))


def test_a_name_that_no_header_can_hold_is_made_one(client: FlaskClient) -> None:
    response = client.post("/generate", json={"prompt": "say Hi", "x\r\nSet-Cookie: a=b": 1, "é,": 2})
    assert response.headers["MiniVault-Noted"] == "x??Set-Cookie:?a?b, ??"
    assert "Set-Cookie" not in response.headers


def test_a_strict_server_refuses_what_it_does_not_know(settings: Settings) -> None:
    strict = replace(settings, strict=True)
    model = LocalModel(strict, backend)
    recorder = Recorder(strict, Roster(model))
    model.wait_loaded(30)
    client = create_app(strict, recorder).test_client()
    for path, body in ASKED:
        refused = client.post(path, json=body | {"temprature": 1})
        assert refused.status_code == 400 and "temprature" in refused.text
        assert client.post(path, json=body).status_code == 200
    assert client.post("/v1/chat/completions", json=CHAT | {"user": "u"}).headers["MiniVault-Noted"] == "user"
    model.close()
    recorder.close()


ENDS: list[tuple[str, dict[str, Any]]] = [
    ("/generate", {"prompt": "say Hello", "max_tokens": 9, "ignore_eos": True}),
    ("/generate", {"prompt": "say Hello", "min_tokens": 9, "max_tokens": -1, "seed": 1}),
    ("/v1/chat/completions", CHAT | {"ignore_eos": True, "max_tokens": 9, "temperature": 2}),
    ("/v1/completions", {"model": MODEL, "prompt": "say Hello", "min_tokens": 7, "repeat_penalty": 1.1, "seed": 2}),
    ("/v1/completions", {"model": MODEL, "prompt": "say Hello", "stop_token_ids": [ord("l")], "top_k": 3}),
    ("/v1/responses", {"model": MODEL, "input": "say Hello", "min_tokens": 8, "min_p": 0.1, "seed": 3}),
]


def test_answers_that_end_otherwise_are_recorded_and_replay(
    app: Flask, client: FlaskClient, settings: Settings
) -> None:
    for path, body in ENDS:
        assert client.post(path, json=body).status_code == 200
    kept = records(settings)
    assert [len(record["completion_tokens"]) >= record["parameters"]["min_tokens"] for record in kept] == [True] * 6
    assert [len(kept[0]["completion_tokens"]), len(kept[2]["completion_tokens"])] == [9, 9]
    assert (kept[4]["response"], kept[4]["completion_tokens"][-1]) == ("He", ord("l"))
    assert kept[3]["parameters"]["repetition_penalty"] == 1.1
    assert EOS not in kept[1]["completion_tokens"][:9]
    verdicts = list(replay(app.extensions["minivault"].roster.default, kept, 2))
    assert [verdict.outcome for verdict in verdicts] == ["identical"] * len(ENDS)


def test_records_from_before_these_parameters_mean_what_they_did() -> None:
    assert params_from_record({"max_tokens": 5, "seed": 1, "stop": ["a"]}) == SamplingParams(5, seed=1, stop=("a",))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"min_tokens": 9, "max_tokens": 5}, "min_tokens"),
        ({"stop_token_ids": [999999]}, "stop_token_ids"),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos"),
        ({"min_tokens": 3, "guided_json": {"type": "object"}}, "min_tokens"),
        ({"guided_json": {"not": {}}}, "guided_json"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {}, "response_format": {"type": "json_object"}}, None),
        ({"guided_choice": ["a"], "guided_regex": "a"}, None),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, None),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs"),
        ({"structured_outputs": {"grammar": "x"}}, "structured_outputs.grammar"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": "(?=a)b"}, "guided_regex"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"top_k": -2}, "top_k"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
    ],
)
def test_a_field_of_a_wrong_kind_or_range_is_named(
    client: FlaskClient, fields: dict[str, Any], param: str | None
) -> None:
    response = client.post("/v1/chat/completions", json=CHAT | fields)
    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == param


SCHEMA = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
GUIDED: list[tuple[dict[str, Any], str]] = [
    ({"guided_json": SCHEMA}, '{"a": 1}'),
    ({"guided_json": json.dumps(SCHEMA)}, '{"a": 1}'),
    ({"guided_choice": ["red (ish)"]}, "red (ish)"),
    ({"guided_regex": "b{2}"}, "bb"),
    ({"structured_outputs": {"choice": ["red"]}}, "red"),
    ({"structured_outputs": {"regex": "[0]{3}"}}, "000"),
    ({"structured_outputs": {"json": {"const": 5}}}, "5"),
]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_answers_are_guided_under_every_name(app: Flask, client: FlaskClient, settings: Settings, path: str) -> None:
    for fields, expected in GUIDED:
        (choice,) = client.post(path, json=dict(ASKED)[path] | fields).get_json()["choices"]
        assert (choice.get("text") or choice["message"]["content"]) == expected
        assert choice["finish_reason"] == "stop"
    verdicts = list(replay(app.extensions["minivault"].roster.default, records(settings), 2))
    assert [verdict.outcome for verdict in verdicts] == ["identical"] * len(GUIDED)


def test_a_limit_of_minus_one_is_what_the_context_leaves(client: FlaskClient, settings: Settings) -> None:
    for limit in ({"max_tokens": -1}, {"max_tokens": None}, {"max_completion_tokens": -1}):
        client.post("/v1/chat/completions", json=CHAT | limit)
    client.post("/generate", json={"prompt": "say Hello", "max_tokens": -1})
    assert {record["parameters"]["max_tokens"] for record in records(settings)} == {512 - len("say Hello")}
