"""The `anthropic` package as its users use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pydantic
import pytest

from minivault.access.keys import KeyFile, NewKey
from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer, live_server

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
TOOLS: Any = [{"name": "add", "description": "Add.", "input_schema": PARAMETERS}]


class Person(pydantic.BaseModel):
    model_config = {"extra": "forbid"}

    happy: bool


def asking(text: str = "say Hello", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture(scope="module")
def tooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("tools")
    with live_server(directory, backend="tests.clients.tools_backend:backend", rate_limit="") as running:
        running.wait_ready()
        yield running


@pytest.fixture(autouse=True)
def no_settings_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package reads keys and profiles from the environment and the home directory."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def client(server: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def tool_client(tooled: LiveServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=tooled.url, api_key="none", max_retries=0) as client:
        yield client


def test_a_message(server: LiveServer, client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        **asking(system=[{"type": "text", "text": "Be brief."}], metadata={"user_id": "u"})
    )
    (block,) = message.content
    assert block.type == "text" and block.text == "Hello"
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 6)
    record = answers(server)[-1]
    assert (record["id"], record["api"]) == (message._request_id, "anthropic.messages")


@pytest.mark.parametrize("text", ["say Hé 🦊 there", "say ", "say a\n\nb"])
def test_a_stream_adds_up_to_the_whole(client: anthropic.Anthropic, text: str) -> None:
    asked = asking(text, stop_sequences=["\n\n"])
    with client.messages.stream(**asked) as stream:
        told = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = client.messages.create(**asked)
    assert told == "".join(block.text for block in whole.content if block.type == "text")
    own = {"id", "usage", "receipt"}
    ours, theirs = (json.loads(message.model_dump_json(exclude=own)) for message in (whole, final))
    assert ours == theirs
    assert whole.stop_sequence == ("\n\n" if "\n\n" in text else None)


def test_the_asynchronous_client(server: LiveServer) -> None:
    async def talk() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:
            whole = await client.messages.create(**asking())
            async with client.messages.stream(**asking("say Hi")) as stream:
                return whole.content[0].text, await stream.get_final_text()  # type: ignore[union-attr]

    assert asyncio.run(talk()) == ("Hello", "Hi")


def test_counting(client: anthropic.Anthropic) -> None:
    asked = asking("say one two three")
    counted = client.messages.count_tokens(model=asked["model"], messages=asked["messages"]).input_tokens
    usage = client.messages.create(**asked).usage
    assert counted == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_models(client: anthropic.Anthropic) -> None:
    (listed,) = client.models.list()
    assert (listed.id, listed.type) == (MODEL, "model")
    assert client.models.retrieve(MODEL).max_input_tokens == 1024


def test_an_answer_is_parsed(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(**asking(output_format=Person)).parsed_output
    assert isinstance(parsed, Person)


def test_the_beta_client(client: anthropic.Anthropic) -> None:
    edits: Any = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    thinking: Any = {"type": "adaptive", "display": "omitted"}
    asked = asking(betas=["context-management-2025-06-27"], context_management=edits, thinking=thinking)
    assert client.beta.messages.create(**asked).content[0].text == "Hello"  # type: ignore[union-attr]
    with client.beta.messages.stream(**asked) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"


def test_a_tool_is_called_and_its_result_told(tooled: LiveServer, tool_client: anthropic.Anthropic) -> None:
    asked = asking(f"say Let me see. {CALL}", tools=TOOLS)
    with tool_client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    message = tool_client.messages.create(**asked)
    assert [block.type for block in streamed.content] == ["text", "tool_use"]
    assert streamed.content[1].input == message.content[1].input == {"a": 1, "b": 2}  # type: ignore[union-attr]
    assert streamed.stop_reason == message.stop_reason == "tool_use"
    assert answers(tooled)[-1]["rendered_prompt"].startswith("tools=add ")
    result = {"type": "tool_result", "tool_use_id": message.content[1].id, "content": "3"}  # type: ignore[union-attr]
    turns: Any = [*asked["messages"], message.to_param(), {"role": "user", "content": [result]}]
    again = tool_client.messages.create(**asked | {"messages": turns})
    assert again.content[0].text == "got 3"  # type: ignore[union-attr]


def test_the_tool_runner_goes_round(tool_client: anthropic.Anthropic) -> None:
    called = []

    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Add two numbers."""
        called.append((a, b))
        return str(a + b)

    final = tool_client.beta.messages.tool_runner(**asking(f"say {CALL}", tools=[add])).until_done()
    assert called == [(1, 2)]
    assert final.content[0].text == "got 3"  # type: ignore[union-attr]


def test_a_call_can_be_forced(tool_client: anthropic.Anthropic) -> None:
    choices: Any = [{"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "add"}]
    for choice in choices:
        (block,) = tool_client.messages.create(**asking(tools=TOOLS, tool_choice=choice)).content
        assert block.type == "tool_use" and set(block.input) == {"a"}
        with tool_client.messages.stream(**asking(tools=TOOLS, tool_choice=choice)) as stream:
            assert stream.get_final_message().stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"model": "claude-opus-4-6"}, anthropic.NotFoundError, "model_not_found"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request"),
        ({"messages": [{"role": "user", "content": "raise=0 say x"}]}, anthropic.InternalServerError, None),
        ({"messages": [{"role": "user", "content": "x" * 2000}]}, anthropic.BadRequestError, "context_length_exceeded"),
        ({"messages": [{"role": "user", "content": "x" * (2 << 20)}]}, anthropic.ContentTooLargeError, "too_large"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, anthropic.BadRequestError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_packages_own(
    client: anthropic.Anthropic, fields: dict[str, Any], kind: type[anthropic.APIStatusError], code: str, stream: bool
) -> None:
    with pytest.raises(kind) as failed:
        client.messages.create(**asking(stream=stream) | fields)
    assert failed.value.request_id
    assert code in (None, failed.value.error_code)


def test_an_error_in_the_stream_is_raised(client: anthropic.Anthropic) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as failed,
        client.messages.stream(**asking("raise=2 say Hello")) as said,
    ):
        said.until_done()
    assert failed.value.type == "api_error"


def test_a_server_that_needs_keys(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    (_, token), (_, slow) = KeyFile(tmp_path / "home" / "keys.json").create(
        NewKey("agent", "use"), NewKey("slow", "use", rate="1/hour")
    )
    with live_server(tmp_path) as server:
        server.wait_ready()
        for secret in ({"api_key": token}, {"auth_token": token}):
            with anthropic.Anthropic(base_url=server.url, **secret) as client:  # type: ignore[arg-type]
                assert client.messages.create(**asking()).stop_reason == "end_turn"
                assert [model.id for model in client.models.list()] == [MODEL]
        with anthropic.Anthropic(base_url=server.url, api_key="wrong") as client:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                client.messages.create(**asking())
            assert refused.value.type == "authentication_error"
        with anthropic.Anthropic(base_url=server.url, api_key=slow) as client:
            client.messages.create(**asking())
            with pytest.raises(anthropic.RateLimitError) as limited:
                client.messages.create(**asking())
            assert limited.value.type == "rate_limit_error"
