"""Structured output over HTTP: a schema that cannot be used is a 400 that names its field, in each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.structured.constraint import SchemaConstraint

BAD: dict[str, Any] = {
    "costly": {"type": "string", "pattern": "^((a{100}){100}){100}7$"},
    "itself": {"$ref": "#"},
    "endless": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "optional": {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(1500)}},
    "invalid": {"type": "strin"},
}
MESSAGES = [{"role": "user", "content": "say x"}]
MODEL = {"model": "scripted"}


def named(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "name": "x", "schema": schema}


def requests(schema: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """Dialect or field → path and body."""
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {
        "native": ("/generate", {"prompt": "say x", "format": schema}),
        "ollama": ("/api/chat", MODEL | {"messages": MESSAGES, "format": schema}),
        "response_format": ("/v1/chat/completions", MODEL | {"messages": MESSAGES, "response_format": wrapped}),
        "text.format": ("/v1/responses", MODEL | {"input": "say x", "text": {"format": named(schema)}}),
    }


@pytest.mark.parametrize("dialect", requests({}))
@pytest.mark.parametrize("schema", BAD.values(), ids=BAD)
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_cannot_be_used_is_refused_by_field(
    client: FlaskClient, dialect: str, schema: Any, stream: bool
) -> None:
    path, body = requests(schema)[dialect]
    response = client.post(path, json=body | {"stream": stream})
    assert response.status_code == 400
    field = dialect if dialect not in ("native", "ollama") else "format"
    assert f"{field}: this JSON schema cannot be used: " in response.get_data(as_text=True)


def test_a_forced_call_is_a_call_whatever_format_answers_are_to_have(client: FlaskClient) -> None:
    """Nothing but a call is then said, so that there is nothing that could have the format."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    function = {"name": "f", "parameters": schema}
    ask = MODEL | {"messages": MESSAGES}
    forms = named({"type": "integer"})
    wrapped = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer"}}}
    chat = ask | {"tools": [{"type": "function", "function": function}], "response_format": wrapped}
    response = MODEL | {"input": "say x", "tools": [{"type": "function", **function}], "text": {"format": forms}}
    tool = {"name": "f", "input_schema": schema}
    message = ask | {"max_tokens": 99, "tools": [tool], "output_config": {"format": forms}}
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        (said,) = client.post("/v1/chat/completions", json=chat | {"tool_choice": choice}).get_json()["choices"]
        assert set(json.loads(said["message"]["tool_calls"][0]["function"]["arguments"])) == {"a"}
    for choice in ("required", {"type": "function", "name": "f"}):
        (item,) = client.post("/v1/responses", json=response | {"tool_choice": choice}).get_json()["output"]
        assert set(json.loads(item["arguments"])) == {"a"}
    (block,) = client.post("/v1/messages", json=message | {"tool_choice": {"type": "any"}}).get_json()["content"]
    assert set(block["input"]) == {"a"}


def test_a_stop_string_cuts_a_structured_answer(client: FlaskClient) -> None:
    body = {"prompt": "say x", "format": {"enum": ["ab.cd"]}, "stop": ".", "temperature": 0}
    reply = client.post("/generate", json=body).get_json()
    assert (reply["response"], reply["finish_reason"]) == ('"ab', "length")


def test_a_cut_inside_a_character_drops_it(client: FlaskClient) -> None:
    body = {"prompt": "say x", "format": {"enum": ["a😀"]}, "max_tokens": 4}
    reply = client.post("/generate", json=body).get_json()
    assert (reply["response"], reply["finish_reason"]) == ('"a', "length")


def test_a_builtin_answer_gives_way_to_a_schema(client: FlaskClient) -> None:
    body = {"prompt": "What model are you?", "format": {"enum": ["x"]}}
    assert json.loads(client.post("/generate", json=body).get_json()["response"]) == "x"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_breaks_its_schema_never_stops(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(SchemaConstraint, "fault", lambda _self, text: f"{text} is wrong")
    response = client.post("/generate", json={"prompt": "x", "format": {"enum": ["x"]}, "stream": stream})
    assert response.status_code == (200 if stream else 500)
    assert json.loads(response.get_data(as_text=True).splitlines()[-1])["error"]["code"] == "generation_failed"
