"""Fields that are not honoured: noted or refused, at every depth, by one table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import BadRequest, Unsupported
from minivault.wire import anthropic, native, ollama, openai
from minivault.wire.fields import CONTENT, MAX_HEADER_CHARACTERS, Noted, Refused, header_of
from minivault.wire.native.generate import WORDING, GenerateBody
from minivault.wire.ollama.chat import ChatBody as OllamaChat
from minivault.wire.ollama.generate import GenerateBody as OllamaGenerate
from minivault.wire.openai.chat import ChatBody
from minivault.wire.openai.completions import CompletionBody
from minivault.wire.openai.embeddings import EmbeddingBody
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.validation import MAX_NOTED, Body, validated

MODELS = {
    operation.request
    for dialect in (native.DIALECT, ollama.DIALECT, openai.DIALECT, anthropic.DIALECT)
    for operation in dialect.operations
    if operation.request is not None
}
HELLO: list[Any] = [{"role": "user", "content": "hi"}]
CHAT: dict[str, Any] = {"model": "m", "messages": HELLO}
RESPONSE: dict[str, Any] = {"model": "m", "input": "hi"}


def places(annotation: Any, place: str = "") -> Iterator[str]:
    """The objects of ours in a request, by their path."""
    if hasattr(annotation, "model_fields"):
        yield place
        for name, field in annotation.model_fields.items():
            yield from places(field.annotation, f"{place}{name}.")
    for argument in get_args(annotation):
        yield from places(argument, place)


@pytest.mark.parametrize("model", sorted(MODELS, key=str), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_the_table_names_fields_of_objects_that_there_are(model: type[Body]) -> None:
    known = set(places(model))
    assert [path for path in model.foreign if path[: path.rfind(".") + 1] not in known] == []


GUIDELLM = {
    "model": "m", "prompt": "x", "stream": True, "max_tokens": 8, "stop": None, "ignore_eos": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}  # fmt: skip
HISTORY = [
    *HELLO,
    {
        "role": "assistant", "content": "", "refusal": None,
        "id": "msg_1", "annotations": [], "reasoning_content": "hm",
        "tool_calls": [{"id": "c", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {
        "role": "tool", "tool_call_id": "c",
        "content": [{"type": "text", "text": "5", "cache_control": {"type": "ephemeral"}}],
    },
]  # fmt: skip
CODEX = {
    "model": "m", "instructions": "Be brief.",
    "input": [{"type": "message", "role": "user", "content": "hi", "id": "i"}],
    "tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "store": False, "stream": True,
    "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "client_metadata": {"a": "b"},
    "reasoning": {"summary": "auto"}, "text": {"verbosity": "low"}, "service_tier": "priority",
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "body", "names"),
    [
        (CompletionBody, GUIDELLM, ["stream_options.continuous_usage_stats"]),
        (ChatBody, CHAT | {"store": True, "metadata": {"a": 1}, "user": "u"}, ["store", "metadata", "user"]),
        (
            ChatBody,
            {"model": "m", "messages": HISTORY},
            ["messages.id", "messages.annotations", "messages.tool_calls.index",
             "messages.content.cache_control"],
        ),
        (
            ResponseBody,
            CODEX,
            ["input.id", "parallel_tool_calls", "include", "store", "prompt_cache_key", "client_metadata",
             "service_tier", "text.verbosity", "reasoning.summary"],
        ),
        (EmbeddingBody, {"model": "m", "input": "x", "user": "u", "input_type": "query"}, ["user", "input_type"]),
        (OllamaChat, CHAT | {"options": {"num_ctx": 9, "numa": True, "seed": 1}}, ["options.numa"]),
        (GenerateBody, {"prompt": "x", "max_token": 5}, ["max_token"]),
        (ChatBody, CHAT | {"temprature": 0, "messages": [HELLO[0] | {"mood": 1}]}, ["temprature", "messages.mood"]),
        (ChatBody, CHAT | {"use_beam_search": False, "modalities": ["text"]}, ["use_beam_search", "modalities"]),
        (CompletionBody, {"model": "m", "prompt": "x", "suffix": ""}, ["suffix"]),
    ],
)  # fmt: skip
def test_what_binds_nobody_is_accepted_and_named(model: type[Body], body: dict[str, Any], names: list[str]) -> None:
    assert sorted(validated(model, body).noted) == sorted(names)


def test_a_body_that_is_honoured_whole_notes_nothing() -> None:
    assert validated(ChatBody, CHAT | {"temperature": 0, "user": None}).noted == ()


def test_nothing_that_is_noted_reaches_the_model() -> None:
    tool = {"type": "function", "cache_control": {}, "function": {"name": "f", "strict": True, "unheard_of": 1}}
    body = validated(ChatBody, {"model": "m", "messages": HISTORY, "tools": [tool]})
    (request,) = body.generations(100)
    assert request.tools == ({"type": "function", "function": {"name": "f", "strict": True}},)
    assert "index" not in str(request.messages) and "cache_control" not in str(request.messages)


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (ChatBody, CHAT | {"audio": {"voice": "x"}}, "audio"),
        (ChatBody, CHAT | {"web_search_options": {}}, "web_search_options"),
        (ChatBody, CHAT | {"use_beam_search": True}, "use_beam_search"),
        (ChatBody, CHAT | {"mirostat": 2}, "mirostat"),
        (ChatBody, CHAT | {"messages": [HELLO[0], HELLO[0] | {"audio": {"id": "a"}}]}, "messages.1.audio"),
        (CompletionBody, {"model": "m", "prompt": "x", "suffix": "y"}, "suffix"),
        (ResponseBody, RESPONSE | {"background": True}, "background"),
        (OllamaGenerate, {"model": "m", "template": "{{ .Prompt }}"}, "template"),
        (GenerateBody, {"prompt": "x", "max_completion_tokens": 5}, "max_completion_tokens"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(model: type[Body], body: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported, match=re.escape(field)) as refusal:
        validated(model, body)
    assert refusal.value.field == field


@pytest.mark.parametrize("kind", CONTENT)
def test_content_that_is_not_read_is_refused_by_name(kind: str) -> None:
    content = [{"type": "text", "text": "x"}, {"type": kind, kind: {"url": "data:,"}}]
    bodies: list[tuple[type[Body], dict[str, Any]]] = [
        (ChatBody, {"model": "m", "messages": [{"role": "user", "content": content}]}),
        (ResponseBody, {"model": "m", "input": [{"role": "user", "content": content}]}),
    ]
    for model, body in bodies:
        with pytest.raises(BadRequest, match=r"content\.1\.type: this server (reads|hears) no.*: send") as refusal:
            validated(model, body)
        assert kind in refusal.value.message


@pytest.mark.parametrize(
    ("model", "body", "field"),
    [
        (GenerateBody, {"prompt": "x", "max_token": 5}, "max_token"),
        (ChatBody, CHAT | {"messages": [HELLO[0] | {"mood": 1}]}, "messages.0.mood"),
        (OllamaChat, CHAT | {"options": {"unheard_of": 2}}, "options.unheard_of"),
        (ResponseBody, RESPONSE | {"text": {"colour": 1}}, "text.colour"),
    ],
)
def test_a_strict_server_refuses_what_it_does_not_know(model: type[Body], body: dict[str, Any], field: str) -> None:
    assert validated(model, body).noted
    with pytest.raises(BadRequest, match=re.escape(field)) as refusal:
        validated(model, body, WORDING, is_strict=True)
    assert refusal.value.field == field


def test_a_strict_server_knows_what_binds_nobody() -> None:
    assert validated(ResponseBody, CODEX, is_strict=True).noted
    assert validated(ChatBody, CHAT | {"user": "u"}, is_strict=True).noted == ("user",)


def test_few_names_are_noted_and_little_of_each() -> None:
    noted = validated(ChatBody, CHAT | {f"{number}{'x' * 999}": 1 for number in range(999)}).noted
    assert len(noted) == MAX_NOTED + 1 and noted[-1] == "..."
    assert max(map(len, noted)) == 64


@given(st.lists(st.text(max_size=64), max_size=64))
def test_a_header_holds_any_names(names: list[str]) -> None:
    header = header_of(names)
    assert len(header) <= MAX_HEADER_CHARACTERS + 5
    assert header.isascii() and (header.isprintable() or not header)
    told = header.split(", ") if header else []
    assert len(told) == len(names) or told[-1] == "..."
    assert not any(re.search(r"[\s,\"\\]", name) for name in told)


def test_every_verdict_says_why_or_what_to_do() -> None:
    for model in MODELS:
        for verdict in model.foreign.values():  # type: ignore[attr-defined]
            assert verdict.why if isinstance(verdict, Noted) else isinstance(verdict, Refused) and verdict.instead
