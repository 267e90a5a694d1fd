from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import ContextExceeded
from minivault.service.prompt import read_prompt, read_request
from minivault.types import GenerationRequest, Message, ModelInfo, Reading, SamplingParams
from tests.scripted import ByteTokenizer


class Transcript(ByteTokenizer):
    """A template that shows every turn."""

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), **_: Any) -> Reading:
        return self.read("".join(f"{message.role[0]}:{message.content};" for message in messages))


TOKENIZER = Transcript()
TURNS = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text("abc", max_size=40))


INFO = ModelInfo("m", "", 0, 100, 0, 0, 0, "", "", 0, "", "", "")


def size(request: GenerationRequest) -> int:
    return len(read_prompt(request, TOKENIZER).tokens)


def truncated(wanted: GenerationRequest, num_keep: int) -> GenerationRequest:
    """As much of it as a model of 100 tokens reads."""
    return read_request(replace(wanted, num_keep=num_keep), TOKENIZER, INFO).request


@given(st.lists(TURNS, min_size=1, max_size=12), st.integers(1, 300), st.integers(-1, 50))
def test_whatever_is_asked_fits_with_room_for_an_answer(turns: list[Message], max_tokens: int, num_keep: int) -> None:
    wanted = GenerationRequest(messages=tuple(turns), params=SamplingParams(max_tokens=max_tokens))
    is_long = size(wanted) > 100 - min(max_tokens, 6)
    assert size(truncated(wanted, num_keep)) <= 100 - min(max_tokens, 25 if is_long else 6)


@given(st.lists(TURNS, min_size=1, max_size=12))
def test_what_fits_is_left_alone_and_turns_go_oldest_first(turns: list[Message]) -> None:
    wanted = GenerationRequest(messages=tuple(turns), params=SamplingParams(max_tokens=25))
    wanted = replace(wanted, num_keep=4)
    kept = truncated(wanted, 4)
    if size(wanted) <= 94:
        assert kept == wanted
    elif kept.messages is not None:
        dropped = len(turns) - len(kept.messages)
        assert dropped > 0
        assert kept.messages[-1] is turns[-1]
        others = [message for message in kept.messages if message.role != "system"]
        spoken = [message for message in turns if message.role != "system"]
        assert others == spoken[len(spoken) - len(others) :]
        assert [m for m in kept.messages if m.role == "system"] == [m for m in turns if m.role == "system"]


@given(st.lists(TURNS, min_size=1, max_size=12), st.integers(1, 300))
def test_what_drops_turns_alone_keeps_messages_whole_and_begins_with_a_persons(
    turns: list[Message], max_tokens: int
) -> None:
    wanted = GenerationRequest(messages=tuple(turns), drops_turns=True, params=SamplingParams(max_tokens=max_tokens))
    try:
        task = read_request(wanted, TOKENIZER, INFO)
    except ContextExceeded:
        assert size(replace(wanted, messages=tuple(turns[-1:]))) > 99 - sum(
            len(f"s:{m.content};") for m in turns[:-1] if m.role == "system"
        )
        return
    kept = task.request.messages or ()
    assert task.num_dropped == len(turns) - len(kept)
    assert all(any(message is turn for turn in turns) for message in kept)
    spoken = [message.role for message in kept if message.role != "system"]
    if task.num_dropped and "user" in spoken:
        assert spoken[0] == "user"


def test_a_plain_prompt_loses_its_middle() -> None:
    wanted = GenerationRequest(prompt="0123456789" * 20, raw=True, params=SamplingParams(max_tokens=25))
    tokens = truncated(wanted, 3).prompt_tokens
    assert bytes(tokens or ()) == b"012" + (b"0123456789" * 20)[-72:]


LONG = GenerationRequest(
    messages=(
        Message("system", "be brief"),
        Message("user", "hello"),
        Message("assistant", "hi"),
        Message("user", "q" * 300),
    ),
    params=SamplingParams(max_tokens=25),
)


@pytest.mark.parametrize(
    "wanted",
    [LONG, GenerationRequest(system="be brief", prompt="q" * 300, params=SamplingParams(max_tokens=25))],
)
def test_a_last_message_that_is_too_long_is_cut_and_not_the_instructions_before_it(wanted: GenerationRequest) -> None:
    task = read_request(replace(wanted, num_keep=0), TOKENIZER, INFO)
    assert bytes(task.tokens).startswith(b"s:be brief;u:q") and bytes(task.tokens).endswith(b"q;")
    assert len(task.tokens) == 75
    num_dropped = 2 if wanted.messages else 0
    assert (task.num_dropped, task.num_cut) == (num_dropped, len(b"s:be brief;u:;") + 300 - 75)
    assert task.parameters | task.truncated == task.parameters


def test_what_leaves_room_for_a_short_answer_is_read_whole_though_a_long_one_would_not_fit() -> None:
    wanted = GenerationRequest(prompt="x" * 94, raw=True, num_keep=0, params=SamplingParams(max_tokens=1000))
    task = read_request(wanted, TOKENIZER, INFO)
    assert (len(task.tokens), task.truncated, task.params.max_tokens) == (94, {}, 6)
    task = read_request(replace(wanted, prompt="x" * 95), TOKENIZER, INFO)
    assert (len(task.tokens), task.num_cut, task.params.max_tokens) == (75, 20, 25)


def test_instructions_that_leave_no_room_are_cut_too() -> None:
    wanted = replace(LONG, messages=(Message("system", "s" * 200), Message("user", "question")))
    task = read_request(replace(wanted, num_keep=0), TOKENIZER, INFO)
    assert len(task.tokens) == 75 and bytes(task.tokens).endswith(b";u:question;")


def test_the_request_itself_may_let_less_be_read() -> None:
    wanted = GenerationRequest(prompt="x" * 50, raw=True, most_read=30, params=SamplingParams(max_tokens=100))
    task = read_request(replace(wanted, num_keep=4), TOKENIZER, INFO)
    assert (len(task.tokens), task.num_cut, task.params.max_tokens) == (30, 20, 70)
    with pytest.raises(ContextExceeded, match=r"num_ctx is 30 and the prompt has 50 tokens: .* up to 100"):
        read_request(wanted, TOKENIZER, INFO)


@pytest.mark.parametrize("setting", ["", "MINIVAULT_CACHE_MB"])
def test_a_refusal_says_how_many_there_are_and_may_be_and_what_changes_that(setting: str) -> None:
    info = replace(INFO, context_setting=setting)
    with pytest.raises(ContextExceeded) as refused:
        read_request(GenerationRequest(prompt="x" * 100, raw=True), TOKENIZER, info)
    assert "maximum context length is 100 tokens" in refused.value.message
    assert "the prompt has 100" in refused.value.message
    assert refused.value.message.endswith(f"raise {setting} on the server" if setting else "shorten it")
