"""Anthropic's dialect over HTTP: shapes, errors, headers, records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.access.keys import KeyFile, NewKey
from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from tests.api.records import records
from tests.api.schema_client import SchemaClient
from tests.clients.tools_backend import backend as tools_backend

VERSION = {"Anthropic-Version": "2023-06-01"}
TOOL = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}},
                                        "required": ["a"], "additionalProperties": False}}  # fmt: skip
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def asking(text: str = "say Hello", **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "max_tokens": 50, "messages": [{"role": "user", "content": text}], **fields}


def events(response: TestResponse) -> list[dict[str, Any]]:
    """The events of a stream, each under the name that its object has."""
    found = []
    for event in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.fixture
def tooled(settings: Settings) -> Iterator[FlaskClient]:
    model = LocalModel(settings, tools_backend)
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    app = create_app(settings, recorder)
    app.test_client_class = SchemaClient
    yield app.test_client()
    model.close()
    recorder.close()


def test_a_whole_message(client: FlaskClient, settings: Settings) -> None:
    response = client.post("/v1/messages", json=asking(), headers=VERSION)
    reply = response.get_json()
    record_id = response.headers["Request-Id"]
    assert response.headers["X-Request-Id"] == record_id
    assert (reply["id"], reply["model"]) == (f"msg_{record_id}", "scripted")
    assert reply["content"] == [{"type": "text", "text": "Hello"}]
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("end_turn", None)
    (record,) = records(settings)
    assert (record["id"], record["api"], record["response"]) == (record_id, "anthropic.messages", "Hello")


def test_a_stream_has_the_same_events_under_their_names(client: FlaskClient) -> None:
    response = client.post("/v1/messages", json=asking("say Hi", stream=True))
    assert response.content_type == "text/event-stream"
    kinds = [event["type"] for event in events(response)]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_which_stop_sequence_ended_it(client: FlaskClient) -> None:
    asked = asking("say one, two. three", stop_sequences=[". ", ", "])
    reply = client.post("/v1/messages", json=asked).get_json()
    assert reply["content"][0]["text"] == "one"
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", ", ")


def test_a_full_context_is_told_from_a_limit_that_was_asked_for(client: FlaskClient) -> None:
    for limit, reason in ((3, "max_tokens"), (32_000, "model_context_window_exceeded")):
        reply = client.post("/v1/messages", json=asking("say " + "x" * 400, max_tokens=limit)).get_json()
        assert reply["stop_reason"] == reason


def test_what_is_counted_is_what_is_used(tooled: FlaskClient) -> None:
    for fields in ({}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": {"type": "any"}}, {"system": "s" * 80}):
        asked = asking("say " + "x" * 90, **fields)
        counted = tooled.post("/v1/messages/count_tokens", json=asked).get_json()["input_tokens"]
        usage = tooled.post("/v1/messages", json=asked).get_json()["usage"]
        assert counted == usage["input_tokens"] + usage["cache_read_input_tokens"]


def test_what_does_not_fit_is_counted_and_refused_with_the_numbers(client: FlaskClient, settings: Settings) -> None:
    asked = asking("x" * 1000)
    assert client.post("/v1/messages/count_tokens", json=asked).get_json() == {"input_tokens": 1000}
    refused = client.post("/v1/messages", json=asked)
    client.post("/v1/messages", json=asking())
    assert len(records(settings)) == 1, "a count is no answer"
    assert refused.status_code == 400
    error = refused.get_json()["error"]
    assert error["message"].startswith("prompt is too long: 1000 tokens > 511 maximum")
    assert (error["type"], error["details"]["error_code"]) == ("invalid_request_error", "context_length_exceeded")


def test_a_forced_call_is_one(tooled: FlaskClient) -> None:
    for choice in ({"type": "any"}, {"type": "tool", "name": "add"}):
        for stream in (False, True):
            asked = asking(tools=[TOOL], tool_choice=choice, stream=stream, max_tokens=200)
            response = tooled.post("/v1/messages", json=asked)
            if stream:
                said = events(response)
                (started,) = [event["content_block"] for event in said if event["type"] == "content_block_start"]
                (delta,) = [event["delta"] for event in said if event["type"] == "content_block_delta"]
                block = started | {"input": json.loads(delta["partial_json"])}
                reason = said[-2]["delta"]["stop_reason"]
            else:
                (block,) = response.get_json()["content"]
                reason = response.get_json()["stop_reason"]
            assert reason == "tool_use"
            assert (block["type"], block["name"]) == ("tool_use", "add")
            assert isinstance(block["input"]["a"], int) and block["input"]["a"] <= 9


def test_a_template_that_knows_no_tools_is_told_of_them_in_text(client: FlaskClient) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert client.post(path, json=asking(tools=[TOOL])).status_code == 200
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert client.post("/v1/messages", json=asking(tools=[search])).status_code == 200, "it is not told of"


def test_a_schema_that_cannot_be_used_is_refused_under_its_name_here(client: FlaskClient, tooled: FlaskClient) -> None:
    form = {"format": {"type": "json_schema", "schema": {"not": {}}}}
    error = client.post("/v1/messages", json=asking(output_config=form)).get_json()["error"]
    assert error["message"].startswith("output_config.format.schema")
    tool = {"name": "f", "input_schema": {"not": {}}}
    error = tooled.post("/v1/messages", json=asking(tools=[tool], tool_choice={"type": "any"})).get_json()["error"]
    assert error["message"].startswith("tool_choice")


@pytest.mark.parametrize(
    ("call", "status", "kind"),
    [
        (("post", "/v1/messages", {"json": asking(model="claude-opus")}), 404, "not_found_error"),
        (("post", "/v1/messages", {"json": asking(max_tokens=0)}), 400, "invalid_request_error"),
        (("post", "/v1/messages", {"data": b"x" * (2 << 20)}), 413, "request_too_large"),
        (("post", "/v1/messages", {"json": asking("raise=0 say x")}), 500, "api_error"),
        (("post", "/v1/messages", {"data": b"x", "content_type": "text/plain"}), 415, "invalid_request_error"),
        (("get", "/v1/messages", {}), 405, "invalid_request_error"),
        (("get", "/v1/messages/batches", {}), 404, "not_found_error"),
        (("get", "/v1/models/claude-opus", {"headers": VERSION}), 404, "not_found_error"),
        (("get", "/v1/nothing", {"headers": VERSION}), 404, "not_found_error"),
    ],
)
def test_errors_have_its_shape(client: FlaskClient, call: tuple[str, str, Any], status: int, kind: str) -> None:
    method, path, sent = call
    response = client.open(path, method=method.upper(), **sent)
    reply = response.get_json()
    assert response.status_code == status
    assert (reply["type"], reply["error"]["type"]) == ("error", kind)
    assert reply["request_id"] == response.headers["Request-Id"]


def test_an_error_in_the_stream_is_an_event(client: FlaskClient) -> None:
    last = events(client.post("/v1/messages", json=asking("raise=2 say Hello", stream=True)))[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")


def test_where_every_place_is_taken_it_is_overloaded(settings: Settings) -> None:
    settings = replace(settings, max_running=1, max_waiting=0)
    model = LocalModel(settings, tools_backend)
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    client = create_app(settings, recorder).test_client()
    running = client.post("/v1/messages", json=asking("delay=0.02 say " + "x" * 400, max_tokens=400, stream=True))
    refused = client.post("/v1/messages", json=asking())
    other = client.post("/v1/chat/completions", json={"model": "scripted", "messages": asking()["messages"]})
    running.close()
    model.close()
    recorder.close()
    assert (refused.status_code, refused.get_json()["error"]["type"]) == (529, "overloaded_error")
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["X-RateLimit-Remaining"] == other.headers["X-RateLimit-Remaining"], (
        "it counts against nobody"
    )
    assert other.status_code == 503


def test_models_have_the_shape_of_who_asks(client: FlaskClient) -> None:
    page = client.get("/v1/models", headers=VERSION).get_json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("scripted", "scripted", False)
    (listed,) = page["data"]
    assert listed == client.get("/v1/models/scripted", headers=VERSION).get_json()
    assert (listed["type"], listed["max_input_tokens"]) == ("model", 512)
    assert client.get("/v1/models").get_json()["object"] == "list"


def test_keys_come_in_either_header(app: Flask, settings: Settings) -> None:
    ((_, key),) = KeyFile(settings.keys_file).create(NewKey("agent", role="use"))
    client = app.test_client()
    for path in ("/v1/messages/count_tokens", "/v1/models"):
        method = "GET" if path == "/v1/models" else "POST"
        for header, value in (("X-Api-Key", key), ("Authorization", f"Bearer {key}")):
            answered = client.open(path, method=method, json=asking(), headers={header: value} | VERSION)
            assert answered.status_code == 200
        refused = client.open(path, method=method, json=asking(), headers={"X-Api-Key": "mv_wrong"} | VERSION)
        assert (refused.status_code, refused.get_json()["error"]["type"]) == (401, "authentication_error")
