"""The engine under random schedules: nothing leaks, everyone ends once, nobody's tokens depend on anybody else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.types import Failed, Finished, Started
from tests.engine.driving import Drive
from tests.engine.scripted import EOS, VOCABULARY_SIZE, Logits, ScriptedRunner, babble, fail_at

THOROUGH = settings(deadline=None, max_examples=120)


@dataclass(frozen=True)
class Request:
    """A job as a property test draws it."""

    prompt: str
    max_tokens: int
    seed: int
    temperature: float
    wait: int
    """Steps between the previous request and this one."""
    stop: tuple[str, ...] = ()


REQUESTS = st.lists(
    st.builds(
        Request,
        prompt=st.one_of(
            st.text(alphabet="abc", min_size=1, max_size=40),
            st.integers(1, 5).map(lambda n: "system prompt " * 2 + "x" * n),
        ),
        max_tokens=st.integers(1, 12),
        seed=st.integers(0, 99),
        temperature=st.sampled_from([0.0, 0.8, 1.5]),
        wait=st.integers(0, 4),
        stop=st.sampled_from([(), ("a",), ("ab", "!")]),
    ),
    min_size=1,
    max_size=10,
)


def submit(drive: Drive, request: Request) -> str:
    return drive.submit(
        request.prompt,
        max_tokens=request.max_tokens,
        seed=request.seed,
        temperature=request.temperature,
        top_p=0.95,
        stop=request.stop,
    )


def alone(request: Request) -> tuple[list[int], str]:
    """Tokens and text of a request that has a fresh engine to itself."""
    drive = Drive.of(ScriptedRunner())
    job_id = submit(drive, request)
    drive.finish()
    return drive.transcripts[job_id].tokens, drive.transcripts[job_id].text


@THOROUGH
@given(
    requests=REQUESTS,
    max_running=st.integers(1, 4),
    prefix_cache_bytes=st.sampled_from([0, 16, 4096]),
    block_tokens=st.sampled_from([2, 8]),
    num_drafts=st.sampled_from([0, 1, 7]),
    step_tokens=st.sampled_from([0, 20, 100]),
)
def test_the_same_request_gives_the_same_tokens_in_any_company(
    requests: list[Request], block_tokens: int, num_drafts: int, **options: int
) -> None:
    drive = Drive.of(ScriptedRunner(block_tokens=block_tokens, num_drafts=num_drafts), **options)
    jobs = []
    for request in requests:
        drive.step(request.wait)
        jobs.append(submit(drive, request))
    drive.finish()
    drive.ensure_nothing_left()
    told = [(drive.transcripts[job].tokens, drive.transcripts[job].text) for job in jobs]
    assert told == [alone(request) for request in requests]


ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 60), st.integers(1, 30), st.sampled_from([None, 1, 5, 20])),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("step"), st.integers(1, 5)),
    st.tuples(st.just("break"), st.integers(0, 6)),
    st.tuples(st.just("mend")),
)


@settings(deadline=None, max_examples=250)
@given(
    actions=st.lists(ACTIONS, max_size=40),
    prefix_cache_bytes=st.sampled_from([0, 40]),
    step_tokens=st.sampled_from([0, 20, 100]),
    num_blocks=st.sampled_from([32, 36, 96]),
)
def test_nothing_leaks_and_every_job_ends_once_whatever_happens(
    actions: list[tuple], num_blocks: int, **options: int
) -> None:
    runner = ScriptedRunner(block_tokens=4, num_blocks=num_blocks)
    drive = Drive.of(runner, max_running=3, **options)
    runner.before = lambda kind, slots: drive.clock.advance(1)
    for action, *numbers in actions:
        if action == "submit":
            length, max_tokens, patience = numbers
            deadline = None if patience is None else drive.clock.now_ns + patience
            drive.submit("abc" * (length // 3 + 1), max_tokens=max_tokens, deadline_ns=deadline)
        elif action == "cancel":
            drive.engine.cancel(f"job-{numbers[0]}")
        elif action == "step":
            drive.step(numbers[0])
        else:
            runner.script = fail_at(numbers[0]) if action == "break" else babble
    drive.finish()
    drive.ensure_nothing_left()
    for transcript in drive.transcripts.values():
        assert len(transcript.terminals) == 1
        assert isinstance(transcript.end, Finished | Failed)
        assert transcript.end.usage.completion_tokens == len(transcript.tokens)


@THOROUGH
@given(
    bad=st.sets(st.integers(0, 4)),
    index=st.integers(0, 4),
    seeds=st.lists(st.integers(0, 99), min_size=5, max_size=5),
)
def test_sequences_beside_one_that_fails_are_told_the_same(bad: set[int], index: int, seeds: list[int]) -> None:
    broken = fail_at(index)
    runner = ScriptedRunner(
        lambda prompt, answer: (broken if prompt[0] in bad else babble)(prompt, answer), num_slots=5
    )
    drive = Drive.of(runner, max_running=5)
    jobs = [drive.submit([number, 7, 8], seed=seed, max_tokens=6) for number, seed in enumerate(seeds)]
    drive.finish()
    drive.ensure_nothing_left()
    for number, job in enumerate(jobs):
        whole = Drive.of(ScriptedRunner()).run([number, 7, 8], seed=seeds[number], max_tokens=6).tokens
        assert drive.transcripts[job].tokens == (whole[:index] if number in bad else whole)
        assert isinstance(drive.transcripts[job].end, Failed if number in bad else Finished)


@THOROUGH
@given(answer=st.binary(max_size=40), stop=st.lists(st.text(alphabet="ab\u00e9", min_size=1, max_size=3), max_size=4))
def test_the_text_is_what_the_tokens_say_up_to_a_stop_string(answer: bytes, stop: list[str]) -> None:
    tokens = [*answer, EOS]
    runner = ScriptedRunner(lambda prompt, said: tokens[len(said)])
    drive = Drive.of(runner)
    transcript = drive.run("?", temperature=0.0, max_tokens=100, stop=tuple(stop))
    drive.ensure_nothing_left()
    said = bytes(token for token in transcript.tokens if token < EOS)
    if transcript.tokens[-1] == EOS:
        assert said == answer
        assert transcript.text == said.decode("utf-8", "replace")
    else:
        assert said.decode("utf-8", "replace").startswith(transcript.text)
        assert any(said.decode("utf-8", "replace").endswith(s) for s in stop)
    assert not any(s in transcript.text for s in stop)


@given(seed=st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=30)
def test_a_seed_is_the_whole_difference_between_two_answers(seed: int) -> None:
    def answer(number: int) -> list[int]:
        return Drive.of(ScriptedRunner()).run("x", seed=number, max_tokens=30, temperature=2.0, top_k=0).tokens

    assert answer(seed) == answer(seed)
    assert answer(seed) != answer(seed + 1)
    assert all(token < VOCABULARY_SIZE for token in answer(seed))


def test_long_prompts_add_their_share_of_a_step_to_anybodys_gap_and_no_more() -> None:
    runner = ScriptedRunner()
    drive = Drive.of(runner, step_tokens=3 * runner.chunk_tokens)
    drive.submit("short", max_tokens=60)
    drive.step(2)
    calls: list[tuple[str, int]] = []
    runner.before = lambda kind, slots: calls.append((kind, slots[0]))
    for letter in "abc":
        drive.submit(letter * 100, max_tokens=5)
    drive.finish()
    drive.ensure_nothing_left()
    gaps = [list(gap) for is_decode, gap in groupby(calls, key=lambda call: call[0] == "decode") if not is_decode]
    prefilled = [[slot for kind, slot in gap if kind == "prefill"] for gap in gaps]
    assert max(map(len, prefilled)) == 3
    assert {1, 2, 3} in map(set, prefilled)


def whole_history(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Logits:
    """Logits that depend on every token so far, whoever wrote it."""
    return babble(prompt + answer, ())


@THOROUGH
@given(
    requests=REQUESTS,
    num_blocks=st.integers(8, 20),
    ahead=st.sampled_from([0, 4, 256]),
    max_running=st.integers(1, 8),
    prefix_cache_bytes=st.sampled_from([0, 40, 4096]),
    step_tokens=st.sampled_from([0, 20, 100]),
)
def test_a_full_cache_makes_nobody_fail_and_changes_no_token(
    requests: list[Request], num_blocks: int, ahead: int, **options: int
) -> None:
    runner = ScriptedRunner(whole_history, num_slots=8, context=64, num_blocks=num_blocks)
    drive = Drive.of(runner, **options)
    jobs = []
    with patch("minivault.engine.scheduler.AHEAD_POSITIONS", ahead):
        for request in requests:
            drive.step(request.wait)
            jobs.append(submit(drive, request))
        drive.finish()
    drive.ensure_nothing_left()
    for job, request in zip(jobs, requests, strict=True):
        one = Drive.of(ScriptedRunner(whole_history, context=64))
        alone_job = submit(one, request)
        one.finish()
        assert drive.transcripts[job].reason == one.transcripts[alone_job].reason
        assert drive.transcripts[job].tokens == one.transcripts[alone_job].tokens
        assert drive.transcripts[job].text == one.transcripts[alone_job].text


def test_who_came_first_is_served_first_when_the_cache_is_full() -> None:
    runner = ScriptedRunner(whole_history, num_slots=4, context=64, num_blocks=8)
    drive = Drive.of(runner)
    with patch("minivault.engine.scheduler.AHEAD_POSITIONS", 0):
        jobs = [drive.submit(letter * 8, max_tokens=50, seed=7) for letter in "abcd"]
        ends: list[str] = []
        while drive.engine.has_work:
            drive.step()
            ends += [job for job in jobs if drive.transcripts[job].terminals and job not in ends]
    drive.ensure_nothing_left()
    assert ends == jobs
    assert drive.engine.stats["preemptions"] > 0
    assert all(drive.transcripts[job].end.usage.completion_tokens == 50 for job in jobs)
    assert [len([e for e in drive.transcripts[job].events if isinstance(e, Started)]) for job in jobs] == [1] * 4
