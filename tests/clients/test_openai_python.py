"""The `openai` package as its users use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pydantic
import pytest

from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer, live_server

HELLO: Any = [{"role": "user", "content": "say Hello"}]


class Person(pydantic.BaseModel):
    model_config = {"extra": "forbid"}

    age: int = pydantic.Field(ge=0, le=99)
    happy: bool


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, seed=1, user="me")
    assert reply.choices[0].message.content == "Hello"
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.system_fingerprint or "").startswith("mv2:")
    assert reply.usage is not None
    assert reply.usage.total_tokens == 15
    assert reply._request_id is not None
    assert reply.id == f"chatcmpl-{reply._request_id}"


def test_chat_streams_with_usage(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6


def test_the_streaming_helper_accumulates(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HELLO, n=2) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.done" in kinds
    assert [choice.message.content for choice in final.choices] == ["Hello", "Hello"]


def test_the_asynchronous_client(server: LiveServer) -> None:
    async def talk() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none") as client:
            whole = await client.chat.completions.create(model=MODEL, messages=HELLO)
            stream = await client.completions.create(model=MODEL, prompt="say Hi", stream=True)
            text = "".join([chunk.choices[0].text async for chunk in stream])
            return whole.choices[0].message.content, text

    assert asyncio.run(talk()) == ("Hello", "Hi")


def test_completions(client: openai.OpenAI) -> None:
    reply = client.completions.create(model=MODEL, prompt=["say a", "say b"], n=2, echo=True, max_tokens=5)
    assert [choice.text for choice in reply.choices] == ["say aa", "say aa", "say bb", "say bb"]


def test_logprobs_in_both_layouts(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2)
    assert chat.choices[0].logprobs is not None
    assert [entry.token for entry in chat.choices[0].logprobs.content or []] == list("Hello")
    text = client.completions.create(model=MODEL, prompt="say Hello", logprobs=2)
    assert text.choices[0].logprobs is not None
    assert text.choices[0].logprobs.tokens == list("Hello")


def test_parse_returns_the_model(client: openai.OpenAI) -> None:
    reply = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Person, temperature=2, seed=4)
    assert isinstance(reply.choices[0].message.parsed, Person)


def test_json_schema_by_hand(client: openai.OpenAI) -> None:
    schema = Person.model_json_schema()
    reply = client.chat.completions.create(
        model=MODEL,
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    )
    jsonschema.validate(json.loads(reply.choices[0].message.content or ""), schema)


def test_responses(client: openai.OpenAI) -> None:
    reply = client.responses.create(model=MODEL, input="say Hello", instructions="Be brief.")
    assert reply.output_text == "Hello"
    assert reply.status == "completed"
    assert reply.usage is not None
    parsed = client.responses.parse(model=MODEL, input="say Hello", text_format=Person)
    assert isinstance(parsed.output_parsed, Person)


def test_responses_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="say Hello") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == "Hello"


def test_embeddings(client: openai.OpenAI) -> None:
    reply = client.embeddings.create(model=MODEL, input=["one", "two"])
    assert [len(item.embedding) for item in reply.data] == [257, 257]
    numbers = client.embeddings.create(model=MODEL, input="one", encoding_format="float")
    assert numbers.data[0].embedding == pytest.approx(reply.data[0].embedding)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve("scripted:latest").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/other")


def test_errors_are_of_their_class(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="other", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=HELLO, temperature=3)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="x" * 2000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.InternalServerError):
        client.completions.create(model=MODEL, prompt="raise=0 say x")
    assert bad.value.request_id


def test_an_error_in_the_stream_is_raised(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="model"):
        list(client.completions.create(model=MODEL, prompt="raise=2 say Hello", stream=True))


def test_leaving_a_stream_ends_every_choice(server: LiveServer, client: openai.OpenAI) -> None:
    content: Any = [{"role": "user", "content": "delay=0.05 say " + "long " * 100}]
    stream = client.chat.completions.create(model=MODEL, messages=content, stream=True, n=2)
    next(iter(stream))
    stream.close()
    server.wait_for(lambda: httpx.get(server.url + "/health").json()["running"] == 0)
    server.wait_for(lambda: [r["status"] for r in answers(server)[-2:]] == ["cancelled"] * 2)


def test_a_busy_server_is_tried_again_and_the_retry_is_recorded(tmp_path: Path) -> None:
    with live_server(tmp_path, max_running=1, max_waiting=0, rate_limit="") as busy:
        busy.wait_ready()
        with openai.OpenAI(base_url=busy.url + "/v1", api_key="none", max_retries=4) as client:
            first = client.completions.create(model=MODEL, prompt="delay=0.05 say " + "x" * 16, stream=True)
            next(iter(first))
            assert client.completions.create(model=MODEL, prompt="say Hello").choices[0].text == "Hello"
            first.close()
        assert "retry/" in answers(busy)[-1]["user_agent"]
