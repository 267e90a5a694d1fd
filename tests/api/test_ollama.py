from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.config import Settings
from minivault.interaction.embedding import digest
from tests.api.records import records
from tests.scripted import transcript_backend

MODEL = "scripted"


def lines(response: TestResponse) -> list[dict[str, Any]]:
    assert response.content_type == "application/x-ndjson"
    assert b"\n\n" not in response.data
    return [json.loads(line) for line in response.data.splitlines()]


def generate(client: FlaskClient, prompt: str = "say Hello", **fields: Any) -> TestResponse:
    return client.post("/api/generate", json={"model": MODEL, "prompt": prompt, **fields})


def chat(client: FlaskClient, content: str = "say Hello", **fields: Any) -> TestResponse:
    messages = [{"role": "user", "content": content}]
    return client.post("/api/chat", json={"model": MODEL, "messages": messages, **fields})


def assert_final(line: dict[str, Any], reason: str = "stop") -> None:
    assert line["done"] is True
    assert line["done_reason"] == reason
    for field in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(line[field], int)
        assert line[field] > 0
    assert line["prompt_eval_count"] > 0
    assert line["eval_count"] > 0


def test_generate_streams_when_stream_is_absent(client: FlaskClient) -> None:
    *pieces, last = lines(generate(client))
    assert "".join(piece["response"] for piece in [*pieces, last]) == "Hello"
    assert all(list(piece) == ["model", "created_at", "response", "done"] for piece in pieces)
    assert not any(piece["done"] for piece in pieces)
    assert_final(last)
    assert last["context"][:9] == list(b"say Hello")
    stamps = [datetime.fromisoformat(line["created_at"][:26]) for line in [*pieces, last]]
    assert stamps == sorted(set(stamps))


def test_a_whole_reply_is_one_object(client: FlaskClient) -> None:
    response = generate(client, stream=False)
    assert response.content_type.startswith("application/json")
    assert response.get_json()["response"] == "Hello"
    assert_final(response.get_json())


def test_bodies_are_json_whatever_their_content_type(client: FlaskClient) -> None:
    body = json.dumps({"model": MODEL, "prompt": "say x", "stream": False})
    for content_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        assert client.post("/api/generate", data=body, content_type=content_type).get_json()["response"] == "x"


def test_chat_streams_messages(client: FlaskClient) -> None:
    *pieces, last = lines(chat(client))
    assert "".join(piece["message"]["content"] for piece in pieces) == "Hello"
    assert all(piece["message"]["role"] == "assistant" for piece in [*pieces, last])
    assert last["message"] == {"role": "assistant", "content": ""}
    assert "context" not in last
    assert_final(last)


def test_the_model_is_echoed_as_the_client_wrote_it(client: FlaskClient) -> None:
    for name in ("scripted", "scripted:latest", "Scripted:LATEST"):
        reply = client.post("/api/generate", json={"model": name, "prompt": "say x", "stream": False})
        assert reply.get_json()["model"] == name


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_nothing_to_say_loads_and_keep_alive_zero_unloads(client: FlaskClient, path: str) -> None:
    for fields, reason in (({}, "load"), ({"keep_alive": 0}, "unload"), ({"keep_alive": "0s"}, "unload")):
        reply = client.post(path, json={"model": MODEL, **fields})
        assert reply.status_code == 200
        assert reply.get_json()["done_reason"] == reason
        assert reply.get_json()["done"] is True


def test_options_are_honoured(client: FlaskClient, settings: Settings) -> None:
    options = {"seed": 11, "num_predict": 2.0, "temperature": 0, "top_k": -1, "repeat_penalty": 1.1, "stop": ["z"]}
    reply = generate(client, stream=False, options=options).get_json()
    assert reply["response"] == "He"
    assert reply["done_reason"] == "length"
    parameters = records(settings)[-1]["parameters"]
    expected = {"seed": 11, "max_tokens": 2, "temperature": 0, "top_k": 0, "repetition_penalty": 1.1, "stop": ["z"]}
    assert {name: parameters[name] for name in expected} == expected


def test_unknown_and_old_options_are_ignored(client: FlaskClient) -> None:
    options = {"mirostat": 2, "f16_kv": True, "no_such_option": {}, "top_p": None, "num_ctx": 4096}
    assert generate(client, stream=False, options=options, no_such_field=1).status_code == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ctx": "big"}, 'option "num_ctx" must be of type integer'),
        ({"seed": True}, 'option "seed" must be of type integer'),
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
    ],
)
def test_a_wrong_type_is_named_in_ollamas_words(client: FlaskClient, options: dict[str, Any], message: str) -> None:
    response = generate(client, options=options)
    assert (response.status_code, response.get_json()) == (400, {"error": message})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "model is required"),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"raw": True, "system": "x"}, "raw mode does not support template, system, or context"),
        ({"think": True}, '"scripted" does not support thinking'),
        ({"suffix": "x"}, '"scripted" does not support insert'),
        ({"images": ["aGk="]}, '"scripted" does not support vision'),
        ({"format": "xml"}, 'format must be "json" or a JSON schema, not "xml"'),
        ({"keep_alive": "soon"}, "keep_alive must be a duration like \"5m\" or a number of seconds, not 'soon'"),
        ({"options": {"temperature": 3}}, "options.temperature: must be at most 2, not 3"),
    ],
)
def test_what_cannot_be_done_is_refused_in_plain_words(
    client: FlaskClient, fields: dict[str, Any], message: str
) -> None:
    response = generate(client, **fields)
    assert response.status_code == 400
    assert response.content_type == "application/json"
    assert response.get_json() == {"error": message}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/api/generate", b"", 400, "missing request body"),
        ("POST", "/api/chat", b"{", 400, "the body is not JSON"),
        ("POST", "/api/chat", b'{"model": "other"}', 404, "model 'other' not found"),
        ("POST", "/api/show", b'{"model": "other"}', 404, "model 'other' not found"),
        ("GET", "/api/chat", None, 405, "does not take GET"),
        ("GET", "/api/nothing", None, 404, "there is no"),
        ("POST", "/api/pull", b'{"model": "m"}', 403, "where the server runs"),
        ("POST", "/api/push", b"{}", 403, "where the server runs"),
        ("POST", "/api/create", b"{}", 403, "where the server runs"),
        ("POST", "/api/copy", b"{}", 403, "where the server runs"),
        ("DELETE", "/api/delete", b"{}", 403, "where the server runs"),
        ("POST", "/api/blobs/sha256:00", b"x", 403, "where the server runs"),
    ],
)
def test_every_error_is_one_string(
    client: FlaskClient, method: str, path: str, body: bytes | None, status: int, error: str
) -> None:
    response = client.open(path, method=method, data=body, environ_overrides={"CONTENT_LENGTH": str(len(body or b""))})
    assert response.status_code == status
    assert response.content_type == "application/json"
    assert list(response.get_json()) == ["error"]
    assert error in response.get_json()["error"]
    assert response.headers["X-Request-Id"]


def test_a_failure_in_the_stream_is_its_last_line(client: FlaskClient, settings: Settings) -> None:
    response = generate(client, "raise=2 say Hello")
    assert response.status_code == 200
    *pieces, last = lines(response)
    assert [piece["response"] for piece in pieces] == ["H", "e"]
    assert list(last) == ["error"]
    assert "secret" not in last["error"]
    assert records(settings)[-1]["status"] == "failed"


def test_a_failure_before_the_stream_has_a_real_status(client: FlaskClient) -> None:
    response = generate(client, "raise=0 say Hello")
    assert response.status_code == 500
    assert isinstance(response.get_json()["error"], str)


def test_sse_is_sent_only_to_who_asks_for_it(client: FlaskClient) -> None:
    body = {"model": MODEL, "prompt": "say Hi"}
    sse = client.post("/api/generate", json=body, headers={"Accept": "text/event-stream"})
    assert sse.content_type == "text/event-stream"
    events = sse.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert "".join(json.loads(event.removeprefix("data: "))["response"] for event in events[:-1]) == "Hi"
    for accept in ("application/json", "*/*", "application/x-ndjson, text/event-stream;q=0.5"):
        response = client.post("/api/generate", json=body, headers={"Accept": accept})
        assert response.content_type == "application/x-ndjson"


def test_logprobs_come_with_each_line_and_joined_in_a_whole_reply(client: FlaskClient) -> None:
    *pieces, last = lines(generate(client, "say Hé", logprobs=True, top_logprobs=2))
    tokens = [entry for piece in pieces for entry in piece.get("logprobs", [])]
    assert [entry["bytes"] for entry in tokens] == [[byte] for byte in "Hé".encode()]
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] <= 0 for entry in tokens)
    assert "logprobs" not in last
    whole = chat(client, "say Hé", stream=False, logprobs=True).get_json()
    assert [entry["token"] for entry in whole["logprobs"]] == ["H", "�", "�"]


def test_context_goes_before_the_next_prompt(client: FlaskClient, settings: Settings) -> None:
    first = generate(client, "say Hi", stream=False).get_json()
    generate(client, " there", stream=False, context=first["context"])
    assert records(settings)[-1]["prompt_tokens"] == [*first["context"], *b" there"]
    assert generate(client, context=[999999]).status_code == 400


def test_the_body_is_recorded_as_it_came(client: FlaskClient, settings: Settings) -> None:
    body = b'{"model":"scripted",   "prompt": "say Hi", "options": {"seed": 5}}'
    response = client.post("/api/generate", data=body)
    assert response.data
    record = records(settings)[-1]
    assert record["request"] == body.decode()
    assert record["api"] == "ollama.generate"
    assert record["response"] == "Hi"
    assert record["id"] == response.headers["X-Request-Id"]


def test_a_prompt_that_is_too_long_is_cut_unless_the_client_says_no(client: FlaskClient, settings: Settings) -> None:
    cut = generate(client, "x" * 600, stream=False, options={"num_keep": 2})
    assert (cut.status_code, cut.headers["MiniVault-Truncated"]) == (200, f"cut_tokens={600 - 384}")
    record = records(settings)[-1]
    assert (len(record["prompt_tokens"]), record["parameters"]["cut_tokens"]) == (512 - 512 // 4, 600 - 384)
    response = generate(client, "x" * 600, truncate=False)
    assert response.status_code == 400
    assert "MiniVault-Truncated" not in response.headers
    assert "shorten" in response.get_json()["error"]


def test_num_ctx_lets_less_of_a_prompt_be_read_and_no_more(client: FlaskClient, settings: Settings) -> None:
    for num_ctx, num_tokens in ((40, 40), (0, 100), (4096, 100)):
        reply = generate(client, "x" * 100, stream=False, options={"num_ctx": num_ctx})
        assert reply.get_json()["prompt_eval_count"] == num_tokens
        assert reply.headers.get("MiniVault-Truncated") == (
            f"cut_tokens={100 - num_tokens}" if num_tokens < 100 else None
        )
    refused = generate(client, "x" * 100, truncate=False, options={"num_ctx": 40})
    assert refused.get_json()["error"].startswith("num_ctx is 40 and the prompt has 100 tokens")


def test_what_is_left_out_of_a_text_to_embed_is_told(client: FlaskClient, settings: Settings) -> None:
    body = {"model": MODEL, "input": ["x" * 600, "short"]}
    assert client.post("/api/embed", json=body).headers["MiniVault-Truncated"] == f"cut_tokens={600 - 512}"
    assert records(settings)[-1]["parameters"] == {"num_inputs": 2, "cut_tokens": 600 - 512}


@pytest.mark.parametrize("app", [transcript_backend], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_is_too_long_loses_its_oldest_turns(
    client: FlaskClient, settings: Settings, stream: bool
) -> None:
    system = {"role": "system", "content": "Be brief."}
    turns = [{"role": "user", "content": f"turn {number}" + "." * 90} for number in range(20)]
    body = {"model": MODEL, "messages": [system, *turns], "stream": stream}
    response = client.post("/api/chat", json=body)
    assert response.status_code == 200 and response.data
    record = records(settings)[-1]
    kept = record["rendered_prompt"].splitlines()
    assert kept[0] == "system: Be brief." and kept[-1].startswith("user: turn 19")
    assert record["parameters"]["dropped_messages"] == 21 - len(kept) > 0
    assert response.headers["MiniVault-Truncated"] == f"dropped_messages={21 - len(kept)}"


@pytest.mark.parametrize("ask", [generate, chat])
def test_a_schema_is_kept(client: FlaskClient, ask: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
        "required": ["age", "ok"],
        "additionalProperties": False,
    }
    for seed in range(3):
        reply = ask(client, stream=False, format=schema, options={"seed": seed, "temperature": 1.5}).get_json()
        text = reply["response"] if "response" in reply else reply["message"]["content"]
        assert reply["done_reason"] == "stop"
        jsonschema.validate(json.loads(text), schema)


def test_a_schema_that_cannot_be_kept_is_refused(client: FlaskClient) -> None:
    response = generate(client, format={"type": "array", "uniqueItems": True})
    assert response.status_code == 400
    assert "uniqueItems" in response.get_json()["error"]


def test_embed_gives_unit_vectors(client: FlaskClient, settings: Settings) -> None:
    reply = client.post("/api/embed", json={"model": MODEL, "input": ["one", "two!"]}).get_json()
    assert [round(math.hypot(*vector), 5) for vector in reply["embeddings"]] == [1, 1]
    assert reply["prompt_eval_count"] == 7
    assert reply["total_duration"] > 0
    record = records(settings)[-1]
    assert (record["api"], record["source"], record["prompt"]) == ("ollama.embed", "embedding", "one\ntwo!")
    assert record["response"] == digest(reply["embeddings"])
    short = client.post("/api/embed", json={"model": MODEL, "input": "zz}", "dimensions": 124}).get_json()
    assert len(short["embeddings"][0]) == 124
    assert math.isclose(math.hypot(*short["embeddings"][0]), 1, rel_tol=1e-5)


def test_embed_takes_texts_only(client: FlaskClient) -> None:
    assert client.post("/api/embed", json={"model": MODEL, "input": []}).get_json()["embeddings"] == []
    response = client.post("/api/embed", json={"model": MODEL, "input": 5})
    assert (response.status_code, response.get_json()) == (400, {"error": "invalid input type"})


def test_the_old_embeddings_route_gives_one_vector(client: FlaskClient) -> None:
    reply = client.post("/api/embeddings", json={"model": MODEL, "prompt": "one"}).get_json()
    assert math.isclose(math.hypot(*reply["embedding"]), 1, rel_tol=1e-5)
    assert client.post("/api/embeddings", json={"model": MODEL, "prompt": ""}).get_json() == {"embedding": []}


def test_tags_and_ps_describe_the_served_model(client: FlaskClient) -> None:
    for path in ("/api/tags", "/api/ps"):
        (entry,) = client.get(path).get_json()["models"]
        assert entry["name"] == entry["model"] == "scripted:latest"
        assert len(entry["digest"]) == 64
        assert set(entry["details"]) >= {"format", "family", "families", "parameter_size", "quantization_level"}
    assert client.head("/api/tags").status_code == 200
    assert datetime.fromisoformat(entry["expires_at"].replace("Z", "+00:00")).year > 2100


def test_show_always_has_model_info(client: FlaskClient) -> None:
    for body in ({"model": "scripted:latest"}, {"name": MODEL}):
        reply = client.post("/api/show", json=body).get_json()
        info = reply["model_info"]
        assert info["general.architecture"] == "script"
        assert info["script.context_length"] == 512
        assert info["general.basename"] == "scripted"
        assert "completion" in reply["capabilities"]
        assert "tools" in reply["capabilities"]
        assert "thinking" not in reply["capabilities"]


def test_copilot_finds_the_name_it_asked_for(client: FlaskClient) -> None:
    agent = {"User-Agent": "GitHubCopilotChat/0.31"}
    reply = client.post("/api/show", json={"model": "scripted:latest"}, headers=agent).get_json()
    assert reply["model_info"]["general.basename"] == "scripted:latest"


def test_the_version_is_ollamas(client: FlaskClient) -> None:
    version = client.get("/api/version").get_json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
    assert client.head("/api/version").status_code == 200
    assert client.get("/api/status").get_json()["cloud"]["disabled"] is True
