"""Scores of the exact engine: to the last bit what generation reports, whatever the company and the cache."""

from __future__ import annotations

import random

import pytest

from minivault.types import Delta, TokenLogprob
from tests.engine.driving import Drive
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import tokens


def reported(drive: Drive, job: str) -> list[TokenLogprob]:
    return [entry for event in drive.transcripts[job].events if isinstance(event, Delta) for entry in event.logprobs]


@pytest.mark.parametrize("variant", ["llama", "gpt2"])
@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_scores_are_bitwise_those_of_generation(load: Loader, variant: str, num_threads: int, cache_bytes: int) -> None:
    """A context of several chunks with several ends; each answer is then scored, in any order, with any cuts."""
    alone = Drive.of(load(variant), max_running=1)
    context = tokens(150, 5)
    prompts = [context[:cut] + tokens(extra, extra) for cut, extra in ((150, 0), (150, 3), (150, 40), (64, 1), (1, 0))]
    whole = []
    for prompt in prompts:
        job = alone.submit(prompt, max_tokens=70, logprobs=3, temperature=1.0)
        alone.finish()
        whole.append(([*prompt, *alone.transcripts[job].tokens], len(prompt), reported(alone, job)))
    draw = random.Random(7)
    together = Drive.of(
        load(variant, num_threads=num_threads), max_running=5, prefix_cache_bytes=cache_bytes, step_tokens=200
    )
    for _ in range(2):
        jobs = []
        for index in draw.sample(range(len(whole)), len(whole)):
            jobs.append((index, together.submit(whole[index][0], max_tokens=draw.randrange(2), prompt_logprobs=3)))
            together.submit(whole[index][0][: draw.randrange(20, 60)], max_tokens=3)
            together.step(draw.randrange(3))
        together.finish()
        for index, job in jobs:
            found, (_, start, expected) = together.transcripts[job].started.prompt_logprobs, whole[index]
            assert found is not None
            assert list(found[start:]) == expected
    together.ensure_nothing_left()
    assert (together.engine.stats["cached_tokens"] > 0) == bool(cache_bytes)
