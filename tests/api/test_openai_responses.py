from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.config import Settings
from tests.api.records import records

MODEL = "scripted"


def respond(client: FlaskClient, said: Any = "say Hi", **fields: Any) -> TestResponse:
    return client.post("/v1/responses", json={"model": MODEL, "input": said, **fields})


def events(response: TestResponse) -> list[dict[str, Any]]:
    assert response.content_type == "text/event-stream"
    found = []
    for event in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def test_a_whole_response_has_the_documented_shape(client: FlaskClient) -> None:
    http = respond(client, instructions="Be kind.", metadata={"a": "b"})
    reply = http.get_json()
    assert reply["id"] == "resp_" + http.headers["X-Request-Id"]
    assert (reply["object"], reply["status"], reply["error"]) == ("response", "completed", None)
    (item,) = reply["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}]
    assert reply["usage"]["total_tokens"] == reply["usage"]["input_tokens"] + reply["usage"]["output_tokens"]
    assert reply["instructions"] == "Be kind."
    assert reply["metadata"] == {"a": "b"}


def test_events_come_in_the_documented_order(client: FlaskClient) -> None:
    found = events(respond(client, stream=True))
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert found[6]["text"] == "Hi"
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"
    assert found[0]["response"]["status"] == "in_progress"


def test_an_empty_answer_still_has_a_message(client: FlaskClient) -> None:
    kinds = [event["type"] for event in events(respond(client, "say ", stream=True))]
    assert "response.output_item.added" in kinds
    assert "response.output_text.delta" not in kinds
    assert kinds[-1] == "response.completed"


def test_a_cut_answer_is_incomplete(client: FlaskClient) -> None:
    reply = respond(client, "say Hello", max_output_tokens=2).get_json()
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}
    last = events(respond(client, "say Hello", max_output_tokens=2, stream=True))[-1]
    assert last["type"] == "response.incomplete"


def test_a_failure_in_the_stream_is_an_error_and_a_failed_response(client: FlaskClient) -> None:
    error, last = events(respond(client, "raise=1 say Hello", stream=True))[-2:]
    assert error["type"] == "error"
    assert set(error) == {"type", "sequence_number", "code", "message", "param"}
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": error["code"], "message": error["message"]}


def test_input_may_be_items(client: FlaskClient) -> None:
    items = [
        {"role": "user", "content": "first"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "second"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "say third"}]},
    ]
    assert respond(client, items).get_json()["output"][0]["content"][0]["text"] == "third"


def test_a_text_format_is_kept(client: FlaskClient) -> None:
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2}
    text = {"format": {"type": "json_schema", "name": "letters", "schema": schema}}
    reply = respond(client, text=text).get_json()
    assert reply.get("status") == "completed", reply
    jsonschema.validate(json.loads(reply["output"][0]["content"][0]["text"]), schema)


def test_what_is_counted_is_what_is_used(client: FlaskClient, settings: Settings) -> None:
    tool = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
    first = respond(client, "say One").get_json()["id"]
    for fields in ({}, {"tools": [tool]}, {"instructions": "Be kind."}, {"previous_response_id": first}):
        asked = {"model": MODEL, "input": "say Hi", **fields}
        num_records = len(records(settings))
        counted = client.post("/v1/responses/input_tokens", json=asked).get_json()
        assert len(records(settings)) == num_records, "a count is no answer"
        used = client.post("/v1/responses", json=asked).get_json()["usage"]["input_tokens"]
        assert counted == {"object": "response.input_tokens", "input_tokens": used}
    assert client.post("/v1/responses/input_tokens", json={"model": MODEL}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input.0.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(client: FlaskClient, fields: dict[str, Any], param: str) -> None:
    response = client.post("/v1/responses", json={"model": MODEL, "input": "say Hi", **fields})
    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == param
