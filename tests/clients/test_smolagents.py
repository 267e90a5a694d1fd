"""`smolagents` through OpenAI's SDK and through litellm: agents that call tools, and agents that write code."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.clients.conftest import MODEL
from tests.live import LiveServer, live_server

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

FINAL = 'say <tool_call>\n{"name": "final_answer", "arguments": {"answer": "3"}}\n</tool_call>'
CODE = "say Thought: easy\n<code>\nfinal_answer(1 + 2)\n</code>"
ASK: Any = [{"role": "user", "content": [{"type": "text", "text": "say Hello"}]}]
FORM = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
STREAMS = pytest.mark.parametrize("streams", [False, True])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """With room for what an agent is told first."""
    directory = tmp_path_factory.mktemp("smolagents")
    settings = {"backend": "tests.clients.tools_backend:backend", "rate_limit": "", "context": 65536}
    with live_server(directory, **settings) as running:
        running.wait_ready()
        yield running


@pytest.fixture
def smolagents() -> ModuleType:
    return pytest.importorskip("smolagents")  # type: ignore[no-any-return]


@pytest.fixture(params=["openai", "litellm openai", "litellm ollama"])
def model(
    request: pytest.FixtureRequest, smolagents: ModuleType, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    if request.param == "openai":
        return smolagents.OpenAIServerModel(MODEL, api_base=server.url + "/v1", api_key="none", max_tokens=300)
    if request.param == "litellm openai":
        names = {"model_id": f"openai/{MODEL}", "api_base": server.url + "/v1", "api_key": "none"}
    else:
        names = {"model_id": f"ollama_chat/{MODEL}", "api_base": server.url}
    return smolagents.LiteLLMModel(**names, max_tokens=300)


def test_words_come_whole_and_in_pieces(model: Any) -> None:
    assert model.generate(ASK).content == "Hello"
    assert "".join(piece.content or "" for piece in model.generate_stream(ASK)) == "Hello"


def test_an_answer_keeps_to_a_format(model: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": FORM, "strict": True}}
    assert model.generate(ASK, response_format=form).content in ('{"a": true}', '{"a": false}')


def test_a_tool_that_must_be_called_is_called(smolagents: ModuleType, server: LiveServer) -> None:
    @smolagents.tool
    def switch(is_on: bool) -> bool:
        """Switch the light.

        Args:
            is_on: whether it is to be on
        """
        return is_on

    model = smolagents.OpenAIServerModel(MODEL, api_base=server.url + "/v1", api_key="none", max_tokens=300, seed=5)
    (call,) = model.generate(ASK, tools_to_call_from=[switch]).tool_calls
    assert call.function.name == "switch"


@STREAMS
def test_an_agent_calls_tools_to_its_end(smolagents: ModuleType, model: Any, streams: bool) -> None:
    how = {"max_steps": 1, "verbosity_level": 0, "stream_outputs": streams}
    assert smolagents.ToolCallingAgent(tools=[], model=model, **how).run(FINAL) == "3"


@STREAMS
def test_an_agent_writes_code_to_its_end(smolagents: ModuleType, model: Any, streams: bool) -> None:
    how = {"max_steps": 1, "verbosity_level": 0, "stream_outputs": streams}
    assert smolagents.CodeAgent(tools=[], model=model, **how).run(CODE) == 3
