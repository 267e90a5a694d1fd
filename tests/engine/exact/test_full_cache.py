"""The engine on a cache that is too small for everyone: they wait, begin again, and are told the same as alone."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minivault.engine.exact.cache import BLOCK_TOKENS
from minivault.engine.exact.runner import ExactRunner
from tests.engine.driving import Drive, Transcript
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import tokens

RELAXED = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
BLOCKS = 10
"""One full slot of 320 positions."""


@dataclass(frozen=True)
class Request:
    num_prompt: int
    kind: int
    """Prompts of a kind begin alike."""
    max_tokens: int
    wait: int

    def submit(self, drive: Drive) -> str:
        prompt = tokens(self.num_prompt, self.kind)
        return drive.submit(prompt, max_tokens=self.max_tokens, seed=self.max_tokens, temperature=1.0, logprobs=2)


requests = st.builds(Request, st.integers(1, 250), st.integers(1, 3), st.integers(1, 60), st.integers(0, 6))


@pytest.fixture(scope="module")
def small(load: Loader) -> ExactRunner:
    runner = load.open(load.prepared("llama"), num_slots=6, cache_bytes=0)
    size = runner.cache.block_bytes
    runner.close()
    return load.open(load.prepared("llama"), num_slots=6, cache_bytes=BLOCKS * size)


def said(transcript: Transcript) -> list[object]:
    """Every token with its log-probabilities, and how it ended."""
    return [transcript.tokens, [getattr(event, "logprobs", ()) for event in transcript.events], transcript.reason]


@pytest.mark.parametrize("prefix_cache_bytes", [0, 1 << 20])
@RELAXED
@given(together=st.lists(requests, min_size=2, max_size=8), ahead=st.sampled_from([0, 32, 256]))
def test_every_answer_is_the_one_given_alone(
    load: Loader, small: ExactRunner, together: list[Request], ahead: int, prefix_cache_bytes: int
) -> None:
    assert (small.num_blocks, small.context) == (BLOCKS, 320)
    drive = Drive.of(small, max_running=6, prefix_cache_bytes=prefix_cache_bytes, step_tokens=100)
    jobs = []
    with patch("minivault.engine.scheduler.AHEAD_POSITIONS", ahead):
        for request in together:
            drive.step(request.wait)
            jobs.append(request.submit(drive))
        drive.finish()
    drive.ensure_nothing_left()
    del drive.engine
    small.cache.check_integrity()
    for job, request in zip(jobs, together, strict=True):
        alone = Drive.of(load("llama"))
        assert said(drive.transcripts[job]) == said(alone.transcripts[_finished(alone, request)])


def _finished(drive: Drive, request: Request) -> str:
    job = request.submit(drive)
    drive.finish()
    return job


def test_a_budget_below_one_full_slot_lowers_the_context(load: Loader, small: ExactRunner) -> None:
    size = small.cache.block_bytes
    runner = load.open(load.prepared("llama"), num_slots=6, cache_bytes=3 * size + 1)
    assert (runner.context, runner.num_blocks) == (3 * BLOCK_TOKENS, 3)
    runner.close()


def test_an_embedding_makes_those_who_run_begin_again(load: Loader, small: ExactRunner) -> None:
    drive = Drive.of(small, max_running=6)
    job = drive.submit(tokens(200), max_tokens=40, seed=3, temperature=1.0)
    drive.step(10)
    found = drive.engine.embed(tokens(300))
    drive.finish()
    assert found.tobytes() == load("llama").embed(tokens(300)).tobytes()
    assert drive.engine.stats["preemptions"] == 1
    alone = Drive.of(load("llama")).run(tokens(200), max_tokens=40, seed=3, temperature=1.0)
    assert drive.transcripts[job].tokens == alone.tokens
