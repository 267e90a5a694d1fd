"""Sampler: every draw against docs/sampling.md, whose code runs here, and no row that depends on another."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from minivault.engine.sampler import Choice, Logits, SamplingState, logprob, sample
from minivault.errors import GenerationFailed
from minivault.types import SamplingParams

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sampling.md").read_text()
SMALL, WHOLE, LARGE = 50, 1024, 4177
"""Vocabularies: less than a chunk, whole chunks, and chunks with a rest."""


def specification() -> SimpleNamespace:
    """The page's own code."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    return SimpleNamespace(**names)


SPEC = specification()


def table(heading: str) -> list[list[str]]:
    """The rows of one of the page's tables, told by how its heading begins."""
    rows = PAGE.split(f"\n| {heading}", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]


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
    st.sampled_from([SMALL, WHOLE, LARGE]),
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


def adjusted(row: Logits, params: SamplingParams, prompt: list[int], answer: list[int]) -> Logits:
    """Bias and penalties, word for word: slow and plain, in float32."""
    row = row.copy()
    for token_id, bias in params.logit_bias:
        row[token_id] += np.float32(bias)
    for token_id in {*prompt, *answer}:
        penalty = np.float32(params.repetition_penalty)
        row[token_id] = row[token_id] / penalty if row[token_id] > 0 else row[token_id] * penalty
    for token_id, count in Counter(answer).items():
        frequency = np.float32(count) * np.float32(params.frequency_penalty)
        row[token_id] -= np.float32(params.presence_penalty) + frequency
    return row


@settings(deadline=None, max_examples=300)
@given(row=ROWS, params=PARAMS, prompt=st.lists(st.integers(0, SMALL - 1)), answer=st.lists(st.integers(0, SMALL - 1)))
def test_every_draw_is_that_of_the_specification(
    row: Logits, params: SamplingParams, prompt: list[int], answer: list[int]
) -> None:
    changed = adjusted(row, params, prompt, answer)
    cuts = params.temperature, params.top_k, params.top_p, params.min_p
    drawn = SPEC.draw(changed, *cuts, params.seed, len(answer)) if params.temperature else int(changed.argmax())
    assert chosen(row, params, tuple(prompt), tuple(answer)) == drawn


@settings(deadline=None, max_examples=100)
@given(row=ROWS, num=st.integers(0, 20))
def test_log_probabilities_are_those_of_the_specification(row: Logits, num: int) -> None:
    normalizer = SPEC.normalizer(row)
    found = logprob(row, 5, num)
    ids = np.argsort(-row, kind="stable")[: min(num, int((row > -np.inf).sum()))].tolist()
    assert found.logprob == float(row[5]) - normalizer
    assert [(entry.token_id, entry.logprob) for entry in found.top] == [(i, float(row[i]) - normalizer) for i in ids]


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 1000), st.sampled_from(["peaked", "flat", "ties"]), PARAMS), min_size=2, max_size=9
    ),
    vocabulary=st.sampled_from([SMALL, WHOLE, LARGE]),
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


@pytest.mark.parametrize("vocabulary", [SMALL, WHOLE, LARGE])
def test_equal_logits_rank_by_id_also_at_the_edge_of_top_k(vocabulary: int) -> None:
    row = np.zeros(vocabulary, np.float32)
    params = SamplingParams(temperature=1.0, top_k=3, top_p=1.0)
    assert {chosen(row, replace(params, seed=seed)) for seed in range(60)} == {0, 1, 2}


NUM_DRAWS = 4000


def drawn_tokens(row: Logits, params: SamplingParams, along: str) -> list[int]:
    """One token for each of many seeds, or for each index of one long answer."""
    state = state_of(params)
    tokens = []
    for number in range(NUM_DRAWS):
        if along == "seeds":
            state = state_of(replace(params, seed=number))
        (choice,) = sample(row[None], [state])
        assert isinstance(choice, Choice)
        state.accept(choice.token_id)
        tokens.append(choice.token_id)
    return tokens


@pytest.mark.parametrize("vocabulary", [SMALL, WHOLE, LARGE])
@pytest.mark.parametrize("along", ["seeds", "answer"])
@pytest.mark.parametrize("cuts", [(0, 1.0), (5, 1.0), (0, 0.8)])
def test_draws_follow_the_distribution(vocabulary: int, along: str, cuts: tuple[int, float]) -> None:
    """Chi-squared over the ten likeliest tokens that are kept, and the rest."""
    row = logits_of(3, vocabulary, "peaked")
    params = SamplingParams(temperature=2.0, top_k=cuts[0], top_p=cuts[1], seed=11)
    ids = SPEC.kept(row, 2.0, *cuts, 0.0)
    drawn = Counter(drawn_tokens(row, params, along))
    assert set(drawn) <= set(ids.tolist())
    expected = NUM_DRAWS * np.exp(log_softmax(row[ids] / np.float32(2.0)))
    cells = [(drawn[token_id], num) for token_id, num in zip(ids[:10].tolist(), expected[:10], strict=True)]
    if len(ids) > 10:
        cells.append((NUM_DRAWS - sum(num for num, _ in cells), float(expected[10:].sum())))
    assert sum((o - e) ** 2 / e for o, e in cells) < 29.6  # the 0.1 % point for 10 degrees of freedom


def test_neighbours_in_an_answer_are_unrelated() -> None:
    """Chi-squared over pairs of successive tokens."""
    row = np.array([1.0, 0.5, 0.0, -0.5], np.float32)
    share = np.exp(log_softmax(row))
    tokens = drawn_tokens(row, SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=3), "answer")
    pairs = Counter(pairwise(tokens))
    expected = {(a, b): (len(tokens) - 1) * share[a] * share[b] for a in range(4) for b in range(4)}
    assert sum((pairs[pair] - num) ** 2 / num for pair, num in expected.items()) < 37.7  # 0.1 %, 15 degrees of freedom


@pytest.mark.parametrize("cuts", [(0, 1.0), (40, 0.95)])
def test_noise_in_the_logits_changes_few_tokens_and_none_after_them(cuts: tuple[int, float]) -> None:
    """What another CPU's arithmetic might do, exaggerated."""
    noise = np.random.default_rng(0)
    params = SamplingParams(temperature=0.8, top_k=cuts[0], top_p=cuts[1], seed=2)
    state, num_same, num = state_of(params), 0, 2000
    for index in range(num):
        row = logits_of(index, LARGE, "peaked") / np.float32(2)
        noisy = row + np.float32(0.01) * noise.standard_normal(LARGE, np.float32)
        here, there = sample(np.stack([row, noisy]), [state, state])
        num_same += here == there
        state.accept(0)
    assert num_same / num > 0.99


def test_each_index_draws_its_own_number() -> None:
    row = np.zeros(SMALL, np.float32)
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=5)
    drawn = [chosen(row, params, (), (0,) * index) for index in range(12)]
    assert len(set(drawn)) > 6
    assert drawn == [int(SPEC.numbers(5, index, np.arange(SMALL)).argmax()) for index in range(12)]


def test_of_equal_scores_the_lowest_id_is_drawn() -> None:
    numbers = SPEC.numbers(5, 0, np.arange(1 << 18))
    order = numbers.argsort(kind="stable")
    first = int(np.flatnonzero(np.diff(numbers[order]) == 0)[0])
    pair = order[first : first + 2]
    row = np.full(1 << 18, -np.inf, np.float32)
    row[pair] = 1.0
    assert chosen(row, SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=5)) == pair.min()


def test_what_is_left_of_a_row_far_apart_is_drawn_as_specified() -> None:
    row = np.full(LARGE, -np.inf, np.float32)
    row[[3, 700, LARGE - 1]] = [0.0, 0.5, 0.25]
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0)
    drawn = [chosen(row, replace(params, seed=seed)) for seed in range(60)]
    assert drawn == [SPEC.draw(row, 1.0, 0, 1.0, 0.0, seed, 0) for seed in range(60)]
    assert set(drawn) == {3, 700, LARGE - 1}


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
@pytest.mark.parametrize("vocabulary", [SMALL, WHOLE, LARGE])
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
@given(row=ROWS, num=st.integers(0, 300))
def test_the_first_tokens_are_the_beginning_of_a_full_sort(row: Logits, num: int) -> None:
    order = np.argsort(-row, kind="stable")
    expected = order[: min(num, int((row > -math.inf).sum()))].tolist()
    assert [entry.token_id for entry in logprob(row, 0, num).top] == expected


def test_every_first_token_in_one_chunk_is_found() -> None:
    row = np.arange(LARGE, dtype=np.float32) / LARGE
    row[70:74] += 100.0
    assert [entry.token_id for entry in logprob(row, 0, 3).top] == [73, 72, 71]


def test_both_zeros_are_equal() -> None:
    row = np.full(SMALL, -1.0, np.float32)
    row[[7, 4, 9]] = [0.0, -0.0, 0.0]
    assert [entry.token_id for entry in logprob(row, 0, 3).top] == [4, 7, 9]
    assert chosen(row, SamplingParams(temperature=1.0, top_k=1)) == 4


def test_philox_gives_the_numbers_that_its_authors_publish() -> None:
    for counter, key, numbers in table("counter"):
        words = [[int(word, 16) for word in cell.split()] for cell in (counter, key)]
        assert [f"{int(number):08x}" for number in SPEC.philox(*words)] == numbers.split()


def test_the_published_numbers_never_change() -> None:
    """Recorded answers are replayed with these numbers: a change here breaks every vault."""
    for seed, index, token_id, number, noise in table("seed"):
        found = int(SPEC.numbers(int(seed), int(index), np.array([int(token_id)]))[0])
        assert (f"{found:08x}", repr(float(-SPEC.log(-SPEC.log((found + 0.5) / 2.0**32))))) == (number, noise)


def test_the_published_draws_never_change() -> None:
    row = np.array([2, 1.5, 1.5, 0.25, -1, 3, 2.75, -np.inf], np.float32)
    for temperature, top_k, top_p, min_p, tokens in table("temperature"):
        cuts = {"top_k": int(top_k), "top_p": float(top_p), "min_p": float(min_p)}
        params = SamplingParams(temperature=float(temperature), seed=7, **cuts)  # type: ignore[arg-type]
        drawn = [chosen(row, params, (), (0,) * index) for index in range(16)]
        assert " ".join(map(str, drawn)) == tokens


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**18))
def test_a_token_has_its_number_alone_as_among_all(seed: int, index: int, token_id: int) -> None:
    among = SPEC.numbers(seed, index, np.arange(token_id, token_id + 9))
    assert SPEC.numbers(seed, index, np.array([token_id]))[0] == among[0]
    assert SPEC.numbers(seed + 2**64, index, np.array([token_id]))[0] == among[0]


def numbers_along(what: str, start: int = 0) -> NDArray[np.float64]:
    """Numbers in [0, 1) that differ in one of the three things they depend on."""
    num, one = 10_000, np.array([start])
    if what == "tokens":
        return np.asarray(SPEC.numbers(7, 0, np.arange(start, start + num)) / 2**32)
    along = {"indexes": lambda i: SPEC.numbers(7, start + i, one), "seeds": lambda i: SPEC.numbers(start + i, 0, one)}
    return np.concatenate([along[what](i) for i in range(num)]) / 2**32


@pytest.mark.parametrize("what", ["indexes", "seeds", "tokens"])
def test_numbers_are_spread_evenly_and_neighbours_are_unrelated(what: str) -> None:
    numbers = numbers_along(what)
    tenths = np.bincount((numbers * 10).astype(int), minlength=10)
    assert ((tenths > 900) & (tenths < 1100)).all()
    assert abs(((numbers[1:] - 0.5) * (numbers[:-1] - 0.5)).mean()) < 0.003


def test_nobody_imports_the_compiler_before_the_first_draw() -> None:
    code = "import sys, minivault.engine, minivault.engine.sampler; print('numba' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
