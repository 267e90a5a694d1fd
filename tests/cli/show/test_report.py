"""What a benchmark reports follows from its samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.cli.client.load import Sample, Tally
from minivault.cli.show.report import percentile, render, summarise
from minivault.errors import GenerationFailed, Overloaded, Unreachable

NUMBERS = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(NUMBERS, st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def tally(*samples: Sample, num_refusals: int = 0) -> Tally:
    return Tally(len(samples), samples=list(samples), num_refusals=num_refusals)


def test_times_and_rates_are_those_of_the_samples() -> None:
    found = summarise(
        tally(
            Sample(10.0, 11.0, first_token_s=10.2, last_token_s=10.7, num_prompt_tokens=5, num_tokens=11),
            Sample(10.5, 12.0, first_token_s=10.6, last_token_s=11.6, num_prompt_tokens=7, num_tokens=21),
        )
    )
    assert found["wall_s"] == 2.0
    assert (found["tokens_per_s"], found["requests_per_s"], found["prompt_tokens"]) == (16.0, 1.0, 12)
    assert found["latency_ms"]["p50"] == pytest.approx(1000)
    assert found["latency_ms"]["p99"] == pytest.approx(1500)
    assert found["first_token_ms"]["min"] == pytest.approx(100)
    assert found["stream_tokens_per_s"]["mean"] == pytest.approx(20)


def test_failed_requests_count_by_kind_and_not_in_the_times() -> None:
    found = summarise(
        tally(
            Sample(0.0, 1.0, first_token_s=0.5, last_token_s=0.5, num_tokens=1),
            Sample(0.0, 9.0, error=GenerationFailed("first")),
            Sample(0.0, 9.0, error=GenerationFailed("second")),
            Sample(0.0, 9.0, error=Unreachable("gone")),
            Sample(0.0, 9.0, error=Overloaded("full"), num_retries=2),
            num_refusals=3,
        )
    )
    assert (found["requests"], found["answered"]) == (5, 1)
    assert (found["overloaded"], found["refusals"], found["retries"]) == (1, 3, 2)
    assert found["errors"]["generation_failed"] == {"count": 2, "message": "first"}
    assert found["errors"]["unreachable"]["count"] == 1
    assert found["latency_ms"]["max"] == pytest.approx(1000)
    assert found["stream_tokens_per_s"] is None, "one piece has no rate"
    assert any("generation_failed 2, unreachable 1" in line for line in render(found))


def test_a_run_without_any_answer_has_no_times() -> None:
    found = summarise(tally(Sample(0.0, 1.0, error=Overloaded("full"))))
    assert (found["latency_ms"], found["tokens_per_s"]) == (None, 0.0)
    assert any(line.startswith("answered         0 of 1") for line in render(found))
