"""A model that thinks, through every dialect, whole and one token at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.config import Settings
from tests.api.records import records

SAID = "say <think>\nHm.\n</think>\n\nFour"
Ask = Callable[..., Any]


def lines(text: str) -> list[dict[str, Any]]:
    found = [line.removeprefix("data: ") for line in text.splitlines() if line]
    return [json.loads(line) for line in found if line != "[DONE]"]


def chat(client: FlaskClient, said: str = SAID, **fields: Any) -> tuple[str, str]:
    """OpenAI's thought and content, the same whole and streamed."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": said}], **fields}
    reply = client.post("/v1/chat/completions", json=body)
    message = reply.get_json()["choices"][0]["message"]
    events = lines(client.post("/v1/chat/completions", json=body | {"stream": True}).text)
    deltas = [event["choices"][0]["delta"] for event in events]
    thought, content = ("".join(d.get(key, "") for d in deltas) for key in ("reasoning_content", "content"))
    assert (message.get("reasoning_content", ""), message["content"]) == (thought, content)
    return thought, content


def ollama(client: FlaskClient, said: str = SAID, **fields: Any) -> tuple[str, str]:
    body = {"model": "scripted", "messages": [{"role": "user", "content": said}], **fields}
    message = client.post("/api/chat", json=body | {"stream": False}).get_json()["message"]
    parts = [line["message"] for line in lines(client.post("/api/chat", json=body).text)]
    thought, content = ("".join(part.get(key, "") for part in parts) for key in ("thinking", "content"))
    assert (message.get("thinking", ""), message["content"]) == (thought, content)
    return thought, content


def ollama_generate(client: FlaskClient, said: str = SAID, **fields: Any) -> tuple[str, str]:
    body = {"model": "scripted", "prompt": said, **fields}
    reply = client.post("/api/generate", json=body | {"stream": False}).get_json()
    parts = lines(client.post("/api/generate", json=body).text)
    thought, content = ("".join(part.get(key, "") for part in parts) for key in ("thinking", "response"))
    assert (reply.get("thinking", ""), reply["response"]) == (thought, content)
    return thought, content


def native(client: FlaskClient, said: str = SAID, **fields: Any) -> tuple[str, str]:
    reply = client.post("/generate", json={"prompt": said, **fields}).get_json()
    parts = lines(client.post("/stream-generate", json={"prompt": said, **fields}).text)
    thought, content = ("".join(part.get(key, "") for part in parts) for key in ("reasoning", "token"))
    assert (reply.get("reasoning", ""), reply["response"]) == (thought, content)
    return thought, content


@pytest.mark.parametrize("ask", [chat, ollama, ollama_generate, native])
def test_thoughts_are_told_from_the_answer_and_recorded_beside_it(
    ask: Ask, client: FlaskClient, settings: Settings
) -> None:
    assert ask(client) == ("Hm.", "Four")
    whole, streamed = records(settings)[-2:]
    for record in (whole, streamed):
        assert (record["reasoning"], record["response"]) == ("Hm.", "Four")
        assert record["usage"]["completion_tokens"] == len(record["completion_tokens"]) == len(SAID) - len("say ") + 1
        assert record["usage"]["reasoning_tokens"] == len("Hm.\n</think>") + 2  # and the `>` and the line that open it


def test_openai_counts_thoughts(client: FlaskClient) -> None:
    body = {"model": "scripted", "messages": [{"role": "user", "content": SAID}]}
    usage = client.post("/v1/chat/completions", json=body).get_json()["usage"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 14}


@pytest.mark.parametrize(
    ("ask", "fields"),
    [
        (chat, {"reasoning_effort": "low"}),
        (chat, {"reasoning": {"effort": "low"}}),
        (ollama, {"think": "low"}),
        (ollama_generate, {"think": "low"}),
        (native, {"think": "low"}),
    ],
)
def test_a_wish_to_think_reaches_the_template_under_every_name(
    ask: Ask, fields: dict[str, Any], client: FlaskClient, settings: Settings
) -> None:
    """This template then opens the thought itself."""
    assert ask(client, "say Hm.</think>Four", **fields) == ("Hm.", "Four")
    rendered = records(settings)[-1]["rendered_prompt"]
    assert rendered.startswith('[enable_thinking=true][reasoning_effort="low"][thinking=true]')


@pytest.mark.parametrize(
    ("ask", "fields"),
    [
        (chat, {"reasoning_effort": "none"}),
        (chat, {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        (chat, {"thinking": {"type": "disabled"}}),
        (ollama, {"think": False}),
        (native, {"think": False}),
    ],
)
def test_without_thinking_all_is_answer(
    ask: Ask, fields: dict[str, Any], client: FlaskClient, settings: Settings
) -> None:
    assert ask(client, "say Four", **fields) == ("", "Four")
    record = records(settings)[-1]
    assert record["rendered_prompt"].startswith("[enable_thinking=false][thinking=false]")
    assert "reasoning" not in record and record["usage"]["reasoning_tokens"] == 0


@pytest.mark.parametrize(
    ("ask", "fields"),
    [
        (chat, {"thinking_budget": 5}),
        (chat, {"reasoning": {"max_tokens": 5}}),
        (chat, {"thinking": {"type": "enabled", "budget_tokens": 5}}),
        (ollama, {"thinking_budget": 5}),
        (native, {"thinking_budget": 5}),
    ],
)
def test_a_budget_ends_a_thought(ask: Ask, fields: dict[str, Any], client: FlaskClient, settings: Settings) -> None:
    """The script goes on to say what it said all along."""
    fields |= {"think": True} if ask is not chat else {"reasoning_effort": "high"} if "thinking" not in fields else {}
    thought, content = ask(client, "say abcdefghijklmnopqrstuvwxyz", **fields)
    assert (thought, content) == ("abcde", "qrstuvwxyz")
    assert records(settings)[-1]["parameters"]["thinking_budget"] == 5


def test_a_stop_string_ends_no_thought(client: FlaskClient) -> None:
    assert native(client, "say <think>a\n\nb</think>c\n\nd", stop=["\n\n"]) == ("a\n\nb", "c")


@pytest.mark.parametrize("ask", [chat, native])
def test_what_must_parse_comes_after_the_thought(ask: Ask, client: FlaskClient) -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    fields = {"response_format": form, "reasoning_effort": "low"} if ask is chat else {"format": schema, "think": True}
    assert ask(client, "say Hm</think>", **fields) == ("Hm", '{"a": 1}')


def test_only_a_model_that_thinks_says_so(client: FlaskClient) -> None:
    assert "thinking" in client.post("/api/show", json={"model": "scripted"}).get_json()["capabilities"]


def test_a_raw_prompt_has_no_thoughts(client: FlaskClient) -> None:
    assert native(client, raw=True) == ("", SAID.removeprefix("say "))
