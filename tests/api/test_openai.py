from __future__ import annotations

import base64
import json
import math
import struct
from itertools import chain
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.config import Settings
from tests.api.records import records

MODEL = "scripted"


def chat(client: FlaskClient, content: Any = "say Hello", **fields: Any) -> TestResponse:
    messages = [{"role": "user", "content": content}]
    return client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, **fields})


def complete(client: FlaskClient, prompt: Any = "say Hello", **fields: Any) -> TestResponse:
    return client.post("/v1/completions", json={"model": MODEL, "prompt": prompt, **fields})


def chunks(response: TestResponse) -> list[dict[str, Any]]:
    """The events of a stream that ended well."""
    assert response.content_type == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    *events, done = response.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_a_chat_reply_has_the_documented_shape(client: FlaskClient) -> None:
    response = chat(client, seed=1)
    reply = response.get_json()
    assert reply["id"] == "chatcmpl-" + response.headers["X-Request-Id"]
    assert reply["object"] == "chat.completion"
    assert reply["system_fingerprint"].startswith("mv2:")
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    assert reply["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    usage = reply["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (9, 6, 15)


def test_chunks_come_in_the_documented_order(client: FlaskClient) -> None:
    events = chunks(chat(client, "say Hi", stream=True))
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": ""},
        {"content": "H"},
        {"content": "i"},
        {},
    ]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "stop"]
    identities = {(e["id"], e["created"], e["model"], e["system_fingerprint"], e["object"]) for e in events}
    assert len(identities) == 1
    assert not any("usage" in event for event in events)


@pytest.mark.parametrize("ask", [chat, complete])
def test_include_usage_adds_one_last_chunk_and_nulls_before(client: FlaskClient, ask: Any) -> None:
    *events, last = chunks(ask(client, stream=True, stream_options={"include_usage": True}))
    assert all(event["usage"] is None for event in events)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 15


def test_accept_decides_nothing_here(client: FlaskClient) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "say Hi"}]}
    streamed = client.post(
        "/v1/chat/completions", json={**body, "stream": True}, headers={"Accept": "application/json"}
    )
    assert streamed.content_type == "text/event-stream"
    whole = client.post("/v1/chat/completions", json=body, headers={"Accept": "text/event-stream"})
    assert whole.content_type == "application/json"


def test_every_choice_is_an_interaction_of_its_own(client: FlaskClient, settings: Settings) -> None:
    reply = chat(client, n=3, seed=7).get_json()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
    assert reply["usage"]["completion_tokens"] == 18
    kept = records(settings)
    assert sorted(record["parameters"]["seed"] for record in kept) == [7, 8, 9]
    assert len({record["id"] for record in kept}) == 3


def test_streamed_choices_come_one_after_the_other(client: FlaskClient) -> None:
    events = chunks(chat(client, "say Hi", stream=True, n=2))
    assert [event["choices"][0]["index"] for event in events] == [0] * 4 + [1] * 4


def test_parameters_reach_the_sampler(client: FlaskClient, settings: Settings) -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1, "max_tokens": 99}
    response = chat(client, **fields, max_completion_tokens=2, seed=-3, stop="z", logit_bias={"90": -1.5})
    assert response.get_json()["choices"][0]["finish_reason"] == "length"
    parameters = records(settings)[-1]["parameters"]
    assert parameters["max_tokens"] == 2
    assert parameters["seed"] == 2**63 - 3
    assert parameters["stop"] == ["z"]
    assert parameters["logit_bias"] == [[90, -1.5]]
    assert {name: parameters[name] for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")} == {
        "temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1,
    }  # fmt: skip


def test_content_may_be_parts_and_a_developer_speaks_as_the_system(client: FlaskClient) -> None:
    parts = [{"type": "text", "text": "say Hi"}]
    messages = [{"role": "developer", "content": parts}, {"role": "user", "content": parts}]
    reply = client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages}).get_json()
    assert reply["choices"][0]["message"]["content"] == "Hi"


def test_only_an_assistant_may_say_nothing(client: FlaskClient) -> None:
    messages = [{"role": "assistant", "content": None}, {"role": "user", "content": "say Hi"}]
    assert client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages}).status_code == 200
    messages[1]["content"] = None
    refused = client.post("/v1/chat/completions", json={"model": MODEL, "messages": messages})
    assert refused.status_code == 400
    assert refused.get_json()["error"]["message"] == "messages: a user message needs content"


def test_chat_logprobs_carry_bytes(client: FlaskClient) -> None:
    reply = chat(client, "say é", logprobs=True, top_logprobs=1).get_json()
    content = reply["choices"][0]["logprobs"]["content"]
    assert [entry["bytes"] for entry in content] == [[byte] for byte in "é".encode()]
    assert all(len(entry["top_logprobs"]) == 1 for entry in content)
    events = chunks(chat(client, "say é", logprobs=True, stream=True))
    streamed = [e["choices"][0]["logprobs"]["content"] for e in events if e["choices"][0]["logprobs"]]
    assert list(chain.from_iterable(streamed)) == [entry | {"top_logprobs": []} for entry in content]


def test_a_completion_has_the_documented_shape(client: FlaskClient) -> None:
    reply = complete(client, "say Hello, this is longer than sixteen tokens").get_json()
    assert reply["id"].startswith("cmpl-")
    assert reply["object"] == "text_completion"
    (choice,) = reply["choices"]
    assert choice == {"text": "Hello, this is l", "index": 0, "logprobs": None, "finish_reason": "length"}


def test_completion_chunks_have_the_same_shape(client: FlaskClient) -> None:
    events = chunks(complete(client, "say Hi", stream=True))
    assert {event["object"] for event in events} == {"text_completion"}
    assert [event["choices"][0]["text"] for event in events] == ["H", "i", ""]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "stop"]


def test_several_prompts_are_ordered_by_prompt_then_choice(client: FlaskClient) -> None:
    reply = complete(client, ["say a", "say b"], n=2, echo=True).get_json()
    assert [choice["text"] for choice in reply["choices"]] == ["say aa", "say aa", "say bb", "say bb"]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
    events = chunks(complete(client, ["say a", "say b"], echo=True, stream=True))
    assert [event["choices"][0]["text"] for event in events] == ["say a", "a", "", "say b", "b", ""]


def test_prompts_may_be_token_ids(client: FlaskClient) -> None:
    assert complete(client, list(b"say a")).get_json()["choices"][0]["text"] == "a"
    assert [c["text"] for c in complete(client, [list(b"say a"), list(b"say b")]).get_json()["choices"]] == ["a", "b"]
    assert complete(client, list(b"say a"), echo=True).get_json()["choices"][0]["text"] == "say aa"
    error = complete(client, [999999]).get_json()["error"]
    assert (error["param"], "999999" in error["message"]) == ("prompt", True)


def test_completion_logprobs_use_the_old_layout(client: FlaskClient) -> None:
    logprobs = complete(client, "say aéb", logprobs=1).get_json()["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "bytes:\\xc3", "bytes:\\xa9", "b"]
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    assert len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]) == 4
    streamed = [e["choices"][0]["logprobs"] for e in chunks(complete(client, "say aéb", logprobs=1, stream=True))]
    assert list(chain.from_iterable(part["tokens"] for part in streamed if part)) == logprobs["tokens"]
    assert list(chain.from_iterable(part["text_offset"] for part in streamed if part)) == logprobs["text_offset"]


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"functions": [{}]}, "functions"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"audio": {}}, "audio"),
    ({"modalities": ["audio"]}, "modalities"),
    ({"reasoning_effort": "huge"}, "reasoning_effort"),
    ({"stream_options": {"include_usage": True}}, None),
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"n": 129}, "n"),
    ({"n": True}, "n"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"999999": 1}}, "logit_bias"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
        "response_format",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED)
def test_what_is_not_offered_is_refused_by_name(client: FlaskClient, fields: dict[str, Any], param: str) -> None:
    response = chat(client, **fields)
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param is None or param.split(".", maxsplit=1)[0] in error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"suffix": "x"}, "suffix"), ({"best_of": 2}, "best_of"), ({"max_tokens": 0}, "max_tokens"),
     ({"prompt": []}, None), ({"prompt": ""}, None), ({"prompt": ["a"] * 129}, None), ({"logprobs": 21}, "logprobs")],
)  # fmt: skip
def test_completions_refuse_what_they_cannot_do(client: FlaskClient, fields: dict[str, Any], param: str) -> None:
    response = complete(client, **fields)
    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == param


def test_null_means_not_given(client: FlaskClient) -> None:
    fields = dict.fromkeys(("stop", "seed", "n", "temperature", "tools", "response_format", "functions"))
    assert chat(client, **fields).status_code == 200


def test_a_prompt_that_is_too_long_is_the_clients_fault(client: FlaskClient) -> None:
    response = chat(client, "x" * 600)
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    error = client.post("/v1/responses", json={"model": MODEL, "input": "x" * 600}).get_json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "not_found"), ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
     ("GET", "/v1/models/other", 404, "model_not_found"), ("POST", "/v1/embeddings", 400, "invalid_request")],
)  # fmt: skip
def test_every_error_has_all_four_keys(client: FlaskClient, method: str, path: str, status: int, code: str) -> None:
    response = client.open(path, method=method, environ_overrides={"CONTENT_LENGTH": "0"})
    assert response.status_code == status
    error = response.get_json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["code"] == code
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize("ask", [chat, complete])
def test_a_failure_in_the_stream_is_an_error_event_without_done(client: FlaskClient, ask: Any) -> None:
    response = ask(client, "raise=1 say Hello", stream=True)
    *_, last = response.text.removesuffix("\n\n").split("\n\n")
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["type"] == "server_error"
    assert sorted(error) == ["code", "message", "param", "type"]


def test_a_retry_is_marked_in_the_record(client: FlaskClient, settings: Settings) -> None:
    body = {"model": MODEL, "prompt": "say x"}
    client.post("/v1/completions", json=body, headers={"x-stainless-retry-count": "2", "User-Agent": "OpenAI"})
    assert records(settings)[-1]["user_agent"] == "OpenAI retry/2"
    client.post("/v1/completions", json=body, headers={"x-stainless-retry-count": "0", "User-Agent": "OpenAI"})
    assert records(settings)[-1]["user_agent"] == "OpenAI"


SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["age", "ok"],
    "additionalProperties": False,
}


def test_a_response_format_is_kept_under_sampling(client: FlaskClient) -> None:
    schema_format = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
    choices = chat(client, n=4, temperature=2, seed=5, response_format=schema_format).get_json()["choices"]
    for choice in choices:
        assert choice["finish_reason"] == "stop"
        jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)
    assert len({choice["message"]["content"] for choice in choices}) > 1
    again = chat(client, n=4, temperature=2, seed=5, response_format=schema_format).get_json()["choices"]
    assert again == choices


def test_json_object_gives_an_object_or_its_beginning(client: FlaskClient) -> None:
    choice = chat(client, response_format={"type": "json_object"}, seed=1, max_tokens=400).get_json()["choices"][0]
    assert choice["message"]["content"].startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_models_are_listed_and_found_under_any_of_their_names(client: FlaskClient) -> None:
    (entry,) = client.get("/v1/models").get_json()["data"]
    facts = {"object": "model", "created": 0, "owned_by": "minivault", "max_model_len": 512, "context_length": 512}
    assert entry == {"id": MODEL, **facts}
    assert client.get("/v1/models/scripted%3Alatest").get_json()["object"] == "model"
    assert client.get("/v1/models/org%2Fother").status_code == 404
    assert (
        client.post("/v1/completions", json={"model": "scripted:latest", "prompt": "say x"}).get_json()["choices"][0][
            "text"
        ]
        == "x"
    )


def test_embeddings_come_as_numbers_or_base64(client: FlaskClient) -> None:
    body = {"model": MODEL, "input": ["one", "two!"]}
    reply = client.post("/v1/embeddings", json=body).get_json()
    assert [math.isclose(math.hypot(*item["embedding"]), 1, rel_tol=1e-5) for item in reply["data"]] == [True, True]
    assert reply["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    packed = client.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).get_json()
    data = base64.b64decode(packed["data"][1]["embedding"])
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == pytest.approx(reply["data"][1]["embedding"])
    tokens = client.post("/v1/embeddings", json={**body, "input": [list(b"one")]}).get_json()
    assert tokens["data"][0]["embedding"] == reply["data"][0]["embedding"]


@pytest.mark.parametrize("fields", [{"input": []}, {"input": ""}, {"dimensions": 1000}, {"input": "x" * 600}])
def test_embeddings_refuse_what_they_cannot_do(client: FlaskClient, fields: dict[str, Any]) -> None:
    response = client.post("/v1/embeddings", json={"model": MODEL, "input": "x", **fields})
    assert response.status_code == 400
