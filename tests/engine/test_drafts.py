"""Guesses of what comes next change how soon an answer comes, and nothing else of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine.drafts import MAX_REST, Drafts
from minivault.types import Finished
from tests.engine.driving import Drive
from tests.engine.scripted import EOS, VOCABULARY_SIZE, Logits, ScriptedRunner, echo, fail_at, say

REFRAIN = "la la la, the river runs; la la la, the river runs; " * 3


def steps(num_drafts: int, prompt: str, **params: object) -> tuple[int, list[int]]:
    """Passes over the answer, and its tokens."""
    passes = list[int]()
    runner = ScriptedRunner(echo, context=512, block_tokens=8, num_drafts=num_drafts)
    runner.before = lambda kind, slots: passes.append(1) if kind == "decode" else None
    drive = Drive.of(runner)
    transcript = drive.run(prompt, max_tokens=400, **params)
    drive.ensure_nothing_left()
    assert not runner.violations
    return len(passes), transcript.tokens


def test_an_answer_that_quotes_takes_fewer_passes() -> None:
    plain, tokens = steps(0, REFRAIN)
    guessed, same = steps(7, REFRAIN)
    assert same == tokens
    assert plain == len(tokens) - 1
    assert guessed < plain / 3


def hesitant(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Logits:
    """Likes to say its prompt again, and sometimes does not."""
    draw = np.random.default_rng(hash((prompt, answer)) & (1 << 62) - 1)
    logits = draw.standard_normal(VOCABULARY_SIZE, np.float32)
    logits[echo(prompt, answer)] += np.float32(6)
    return logits


@settings(deadline=None, max_examples=100)
@given(
    text=st.text(alphabet="ab ", min_size=1, max_size=60),
    num_drafts=st.integers(1, 9),
    block_tokens=st.sampled_from([1, 4, 8]),
    params=st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.0, 1.0]),
            "seed": st.integers(0, 9),
            "max_tokens": st.integers(0, 60),
            "repetition_penalty": st.sampled_from([1.0, 1.3]),
            "stop": st.sampled_from([(), ("ba",)]),
            "logprobs": st.sampled_from([None, 2]),
        }
    ),
)
def test_guesses_change_nothing_that_is_told(
    text: str, num_drafts: int, block_tokens: int, params: dict[str, object]
) -> None:
    def told(num_drafts: int) -> list[object]:
        runner = ScriptedRunner(hesitant, context=128, block_tokens=block_tokens, num_drafts=num_drafts)
        drive = Drive.of(runner)
        transcript = drive.run(text, **params)
        drive.ensure_nothing_left()
        assert not runner.violations
        return [event for event in transcript.events if not isinstance(event, Finished)] + [transcript.reason]

    assert told(num_drafts) == told(0)


def test_a_pass_that_fails_with_a_guess_is_repeated_without() -> None:
    """Here the row of a guess raises that the answer never comes to."""
    script = fail_at(9, lambda prompt, answer: b"abcabcabx"[len(answer)] if len(answer) < 9 else EOS)
    ends = lambda prompt, answer: EOS if answer[-1:] == (ord("x"),) else script(prompt, answer)  # noqa: E731
    drive = Drive.of(ScriptedRunner(ends, num_drafts=7))
    assert drive.run("?", max_tokens=20).text == "abcabcabx"
    drive.ensure_nothing_left()


def test_in_company_nobody_guesses() -> None:
    runner = ScriptedRunner(echo, context=512, num_drafts=7)
    drive = Drive.of(runner)
    jobs = [drive.submit(REFRAIN, max_tokens=100) for _ in range(2)]
    drive.finish()
    assert drive.engine.stats["guessed"] == 0
    assert drive.transcripts[jobs[0]].tokens == drive.transcripts[jobs[1]].tokens


def test_what_was_guessed_and_what_of_it_was_right_is_counted() -> None:
    drive = Drive.of(ScriptedRunner(say(REFRAIN), context=512, num_drafts=7))
    drive.run("?", max_tokens=400)
    stats = drive.engine.stats
    assert stats["guessed"] >= stats["guessed_right"] > len(REFRAIN) / 3


def test_a_guess_is_what_came_after_the_same_tokens_last() -> None:
    assert Drafts([1, 2, 3, 4, 5, 6, 9, 1, 2, 3]).guess(9) == [4, 5, 6]
    assert Drafts([1, 2, 3, 4, 1, 2, 3, 5, 8, 8, 1, 2, 3]).guess(2) == [5, 8]
    assert Drafts([7, 7, 7, 7]).guess(3) == [7, 7, 7]
    assert Drafts([1, 2]).guess(3) == []


def test_guesses_that_are_right_get_longer_and_wrong_ones_rare() -> None:
    right, wrong = Drafts([1, 2, 3] * 2), Drafts([1, 2, 3] * 2)
    lengths = []
    for _ in range(3):
        guess = right.guess(50)
        lengths.append(len(guess))
        right.see([*guess, (right.known + guess)[-3]])
    assert lengths == sorted(set(lengths))
    made = 0
    for place in range(8 * MAX_REST):
        made += bool(wrong.guess(7))
        wrong.see([10 + place, 1, 2, 3])
    assert 4 <= made <= 20
