"""The scores of a prompt: the numbers that generation reports for the same tokens, however they come about."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minivault.engine import possible
from minivault.errors import BadRequest, ContextExceeded
from minivault.types import Delta, Failed, TokenLogprob
from tests.engine.driving import GREEDY, Drive, Transcript
from tests.engine.scripted import VOCABULARY_SIZE, ByteTokenizer, Logits, ScriptedRunner, babble

Make = Callable[..., Drive]
RUNNER = {"chunk_tokens": 16, "block_tokens": 4, "context": 120}


def wander(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Logits:
    """Logits that depend on the tokens so far, and not on where the prompt ends."""
    return babble(prompt + answer, ())


def scores(transcript: Transcript) -> tuple[TokenLogprob, ...]:
    found = transcript.started.prompt_logprobs
    assert found is not None
    return found


def reported(transcript: Transcript) -> tuple[TokenLogprob, ...]:
    return tuple(entry for event in transcript.events if isinstance(event, Delta) for entry in event.logprobs)


prompts = st.lists(st.sampled_from(b"ab"), min_size=1, max_size=50).map(bytes)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.tuples(prompts, st.integers(0, 3), st.integers(0, 20), st.booleans()), min_size=1, max_size=8),
    cache_bytes=st.sampled_from([0, 40, 400, 10_000]),
    step_tokens=st.sampled_from([0, 20, 200]),
)
def test_scores_are_those_of_generation_in_any_company(
    asked: list[tuple[bytes, int, int, bool]], cache_bytes: int, step_tokens: int
) -> None:
    alone = Drive.of(ScriptedRunner(wander, **RUNNER))  # type: ignore[arg-type]
    whole = [(alone.run(prompt, max_tokens=8, logprobs=num), prompt, num) for prompt, num, _, _ in asked]
    made = Drive.of(
        ScriptedRunner(wander, **RUNNER),
        prefix_cache_bytes=cache_bytes,
        step_tokens=step_tokens,  # type: ignore
    )
    jobs = []
    for (answer, prompt, num), (_, _, wait, is_plain) in zip(whole, asked, strict=True):
        made.step(wait)
        if is_plain:
            made.submit([*prompt, *answer.tokens], max_tokens=2)  # leaves blocks without scores
        jobs.append(made.submit([*prompt, *answer.tokens], max_tokens=wait % 2, prompt_logprobs=num))
    made.finish()
    for job, (answer, prompt, _) in zip(jobs, whole, strict=True):
        found = scores(made.transcripts[job])
        assert len(found) == len(prompt) + 8
        assert found[0] == TokenLogprob(prompt[0], 0.0, prompt[:1])
        assert found[len(prompt) :] == reported(answer)
        assert made.transcripts[job].reason == "length"
    made.ensure_nothing_left()


def test_nothing_but_scores(drive: Make) -> None:
    made = drive(ScriptedRunner(wander))
    only = made.run("abcdefghij", max_tokens=0, prompt_logprobs=1)
    assert (only.tokens, only.text, only.reason) == ([], "", "length")
    assert (only.end.usage.prompt_tokens, only.end.usage.completion_tokens) == (10, 0)
    assert made.run("abcdefghij", max_tokens=3, prompt_logprobs=1).started == only.started


def test_an_answer_is_the_same_with_and_without_scores(drive: Make) -> None:
    made = drive(ScriptedRunner(wander))
    assert made.run("abc", max_tokens=9, prompt_logprobs=5).tokens == made.run("abc", max_tokens=9).tokens


def test_a_rank_counts_the_likelier_tokens(drive: Make) -> None:
    made = drive(ScriptedRunner(wander))
    for entry in scores(made.run("some text", max_tokens=0, prompt_logprobs=20))[1:]:
        likelier = [other.logprob for other in entry.top]
        assert likelier == sorted(likelier, reverse=True)
        if entry.rank <= 20:
            assert entry.top[entry.rank - 1].token_id == entry.token_id
        else:
            assert entry.logprob <= likelier[-1]
    tied = drive(ScriptedRunner(lambda prompt, answer: np.zeros(260, np.float32)))
    assert [entry.rank for entry in scores(tied.run(b"\x00\x07", max_tokens=0, prompt_logprobs=0))] == [0, 8]


def test_a_shared_context_is_computed_once(drive: Make) -> None:
    """Four options after one context: what the first leaves, its scores included, serves the others."""
    runner = ScriptedRunner(wander, chunk_tokens=16, block_tokens=4, context=120)
    made = drive(runner, prefix_cache_bytes=10_000)
    context = bytes(range(97, 122)) * 4
    found = [made.run(context + option, max_tokens=0, prompt_logprobs=1) for option in (b"one", b"two", b"three")]
    assert [one.started.cached_tokens for one in found] == [0, 96, 96]
    assert runner.num_prefilled_tokens == 103 + 7 + 9
    assert scores(found[1])[:100] == scores(found[0])[:100]


def test_more_alternatives_are_computed_and_fewer_are_known(drive: Make) -> None:
    made = drive(ScriptedRunner(wander), prefix_cache_bytes=10_000)

    def cached(num: int) -> int:
        found = made.run("x" * 40, max_tokens=0, prompt_logprobs=num)
        assert {len(entry.top) for entry in scores(found)[1:]} == {num}
        return found.started.cached_tokens

    assert [cached(2), cached(1), cached(3), cached(3), cached(0)] == [0, 24, 0, 24, 24]


def test_a_prompt_that_nobody_scores_costs_a_row_a_chunk(drive: Make) -> None:
    for fields, num in ({}, 4), ({"prompt_logprobs": 0}, 30):
        runner = ScriptedRunner(wander)
        drive(runner).run("x" * 30, max_tokens=1, **fields)
        assert runner.num_logits == num


def test_no_more_is_scored_at_once_than_memory_is_for(drive: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a runner that reads prompts whole; one that reads them in pieces scores any."""
    whole, pieces = (drive(ScriptedRunner(wander, **RUNNER | {"chunk_tokens": at_once})) for at_once in (120, 16))
    monkeypatch.setattr(possible, "SCORED_BYTES", 4 * 20 * VOCABULARY_SIZE)
    with pytest.raises(BadRequest, match="at most 20 tokens can be scored") as told:
        whole.submit(bytes(21), max_tokens=0, prompt_logprobs=1)
    assert told.value.field == "prompt_logprobs"
    for made, prompt in ((whole, bytes(20)), (pieces, bytes(21))):
        made.submit(prompt, max_tokens=0, prompt_logprobs=1)
        made.finish()


def test_special_tokens_have_names(drive: Make) -> None:
    found = scores(drive(ScriptedRunner(wander)).run([257, 97], max_tokens=0, prompt_logprobs=0))
    assert [(entry.data, entry.name) for entry in found] == [(b"", ByteTokenizer().token_name(257)), (b"a", "")]


def test_what_is_no_number_is_no_score(drive: Make) -> None:
    made = drive(ScriptedRunner(lambda prompt, answer: np.full(260, np.nan, np.float32)))
    failed = made.run("abc", max_tokens=0, prompt_logprobs=0).end
    assert isinstance(failed, Failed)
    assert "cannot be scored" in str(failed.error)


def test_a_prompt_may_fill_the_context_where_nothing_is_generated(drive: Make) -> None:
    made = drive(ScriptedRunner(wander, context=32))
    assert len(scores(made.run("x" * 32, max_tokens=0, prompt_logprobs=0))) == 32
    with pytest.raises(ContextExceeded):
        made.submit("x" * 32, max_tokens=1, prompt_logprobs=0)
    with pytest.raises(ContextExceeded):
        made.submit("x" * 33, max_tokens=0, prompt_logprobs=0)
    with pytest.raises(BadRequest, match="negative"):
        made.submit("x", max_tokens=-1)


def test_greedy_tokens_have_rank_one(drive: Make) -> None:
    answer = drive(ScriptedRunner(wander)).run("abc", max_tokens=9, logprobs=0, **GREEDY)
    assert {entry.rank for entry in reported(answer)} == {1}
