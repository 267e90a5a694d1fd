"""Scores of a prompt on the wire: OpenAI's arrays with `echo`, vLLM's list, our own; streamed as whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import BadRequest
from minivault.types import Delta, Finished, Started, Timings, TokenLogprob, TopLogprob, Usage
from minivault.wire.logprobs import encode_prompt_logprobs
from minivault.wire.native.generate import GenerateReply, decode
from minivault.wire.openai.chat import ChatBody, ChatReply
from minivault.wire.openai.completions import CompletionBody, CompletionReply
from minivault.wire.openai.text_logprobs import PromptScores, TextLogprobs
from minivault.wire.reply import Reply
from minivault.wire.validation import validated
from tests.wire.test_replies import ENVELOPE, Answer, Identity, clock

BODY = {"model": "m", "prompt": "Hi"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
FINISHED = Finished("length", Usage(3, 1), Timings())
BOS = TokenLogprob(1, 0.0, name="<s>")
ABC = tuple(TopLogprob(token_id, -0.25 * token_id, bytes([token_id])) for token_id in b"abc")


def token(data: bytes, logprob: float = -1.0, rank: int = 1, top: tuple[TopLogprob, ...] = ()) -> TokenLogprob:
    return TokenLogprob(data[0], logprob, data, top, rank)


def layout(echo: str, prompt: tuple[TokenLogprob, ...], num_top: int = 0) -> dict[str, Any]:
    return TextLogprobs(echo).encode((), prompt, num_top)


def test_echoed_scores_stand_before_those_of_the_answer() -> None:
    prompt = token(b"A"), token(b"b", -2.0, 3, ABC[:1])
    end = TokenLogprob(2, -0.5, top=(TopLogprob(2, -0.5, name="</s>"),), rank=1, name="</s>")
    answer = Answer("", FINISHED, (2,), (end,), prompt)
    whole = CompletionReply(ENVELOPE, ["Ab"], has_usage=False, scores=PromptScores(echoed=1)).whole([answer])
    (choice,) = whole["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("Ab", "length")
    assert choice["logprobs"] == {
        "tokens": ["A", "b", "</s>"],
        "token_logprobs": [None, -2.0, -0.5],
        "top_logprobs": [None, {"a": ABC[0].logprob, "b": -2.0}, {"</s>": -0.5}],
        "text_offset": [0, 1, 2],
    }
    assert "prompt_logprobs" not in choice


def test_of_tokens_that_look_the_same_the_likeliest_is_told() -> None:
    """Whoever compares the chosen one with the highest would otherwise take any for the likeliest."""
    scored = token(b"a", -9.0, 7, (TopLogprob(300, -0.5, b"a"),))
    assert layout("aa", (token(b"a"), scored), 1)["top_logprobs"] == [None, {"a": -0.5}]


@pytest.mark.parametrize(
    ("echo", "prompt", "places"),
    [
        ("Hé!", (BOS, token(b"H"), token(b"\xc3"), token(b"\xa9"), token(b"!")), [0, 0, 1, 1, 2]),
        ("<s>Hi", (BOS, token(b"Hi")), [0, 3]),
        ("Hi you", (BOS, token(b" Hi"), token(b" you")), [0, 0, 2]),
        (" Hi", (token(b" Hi"),), [0]),
        ("ab", (token(b"AB"), token(b"C"), token(b"D")), [0, 2, 2]),
        ("\N{REPLACEMENT CHARACTER}b", (token(b"\xff"), token(b"b")), [0, 1]),
    ],
)
def test_text_offsets_are_characters_of_the_echo(
    echo: str, prompt: tuple[TokenLogprob, ...], places: list[int]
) -> None:
    assert layout(echo, prompt)["text_offset"] == places


def test_vllms_list_has_the_token_first_and_then_the_likeliest() -> None:
    first, outside, inside = BOS, token(b"z", -7.0, 40, ABC), token(b"b", ABC[1].logprob, 2, ABC)
    assert encode_prompt_logprobs((first, outside, inside), 2) == [
        None,
        {
            "122": {"logprob": -7.0, "rank": 40, "decoded_token": "z"},
            "97": {"logprob": ABC[0].logprob, "rank": 1, "decoded_token": "a"},
            "98": {"logprob": ABC[1].logprob, "rank": 2, "decoded_token": "b"},
        },
        {
            "98": {"logprob": ABC[1].logprob, "rank": 2, "decoded_token": "b"},
            "97": {"logprob": ABC[0].logprob, "rank": 1, "decoded_token": "a"},
        },
    ]
    assert encode_prompt_logprobs((first, TokenLogprob(1, -1.0, rank=1, name="<s>")), 0)[1] == {
        "1": {"logprob": -1.0, "rank": 1, "decoded_token": "<s>"}
    }


@pytest.mark.parametrize(
    ("fields", "num_top"),
    [
        ({"logprobs": 3}, None),
        ({"echo": True}, None),
        ({"echo": True, "logprobs": 0}, 0),
        ({"echo": True, "logprobs": 5, "prompt_logprobs": 2}, 5),
        ({"logprobs": 5, "prompt_logprobs": 2}, 2),
        ({"max_tokens": 0, "prompt_logprobs": 20}, 20),
    ],
)
def test_what_is_asked_for_decides_what_is_scored(fields: dict[str, Any], num_top: int | None) -> None:
    (request,) = validated(CompletionBody, {**BODY, **fields}).generations(100)
    assert request.params.prompt_logprobs == num_top
    assert request.params.max_tokens == fields.get("max_tokens", 16)


def test_only_scores_and_an_echo_need_no_answer() -> None:
    for fields in ({"echo": True}, {"echo": True, "logprobs": 1}, {"prompt_logprobs": 0}):
        validated(CompletionBody, {**BODY, "max_tokens": 0, **fields}).ensure_possible()
    with pytest.raises(BadRequest, match="max_tokens: 0 generates nothing"):
        validated(CompletionBody, {**BODY, "max_tokens": 0}).ensure_possible()
    assert decode({"prompt": "x", "max_tokens": 0, "prompt_logprobs": 1}).params.max_tokens == 0
    with pytest.raises(BadRequest, match="at least 1"):
        decode({"prompt": "x", "max_tokens": 0})


prompts = st.lists(st.integers(32, 126), min_size=1, max_size=9).map(
    lambda ids: tuple(token(bytes([one]), -0.5 * place, place, ABC) for place, one in enumerate(ids))
)


def chunks(reply: Reply, answer: Answer) -> list[dict[str, Any]]:
    assert answer.prompt_logprobs is not None
    events = Started(3, 0, answer.prompt_logprobs), Delta(answer.text, answer.token_ids, answer.logprobs), FINISHED
    return [value for event in events for value in reply.encode(0, event)]


@given(prompts, st.integers(0, 3), st.none() | st.integers(0, 3))
def test_a_stream_of_completions_says_what_a_whole_reply_says(
    prompt: tuple[TokenLogprob, ...], echoed: int, listed: int | None
) -> None:
    echo, scores = "".join(chr(item.token_id) for item in prompt), PromptScores(echoed, listed)
    answer = Answer("x", FINISHED, (120,), (token(b"x"),), prompt)
    parts = [c["choices"][0] for c in chunks(CompletionReply(ENVELOPE, [echo], has_usage=False, scores=scores), answer)]
    (whole,) = CompletionReply(ENVELOPE, [echo], has_usage=False, scores=scores).whole([answer])["choices"]
    assert "".join(part["text"] for part in parts) == whole["text"]
    assert len(parts[0]["logprobs"]["tokens"]) == len(prompt)
    assert parts[0].get("prompt_logprobs") == whole.get("prompt_logprobs")
    for name, values in whole["logprobs"].items():
        assert [value for part in parts for value in (part["logprobs"] or {name: []})[name]] == values


@given(prompts)
def test_a_stream_begins_with_the_prompts_scores(prompt: tuple[TokenLogprob, ...]) -> None:
    answer = Answer("x", FINISHED, (120,), (), prompt)
    chat = validated(ChatBody, {**CHAT, "prompt_logprobs": 2})
    first, *rest = chunks(ChatReply(ENVELOPE, chat), answer)
    assert first["prompt_logprobs"] == ChatReply(ENVELOPE, chat).whole([answer])["prompt_logprobs"]
    assert not any("prompt_logprobs" in chunk for chunk in rest)
    first, *rest = chunks(GenerateReply(Identity(), clock), answer)
    whole = GenerateReply(Identity(), clock).whole([answer])
    assert (first["token"], first["index"], rest[0]["index"]) == ("", 0, 1)
    assert first["prompt_logprobs"] == whole["prompt_logprobs"]
    assert whole["prompt_logprobs"][0] == {"token": chr(prompt[0].token_id), "logprob": None, "top": []}
