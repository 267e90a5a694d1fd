"""An answer that is known: judged in one pass, each token beside the one that a generation draws there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine import Engine
from minivault.engine.sampler import Choice, Logits, SamplingState, judge, sample
from minivault.errors import ContextExceeded
from minivault.types import Constraint, Delta, Finished, Job, Judgement, SamplingParams
from tests.engine.driving import Drive, Transcript
from tests.engine.scripted import EOS, ScriptedRunner
from tests.engine.test_sampler import LARGE, PARAMS, SMALL, logits_of
from tests.engine.test_scoring import wander

RUNNER: dict[str, Any] = {"chunk_tokens": 16, "block_tokens": 4, "context": 120}


def judged(engine: Engine, prompt: bytes, answer: list[int], **given: Any) -> tuple[Judgement, str]:
    """What an engine finds of an answer, and what it says that this says."""
    constraint, params = given.pop("constraint", None), SamplingParams(**given)
    engine.submit(Job("known", tuple(prompt), params, constraint=constraint, answer=tuple(answer)))
    events = [event for _ in range(50) for _, event in engine.step()]
    engine.check_integrity()
    (told,) = [event for event in events if isinstance(event, Delta)]
    assert isinstance(events[-1], Finished)
    assert told.judgement is not None
    return told.judgement, told.text


def answered(prompt: bytes, **params: Any) -> Transcript:
    return Drive.of(ScriptedRunner(wander, **RUNNER)).run(prompt, **params)


@settings(deadline=None, max_examples=40)
@given(
    prompt=st.binary(min_size=1, max_size=50),
    params=PARAMS,
    max_tokens=st.integers(1, 40),
    cache_bytes=st.sampled_from([0, 10_000]),
    num_blocks=st.sampled_from([None, 30]),
)
def test_every_token_of_an_answer_is_the_one_that_is_drawn_there(
    prompt: bytes, params: SamplingParams, max_tokens: int, cache_bytes: int, num_blocks: int | None
) -> None:
    given = {name: getattr(params, name) for name in SamplingParams.__slots__} | {"max_tokens": max_tokens}
    answer = answered(prompt, **given)
    engine = Drive.of(ScriptedRunner(wander, **RUNNER, num_blocks=num_blocks), prefix_cache_bytes=cache_bytes).engine
    found, text = judged(engine, prompt, answer.tokens, **given)
    assert found.drawn == tuple(answer.tokens)
    assert set(found.distances) == {0.0}
    assert (text, found.ending) == (answer.text, "length")


def test_stop_strings_and_bytes_that_are_no_text_end_as_they_did() -> None:
    for params in ({"stop": ("e",), "seed": 3}, {"seed": 5}):
        answer = answered(b"ab", max_tokens=40, temperature=1.0, **params)
        engine = Drive.of(ScriptedRunner(wander, **RUNNER)).engine
        found, text = judged(engine, b"ab", answer.tokens, max_tokens=40, temperature=1.0, **params)
        assert (found.drawn, text, found.ending) == (tuple(answer.tokens), answer.text, answer.reason)


def test_a_token_that_is_not_drawn_is_named_and_those_after_it_follow_it() -> None:
    answer = answered(b"ab", max_tokens=20, seed=1).tokens
    other = [*answer]
    other[7] = answer[7] ^ 1
    engine = Drive.of(ScriptedRunner(wander, **RUNNER)).engine
    found, _ = judged(engine, b"ab", other, max_tokens=20, seed=1)
    assert found.drawn[:8] == tuple(answer[:8])
    assert found.distances[7] > 0
    again, _ = judged(engine, b"ab" + bytes(other[:8]), other[8:], max_tokens=20, seed=1, temperature=0.0)
    assert again.drawn == judged(engine, b"ab", other, max_tokens=20, temperature=0.0)[0].drawn[8:]


def test_nothing_is_looked_at_behind_an_answers_end() -> None:
    engine = Drive.of(ScriptedRunner(wander, **RUNNER)).engine
    found, _ = judged(engine, b"ab", [65, EOS, 66], max_tokens=20, stop_token_ids=(65,))
    assert (len(found.drawn), found.ending) == (1, "stop")
    assert len(judged(engine, b"ab", [65, 66, 67], max_tokens=2)[0].drawn) == 2


class OnlyLetters:
    """A constraint: `a`, then `b`, then anything."""

    has_to_parse = False

    def __init__(self) -> None:
        self.said: list[int] = []

    def mask(self, logits: Logits) -> None:
        if len(self.said) < 2:
            wanted = b"ab"[len(self.said)]
            logits[np.arange(len(logits)) != wanted] = -np.inf

    def accept(self, token_id: int) -> None:
        self.said.append(token_id)

    def fault(self, _text: str) -> str | None:
        return None


def test_tokens_that_alone_might_come_are_counted_and_what_might_not_ends_it() -> None:
    constraint: Constraint = OnlyLetters()
    engine = Drive.of(ScriptedRunner(wander, **RUNNER)).engine
    found, _ = judged(engine, b"x", [*b"ab", 70], max_tokens=20, constraint=constraint)
    assert (found.num_forced, found.distances[:2]) == (2, (0.0, 0.0))
    found, _ = judged(engine, b"x", [*b"acd"], max_tokens=20, constraint=OnlyLetters())
    assert (found.drawn, found.distances) == ((97, 98), (0.0, math.inf))


def test_what_does_not_fit_is_refused() -> None:
    engine = Drive.of(ScriptedRunner(wander, **RUNNER)).engine
    with pytest.raises(ContextExceeded, match="its answer 100"):
        engine.submit(Job("a", (1,) * 50, SamplingParams(), answer=(1,) * 100))


@settings(deadline=None, max_examples=600)
@given(
    params=PARAMS,
    top_p=st.one_of(st.sampled_from([0.0, 1e-6, 0.5, 0.95, 1 - 1e-9, 1.0]), st.floats(0, 1)),
    temperature=st.one_of(st.sampled_from([0.0, 0.1, 1.0, 3.0]), st.floats(0.01, 5)),
    seed=st.integers(0, 1000),
    vocabulary=st.sampled_from([20, SMALL, LARGE]),
    kind=st.sampled_from(["peaked", "flat", "ties", "forbidden"]),
    noise=st.sampled_from([1e-4, 1e-2, 0.3]),
)
def test_a_small_change_of_the_logits_is_a_small_distance(
    params: SamplingParams, top_p: float, temperature: float, seed: int, vocabulary: int, kind: str, noise: float
) -> None:
    """What another engine draws is never farther off than its logits are from ours, both ways."""
    params = replace(params, top_p=top_p, temperature=temperature)
    row = logits_of(seed, vocabulary, kind)
    moves = np.random.default_rng(seed)
    theirs = row + (moves.choice([-noise, noise], vocabulary) * moves.choice([1, 0.3], vocabulary)).astype(np.float32)
    (choice,) = sample(theirs[None], [SamplingState(params, (1, 2))])
    assert isinstance(choice, Choice)
    found = judge(row, choice.token_id, SamplingState(params, (1, 2)))
    assert found.distance <= 2 * params.repetition_penalty * noise + 1e-4
    assert (found.distance == 0) or found.drawn != choice.token_id


@settings(deadline=None, max_examples=200)
@given(
    top_p=st.one_of(st.sampled_from([0.0, 0.5, 0.95]), st.floats(0, 0.99)),
    temperature=st.sampled_from([0.1, 1.0, 3.0]),
    top_k=st.sampled_from([0, 3, 40]),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["peaked", "flat", "ties"]),
)
def test_what_a_cut_alone_keeps_back_comes_when_the_logits_move_by_its_distance(
    top_p: float, temperature: float, top_k: int, seed: int, kind: str
) -> None:
    """So the distance is no smaller than it has to be: those far above the token fall by half of it, the token rises
    by half, and the others rise no higher than that."""
    row = logits_of(seed, SMALL, kind)
    params = SamplingParams(top_p=top_p, top_k=top_k, temperature=temperature, seed=seed)
    (wanted,) = sample(row[None], [SamplingState(replace(params, top_p=1.0), ())])
    assert isinstance(wanted, Choice)
    found = judge(row, wanted.token_id, SamplingState(params, ()))
    half = np.float32(found.distance / 2 + 1e-4)
    place = row[wanted.token_id]
    moved = np.where(row > place + 2 * half, row - half, np.minimum(row + half, place + half - np.float32(1e-5)))
    moved[wanted.token_id] = place + half
    (choice,) = sample(moved[None], [SamplingState(params, ())])
    assert isinstance(choice, Choice)
    assert choice.token_id == wanted.token_id


@pytest.mark.parametrize("top_p", [0.3, 0.95, 1.0])
def test_another_seed_is_farther_off_than_another_arithmetic(top_p: float) -> None:
    row, totals = logits_of(1, LARGE, "flat"), [0.0, 0.0]
    theirs = row + np.random.default_rng(1).uniform(-1e-3, 1e-3, LARGE).astype(np.float32)
    for seed in range(50):
        (choice,) = sample(theirs[None], [SamplingState(SamplingParams(temperature=1.0, seed=seed, top_p=top_p), ())])
        for which in (0, 1):
            state = SamplingState(SamplingParams(temperature=1.0, seed=seed + which, top_p=top_p), ())
            totals[which] += judge(row, choice.token_id, state).distance
    assert totals[1] > 5 * totals[0]
