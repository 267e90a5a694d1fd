"""Sampler: every operation against a slow reference, and no row that depends on another."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from minivault.engine.sampler import (
    COLUMNS,
    LOWEST,
    Choice,
    Logits,
    SamplingState,
    leaders,
    logprob,
    ranked,
    sample,
    uniform,
)
from minivault.errors import GenerationFailed
from minivault.types import SamplingParams

SMALL, LARGE = 50, 4 * COLUMNS + 81
"""A vocabulary that is sorted, and one whose leaders are found by threshold, with a rest beside the columns."""

PARAMS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.1, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 3, 40, 300]),
    top_p=st.sampled_from([0.0, 0.3, 0.9, 0.95, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.7]),
    frequency_penalty=st.sampled_from([0.0, -0.4]),
    logit_bias=st.sampled_from([(), ((3, 5.0), (7, -100.0))]),
    seed=st.integers(0, 2**64 - 1),
)


def logits_of(seed: int, vocabulary: int, kind: str) -> Logits:
    """One row: peaked like a model's, flat, full of ties, or mostly forbidden."""
    row = np.random.default_rng(seed).standard_normal(vocabulary, np.float32)
    if kind == "ties":
        return (row * 2).round()
    if kind == "forbidden":
        return np.where(np.arange(vocabulary) % 17 == seed % 17, row, np.float32("-inf"))
    return row * np.float32({"peaked": 5.0, "flat": 0.3}[kind])


ROWS = st.builds(
    logits_of,
    st.integers(0, 10_000),
    st.sampled_from([SMALL, LARGE]),
    st.sampled_from(["peaked", "flat", "ties", "forbidden"]),
)


def log_softmax(row: Logits) -> NDArray[np.float64]:
    values = row.astype(np.float64)
    return values - values.max() - np.log(np.exp(values - values.max()).sum())


def state_of(params: SamplingParams, prompt: tuple[int, ...] = (), answer: tuple[int, ...] = ()) -> SamplingState:
    state = SamplingState(params, prompt)
    for token_id in answer:
        state.accept(token_id)
    return state


def chosen(row: Logits, params: SamplingParams, prompt: tuple[int, ...] = (), answer: tuple[int, ...] = ()) -> int:
    (choice,) = sample(row[None], [state_of(params, prompt, answer)])
    assert isinstance(choice, Choice), choice
    return choice.token_id


def kept_of(
    row: Logits, params: SamplingParams, prompt: tuple[int, ...] = (), answer: tuple[int, ...] = ()
) -> tuple[list[int], list[float]]:
    """The reference, word for word: what may be drawn, in order, with its weights. Slow and plain."""
    logits = [float(value) for value in row]
    for token_id, bias in params.logit_bias:
        logits[token_id] += bias
    for token_id in {*prompt, *answer}:
        value = logits[token_id]
        logits[token_id] = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
    for token_id, count in Counter(answer).items():
        logits[token_id] -= params.presence_penalty + count * params.frequency_penalty
    order = sorted(range(len(logits)), key=lambda token_id: (-np.float32(logits[token_id]), token_id))
    order = [token_id for token_id in order if logits[token_id] > -math.inf]
    if params.temperature == 0:
        return order[:1], [1.0]
    order = order[: params.top_k or None]
    weights = [math.exp((logits[token_id] - logits[order[0]]) / params.temperature) for token_id in order]
    end = len(order)
    if params.top_p < 1:
        end = next(i for i, mass in enumerate(accumulate(weights), 1) if mass >= params.top_p * sum(weights) - 1e-9)
    likely = sum(weight >= params.min_p for weight in weights)
    end = max(1, min(end, likely))
    return order[:end], weights[:end]


@settings(deadline=None, max_examples=300)
@given(row=ROWS, params=PARAMS, prompt=st.lists(st.integers(0, SMALL - 1)), answer=st.lists(st.integers(0, SMALL - 1)))
def test_every_draw_is_that_of_the_slow_reference(
    row: Logits, params: SamplingParams, prompt: list[int], answer: list[int]
) -> None:
    ids, weights = kept_of(row, params, tuple(prompt), tuple(answer))
    target = uniform(params.seed or 0, len(answer)) * sum(weights)
    close = 1e-5 * sum(weights)
    edges = list(accumulate(weights))
    expected = {
        ids[next((i for i, edge in enumerate(edges) if edge > t), -1)] for t in (target - close, target + close)
    }
    assert chosen(row, params, tuple(prompt), tuple(answer)) in expected


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 1000), st.sampled_from(["peaked", "flat", "ties"]), PARAMS), min_size=2, max_size=9
    ),
    vocabulary=st.sampled_from([SMALL, LARGE]),
)
def test_a_row_in_company_gives_what_it_gives_alone(
    rows: list[tuple[int, str, SamplingParams]], vocabulary: int
) -> None:
    logits = np.stack([logits_of(seed, vocabulary, kind) for seed, kind, _ in rows])
    params = [replace(one, logprobs=i % 3 or None) for i, (_, _, one) in enumerate(rows)]
    together = sample(logits, [state_of(one, (1, 2), (3, 3)) for one in params])
    alone = [sample(logits[i : i + 1], [state_of(one, (1, 2), (3, 3))])[0] for i, one in enumerate(params)]
    assert together == alone


def test_sampling_leaves_the_logits_as_they_are() -> None:
    logits = np.stack([logits_of(seed, LARGE, "peaked") for seed in range(3)])
    before = logits.copy()
    sample(logits, [state_of(SamplingParams(repetition_penalty=2.0, logit_bias=((1, 9.0),)), (5,), (6,))] * 3)
    assert np.array_equal(logits, before)


def test_temperature_zero_takes_the_lowest_id_of_equals() -> None:
    row = np.zeros(SMALL, np.float32)
    row[[9, 4, 30]] = 1.0
    assert chosen(row, SamplingParams(temperature=0.0)) == 4


@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
def test_equal_logits_rank_by_id_also_at_the_edge_of_top_k(vocabulary: int) -> None:
    row = np.zeros(vocabulary, np.float32)
    params = SamplingParams(temperature=1.0, top_k=3, top_p=1.0)
    assert {chosen(row, replace(params, seed=seed)) for seed in range(60)} == {0, 1, 2}


@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
def test_draws_follow_the_distribution(vocabulary: int) -> None:
    """Chi-squared over the ten likeliest tokens and the rest."""
    row = logits_of(3, vocabulary, "peaked")
    probabilities = np.exp(log_softmax(row / 2.0))
    top = np.argsort(-probabilities)[:10].tolist()
    num = 4000
    drawn = Counter(
        choice.token_id
        for start in range(0, num, 500)
        for choice in sample(
            np.broadcast_to(row, (500, vocabulary)),
            [state_of(SamplingParams(temperature=2.0, top_k=0, top_p=1.0, seed=start + i)) for i in range(500)],
        )
        if isinstance(choice, Choice)
    )
    expected = [num * float(probabilities[token_id]) for token_id in top]
    observed = [drawn[token_id] for token_id in top]
    cells = [*zip(observed, expected, strict=True), (num - sum(observed), num - sum(expected))]
    assert sum((o - e) ** 2 / e for o, e in cells) < 29.6  # the 0.1 % point for 10 degrees of freedom


def test_each_index_draws_its_own_number() -> None:
    row = np.zeros(SMALL, np.float32)
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=5)
    drawn = [chosen(row, params, (), (0,) * index) for index in range(12)]
    assert len(set(drawn)) > 6
    assert drawn == [int(uniform(5, index) * SMALL) for index in range(12)]


@pytest.mark.parametrize(("logit", "other"), [(-1.0, -1.2), (1.0, 0.8)])
def test_a_repeated_token_loses_whatever_its_sign(logit: float, other: float) -> None:
    row = np.full(SMALL, -9.0, np.float32)
    row[3], row[4] = logit, other
    params = SamplingParams(temperature=0.0, repetition_penalty=1.3)
    assert chosen(row, params) == 3
    assert chosen(row, params, prompt=(3,)) == chosen(row, params, answer=(3,)) == 4


@pytest.mark.parametrize("temperature", [1e-300, 1e300])
def test_extreme_temperatures_stay_defined(temperature: float) -> None:
    row = logits_of(1, LARGE, "peaked")
    token_id = chosen(row, SamplingParams(temperature=temperature, top_k=0, top_p=1.0, seed=3))
    assert token_id == int(row.argmax()) if temperature < 1 else 0 <= token_id < LARGE


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("vocabulary", [SMALL, LARGE])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [0, -1])
def test_a_row_that_is_not_finite_fails_alone(temperature: float, vocabulary: int, bad: float, where: int) -> None:
    logits = np.stack([logits_of(seed, vocabulary, "peaked") for seed in range(2)])
    logits[0, where] = bad
    for top_k in (0, 40, 300):
        states = [state_of(SamplingParams(temperature=temperature, top_k=top_k)) for _ in range(2)]
        failed, fine = sample(logits, states)
        assert isinstance(failed, GenerationFailed)
        assert isinstance(fine, Choice)


def test_a_row_without_any_allowed_token_fails() -> None:
    (choice,) = sample(np.full((1, SMALL), -np.inf, np.float32), [state_of(SamplingParams())])
    assert isinstance(choice, GenerationFailed)


def test_log_probabilities_are_those_of_the_unmodified_distribution() -> None:
    row = logits_of(4, LARGE, "peaked")
    params = SamplingParams(temperature=0.3, logit_bias=((7, 50.0),), logprobs=3)
    (choice,) = sample(row[None], [state_of(params)])
    assert isinstance(choice, Choice)
    assert choice.logprob is not None
    expected = log_softmax(row)
    assert choice.token_id == choice.logprob.token_id == 7
    assert choice.logprob.logprob == pytest.approx(float(expected[7]))
    top = np.argsort(-expected)[:3]
    assert [entry.token_id for entry in choice.logprob.top] == top.tolist()
    assert [entry.logprob for entry in choice.logprob.top] == pytest.approx(expected[top].tolist())


def test_log_probabilities_without_alternatives_hold_the_chosen_token_only() -> None:
    assert logprob(logits_of(4, LARGE, "peaked"), 9, 0).top == ()


@settings(deadline=None)
@given(rows=st.lists(ROWS.filter(lambda row: len(row) == LARGE), min_size=1, max_size=4), num=st.integers(0, 300))
def test_leaders_are_the_beginning_of_a_full_sort(rows: list[Logits], num: int) -> None:
    for row in rows:
        order = np.argsort(-row, kind="stable")
        num_allowed = int((row > -math.inf).sum())
        expected = order[: min(num, num_allowed)].tolist()
        assert leaders(row, num).tolist() == expected == ranked(row, LOWEST)[:num].tolist()


def test_every_leader_in_one_column_is_found() -> None:
    row = np.arange(LARGE, dtype=np.float32) / LARGE
    row[5::COLUMNS] += 100.0
    assert leaders(row, 3).tolist() == [5 + COLUMNS * 4, 5 + COLUMNS * 3, 5 + COLUMNS * 2]


RECORDED = {
    (0, 0): "0x1.c4415072f63b9p-1",
    (0, 1): "0x1.b9e279aa86e58p-2",
    (1, 0): "0x1.7fdf0061bb85ap-1",
    (42, 1000): "0x1.b021712762231p-1",
    (18446744073709551615, 7): "0x1.8c5caca54d290p-1",
    (-1, 7): "0x1.8c5caca54d290p-1",
    (123456789012345, 3): "0x1.9361806066e8cp-3",
}
"""(seed, index) to the number in hex."""


def test_the_stream_of_numbers_never_changes() -> None:
    """Recorded answers are replayed with these numbers: a change here breaks every vault."""
    assert [uniform(seed, index).hex() for seed, index in RECORDED] == list(RECORDED.values())


@given(st.integers(), st.integers(0, 2**40))
def test_numbers_lie_in_the_unit_interval(seed: int, index: int) -> None:
    assert 0.0 <= uniform(seed, index) < 1.0


def test_numbers_are_spread_evenly_over_indexes_and_over_seeds() -> None:
    for numbers in ([uniform(7, i) for i in range(20_000)], [uniform(i, 0) for i in range(20_000)]):
        tenths = [0] * 10
        for number in numbers:
            tenths[int(number * 10)] += 1
        assert all(1850 < count < 2150 for count in tenths)


def test_neighbouring_seeds_and_indexes_are_unrelated() -> None:
    pairs = [(uniform(i, 0) - 0.5) * (uniform(i + 1, 0) - 0.5) for i in range(20_000)]
    shifts = [(uniform(i, 1) - 0.5) * (uniform(i + 1, 0) - 0.5) for i in range(20_000)]
    assert abs(sum(pairs) / len(pairs)) < 0.002
    assert abs(sum(shifts) / len(shifts)) < 0.002
