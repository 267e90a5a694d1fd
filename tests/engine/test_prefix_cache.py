"""PrefixCache: whole prompt chunks, found by everything before them, within the limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.runner import Chunk
from tests.engine.driving import GREEDY, Drive
from tests.engine.scripted import ScriptedRunner, echo

Make = Callable[..., Drive]
CHUNK = 8
"""A chunk takes as many bytes: a scripted position is one byte."""


def test_a_repeated_prompt_is_copied_except_for_its_last_chunk(drive: Make) -> None:
    made = drive(prefix_cache_bytes=1024)
    first, second = made.run("x" * 30), made.run("x" * 30)
    assert (first.started.cached_tokens, second.started.cached_tokens) == (0, 24)
    assert second.tokens == first.tokens
    assert second.end.usage.cached_tokens == made.engine.stats["cached_tokens"] == 24


def test_the_last_token_of_a_prompt_is_always_computed(drive: Make) -> None:
    made = drive(prefix_cache_bytes=1024)
    made.run("x" * 24)
    assert made.run("x" * 24).started.cached_tokens == 16
    assert made.run("x" * 25).started.cached_tokens == 16


def test_a_runner_may_share_less_than_a_chunk(drive: Make) -> None:
    made = drive(ScriptedRunner(block_tokens=2), prefix_cache_bytes=1024)
    made.run("abcdefg")
    assert made.run("abcdxyz").started.cached_tokens == 4
    assert made.run("abcdxy" + "z" * 20).started.cached_tokens == 6
    assert made.run("abcdxy" + "z" * 20).started.cached_tokens == 24


def test_what_is_cached_takes_no_room_in_a_step(drive: Make) -> None:
    runner = ScriptedRunner(chunk_tokens=400, block_tokens=100, context=1000)
    made = drive(runner, prefix_cache_bytes=9000, step_tokens=20)
    made.run("x" * 301, max_tokens=1)
    jobs = [made.submit("x" * 301 + letter, max_tokens=1) for letter in "abcd"]
    made.step()
    assert {made.transcripts[job].started.cached_tokens for job in jobs} == {300}
    assert made.engine.stats["steps"] == 2


def test_what_arrives_together_is_processed_once(drive: Make) -> None:
    """Their own ends apart; a scored prompt also repeats the block before it goes on."""
    for fields, most in ({}, 100 + 4 * 3), ({"prompt_logprobs": 1}, 100 + 4 * 3 + 3 * 8):
        runner = ScriptedRunner(chunk_tokens=16, block_tokens=4, context=200)
        made = drive(runner, prefix_cache_bytes=10_000, step_tokens=100)
        for letter in "abcd":
            made.submit("x" * 100 + letter * 3, max_tokens=1, **fields)
        made.finish()
        assert runner.num_prefilled_tokens <= most
        assert made.engine.stats["steps"] == 3


def test_a_chunk_counts_only_after_the_same_tokens(drive: Make) -> None:
    made = drive(prefix_cache_bytes=1024)
    made.run("a" * 8 + "b" * 8 + "?")
    assert made.run("c" * 8 + "b" * 8 + "?").started.cached_tokens == 0
    assert made.run("a" * 8 + "c" * 8 + "?").started.cached_tokens == 8


def test_what_was_decoded_is_never_taken_for_a_prompt(drive: Make) -> None:
    made = drive(ScriptedRunner(echo), prefix_cache_bytes=1024)
    answer = made.run("abcdefgh", **GREEDY).text
    assert made.run("abcdefgh" + answer + "?", **GREEDY).started.cached_tokens <= 8


def test_prompts_that_arrive_together_share_what_the_first_computes(drive: Make) -> None:
    made = drive(prefix_cache_bytes=1024)
    jobs = [made.submit("x" * 33, max_tokens=2) for _ in range(4)]
    made.finish()
    assert isinstance(made.runner, ScriptedRunner)
    assert made.runner.num_prefilled_tokens < 33 + 3 * 33 / 2
    assert len({tuple(made.transcripts[job].tokens) for job in jobs}) == 1


def test_without_room_nothing_is_kept(drive: Make) -> None:
    made = drive(prefix_cache_bytes=CHUNK - 1)
    made.run("x" * 30)
    assert made.run("x" * 30).started.cached_tokens == 0


def test_a_runner_that_cannot_copy_is_never_asked_to(drive: Make) -> None:
    runner = ScriptedRunner()
    runner.can_copy = False
    made = drive(runner, prefix_cache_bytes=1024)
    made.run("x" * 30)
    assert made.run("x" * 30).started.cached_tokens == 0


def test_the_least_recently_used_prompt_goes_first(drive: Make) -> None:
    made = drive(prefix_cache_bytes=4 * CHUNK)
    for prompt in ("a" * 17, "b" * 17, "a" * 17, "c" * 17):
        made.run(prompt, max_tokens=1)
    assert [made.run(letter * 17, max_tokens=1).started.cached_tokens for letter in "ac"] == [16, 16]
    assert made.run("b" * 17, max_tokens=1).started.cached_tokens == 0


def test_the_end_of_a_prompt_goes_before_its_beginning(drive: Make) -> None:
    made = drive(prefix_cache_bytes=3 * CHUNK)
    for prompt in ("a" * 25, "b" * 9):
        made.run(prompt, max_tokens=1)
    assert made.run("a" * 25, max_tokens=1).started.cached_tokens == 16


@pytest.mark.parametrize("kind", ["copy_in", "copy_out"])
def test_a_copy_that_fails_ends_only_the_job_it_concerns(drive: Make, kind: str) -> None:
    broken = []

    def before(called: str, slots: list[int]) -> None:
        if called == kind and broken:
            raise broken.pop()

    made = drive(ScriptedRunner(before=before), prefix_cache_bytes=1024)
    expected = made.run("x" * 30, max_tokens=3).tokens
    broken.append(OSError("no memory"))
    made.run("x" * 30 if kind == "copy_in" else "y" * 30)
    assert made.run("x" * 30, max_tokens=3).tokens == expected


@given(
    prompts=st.lists(st.text(alphabet="ab", min_size=1, max_size=60), min_size=1, max_size=12),
    num_chunks=st.integers(0, 6),
)
def test_the_limit_holds_and_a_hit_is_what_was_computed(prompts: list[str], num_chunks: int) -> None:
    runner = ScriptedRunner()
    cache = PrefixCache(runner, num_chunks * CHUNK)
    for prompt in (tuple(text.encode()) for text in prompts):
        keys = cache.keys(prompt)
        start = cache.restore(0, keys, 0, len(prompt))
        assert start < len(prompt)
        while start < len(prompt):
            runner.forward([Chunk(0, prompt[start : start + CHUNK], start, is_prompt=True)])
            cache.store(0, keys, start, start + CHUNK)
            start += CHUNK
        assert tuple(runner.slots[0].prompt) == prompt
        cache.check_integrity()
        assert cache.num_bytes <= num_chunks * CHUNK
        runner.release(0)
