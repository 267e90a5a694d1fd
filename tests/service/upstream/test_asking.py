"""What an engine is asked: our request in its words, and what it cannot do refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minivault.errors import BadRequest, Unsupported
from minivault.service.upstream.asking import asked, left_out
from minivault.service.upstream.kinds import GENERIC, KINDS, Kind, kind_of
from minivault.types import PATTERN, GenerationRequest, Message, SamplingParams

BY_NAME = {kind.name: kind for kind in (*KINDS, GENERIC)}
VLLM, LLAMA, TRANSFORMERS = BY_NAME["vllm"], BY_NAME["llama.cpp"], BY_NAME["transformers"]
OLLAMA = BY_NAME["ollama"]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PLAIN = SamplingParams(top_k=0, top_p=1.0, temperature=1.0, seed=7)


def sent(kind: Kind, params: SamplingParams = PLAIN, **request: Any) -> tuple[str, dict[str, Any]]:
    given = GenerationRequest(params=params, **(request or {"messages": (Message("user", "Hi"),)}))
    path, _, body = asked(given, params, kind, "m", 4096).partition(" ")
    return path, json.loads(body)


def test_a_conversation_goes_to_chat_and_a_raw_prompt_to_completions() -> None:
    assert sent(VLLM)[0] == "/chat/completions"
    assert sent(VLLM, prompt="Hi")[1]["messages"] == [{"role": "user", "content": "Hi"}]
    path, body = sent(VLLM, prompt="Once upon", raw=True)
    assert (path, body["prompt"]) == ("/completions", "Once upon")
    assert sent(VLLM, prompt_tokens=(1, 2))[1]["prompt"] == [1, 2]


def test_every_request_is_a_stream_with_usage_and_a_seed() -> None:
    for kind in BY_NAME.values():
        _, body = sent(kind)
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}
        assert body["seed"] == 7


def test_an_engine_with_defaults_of_its_own_is_told_what_is_off() -> None:
    assert sent(VLLM)[1]["top_k"] == -1
    body = sent(LLAMA)[1]
    assert (body["top_k"], body["min_p"], body["repeat_penalty"]) == (0, 0.0, 1.0)


def test_an_unknown_engine_is_asked_in_openais_words_alone() -> None:
    known = {"model", "stream", "stream_options", "seed", "temperature", "top_p", "max_tokens", "messages"}
    assert sent(GENERIC, SamplingParams(seed=7))[1].keys() == known
    assert left_out(SamplingParams(), GENERIC) == ["top_k"]
    assert left_out(SamplingParams(), VLLM) == []


@pytest.mark.parametrize(
    ("kind", "field", "params", "request_"),
    [
        (GENERIC, "top_k", SamplingParams(top_k=5), {}),
        (GENERIC, "min_tokens", SamplingParams(min_tokens=5), {}),
        (VLLM, "prompt_logprobs", SamplingParams(prompt_logprobs=1), {}),
        (VLLM, "context", PLAIN, {"prompt": "Hi", "after": (1,)}),
        (VLLM, "thinking_budget", PLAIN, {"prompt": "Hi", "thinking_budget": 5}),
        (LLAMA, "format", SamplingParams(grammar=f"{PATTERN}a+"), {}),
        (OLLAMA, "logit_bias", SamplingParams(logit_bias=((5, 1.0),)), {}),
        (OLLAMA, "prompt", PLAIN, {"prompt_tokens": (1,)}),
        (OLLAMA, "tool_choice", SamplingParams(calls="forced", grammar="{}"), {"prompt": "", "tools": (TOOL,)}),
        (TRANSFORMERS, "logprobs", SamplingParams(logprobs=2), {}),
        (TRANSFORMERS, "format", SamplingParams(grammar="json"), {}),
        (TRANSFORMERS, "presence_penalty", SamplingParams(presence_penalty=0.5), {}),
        (TRANSFORMERS, "prompt", PLAIN, {"prompt_tokens": (1,)}),
        (TRANSFORMERS, "tool_choice", SamplingParams(calls="forced", grammar="{}"), {"prompt": "", "tools": (TOOL,)}),
    ],
)
def test_what_an_engine_cannot_do_is_refused_by_name(
    kind: Kind, field: str, params: SamplingParams, request_: dict[str, Any]
) -> None:
    with pytest.raises(Unsupported) as refused:
        sent(kind, params, **request_)
    assert refused.value.field == field
    assert kind.name in refused.value.message


def test_a_seed_that_an_engine_would_cut_is_refused() -> None:
    assert sent(VLLM, SamplingParams(seed=2**60))[1]["seed"] == 2**60
    with pytest.raises(BadRequest, match="seed"):
        sent(LLAMA, SamplingParams(seed=2**60))


def test_a_limit_as_large_as_the_context_is_none() -> None:
    assert "max_tokens" not in sent(VLLM, SamplingParams(max_tokens=4096))[1]
    assert sent(VLLM, SamplingParams(max_tokens=4095))[1]["max_tokens"] == 4095


def test_formats_are_asked_for_in_the_engines_words() -> None:
    schema = {"type": "object"}
    held = sent(VLLM, SamplingParams(grammar=json.dumps(schema)))[1]["response_format"]
    assert (held["type"], held["json_schema"]["schema"]) == ("json_schema", schema)
    assert sent(VLLM, SamplingParams(grammar="json"))[1]["response_format"] == {"type": "json_object"}
    assert sent(VLLM, SamplingParams(grammar=f"{PATTERN}a+"))[1]["structured_outputs"] == {"regex": "a+"}


def test_a_forced_call_names_its_tool_and_calls_keep_their_arguments() -> None:
    grammar = json.dumps({"anyOf": [{"properties": {"name": {"const": "weather"}}}]})
    params = SamplingParams(calls="forced", grammar=grammar)
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"place": "Oslo"}}}
    turns = (
        Message("user", "Rain?"),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "no", {"tool_call_id": "c1", "name": "weather"}),
    )
    _, body = sent(VLLM, params, messages=turns, tools=(TOOL,))
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert "response_format" not in body
    assert json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"place": "Oslo"}
    assert body["messages"][2]["tool_call_id"] == "c1"


def test_thinking_is_said_as_the_engine_hears_it() -> None:
    assert sent(VLLM, prompt="Hi", thinks=False)[1]["chat_template_kwargs"]["enable_thinking"] is False
    assert sent(GENERIC, prompt="Hi", thinks=False)[1]["reasoning_effort"] == "none"
    assert sent(GENERIC, prompt="Hi", thinking_effort="high")[1]["reasoning_effort"] == "high"


def test_kinds_are_known_by_their_owner_or_by_a_path() -> None:
    assert kind_of("vllm", frozenset()).name == "vllm"
    assert kind_of("me", frozenset({"/load_model"})).name == "transformers"
    assert kind_of("me", frozenset()) is GENERIC
