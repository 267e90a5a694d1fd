from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import ContextExceeded
from minivault.service.prompt import read_prompt, read_request
from minivault.types import GenerationRequest, Message, ModelInfo, Reading, SamplingParams
from tests.scripted import ByteTokenizer


class Transcript(ByteTokenizer):
    """A template that shows every turn."""

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), *_options: Any) -> Reading:
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
    assert size(truncated(wanted, num_keep)) <= 100 - min(max_tokens, 25)


@given(st.lists(TURNS, min_size=1, max_size=12))
def test_what_fits_is_left_alone_and_turns_go_oldest_first(turns: list[Message]) -> None:
    wanted = GenerationRequest(messages=tuple(turns), params=SamplingParams(max_tokens=25))
    wanted = replace(wanted, num_keep=4)
    kept = truncated(wanted, 4)
    if size(wanted) <= 75:
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
