"""A whole server in front of an engine elsewhere: every dialect, every record, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.config import Settings
from minivault.replay import replay
from minivault.service import roster_of
from minivault.vault.reader import read_records
from minivault.vault.verify import verify
from tests.live import GUARD_S, LiveServer, live_server, until
from tests.service.upstream.engine import Engine, Error, engine, words

pytestmark = pytest.mark.server

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"place": "Oslo"}'}}
THOUGHT = {"choices": [{"delta": {"reasoning_content": "Hm."}}]}
ANSWER = "Hello there"
goes_on = threading.Event()


WHOLE = {
    "/v1/completions": [{"choices": [{"text": ANSWER, "finish_reason": "stop"}]}],
    "/v1/embeddings": Error(200, {"data": [{"index": 0, "embedding": [0, 2]}], "usage": {"prompt_tokens": 4}}),
    "/tokenize": Error(200, {"tokens": [5, 6, 7]}),
}


def reply(path: str, body: dict[str, Any]) -> Any:
    if path in WHOLE:
        return WHOLE[path]
    said = body["messages"][-1]["content"]
    if said == "refuse":
        return Error(400, {"error": {"message": "no such voice"}})
    if said == "slow":
        return slowly()
    if body.get("tools"):
        return [{"choices": [{"delta": {"tool_calls": [CALL]}}]}, *words(reason="tool_calls")]
    return [THOUGHT, *words("Hello", " there")]


def slowly() -> Iterator[Any]:
    yield from words("Hel", "lo…", reason=None)
    goes_on.wait(GUARD_S)


@pytest.fixture(scope="module")
def there() -> Iterator[Engine]:
    with engine(reply) as running:
        yield running
        goes_on.set()


@pytest.fixture(scope="module")
def front(there: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("front"), backend="upstream", upstream_url=there.url) as server:
        server.wait_ready()
        yield server


def post(front: LiveServer, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(front.url + path, json=body, timeout=GUARD_S)


def record_of(front: LiveServer, id_: str) -> dict[str, Any]:
    return next(record for record in read_records(front.vault) if record["id"] == id_)


MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "m", "messages": MESSAGES}


def test_every_dialect_gives_the_engines_answer(front: LiveServer) -> None:
    assert post(front, "/generate", {"prompt": "Hi"}).json()["response"] == ANSWER
    lines = post(front, "/stream-generate", {"prompt": "Hi"}).text.splitlines()
    assert "".join(json.loads(line).get("token", "") for line in lines) == ANSWER
    chat = post(front, "/v1/chat/completions", CHAT).json()["choices"][0]
    assert (chat["message"]["content"], chat["message"]["reasoning_content"]) == (ANSWER, "Hm.")
    assert post(front, "/v1/completions", {"model": "m", "prompt": "Hi"}).json()["choices"][0]["text"] == ANSWER
    ollama = post(front, "/api/chat", CHAT | {"stream": False}).json()
    assert (ollama["message"]["content"], ollama["prompt_eval_count"]) == (ANSWER, 3)
    assert "context" not in post(front, "/api/generate", {"model": "m", "prompt": "Hi", "stream": False}).json()
    claude = post(front, "/v1/messages", CHAT | {"max_tokens": 9}).json()
    assert (claude["content"][-1]["text"], claude["usage"]["output_tokens"]) == (ANSWER, 2)
    answered = post(front, "/v1/responses", {"model": "m", "input": "Hi"}).json()
    assert answered["output"][-1]["content"][0]["text"] == ANSWER


def test_a_call_is_a_call_in_every_dialect(front: LiveServer) -> None:
    chat = post(front, "/v1/chat/completions", CHAT | {"tools": [TOOL]}).json()["choices"][0]
    (call,) = chat["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"place": "Oslo"})
    assert chat["finish_reason"] == "tool_calls"
    ollama = post(front, "/api/chat", CHAT | {"stream": False, "tools": [TOOL]}).json()
    assert ollama["message"]["tool_calls"][0]["function"]["arguments"] == {"place": "Oslo"}
    tool = {"name": "weather", "input_schema": {"type": "object"}}
    claude = post(front, "/v1/messages", CHAT | {"max_tokens": 9, "tools": [tool]}).json()
    assert (claude["content"][-1]["input"], claude["stop_reason"]) == ({"place": "Oslo"}, "tool_use")


def test_the_record_holds_what_was_sent_who_answered_and_what_was_dropped(front: LiveServer, there: Engine) -> None:
    answered = post(front, "/v1/chat/completions", CHAT | {"logprobs": True, "seed": 5})
    record = record_of(front, answered.headers["X-Request-Id"])
    path, _, body = record["rendered_prompt"].partition(" ")
    assert (path, json.loads(body)) == ("/chat/completions", there.asked[-1])
    assert (record["response"], record["reasoning"], record["seed"]) == (ANSWER, "Hm.", 5)
    assert record["fingerprint"].startswith("upstream:")
    assert record["upstream"] == {
        "server": there.url,
        "engine": "vllm",
        "id": "chatcmpl-1",
        "model": "m",
        "dropped": ["logprobs"],
    }
    assert any(other.get("fingerprint") == record["fingerprint"] for other in read_records(front.vault))


def test_what_the_engine_refuses_is_a_400_in_its_words_and_a_record(front: LiveServer) -> None:
    refused = post(front, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "refuse"}]})
    assert refused.status_code == 400
    assert "no such voice" in refused.json()["error"]["message"]
    record = record_of(front, refused.headers["X-Request-Id"])
    assert (record["status"], record["error"]["code"]) == ("failed", "invalid_request")


def test_what_no_engine_elsewhere_can_do_is_a_400_before_anything_is_asked(front: LiveServer, there: Engine) -> None:
    num_asked = len(there.asked)
    for path, body in [
        ("/v1/embeddings", {"model": "m", "input": ""}),
        ("/v1/chat/completions", CHAT | {"prompt_logprobs": 1}),
        ("/v1/rerank", {"model": "m", "query": "text", "documents": ["text"]}),
        ("/tokenize", {"content": "text", "parse_special": False, "add_special": True}),
    ]:
        refused = post(front, path, body)
        assert refused.status_code == 400, (path, refused.text)
    assert len(there.asked) == num_asked


def test_embeddings_and_token_counts_are_the_engines(front: LiveServer, there: Engine) -> None:
    embedded = post(front, "/v1/embeddings", {"model": "m", "input": "text"})
    assert (embedded.json()["data"][0]["embedding"], embedded.json()["usage"]["prompt_tokens"]) == ([0, 1], 4)
    record = record_of(front, embedded.headers["X-Request-Id"])
    assert (record["source"], record["usage"]["prompt_tokens"], record["upstream"]["engine"]) == (
        "embedding",
        4,
        "vllm",
    )
    assert post(front, "/api/embed", {"model": "m", "input": "text"}).json()["embeddings"] == [[0, 1]]
    too_many = post(front, "/v1/embeddings", {"model": "m", "input": "text", "dimensions": 3})
    assert (too_many.status_code, too_many.json()["error"]["param"]) == (400, "dimensions")
    assert post(front, "/tokenize", {"content": "text"}).json() == {"tokens": [5, 6, 7]}
    assert post(front, "/v1/messages/count_tokens", CHAT).json() == {"input_tokens": 3}
    assert post(front, "/v1/responses/input_tokens", {"model": "m", "input": "Hi"}).json()["input_tokens"] == 3


def test_a_client_that_leaves_ends_the_answer_at_the_engine(front: LiveServer, there: Engine) -> None:
    there.left.clear()
    body = {"prompt": "slow"}
    with httpx.stream("POST", front.url + "/stream-generate", json=body, timeout=GUARD_S) as response:
        next(response.iter_raw())
        id_ = response.headers["X-Request-Id"]
    until(lambda: any(record["id"] == id_ for record in read_records(front.vault)))
    record = record_of(front, id_)
    assert (record["status"], record["response"]) == ("cancelled", "Hello…")


def test_a_killed_front_leaves_a_record_of_all_that_was_sent(front: LiveServer) -> None:
    body = {"prompt": "slow"}
    with httpx.stream("POST", front.url + "/stream-generate", json=body, timeout=GUARD_S) as response:
        id_, told = response.headers["X-Request-Id"], ""
        for line in response.iter_lines():
            told += json.loads(line)["token"]
            if told == "Hello…":
                (worker,) = front.workers()
                os.kill(worker, signal.SIGKILL)  # before this client leaves
                break
    front.wait_for(lambda: any(record["id"] == id_ for record in read_records(front.vault)))
    record = record_of(front, id_)
    assert (record["status"], record["response"], record["reconstructed"]) == ("interrupted", "Hello…", True)
    assert verify(front.vault).exit_code == 0


def test_a_replay_asks_the_engine_again_and_says_how_far_that_goes(there: Engine, front: LiveServer) -> None:
    record = record_of(front, post(front, "/generate", {"prompt": "Hi"}).headers["X-Request-Id"])
    roster = roster_of(Settings(backend="upstream", upstream_url=there.url))
    try:
        roster.default.wait_loaded(GUARD_S)
        changed = record | {"response": "Hello here"}
        same, other = replay(roster.default, [record, changed], 1)
        assert there.asked[-1] == json.loads(record["rendered_prompt"].partition(" ")[2])
    finally:
        roster.close()
    assert (same.outcome, same.unit, same.num_tokens) == ("identical", "byte", len(ANSWER))
    assert "not checked" in same.reason
    assert other.outcome == "not comparable"
    assert "from byte 6" in other.reason


def test_a_server_without_a_place_to_ask_does_not_start(tmp_path: Path) -> None:
    for settings, told in [({}, "MINIVAULT_UPSTREAM_URL"), ({"upstream_url": "gpu1:8000"}, "http://HOST:PORT/v1")]:
        with live_server(tmp_path, backend="upstream", **settings) as server:
            assert server.wait_ended() != 0
            assert told in server.log
