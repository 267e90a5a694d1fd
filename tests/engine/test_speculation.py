"""Speculation: the same tokens in fewer steps, where an answer quotes its prompt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine.speculation import MAX_DRAFT, NGRAM, Drafter
from minivault.types import Failed
from tests.engine.driving import GREEDY, Drive
from tests.engine.scripted import ScriptedRunner, VerifyingRunner, echo

Make = Callable[..., Drive]
QUOTE = "the quick brown fox jumps over the lazy dog"


def test_an_answer_that_quotes_its_prompt_takes_far_fewer_steps(drive: Make) -> None:
    plain, guessed = drive(ScriptedRunner(echo)), drive(VerifyingRunner(echo), speculation=True)
    expected, answer = plain.run(QUOTE, **GREEDY), guessed.run(QUOTE, **GREEDY)
    assert (answer.tokens, answer.text) == (expected.tokens, expected.text)
    assert guessed.engine.stats["steps"] * 3 < plain.engine.stats["steps"]
    assert guessed.engine.stats["accepted_tokens"] > len(QUOTE) / 2


def nearly_echo(prompt: tuple[int, ...], answer: tuple[int, ...]) -> torch.Tensor:
    """Logits that quote the prompt most of the time."""
    logits = torch.zeros(260)
    logits[prompt[len(answer) % len(prompt)]] = 4.0
    logits[hash((prompt, answer)) % 256] = 3.0
    return logits


@settings(deadline=None, max_examples=60)
@given(
    prompt=st.text(alphabet="ab", min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.0, 0.5, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
    max_tokens=st.integers(1, 40),
    stop=st.sampled_from([(), ("aab",)]),
)
def test_the_tokens_are_those_of_plain_decoding(prompt: str, **params: object) -> None:
    drives = [Drive.of(VerifyingRunner(nearly_echo), speculation=speculation) for speculation in (False, True)]
    transcripts = [drive.run(prompt, top_p=0.9, **params) for drive in drives]
    for drive in drives:
        drive.ensure_nothing_left()
    assert transcripts[0].tokens == transcripts[1].tokens
    assert transcripts[0].text == transcripts[1].text
    assert transcripts[0].reason == transcripts[1].reason


def test_nobody_guesses_beside_others_or_unasked(drive: Make) -> None:
    together, unasked = drive(VerifyingRunner(echo), speculation=True), drive(VerifyingRunner(echo))
    for _ in range(2):
        together.submit(QUOTE, **GREEDY)
    together.finish()
    unasked.run(QUOTE, **GREEDY)
    assert together.engine.stats["drafted_tokens"] == unasked.engine.stats["drafted_tokens"] == 0


def test_a_runner_that_cannot_verify_decodes_plainly(drive: Make) -> None:
    assert drive(ScriptedRunner(echo), speculation=True).run(QUOTE, **GREEDY).text == QUOTE


def test_a_verification_that_raises_fails_its_sequence(drive: Make) -> None:
    def before(kind: str, slots: list[int]) -> None:
        if kind == "verify":
            raise RuntimeError("verify")

    end = drive(VerifyingRunner(echo, before=before), speculation=True).run(QUOTE, **GREEDY).end
    assert isinstance(end, Failed)


@pytest.mark.parametrize("max_tokens", range(NGRAM + 1, NGRAM + 10))
def test_no_guess_reaches_beyond_what_is_wanted(drive: Make, max_tokens: int) -> None:
    made = drive(VerifyingRunner(echo, context=len(QUOTE) + max_tokens), speculation=True)
    answer = made.run(QUOTE, max_tokens=max_tokens, **GREEDY)
    assert (answer.text, answer.reason) == (QUOTE[:max_tokens], "length")


def test_a_guess_is_what_follows_the_last_place_quoted() -> None:
    drafter = Drafter([1, 2, 3, 4, 1, 2, 3, 5, 6])
    assert drafter.draft([9, 1, 2, 3], 5) == (5, 6)
    assert drafter.draft([1, 2, 3], 1) == (5,)
    assert drafter.draft([2, 3], 5) == drafter.draft([7, 7, 7], 5) == drafter.draft([], 5) == ()
    assert len(Drafter(range(50)).draft([0, 1, 2], 99)) == MAX_DRAFT
