"""A server that needs keys, seen through the SDKs: the key goes where each SDK puts it, errors have its shape."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import ollama
import openai
import pytest

from minivault.access.keys import KeyFile, NewKey
from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer, live_server


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, str, str]]:
    directory = tmp_path_factory.mktemp("locked")
    (directory / "home").mkdir(mode=0o700)
    (key, token), (_, slow) = KeyFile(directory / "home" / "keys.json").create(
        NewKey("editor", "use"), NewKey("slow", "use", rate="1/hour")
    )
    with live_server(directory) as server:
        server.wait_ready()
        yield server, token, slow
        assert answers(server)[0]["key"] == key.id


def test_ollama_reads_its_key_from_the_environment(
    locked: tuple[LiveServer, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, token, _ = locked
    monkeypatch.setenv("OLLAMA_API_KEY", token)
    with ollama.Client(host=server.url) as client:
        assert client.generate(MODEL, "say Hello").response == "Hello"
    monkeypatch.delenv("OLLAMA_API_KEY")
    with ollama.Client(host=server.url) as client, pytest.raises(ollama.ResponseError) as refused:
        client.generate(MODEL, "say Hello")
    assert (refused.value.status_code, refused.value.error) == (401, "unauthorized")


def test_openai_raises_its_own_errors(locked: tuple[LiveServer, str, str]) -> None:
    server, token, slow = locked
    with openai.OpenAI(base_url=server.url + "/v1", api_key=token) as client:
        assert client.completions.create(model=MODEL, prompt="say Hello").choices[0].text == "Hello"
    with openai.OpenAI(base_url=server.url + "/v1", api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.completions.create(model=MODEL, prompt="say Hello")
        assert refused.value.code == "invalid_api_key"
    # A wait of more than two minutes is not retried by the SDK: this fails at once.
    with openai.OpenAI(base_url=server.url + "/v1", api_key=slow) as client:
        client.completions.create(model=MODEL, prompt="say x")
        with pytest.raises(openai.RateLimitError) as limited:
            client.completions.create(model=MODEL, prompt="say x")
        assert limited.value.code == "rate_limit_exceeded"
        assert int(limited.value.response.headers["Retry-After"]) > 120


def test_an_error_has_the_shape_of_its_path(locked: tuple[LiveServer, str, str]) -> None:
    server, _, _ = locked
    assert httpx.get(server.url + "/api/tags").json() == {"error": "unauthorized"}
    assert sorted(httpx.get(server.url + "/v1/models").json()["error"]) == ["code", "message", "param", "type"]
