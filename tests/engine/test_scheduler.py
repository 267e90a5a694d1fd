"""Scheduler: order of arrival, one chunk a step, turns among prompts."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.blocks import Blocks
from minivault.engine.detokenizer import Detokenizer
from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.sampler import SamplingState
from minivault.engine.scheduler import Scheduler
from minivault.engine.sequence import Sequence
from minivault.engine.slots import Slots
from minivault.types import Job, SamplingParams
from tests.engine.scripted import ScriptedRunner

CHUNK = 8


def sequence(num_prompt: int, name: str = "", *, is_patient: bool = False) -> Sequence:
    tokens = tuple(range(num_prompt))
    job = Job(name or f"{num_prompt} tokens", tokens, SamplingParams(max_tokens=4), is_patient=is_patient)
    state = SamplingState(job.params, job.prompt_tokens)
    return Sequence(job, state, Detokenizer(bytes), max_new_tokens=4, submitted_ns=0)


class Plan(NamedTuple):
    """One step's work: each prompt up to a position, one token for each decoding sequence."""

    prefill: dict[Sequence, int]
    decode: tuple[Sequence, ...]


def work(scheduler: Scheduler) -> Plan:
    """Plan a step and do what it says with the prompts."""
    decoding = tuple(scheduler.decoding)
    stops = scheduler.plan(0)
    for one, stop in stops.items():
        one.num_prefilled = stop
    scheduler.promote()
    scheduler.check_integrity()
    return Plan(stops, decoding)


def scheduler(num_slots: int, *sequences: Sequence, step_tokens: int = CHUNK) -> Scheduler:
    runner = ScriptedRunner(num_slots=num_slots, context=4096)
    cache = PrefixCache(runner, 0)
    made = Scheduler(Slots(num_slots, 4096), Blocks(runner, cache), cache, CHUNK, step_tokens)
    for one in sequences:
        made.add(one)
    return made


def test_sequences_are_admitted_in_order_of_arrival() -> None:
    sequences = [sequence(CHUNK, str(i)) for i in range(3)]
    made = scheduler(1, *sequences)
    for one in sequences:
        assert work(made).prefill == {one: CHUNK}
        made.remove(one)


def test_patient_sequences_wait_for_all_others_and_leave_half_of_the_slots() -> None:
    patient = [sequence(CHUNK, f"patient {i}", is_patient=True) for i in range(4)]
    made = scheduler(4, *patient)
    work(made)
    assert made.num_running == 2
    others = [sequence(CHUNK, f"other {i}") for i in range(3)]
    for one in others:
        made.add(one)
    work(made)
    assert list(made.waiting) == [others[2], *patient[2:]]
    for one in (*patient[:2], others[0], others[1]):
        made.remove(one)
    work(made)
    assert list(made.waiting) == [patient[3]]


def test_where_there_is_one_slot_a_patient_sequence_gets_it_when_nobody_wants_it() -> None:
    patient, other = sequence(CHUNK, is_patient=True), sequence(CHUNK, "other")
    made = scheduler(1, patient, other)
    assert work(made).prefill == {other: CHUNK}
    made.remove(other)
    assert work(made).prefill == {patient: CHUNK}


def test_a_decoding_sequence_gets_a_token_every_step_while_prompts_are_processed() -> None:
    decoding, long, other = sequence(4), sequence(80), sequence(60)
    made = scheduler(3, decoding, long, other)
    work(made)
    for _ in range(10):
        plan = work(made)
        assert plan.decode == (decoding,)
        assert len(plan.prefill) == 1


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    long, short = sequence(80), sequence(6)
    made = scheduler(2, long, short)
    assert [list(work(made).prefill) for _ in range(3)] == [[long], [short], [long]]


def test_short_prompts_share_a_step() -> None:
    sequences = [sequence(3, str(i)) for i in range(5)]
    made = scheduler(5, *sequences)
    assert [len(work(made).prefill) for _ in range(3)] == [2, 2, 1]


def test_what_short_prompts_leave_of_the_budget_goes_to_the_long_one_chunk_by_chunk() -> None:
    long, *short = sequence(80), *(sequence(6, str(i)) for i in range(2))
    made = scheduler(3, long, *short, step_tokens=4 * CHUNK)
    assert work(made).prefill == {long: 2 * CHUNK, **dict.fromkeys(short, 6)}
    assert work(made).prefill == {long: 6 * CHUNK}
    assert work(made).prefill == {long: 10 * CHUNK}


def test_a_step_takes_less_of_a_prompt_the_further_it_is() -> None:
    long = sequence(3600)
    made = scheduler(1, long, step_tokens=100)
    made.plan(0)
    taken = [next(iter(work(made).prefill.values())) - before for before in iter(lambda: long.num_prefilled, 3600)]
    assert taken[0] == 96
    assert taken[-2] < 32
    assert min(taken) >= CHUNK


def test_prompts_share_a_step_evenly() -> None:
    made = scheduler(2, *(pair := [sequence(80, "a"), sequence(80, "b")]), step_tokens=5 * CHUNK)
    assert work(made).prefill == {pair[0]: 3 * CHUNK, pair[1]: 2 * CHUNK}
    assert work(made).prefill == {pair[0]: 5 * CHUNK, pair[1]: 5 * CHUNK}


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 4))
def test_no_step_processes_more_than_a_chunk_and_everyone_gets_there(lengths: list[int], num_slots: int) -> None:
    sequences = [sequence(num, str(i)) for i, num in enumerate(lengths)]
    made = scheduler(num_slots, *sequences)
    for _ in range(sum(-(-num // CHUNK) for num in lengths) + len(lengths)):
        before = sum(one.num_prefilled for one in sequences)
        plan = work(made)
        assert sum(one.num_prefilled for one in sequences) - before <= CHUNK
        assert made.num_running <= num_slots
        for one in plan.decode:
            made.remove(one)
    assert made.num_running == made.num_waiting == 0
    assert all(one.is_prefilled for one in sequences)


@given(st.lists(st.integers(9, 60), min_size=2, max_size=6))
def test_turns_are_even_between_prompts(lengths: list[int]) -> None:
    sequences = [sequence(num, str(i)) for i, num in enumerate(lengths)]
    made = scheduler(len(sequences), *sequences)
    while not all(one.is_prefilled for one in sequences):
        work(made)
        chunks = [-(-one.num_prefilled // CHUNK) for one in sequences if not one.is_prefilled]
        assert not chunks or max(chunks) - min(chunks) <= 1


def test_a_sequence_can_be_removed_in_any_phase() -> None:
    decoding, prefilling, waiting = sequence(4), sequence(40), sequence(5)
    made = scheduler(2, decoding, prefilling, waiting)
    work(made)
    assert (made.num_running, made.num_waiting) == (2, 1)
    for one in (waiting, prefilling, decoding):
        made.remove(one)
        made.check_integrity()
    assert list(made) == []
