"""Marked answers in the engine: the same tokens in any company, with guesses, after a new beginning, and judged."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine import Engine
from minivault.engine.detection import detect
from minivault.errors import Unsupported
from minivault.types import Delta, Job, SamplingParams
from minivault.watermark import Mark
from tests.engine.driving import Clock, Drive, Transcript
from tests.engine.scripted import ByteTokenizer, ScriptedRunner, babble
from tests.engine.test_drafts import hesitant
from tests.engine.test_scoring import wander

MARK, OTHER = Mark(bytes(range(32))), Mark(bytes(32))
MARKED: dict[str, Any] = {"watermark": MARK.name, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def driving(runner: ScriptedRunner, mark: Mark | None = MARK, max_running: int = 4, **options: Any) -> Drive:
    clock = Clock()
    options = {"step_tokens": 0} | options
    engine = Engine(runner, ByteTokenizer(), max_running=max_running, clock=clock, mark=mark, **options)
    return Drive(engine, runner, clock)


def alone(prompt: str, script: Any = babble, **params: Any) -> Transcript:
    return driving(ScriptedRunner(script, context=128)).run(prompt, **{**MARKED, **params})


REQUESTS = st.lists(
    st.tuples(
        st.text(alphabet="ab ", min_size=1, max_size=30),
        st.fixed_dictionaries(
            {
                "seed": st.integers(0, 9),
                "max_tokens": st.integers(1, 20),
                "temperature": st.sampled_from([0.0, 0.8, 1.5]),
                "watermark": st.sampled_from([MARK.name, None]),
                "top_k": st.sampled_from([0, 40]),
                "repetition_penalty": st.sampled_from([1.0, 1.3]),
                "stop": st.sampled_from([(), ("ba",)]),
                "logprobs": st.sampled_from([None, 1]),
                "ignore_eos": st.booleans(),
            }
        ),
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=15)
@given(
    requests=REQUESTS,
    max_running=st.integers(1, 4),
    num_drafts=st.sampled_from([0, 1, 7]),
    block_tokens=st.sampled_from([2, 8]),
    cache_bytes=st.sampled_from([0, 4096]),
)
def test_marked_or_not_an_answer_is_the_same_in_any_company_and_with_any_guesses(
    requests: list[tuple[str, dict[str, Any]]], max_running: int, num_drafts: int, block_tokens: int, cache_bytes: int
) -> None:
    runner = ScriptedRunner(hesitant, context=128, block_tokens=block_tokens, num_drafts=num_drafts)
    drive = driving(runner, max_running=max_running, prefix_cache_bytes=cache_bytes)
    jobs = [drive.submit(prompt, **{**MARKED, **params}) for prompt, params in requests]
    drive.finish()
    drive.ensure_nothing_left()
    for job, (prompt, params) in zip(jobs, requests, strict=True):
        apart = alone(prompt, hesitant, **params)
        told = [event for event in drive.transcripts[job].events if isinstance(event, Delta)]
        assert told == [event for event in apart.events if isinstance(event, Delta)]
        assert drive.transcripts[job].reason == apart.reason


def test_an_answer_that_loses_its_place_goes_on_as_it_would_have() -> None:
    """The cache holds too little for two: the second begins again in the middle of its answer."""
    runner = ScriptedRunner(wander, context=128, block_tokens=4, num_blocks=34)
    drive = driving(runner, max_running=2)
    with patch("minivault.engine.scheduler.AHEAD_POSITIONS", 0):
        jobs = [drive.submit(prompt, max_tokens=80, ignore_eos=True, **MARKED) for prompt in ("one", "two")]
        drive.finish()
    assert drive.engine.stats["preemptions"] > 0
    for job, prompt in zip(jobs, ("one", "two"), strict=True):
        assert drive.transcripts[job].tokens == alone(prompt, wander, max_tokens=80, ignore_eos=True).tokens


def test_answers_of_other_seeds_begin_apart() -> None:
    begun = {tuple(alone("ab", seed=seed, max_tokens=30).tokens[:4]) for seed in range(8)}
    assert len(begun) == 8


def test_a_marked_answer_is_found_and_one_without_the_mark_is_drawn_as_ever() -> None:
    marked = alone("ab", max_tokens=100).tokens
    plain = driving(ScriptedRunner(context=128)).run("ab", **{**MARKED, "watermark": None}, max_tokens=100).tokens
    unmarking = driving(ScriptedRunner(context=128), None).run("ab", **{**MARKED, "watermark": None}, max_tokens=100)
    assert detect(MARK, marked).p_value < 1e-12 < detect(MARK, plain).p_value
    assert plain == unmarking.tokens != marked
    assert plain[:4] == marked[:4]


@pytest.mark.parametrize("here", [None, OTHER])
def test_another_marks_answer_is_refused_and_named(here: Mark | None) -> None:
    drive = driving(ScriptedRunner(context=128), here)
    with pytest.raises(Unsupported, match=f"the key of the mark {MARK.name} is not here"):
        drive.submit("ab", **MARKED)


@settings(deadline=None, max_examples=10)
@given(prompt=st.binary(min_size=1, max_size=40), seed=st.integers(0, 9), max_tokens=st.integers(1, 40))
def test_a_marked_answer_is_judged_as_drawn(prompt: bytes, seed: int, max_tokens: int) -> None:
    params = {**MARKED, "seed": seed, "max_tokens": max_tokens}
    runner: dict[str, Any] = {"chunk_tokens": 16, "block_tokens": 4, "context": 120}
    answer = driving(ScriptedRunner(wander, **runner)).run(prompt, **params).tokens
    engine = driving(ScriptedRunner(wander, **runner)).engine
    engine.submit(Job("known", tuple(prompt), SamplingParams(**params), answer=tuple(answer)))
    events = [event for _ in range(50) for _, event in engine.step()]
    [told] = [event.judgement for event in events if isinstance(event, Delta)]
    assert told is not None and told.drawn == tuple(answer) and set(told.distances) == {0.0}
