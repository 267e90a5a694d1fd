"""`POST /watermark/detect`, and what else of a marking server can be seen over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.access.keys import KeyFile, NewKey
from minivault.config import Settings
from minivault.engine.detection import detect
from minivault.vault.reader import read_records
from minivault.watermark import Mark, create_key, num_marked, read_mark
from tests.api.serving import serving
from tests.replaying import backend

FREE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 80, "seed": 3}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    create_key(tmp_path / "wm.key")
    return replace(settings, watermark_key_file=str(tmp_path / "wm.key"))


@pytest.fixture
def mark(settings: Settings) -> Mark:
    return read_mark(Path(settings.watermark_key_file), "")


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    with serving(settings, backend) as app:
        yield app


@pytest.fixture
def roles(settings: Settings) -> dict[str, dict[str, str]]:
    created = KeyFile(settings.keys_file).create(*(NewKey(role, role) for role in ("use", "audit", "admin")))
    return {key.role: {"Authorization": f"Bearer {token}"} for key, token in created}


def records(settings: Settings) -> list[dict[str, Any]]:
    return [one for one in read_records(settings.log_dir) if one["type"] == "interaction"]


def test_an_answers_tokens_are_found_and_others_are_not(
    client: FlaskClient, settings: Settings, mark: Mark, roles: dict[str, dict[str, str]]
) -> None:
    client.post("/generate", json={"prompt": "one", "ignore_eos": True, **FREE}, headers=roles["use"])
    [record] = records(settings)
    tokens = record["completion_tokens"]
    found = client.post("/watermark/detect", json={"tokens": tokens}, headers=roles["audit"]).get_json()
    assert (found["model"], found["scheme"], found["key"]) == ("wanderer", "gumbel-mark-1", mark.key_id)
    assert (found["num_tokens"], found["num_counted"]) == (80, record["watermark"]["num_marked"])
    assert found["p_value"] < 1e-12 and found["log10_p"] < -12
    other = client.post("/watermark/detect", json={"text": "Somebody else wrote this."}, headers=roles["admin"])
    assert other.get_json()["p_value"] > 1e-6 and other.get_json()["num_tokens"] == 25


@pytest.mark.parametrize("text", ["a", "abcd"])
def test_of_what_is_too_short_nothing_is_said(client: FlaskClient, roles: dict[str, dict[str, str]], text: str) -> None:
    found = client.post("/watermark/detect", json={"text": text}, headers=roles["audit"]).get_json()
    assert (found["num_counted"], found["p_value"], found["score"]) == (0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 100_001}, "text"),
        ({"text": 5}, "text"),
        ({"tokens": []}, "tokens"),
        ({"tokens": [1] * 100_001}, "tokens"),
        ({"tokens": [1, 2, 10**6]}, "tokens"),
        ({"tokens": [-1]}, "tokens"),
        ({"tokens": [2**70]}, "tokens"),
        ({"tokens": ["1"]}, "tokens"),
        ({"text": "x", "model": ""}, "model"),
    ],
)
def test_what_is_wrong_is_named(
    client: FlaskClient, roles: dict[str, dict[str, str]], body: dict[str, Any], field: str
) -> None:
    refused = client.post("/watermark/detect", json=body, headers=roles["audit"])
    assert refused.status_code == 400
    assert refused.get_json()["error"]["field"].split(".")[0] == field


@pytest.mark.parametrize("body", [{}, {"text": "x", "tokens": [1]}, {"text": None}])
def test_one_of_both_is_wanted(client: FlaskClient, roles: dict[str, dict[str, str]], body: dict[str, Any]) -> None:
    refused = client.post("/watermark/detect", json=body, headers=roles["audit"])
    assert refused.status_code == 400 and "either text or tokens" in refused.get_json()["error"]["message"]


def test_another_model_is_not_found(client: FlaskClient, roles: dict[str, dict[str, str]]) -> None:
    refused = client.post("/watermark/detect", json={"text": "x", "model": "other"}, headers=roles["audit"])
    assert refused.status_code == 404


def test_only_auditors_may_ask(client: FlaskClient, roles: dict[str, dict[str, str]]) -> None:
    assert client.post("/watermark/detect", json={"text": "x"}, headers=roles["use"]).status_code == 403
    assert client.post("/watermark/detect", json={"text": "x"}).status_code == 401


def test_a_server_that_marks_nothing_says_so(settings: Settings, roles: dict[str, dict[str, str]]) -> None:
    with serving(replace(settings, watermark_key_file=""), backend) as app:
        refused = app.test_client().post("/watermark/detect", json={"text": "x"}, headers=roles["audit"])
        health = app.test_client().get("/health", headers=roles["use"]).get_json()
    assert refused.status_code == 400
    assert "MINIVAULT_WATERMARK_KEY_FILE is not set" in refused.get_json()["error"]["message"]
    assert health["watermark"] is None


def test_health_tells_scheme_and_key_id_and_no_more(client: FlaskClient, mark: Mark) -> None:
    health = client.get("/health")
    assert health.get_json()["watermark"] == {"scheme": "gumbel-mark-1", "key": mark.key_id}
    assert mark.secret.hex() not in health.text


def test_every_way_of_asking_is_marked_alike(client: FlaskClient, settings: Settings) -> None:
    """Whole, streamed, several at once, with log-probabilities, with a stop string, to a schema, continued."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    client.post("/generate", json={"prompt": "one", **FREE})
    client.post("/stream-generate", json={"prompt": "one", **FREE}).get_data()
    client.post("/generate", json={"prompt": "one", "logprobs": 2, **FREE})
    chat = {**FREE, "model": "wanderer", "messages": [{"role": "user", "content": "one"}], "n": 3}
    chat.pop("top_k")
    several = client.post("/v1/chat/completions", json=chat).get_json()
    client.post("/generate", json={"prompt": "one", "stop": ["e"], **FREE})
    client.post("/v1/completions", json={"model": "wanderer", "prompt": "one", "watermarking": False, "max_tokens": 30})
    client.post("/generate", json={"prompt": "one", "format": schema, **FREE})
    found = records(settings)
    assert len(found) == 9 and all(
        record["watermark"]["num_marked"] > 0 for record in found if record["completion_tokens"][5:]
    )
    assert found[0]["completion_tokens"] == found[1]["completion_tokens"] == found[2]["completion_tokens"]
    assert len({json.dumps(choice["message"]["content"]) for choice in several["choices"]}) == 3
    for record in found:
        again = client.post(f"/vault/records/{record['id']}/replay").get_json()
        assert again["outcome"] == "identical", (record["request"], again)


def test_what_continues_an_answer_and_calls_of_tools_are_marked_and_replay(settings: Settings, mark: Mark) -> None:
    """Contexts are of the answer alone: what is continued is prompt, and a mark in it is not counted twice."""
    settings = replace(settings, context=4096)
    free = {"model": "wanderer", "temperature": 1.0, "seed": 3}
    asked = [{"role": "user", "content": "one"}]
    schema = {
        "type": "object",
        "properties": {"where": {"enum": ["the house behind the hill", "the garden of my neighbour"]}},
        "required": ["where"],
        "additionalProperties": False,
    }
    function = {"name": "look", "parameters": schema}
    tools = {"tools": [{"type": "function", "function": function}], "max_tokens": 300}
    with serving(settings, backend) as app:
        client = app.test_client()
        first = client.post("/v1/responses", json={**free, "input": "one", "max_output_tokens": 60}).get_json()
        second = {**free, "input": "two", "previous_response_id": first["id"], "max_output_tokens": 60}
        assert client.post("/v1/responses", json=second).status_code == 200
        said = {"role": "assistant", "content": first["output"][0]["content"][0]["text"]}
        goes_on = {"messages": [*asked, said], "continue_final_message": True, "max_tokens": 60}
        assert client.post("/v1/chat/completions", json={**free, **goes_on}).status_code == 200
        called = client.post(
            "/v1/chat/completions", json={**free, **tools, "messages": asked, "tool_choice": "required"}
        ).get_json()["choices"][0]["message"]
        given = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "a house"}
        after = {**tools, "messages": [*asked, called, given], "tool_choice": "none"}
        assert client.post("/v1/chat/completions", json={**free, **after}).status_code == 200
        found = records(settings)
        assert len(found) == 5
        for record in found:
            assert record["watermark"]["num_marked"] == num_marked(record["completion_tokens"]) > 0
            again = client.post(f"/vault/records/{record['id']}/replay").get_json()
            assert again["outcome"] == "identical", (record["request"], again)
            is_free = record["parameters"]["grammar"] is None
            assert (detect(mark, record["completion_tokens"]).p_value < 1e-6) or not is_free
