"""Marked answers are found by key and tokens alone, and nothing else is found more often than its p-value says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine.detection import detect, log_least_of, log_tail, uniforms
from minivault.engine.sampler import SamplingState, sample
from minivault.types import SamplingParams
from minivault.watermark import LANES, Mark, lane_of, marked

MARK, OTHER = Mark(bytes(range(32))), Mark(bytes(32))
VOCABULARY = 1000
FREE = SamplingParams(temperature=1.0, top_k=0, top_p=1.0)


def written(num: int, seed: int = 1, mark: Mark | None = MARK, spread: float = 2.0, salt: int = 0) -> list[int]:
    """Tokens of an answer of a model whose logits nothing is known of."""
    rng = np.random.default_rng([seed, salt])
    state = SamplingState(SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=seed), (), mark=mark)
    tokens = list[int]()
    for _ in range(num):
        [choice] = sample((rng.standard_normal((1, VOCABULARY)) * spread).astype(np.float32), [state])
        assert not isinstance(choice, Exception)
        state.accept(choice.token_id)
        tokens.append(choice.token_id)
    return tokens


def test_an_answer_is_found_by_its_own_key_alone() -> None:
    tokens = written(100)
    found = detect(MARK, tokens)
    assert (found.num_tokens, found.num_counted) == (100, 96)
    assert found.p_value < 1e-30
    assert detect(OTHER, tokens).p_value > 0.001
    assert detect(MARK, written(100, mark=None)).p_value > 0.001
    assert detect(MARK, written(100, mark=OTHER)).p_value > 0.001


def test_parts_of_an_answer_are_found_and_what_stands_around_them_is_passed_over() -> None:
    tokens, rng = written(120), np.random.default_rng(3)
    assert detect(MARK, tokens[37:97]).p_value < 1e-9
    around = [int(i) for i in rng.integers(0, VOCABULARY, 60)]
    assert detect(MARK, [*around, *tokens, *around]).p_value < 1e-9


def test_of_what_is_not_marked_the_p_value_is_uniform() -> None:
    """However the text repeats itself, and of all lanes the best: here one of three words follows another."""
    rng = np.random.default_rng(8)
    values = list[float]()
    for _ in range(400):
        mark, tokens = Mark(rng.bytes(32)), [int(i) for i in rng.integers(0, 3, 120)]
        values.append(detect(mark, tokens).p_value)
    for level in (0.01, 0.1, 0.5):
        share = np.mean(np.array(values) <= level)
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / len(values))


def test_a_text_that_says_one_thing_over_and_over_is_no_evidence() -> None:
    found = detect(MARK, written(8) * 200)
    assert found.num_counted <= 12
    assert found.p_value > 1e-12


@pytest.mark.parametrize("num", [0, 1, 4])
def test_what_is_too_short_counts_nothing(num: int) -> None:
    found = detect(MARK, written(num))
    assert (found.num_counted, found.lane, found.p_value, found.log10_p) == (0, None, 1.0, 0.0)


@given(num=st.integers(1, 400), ratio=st.floats(0.05, 6))
@settings(deadline=None, max_examples=60)
def test_the_tail_is_that_of_the_gamma_distribution(num: int, ratio: float) -> None:
    """Summed in decimals of 50 digits."""
    score = num * ratio
    with localcontext(Context(prec=50)):
        term = total = Decimal(1)
        for k in range(1, num):
            term *= Decimal(score) / k
            total += term
        expected = float(total.ln() - Decimal(score))
    assert log_tail(num, score) == pytest.approx(expected, abs=1e-9 * (1 + abs(expected)))


@pytest.mark.parametrize("p", [1.0, 0.9, 0.01, 1e-11, 1e-13, 1e-300])
def test_the_least_of_sixteen_is_worth_as_much_as_sixteen_chances(p: float) -> None:
    expected = -math.expm1(16 * math.log1p(-p)) if p < 1 else 1.0
    assert log_least_of(16, math.log(p)) == pytest.approx(math.log(expected), abs=1e-9)


def test_a_known_value_of_the_tail() -> None:
    assert math.exp(log_tail(1, 3.0)) == pytest.approx(math.exp(-3))
    assert math.exp(log_tail(2, 3.0)) == pytest.approx(4 * math.exp(-3))
    assert log_tail(100_000, 90_000.0) == pytest.approx(0.0, abs=1e-9)


def test_what_is_too_improbable_for_a_float_is_told_by_its_logarithm() -> None:
    found = detect(MARK, written(400, spread=4.0))
    assert found.log10_p < -100
    assert found.p_value == pytest.approx(10**found.log10_p)


# -- drawing by a mark ----------------------------------------------------------------------------------------------


def test_the_first_tokens_and_repeated_contexts_are_the_seeds() -> None:
    """Forced through two rounds of the same eight tokens: in the second the seed draws."""
    row = np.zeros((1, VOCABULARY), np.float32)
    tokens = [5, 6, 7, 8, 9, 10, 11, 12] * 2
    with_mark, by_seed = (SamplingState(FREE, (), mark=mark) for mark in (MARK, None))
    same = list[bool]()
    for token in tokens:
        same.append(sample(row, [with_mark]) == sample(row, [by_seed]))
        with_mark.accept(token)
        by_seed.accept(token)
    assert same == [True] * 4 + [False] * 8 + [True] * 4


def test_in_each_lane_another_answer_is_drawn_and_found() -> None:
    answers = [written(60, seed) for seed in range(LANES)]
    found = [detect(MARK, answer) for answer in answers]
    assert [one.lane for one in found] == list(range(LANES))
    assert max(one.p_value for one in found) < 1e-12


def test_a_marked_token_depends_on_the_seeds_lane_alone_and_an_unmarked_one_on_the_seed() -> None:
    row = np.zeros((1, VOCABULARY), np.float32)
    said: list[Sequence[int]] = []
    for seed in (1, 1 + LANES, 2):
        state = SamplingState(SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=seed), (), mark=MARK)
        [first] = sample(row, [state])
        for token in (5, 6, 7, 8):
            state.accept(token)
        [fifth] = sample(row, [state])
        assert not isinstance(first, Exception) and not isinstance(fifth, Exception)
        said.append((first.token_id, fifth.token_id))
    firsts, fifths = zip(*said, strict=True)
    assert len(set(firsts)) == 3 and fifths[0] == fifths[1] != fifths[2]


def test_over_keys_a_draw_is_from_the_same_distribution() -> None:
    row = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], np.float32))
    counts = np.zeros(4)
    for number in range(4000):
        state = SamplingState(FREE, (), mark=Mark(number.to_bytes(32, "big")))
        for token in (1, 2, 3, 1):
            state.accept(token)
        [choice] = sample(row, [state])
        assert not isinstance(choice, Exception)
        counts[choice.token_id] += 1
    expected = np.array([0.5, 0.3, 0.15, 0.05]) * 4000
    assert ((counts - expected) ** 2 / expected).sum() < 16.3, "chi-squared, 3 degrees, one in a thousand"


def test_the_token_with_the_highest_number_for_its_probability_is_drawn() -> None:
    """Aaronson's rule, u ** (1 / p), by the detector's own numbers."""
    rng = np.random.default_rng(4)
    for number in range(50):
        context = tuple(int(i) for i in rng.integers(0, VOCABULARY, 4))
        row = rng.standard_normal((1, VOCABULARY)).astype(np.float32)
        state = SamplingState(FREE, (), mark=MARK)
        for token in context:
            state.accept(token)
        [choice] = sample(row, [state])
        u = uniforms(MARK, [(context, token) for token in range(VOCABULARY)])[lane_of(FREE.seed or 0)]
        p = np.exp(row[0].astype(np.float64))
        assert not isinstance(choice, Exception)
        assert choice.token_id == int((np.log(u) / p).argmax()), number


def test_at_temperature_0_nothing_is_marked() -> None:
    row = np.random.default_rng(1).standard_normal((1, VOCABULARY)).astype(np.float32)
    state = SamplingState(SamplingParams(temperature=0.0), (), mark=MARK)
    for token in (1, 2, 3, 4, 5):
        state.accept(token)
    [choice] = sample(row, [state])
    assert not isinstance(choice, Exception) and choice.token_id == int(row.argmax())


@given(st.lists(st.integers(0, VOCABULARY - 1), max_size=40))
@settings(deadline=None)
def test_tokens_that_count_are_those_that_are_drawn_by_the_mark(tokens: list[int]) -> None:
    state, by_mark = SamplingState(FREE, (), mark=MARK), 0
    for token in tokens:
        by_mark += state.drawing()[-1] != 0
        state.accept(token)
    assert by_mark == len(list(marked(tokens))) == detect(MARK, tokens).num_counted
