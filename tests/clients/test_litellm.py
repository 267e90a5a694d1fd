"""`litellm` over both dialects."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import openai
import pytest

from tests.live import LiveServer

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

HELLO = [{"role": "user", "content": "say Hello"}]


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    found: ModuleType = pytest.importorskip("litellm")
    return found


@pytest.fixture(params=["ollama", "ollama_chat", "openai"])
def target(request: pytest.FixtureRequest, server: LiveServer) -> dict[str, Any]:
    if request.param == "openai":
        return {"model": "openai/scripted", "api_base": server.url + "/v1", "api_key": "none"}
    return {"model": f"{request.param}/scripted", "api_base": server.url}


def test_completion(litellm: ModuleType, target: dict[str, Any]) -> None:
    reply = litellm.completion(messages=HELLO, seed=1, temperature=0.5, **target)
    assert "Hello" in reply.choices[0].message.content
    assert reply.usage.completion_tokens > 0


def test_streaming(litellm: ModuleType, target: dict[str, Any]) -> None:
    chunks = litellm.completion(messages=HELLO, stream=True, **target)
    assert "Hello" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_asynchronous(litellm: ModuleType, target: dict[str, Any]) -> None:
    reply = asyncio.run(litellm.acompletion(messages=HELLO, **target))
    assert "Hello" in reply.choices[0].message.content


def test_a_missing_model_is_an_error(litellm: ModuleType, target: dict[str, Any]) -> None:
    target["model"] = target["model"].replace("scripted", "other")
    with pytest.raises(openai.APIError, match="not found"):
        litellm.completion(messages=HELLO, max_retries=0, **target)


def test_embedding(litellm: ModuleType, server: LiveServer) -> None:
    for model, base in (("ollama/scripted", server.url), ("openai/scripted", server.url + "/v1")):
        reply = litellm.embedding(model=model, input=["one"], api_base=base, api_key="none")
        assert len(reply.data[0]["embedding"]) == 257
