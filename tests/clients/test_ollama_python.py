"""The `ollama` package as its users use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import ollama
import pytest

from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer

SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["age"],
    "additionalProperties": False,
}
HELLO = [{"role": "user", "content": "say Hello"}]


@pytest.fixture
def client(server: LiveServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as client:
        yield client


def test_generate(client: ollama.Client) -> None:
    reply = client.generate(MODEL, "say Hello", options={"seed": 3})
    assert reply.response == "Hello"
    assert reply.done_reason == "stop"
    assert reply.created_at is not None
    assert reply.eval_count is not None
    assert reply.eval_duration is not None
    assert reply.eval_count / reply.eval_duration > 0
    assert reply.context is not None


def test_generate_streams(client: ollama.Client) -> None:
    parts = list(client.generate(MODEL, "say Hé 🦊", stream=True))
    assert "".join(part.response for part in parts) == "Hé 🦊"
    assert parts[-1].done


def test_chat(client: ollama.Client) -> None:
    reply = client.chat(MODEL, HELLO)
    assert (reply.message.role, reply.message.content) == ("assistant", "Hello")


def test_chat_streams(client: ollama.Client) -> None:
    parts = list(client.chat(MODEL, HELLO, stream=True))
    assert "".join(part.message.content or "" for part in parts) == "Hello"
    assert [part.done for part in parts][-1] is True


def test_the_asynchronous_client(server: LiveServer) -> None:
    async def talk() -> tuple[str | None, str]:
        client = ollama.AsyncClient(host=server.url)
        whole = await client.chat(MODEL, HELLO)
        parts = [part.response async for part in await client.generate(MODEL, "say Hi", stream=True)]
        await client._client.aclose()
        return whole.message.content, "".join(parts)

    assert asyncio.run(talk()) == ("Hello", "Hi")


def test_logprobs(client: ollama.Client) -> None:
    reply = client.chat(MODEL, HELLO, logprobs=True, top_logprobs=2)
    assert reply.logprobs is not None
    assert [entry.token for entry in reply.logprobs] == list("Hello")
    assert all(len(entry.top_logprobs or []) == 2 for entry in reply.logprobs)


def test_a_schema_is_kept(client: ollama.Client) -> None:
    reply = client.chat(MODEL, HELLO, format=SCHEMA, options={"temperature": 2, "seed": 1})
    jsonschema.validate(json.loads(reply.message.content or ""), SCHEMA)


def test_loading_and_unloading(client: ollama.Client) -> None:
    assert client.generate(MODEL).done_reason == "load"
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert client.chat(MODEL, keep_alive="5m").done_reason == "load"


def test_facts_about_the_model(client: ollama.Client) -> None:
    (listed,) = client.list().models
    assert listed.model == "scripted:latest"
    assert listed.modified_at is not None
    assert client.generate(MODEL, keep_alive=-1).done_reason == "load"
    (running,) = client.ps().models
    assert running.expires_at is not None
    assert running.expires_at.year > 2100
    shown = client.show(MODEL)
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "script"
    assert "completion" in (shown.capabilities or [])


def test_embeddings(client: ollama.Client) -> None:
    assert len(client.embed(MODEL, ["one", "two"]).embeddings) == 2
    assert len(client.embeddings(MODEL, "one").embedding) == 257


@pytest.mark.parametrize(
    ("model", "fields", "status", "message"),
    [
        ("other", {"prompt": "x"}, 404, "not found"),
        (MODEL, {"prompt": "raise=0 say x"}, 500, "model"),
        (MODEL, {"prompt": "x", "suffix": "y"}, 400, "does not support insert"),
        (MODEL, {"prompt": "x", "think": True}, 400, "does not support thinking"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_before_the_first_byte(
    client: ollama.Client, model: str, fields: dict[str, Any], status: int, message: str, stream: bool
) -> None:
    with pytest.raises(ollama.ResponseError, match=message) as failed:
        list(client.generate(model, stream=stream, **fields))
    assert failed.value.status_code == status


def test_a_prompt_that_is_too_long_is_shortened(client: ollama.Client) -> None:
    reply = client.generate(MODEL, "x" * 3000, options={"num_predict": 5})
    assert reply.prompt_eval_count == 1024 - 5


def test_an_error_in_the_stream_is_raised(client: ollama.Client) -> None:
    parts = []
    with pytest.raises(ollama.ResponseError, match="model"):
        parts.extend(client.chat(MODEL, [{"role": "user", "content": "raise=2 say Hello"}], stream=True))


def test_management_is_refused_in_words(client: ollama.Client) -> None:
    for refused in (lambda: client.pull("m"), lambda: list(client.pull("m", stream=True)), lambda: client.delete("m"),
                    lambda: client.copy("a", "b"), lambda: client.create("m", from_="a")):  # fmt: skip
        with pytest.raises(ollama.ResponseError, match="where the server runs") as failed:
            refused()
        assert failed.value.status_code == 403


def test_a_template_that_knows_no_tools_answers_all_the_same(client: ollama.Client) -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    reply = client.chat(MODEL, HELLO, tools=[add])
    assert reply.message.content == client.chat(MODEL, HELLO).message.content
    assert not reply.message.tool_calls


def test_leaving_a_stream_ends_its_generation(server: LiveServer, client: ollama.Client) -> None:
    stream = client.generate(MODEL, "delay=0.05 say " + "long " * 100, stream=True)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    server.wait_for(lambda: httpx.get(server.url + "/health").json()["running"] == 0)
    server.wait_for(lambda: answers(server)[-1]["status"] == "cancelled")
