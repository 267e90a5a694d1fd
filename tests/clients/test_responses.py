"""Responses through OpenAI's SDK, and those that clients which cannot run here really ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from tests.clients.conftest import MODEL, Recorded, recorded
from tests.live import LiveServer, live_server

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
ADD: Any = {"type": "function", "name": "add", "strict": True,
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                           "additionalProperties": False}}  # fmt: skip


class Letter(BaseModel):
    letter: bool


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("responses")
    with live_server(directory, backend="tests.clients.tools_backend:backend", rate_limit="", context=1024) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def without_receipt(given: dict[str, Any]) -> dict[str, Any]:
    """What a response is when it is read again: its receipt came with the answer, and can be had apart."""
    assert given["receipt"]["id"] == given["id"].removeprefix("resp_")
    return {name: value for name, value in given.items() if name != "receipt"}


def test_a_response_is_retrieved_listed_continued_and_deleted(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="say One")
    second = client.responses.create(model=MODEL, input="say Two", previous_response_id=first.id)
    assert client.responses.retrieve(second.id).to_dict() == without_receipt(second.to_dict())
    items = list(client.responses.input_items.list(second.id, limit=1, order="asc"))
    assert [item.type for item in items] == ["message"] * 3
    assert items[1].id == first.output[0].id
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as refused:
        client.responses.create(model=MODEL, input="say Two", previous_response_id=first.id)
    assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")


def test_the_stream_helper_adds_up_to_what_is_retrieved(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=f"say Well. {CALL}", tools=[ADD]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    message, call = final.output
    assert (message.type, call.type) == ("message", "function_call")
    assert call.parsed_arguments == {"a": 1}  # type: ignore[union-attr]
    again = client.responses.retrieve(final.id)
    assert again.output_text == final.output_text == "Well."
    assert [item.id for item in again.output] == [message.id, call.id]


def test_the_asynchronous_stream_helper_does_too(server: LiveServer) -> None:
    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            async with client.responses.stream(model=MODEL, input="say Hello") as stream:
                final = await stream.get_final_response()
            return final, await client.responses.retrieve(final.id)

    final, again = asyncio.run(ask())
    assert again.output_text == final.output_text == "Hello"


def test_the_parse_helper_reads_what_the_schema_says(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model=MODEL, input="say x", text_format=Letter)
    assert isinstance(parsed.output_parsed, Letter)
    assert client.responses.retrieve(parsed.id).output_text == parsed.output_text
    with client.responses.stream(model=MODEL, input="say x", text_format=Letter) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Letter)


def test_output_is_sent_back_as_input(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input=f"say Well. {CALL}", tools=[ADD])
    result = {"type": "function_call_output", "call_id": first.output[1].call_id, "output": "3"}  # type: ignore[union-attr]
    items: Any = [{"role": "user", "content": "add"}, *(item.to_dict() for item in first.output), result]
    assert client.responses.create(model=MODEL, input=items, tools=[ADD]).output_text == "got 3"


@pytest.mark.parametrize(
    "request_", [request for request in recorded() if request.path == "/v1/responses"], ids=lambda one: one.label
)
def test_what_clients_really_send_is_kept_and_given_again(server: LiveServer, request_: Recorded) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as http:
        reply = http.post("/v1/responses", json=request_.body | {"stream": False, "max_output_tokens": 300})
        assert reply.status_code == 200, reply.text
        kept = http.get(f"/v1/responses/{reply.json()['id']}")
    if request_.body.get("store", True):
        assert kept.json() == without_receipt(reply.json())
    else:
        assert kept.status_code == 404
