"""`openai-agents` over responses and over chat: tools, streams, handoffs, conversations that the server keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import openai
import pytest

from tests.clients.conftest import MODEL
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

CALL = 'say <tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
HAND_OVER = 'say <tool_call>\n{"name": "transfer_to_other", "arguments": {}}\n</tool_call>'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("agents")
    with live_server(directory, backend="tests.clients.tools_backend:backend", rate_limit="") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def agents() -> ModuleType:
    found: ModuleType = pytest.importorskip("agents")
    found.set_tracing_disabled(True)
    return found


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def run(agents: ModuleType, server: LiveServer, kind: str, question: str, *, streams: bool = False, **how: Any) -> Any:
    """The result of one run of an agent that can add, hand over and search the web."""

    async def go() -> Any:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            model = getattr(agents, kind)(model=MODEL, openai_client=client)
            other = agents.Agent(name="other", model=model)
            tools = [agents.function_tool(add)]
            if kind == "OpenAIResponsesModel":
                tools.append(agents.WebSearchTool())
            agent = agents.Agent(name="one", instructions="Be kind.", tools=tools, handoffs=[other], model=model)
            if not streams:
                return await agents.Runner.run(agent, question, **how)
            result = agents.Runner.run_streamed(agent, question, **how)
            async for _ in result.stream_events():
                pass
            return result

    return asyncio.run(go())


KINDS = pytest.mark.parametrize("kind", ["OpenAIResponsesModel", "OpenAIChatCompletionsModel"])


@KINDS
@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_is_called_and_its_result_read(agents: ModuleType, server: LiveServer, kind: str, streams: bool) -> None:
    assert run(agents, server, kind, CALL, streams=streams).final_output == "got 3"


@KINDS
def test_an_agent_hands_over_to_another(agents: ModuleType, server: LiveServer, kind: str) -> None:
    assert run(agents, server, kind, HAND_OVER).last_agent.name == "other"


def test_the_server_keeps_the_conversation(agents: ModuleType, server: LiveServer) -> None:
    kind = "OpenAIResponsesModel"
    assert run(agents, server, kind, CALL, auto_previous_response_id=True).final_output == "got 3"
    first = run(agents, server, kind, "say One")
    second = run(agents, server, kind, "say Two", previous_response_id=first.last_response_id)
    assert second.final_output == "Two"
