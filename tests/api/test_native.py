from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.config import Settings
from minivault.interaction import Recorder


def lines(response: TestResponse) -> list[dict[str, Any]]:
    assert response.data.endswith(b"\n")
    return [json.loads(line) for line in response.data.splitlines()]


def events(response: TestResponse) -> list[str]:
    return [event.removeprefix("data: ") for event in response.text.removesuffix("\n\n").split("\n\n")]


def records(settings: Settings) -> list[dict[str, Any]]:
    log = Path(settings.log_dir) / "log.jsonl"
    found = [json.loads(line) for line in log.read_text("ascii").splitlines()]
    return [record for record in found if record["type"] == "interaction"]


def test_a_whole_answer_has_the_documented_shape(client: FlaskClient) -> None:
    response = client.post("/generate", json={"prompt": "say Hello", "seed": 7})
    assert response.status_code == 200
    assert response.content_type == "application/json"
    reply = response.get_json()
    assert list(reply) == [
        "id", "response", "finish_reason", "usage", "model", "seed", "fingerprint", "generated_at", "timings",
        "receipt",
    ]  # fmt: skip
    assert reply["response"] == "Hello"
    assert reply["finish_reason"] == "stop"
    assert reply["seed"] == 7
    assert reply["usage"] == {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15, "cached_tokens": 0}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", reply["generated_at"])
    assert reply["id"] == response.headers["X-Request-Id"]


def test_curls_form_content_type_is_read_as_json(client: FlaskClient) -> None:
    response = client.post("/generate", data=b'{"prompt": "say x"}', content_type="application/x-www-form-urlencoded")
    assert response.get_json()["response"] == "x"


@pytest.mark.parametrize("path", ["/generate", "/stream-generate"])
def test_a_stream_is_ndjson_by_default(client: FlaskClient, path: str) -> None:
    response = client.post(path, json={"prompt": "say Hé!", "stream": True})
    assert response.content_type == "application/x-ndjson"
    assert response.headers["X-Accel-Buffering"] == "no"
    *tokens, last = lines(response)
    assert tokens == [{"token": "H", "index": 0}, {"token": "é", "index": 1}, {"token": "!", "index": 2}]
    assert last["done"] is True
    assert last["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == 5
    assert last["id"] == response.headers["X-Request-Id"]


def test_sse_carries_the_same_objects_and_ends_with_done(client: FlaskClient) -> None:
    response = client.post("/stream-generate", json={"prompt": "say Hi"}, headers={"Accept": "text/event-stream"})
    assert response.content_type == "text/event-stream"
    *data, done = events(response)
    assert done == "[DONE]"
    assert [json.loads(item).get("token") for item in data] == ["H", "i", None]
    assert json.loads(data[-1])["done"] is True


def test_every_reply_carries_the_safety_headers(client: FlaskClient) -> None:
    for response in (client.post("/generate", json={}), client.get("/nowhere"), client.get("/health")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["X-Request-Id"])


@pytest.mark.parametrize("prompt", ["What model are you?", "what model are you", "WHAT MODEL ARE YOU?"])
def test_the_built_in_answer_names_the_model_and_is_recorded(
    client: FlaskClient, settings: Settings, prompt: str
) -> None:
    reply = client.post("/generate", json={"prompt": prompt}).get_json()
    assert "scripted" in reply["response"]
    assert reply["fingerprint"] in reply["response"]
    (record,) = records(settings)
    assert (record["source"], record["prompt"], record["response"]) == ("builtin", prompt, reply["response"])


def test_each_interaction_is_one_record_with_what_was_asked_and_answered(
    client: FlaskClient, settings: Settings
) -> None:
    body = '{"prompt": "say Hello",  "seed": 3, "max_tokens": 4}'
    reply = client.post("/generate", data=body, content_type="application/json").get_json()
    (record,) = records(settings)
    assert record["id"] == reply["id"]
    assert (record["prompt"], record["response"], record["request"]) == ("say Hello", "Hell", body)
    assert (record["status"], record["finish_reason"], record["api"]) == ("completed", "length", "generate")
    assert record["parameters"]["seed"] == 3
    assert record["parameters"]["max_tokens"] == 4
    assert record["usage"]["completion_tokens"] == 4
    assert bytes(record["completion_tokens"]) == b"Hell"
    assert record["fingerprint"] == reply["fingerprint"]
    assert record["time_ns"] > 0


def test_a_drawn_seed_is_returned_and_recorded(client: FlaskClient, settings: Settings) -> None:
    reply = client.post("/generate", json={"prompt": "say x"}).get_json()
    (record,) = records(settings)
    assert record["parameters"]["seed"] == reply["seed"]
    assert 0 <= reply["seed"] < 2**63


def test_a_stop_string_ends_the_answer_before_itself(client: FlaskClient) -> None:
    reply = client.post("/generate", json={"prompt": "say one two three", "stop": " tw"}).get_json()
    assert (reply["response"], reply["finish_reason"]) == ("one", "stop")


def test_log_probabilities_come_with_each_token(client: FlaskClient) -> None:
    reply = client.post("/generate", json={"prompt": "say ab", "logprobs": 2}).get_json()
    assert [entry["token"] for entry in reply["logprobs"]][:2] == ["a", "b"]
    assert all(len(entry["top"]) == 2 for entry in reply["logprobs"])
    stream = lines(client.post("/stream-generate", json={"prompt": "say ab", "logprobs": 0}))
    assert stream[0]["logprobs"][0]["token"] == "a"


def test_a_failure_before_the_first_token_has_a_real_status(client: FlaskClient, settings: Settings) -> None:
    for path in ("/generate", "/stream-generate"):
        response = client.post(path, json={"prompt": "raise=0 say Hello"})
        assert response.status_code == 500
        error = response.get_json()["error"]
        assert error["code"] == "generation_failed"
        assert error["request_id"] == response.headers["X-Request-Id"]
        assert "secret" not in response.text
    assert [record["status"] for record in records(settings)] == ["failed", "failed"]


def test_a_failure_in_the_stream_is_its_last_line(client: FlaskClient, settings: Settings) -> None:
    *tokens, last = lines(client.post("/stream-generate", json={"prompt": "raise=3 say Hello"}))
    assert "".join(token["token"] for token in tokens) == "Hel"
    assert last["done"] is True
    assert last["finish_reason"] == "error"
    assert last["error"]["code"] == "generation_failed"
    (record,) = records(settings)
    assert (record["status"], record["response"], record["error"]["code"]) == ("failed", "Hel", "generation_failed")


def test_a_client_that_stops_reading_leaves_a_cancelled_record(client: FlaskClient, settings: Settings) -> None:
    response = client.post("/stream-generate", json={"prompt": "delay=0.05 say abcdefghij"}, buffered=False)
    first = next(iter(response.response))
    response.close()
    assert json.loads(first)["token"] == "a"
    (record,) = records(settings)
    assert record["status"] == "cancelled"
    assert record["response"].startswith("a")
    assert len(record["response"]) < 10


def test_a_stream_that_is_never_read_is_recorded_too(client: FlaskClient, settings: Settings) -> None:
    response = client.post("/stream-generate", json={"prompt": "delay=0.05 say abcdefghij"}, buffered=False)
    response.close()
    (record,) = records(settings)
    assert record["status"] == "cancelled"


@pytest.mark.parametrize(
    ("request_", "status", "code", "field"),
    [
        ({"data": b"{"}, 400, "invalid_request", None),
        ({"data": b'{"prompt": NaN}'}, 400, "invalid_request", None),
        ({"data": b"[" * 100_000}, 400, "invalid_request", None),
        ({"data": b"[1]"}, 400, "invalid_request", None),
        ({"json": {"prompt": "x", "temperature": 3}}, 400, "invalid_request", "temperature"),
        ({"json": {"prompt": "x" * 600}}, 400, "context_length_exceeded", "prompt"),
        ({"json": {"prompt": "x", "model": "other"}}, 404, "model_not_found", "model"),
        ({"data": b"<x/>", "content_type": "text/xml"}, 415, "unsupported_media_type", "Content-Type"),
        ({"data": b"x" * (1024 * 1024 + 1)}, 413, "too_large", None),
    ],
)
def test_bad_input_is_refused_in_the_documented_shape_and_not_recorded(
    client: FlaskClient, settings: Settings, request_: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    request_.setdefault("content_type", "application/json")
    response = client.post("/generate", **request_)
    assert response.status_code == status
    error = response.get_json()["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert set(error) == {"code", "message", "field", "request_id"}
    assert not (settings.log_dir / "log.jsonl").exists() or records(settings) == []


def test_wrong_methods_and_paths_answer_in_the_same_shape(client: FlaskClient) -> None:
    response = client.get("/generate")
    assert response.status_code == 405
    assert response.headers["Allow"]
    assert response.get_json()["error"]["code"] == "method_not_allowed"
    assert client.post("/nowhere").get_json()["error"]["code"] == "not_found"


def test_health_counts_what_was_answered(client: FlaskClient) -> None:
    client.post("/generate", json={"prompt": "say Hello"})
    health = client.get("/health").get_json()
    assert set(health) == {
        "status", "reason", "uptime_s", "requests", "average_response_ms", "tokens", "running", "waiting", "vault",
        "model", "fingerprint_parts", "models", "version", "context", "cache", "watermark",
    }  # fmt: skip
    assert health["context"] == 512
    assert set(health["cache"]) == {"bytes", "tokens", "used_tokens", "reusable_tokens", "preemptions"}
    assert (health["status"], health["requests"], health["tokens"]) == ("ok", 1, 6)
    assert health["vault"]["seq"] >= 1
    assert client.get("/ready").status_code == 200


def test_health_is_not_ok_when_nothing_can_be_recorded(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = replace(app.extensions["minivault"].vault_status(), writable=False, reason="the disk is full")
    monkeypatch.setattr(Recorder, "vault_status", lambda _self: status)
    health = client.get("/health").get_json()
    assert (health["status"], health["vault"]["error"]) == ("vault_unavailable", "the disk is full")
    assert client.get("/ready").status_code == 503


def test_metrics_are_prometheus_text(client: FlaskClient) -> None:
    client.post("/generate", json={"prompt": "say Hello"})
    text = client.get("/metrics").text
    assert 'minivault_interactions_total{api="generate",finish_reason="stop",status="completed"} 1.0' in text
    assert 'minivault_tokens_total{kind="completion"} 6.0' in text
    reply = 'minivault_http_requests_total{dialect="native",method="POST",route="/generate",status="200"} 1.0'
    assert reply in text
    assert "minivault_inter_token_seconds_count 5.0" in text
    assert "minivault_prefix_cache_hit_ratio 0.0" in text
    assert float(re.findall(r"(?m)^minivault_resident_bytes (\S+)", text)[0]) > 1e6


def test_metrics_count_what_was_refused_and_why(client: FlaskClient) -> None:
    client.post("/generate", json={"prompt": ""})
    client.post("/generate", json={"prompt": 1})
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'minivault_refused_total{code="invalid_request"} 2.0' in text
    assert 'minivault_refused_total{code="not_found"} 1.0' in text


def test_metrics_count_the_failures_of_the_rate_storage(client: FlaskClient, settings: Settings) -> None:
    assert "minivault_rate_storage_failures_total 0.0" in client.get("/metrics").text
    settings.run_dir.parent.mkdir(parents=True)
    settings.run_dir.write_text("a file where the storage's directory should be")
    assert client.post("/generate", json={"prompt": "say Hello"}).status_code == 200
    assert "minivault_rate_storage_failures_total 1.0" in client.get("/metrics").text
