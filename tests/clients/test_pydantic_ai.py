"""`pydantic-ai` over chat, responses and messages: words, streams, tools, and outputs of a type."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from tests.clients.conftest import MODEL
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

CALL = 'say <tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
KINDS = pytest.mark.parametrize("kind", ["chat", "responses", "messages"])


class Mood(pydantic.BaseModel):
    model_config = {"extra": "forbid"}

    is_happy: bool


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("pydantic_ai")
    with live_server(directory, backend="tests.clients.tools_backend:backend", rate_limit="") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def ai() -> ModuleType:
    return pytest.importorskip("pydantic_ai")  # type: ignore[no-any-return]


def run(server: LiveServer, kind: str, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `use` gives of a model that is asked in the dialect `kind`."""
    from pydantic_ai.models import anthropic as messages
    from pydantic_ai.models import openai as others
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    async def go() -> Any:
        settings: Any = {"max_tokens": 200}
        if kind == "messages":
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
                provider = AnthropicProvider(anthropic_client=client)
                return await use(messages.AnthropicModel(MODEL, provider=provider, settings=settings))
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            of = others.OpenAIChatModel if kind == "chat" else others.OpenAIResponsesModel
            return await use(of(MODEL, provider=OpenAIProvider(openai_client=client), settings=settings))

    return asyncio.run(go())


@KINDS
def test_words_come_whole_and_in_pieces(ai: ModuleType, server: LiveServer, kind: str) -> None:
    async def ask(model: Any) -> tuple[str, str, int]:
        agent = ai.Agent(model, instructions="Be kind.")
        whole = await agent.run("say Hello there")
        async with agent.run_stream("say Hello there") as answer:
            pieces = [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]
        return whole.output, "".join(pieces), answer.usage.output_tokens

    whole, streamed, num_tokens = run(server, kind, ask)
    assert whole == streamed == "Hello there"
    assert num_tokens == len("Hello there") + 1


@KINDS
def test_a_tool_is_called_its_result_read_and_the_conversation_goes_on(
    ai: ModuleType, server: LiveServer, kind: str
) -> None:
    async def ask(model: Any) -> tuple[str, str]:
        agent = ai.Agent(model, tools=[add])
        first = await agent.run(CALL)
        return first.output, (await agent.run("say Bye", message_history=first.all_messages())).output

    assert run(server, kind, ask) == ("got 3", "Bye")


@KINDS
def test_a_tool_is_called_in_a_stream(ai: ModuleType, server: LiveServer, kind: str) -> None:
    async def ask(model: Any) -> tuple[str, set[str]]:
        kinds = set()
        async with ai.Agent(model, tools=[add]).iter(CALL) as steps:
            async for step in steps:
                if ai.Agent.is_model_request_node(step):
                    async with step.stream(steps.ctx) as events:
                        kinds |= {type(event).__name__ async for event in events}
        return steps.result.output, kinds

    output, kinds = run(server, kind, ask)
    assert output == "got 3"
    assert {"PartStartEvent", "PartDeltaEvent", "PartEndEvent"} <= kinds


@KINDS
@pytest.mark.parametrize("streams", [False, True])
def test_an_output_of_a_type_is_a_call_that_is_forced(
    ai: ModuleType, server: LiveServer, kind: str, streams: bool
) -> None:
    """The default way: the type is a tool that must be called."""

    async def ask(model: Any) -> Any:
        agent = ai.Agent(model, output_type=Mood, retries=0)
        if not streams:
            return (await agent.run("say Hello")).output
        async with agent.run_stream("say Hello") as answer:
            return await answer.get_output()

    assert isinstance(run(server, kind, ask), Mood)


@pytest.mark.parametrize("kind", ["chat", "responses"])
def test_an_output_of_a_type_is_an_answer_in_a_format(ai: ModuleType, server: LiveServer, kind: str) -> None:
    async def ask(model: Any) -> Any:
        return (await ai.Agent(model, output_type=ai.NativeOutput(Mood), retries=0).run("say Hello")).output

    assert isinstance(run(server, kind, ask), Mood)


@KINDS
def test_where_words_are_an_output_too_words_may_be_said(ai: ModuleType, server: LiveServer, kind: str) -> None:
    async def ask(model: Any) -> Any:
        return (await ai.Agent(model, output_type=[Mood, str], retries=0).run("say Hello")).output

    assert run(server, kind, ask) == "Hello"


def test_embeddings(ai: ModuleType, server: LiveServer) -> None:
    from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def embed() -> Any:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            model = OpenAIEmbeddingModel(MODEL, provider=OpenAIProvider(openai_client=client))
            return await ai.Embedder(model).embed_documents(["one", "two"])

    assert [len(vector) for vector in asyncio.run(embed()).embeddings] == [257, 257]
