"""`langchain-ollama` and `langchain-openai`."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest

from tests.live import LiveServer

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]


class Person(pydantic.BaseModel):
    age: int = pydantic.Field(ge=0, le=99)


@pytest.fixture(params=["ollama", "openai"])
def chat(request: pytest.FixtureRequest, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    if request.param == "ollama":
        module = pytest.importorskip("langchain_ollama")
        return module.ChatOllama(model="scripted", base_url=server.url, seed=1)
    module = pytest.importorskip("langchain_openai")
    return module.ChatOpenAI(model="scripted", base_url=server.url + "/v1", api_key="none", seed=1, max_retries=0)


def test_invoke(chat: Any) -> None:
    reply = chat.invoke("say Hello")
    assert reply.content == "Hello"
    assert reply.usage_metadata["output_tokens"] == 6


def test_stream(chat: Any) -> None:
    assert "".join(chunk.content for chunk in chat.stream("say Hello")) == "Hello"


def test_asynchronous(chat: Any) -> None:
    async def talk() -> str:
        return "".join([chunk.content async for chunk in chat.astream("say Hello")])

    assert asyncio.run(talk()) == "Hello"


def test_structured_output(chat: Any) -> None:
    assert isinstance(chat.with_structured_output(Person, method="json_schema").invoke("say Hello"), Person)


def test_embeddings(server: LiveServer) -> None:
    ollama = pytest.importorskip("langchain_ollama").OllamaEmbeddings(model="scripted", base_url=server.url)
    openai = pytest.importorskip("langchain_openai").OpenAIEmbeddings(
        model="scripted", base_url=server.url + "/v1", api_key="none", check_embedding_ctx_length=False
    )
    assert ollama.embed_query("one") == pytest.approx(openai.embed_query("one"), abs=1e-6)
