"""What becomes of an engine's stream: text, thoughts, calls, scores, usage, and what was dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minivault.errors import GenerationFailed
from minivault.service.upstream.reading import AnswerReader
from minivault.types import SamplingParams, Usage
from minivault.wire.tool_calls import read_tool_calls

ASKED = SamplingParams()


def read(*choices: dict[str, Any], params: SamplingParams = ASKED, **more: Any) -> tuple[AnswerReader, str, str]:
    reader = AnswerReader(params)
    deltas = [delta for choice in choices for delta in reader.feed({"choices": [choice], **more})]
    deltas += reader.finish()
    return reader, "".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas)


def say(**delta: Any) -> dict[str, Any]:
    return {"delta": delta}


def test_text_comes_in_both_shapes() -> None:
    assert read(say(content="Hel"), say(content="lo"))[1] == "Hello"
    assert read({"text": "Hel"}, {"text": "lo"})[1] == "Hello"


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert read(say(content="caf\u00e9 \ud83d!"))[1] == "caf\u00e9 ?!"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_that_are_told_apart_stay_apart(name: str) -> None:
    _, text, thought = read(say(**{name: "Hm."}), say(content="<think> is a tag"))
    assert (text, thought) == ("<think> is a tag", "Hm.")


def test_thoughts_that_were_left_in_the_text_are_taken_out() -> None:
    _, text, thought = read(say(content="<thi"), say(content="nk>Hm.</think>\n\nYes"))
    assert (text, thought) == ("Yes", "Hm.")
    _, text, thought = read(say(content="<think>cut"))
    assert (text, thought) == ("", "cut")


def test_calls_in_pieces_become_text_that_every_dialect_reads() -> None:
    pieces = [
        say(tool_calls=[{"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}}]),
        say(tool_calls=[{"index": 0, "function": {"arguments": '{"place": "</tool_call>'}}]),
        say(tool_calls=[{"index": 0, "function": {"arguments": '"}'}}]),
        say(tool_calls=[{"index": 1, "function": {"name": "time", "arguments": "{}"}}]),
        {"delta": {}, "finish_reason": "tool_calls"},
    ]
    reader, text, _ = read(*pieces)
    said, calls = read_tool_calls(text, {"weather": {}, "time": {}})
    assert said == ""
    assert [(call.name, call.arguments) for call in calls] == [("weather", {"place": "</tool_call>"}), ("time", {})]
    assert reader.reason == "stop"


def test_arguments_that_are_no_json_are_no_call() -> None:
    _, text, _ = read(say(tool_calls=[{"function": {"name": "weather", "arguments": "{broken"}}]))
    assert read_tool_calls(text, {"weather": {}})[1] == []
    assert "{broken" in text


def test_scores_come_in_both_layouts() -> None:
    chat = {
        "content": [
            {"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": [{"token": "e", "logprob": -1}]}
        ]
    }
    old = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -2}]}
    for scored, data, others in ((chat, "é", ["e"]), (old, "a", ["a", "b"])):
        reader = AnswerReader(SamplingParams(logprobs=1))
        (delta,) = reader.feed({"choices": [{"delta": {"content": "x"}, "logprobs": scored}]})
        (score,) = delta.logprobs
        assert (score.data.decode(), score.logprob) == (data, -0.5)
        assert [other.data.decode() for other in score.top] == others
        assert "logprobs" not in reader.dropped


def test_what_was_asked_for_and_did_not_come_is_noticed() -> None:
    reader, *_ = read(say(content="a"), params=SamplingParams(logprobs=0))
    assert reader.dropped == ["usage", "logprobs"]
    assert reader.usage.completion_tokens == 1
    reader, *_ = read({"delta": {"content": "a"}, "finish_reason": "length"}, params=SamplingParams(calls="forced"))
    assert reader.dropped == ["usage", "tool_choice"]


def test_usage_is_the_engines_own() -> None:
    reader = AnswerReader(SamplingParams())
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 2}}
    list(reader.feed({"choices": [], "usage": usage}))
    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens, reader.usage.reasoning_tokens) == (9, 4, 2)
    assert reader.dropped == []


def test_what_an_engine_says_of_an_answer_is_kept() -> None:
    reader, *_ = read(say(content="a"), id="chatcmpl-9", model="m", system_fingerprint="b1-2", created=5)
    assert reader.told == {"id": "chatcmpl-9", "model": "m", "system_fingerprint": "b1-2"}


@pytest.mark.parametrize("error", ["boom", {"message": "boom"}, {"detail": [{"msg": "boom"}]}])
def test_an_error_in_the_stream_fails_the_answer(error: Any) -> None:
    with pytest.raises(GenerationFailed, match="boom"):
        list(AnswerReader(SamplingParams()).feed({"error": error}))


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": None},
        {"choices": [None, 5]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": 5, "tool_calls": [7, {"function": None}]}}]},
        {"choices": [{"logprobs": {"content": ["x"]}, "text": None}], "usage": {"prompt_tokens": "many"}},
        {"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [None], "top_logprobs": [None]}}]},
        {"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [{"bytes": [999], "logprob": None}]}}]},
    ],
)
def test_an_engine_that_talks_nonsense_breaks_nothing(chunk: dict[str, Any]) -> None:
    reader = AnswerReader(SamplingParams())
    json.dumps([delta.text for delta in [*reader.feed(chunk), *reader.finish()]])


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"delta": [1]}]},
        {"choices": [{"delta": {"tool_calls": 5}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": "f"}]}}]},
        {"choices": [{"text": "x", "logprobs": {"tokens": 5, "token_logprobs": 1}}]},
        {"choices": [{"text": "x", "logprobs": {"content": [{"token": "x", "logprob": 10**400}]}}]},
    ],
)
def test_what_has_no_shape_of_an_answer_is_the_engines_failure(chunk: dict[str, Any]) -> None:
    with pytest.raises(GenerationFailed, match="no answer"):
        AnswerReader(SamplingParams()).feed(chunk)


@pytest.mark.parametrize("count", [10**400, -1, True, 1.5, "7", None])
def test_a_count_that_is_none_counts_nothing(count: Any) -> None:
    reader = AnswerReader(SamplingParams())
    reader.feed({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": 3}})
    assert reader.usage == Usage(0, 3)
