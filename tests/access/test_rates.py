"""Limits per window, and what happens to them when their storage does not work."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivault.access.quota import rate_headers, refusal
from minivault.access.rates import Rates, Window, parse_limit
from minivault.errors import ConfigError

FIVE = parse_limit("5/minute")
assert FIVE is not None


@pytest.fixture
def failures() -> list[str]:
    """One word for each failure of the storage."""
    return []


@pytest.fixture
def rates(tmp_path: Path, failures: list[str]) -> Iterator[Rates]:
    rates = Rates("embedded", tmp_path, clock=lambda: 1000.0, on_failure=lambda: failures.append("failed"))
    yield rates
    rates.close()


def test_a_limit_admits_as_many_as_it_says(rates: Rates) -> None:
    windows = [rates.hit("requests", FIVE, "alice") for _ in range(7)]
    assert [window.is_exceeded for window in windows] == [False] * 5 + [True] * 2
    assert [window.remaining for window in windows] == [4, 3, 2, 1, 0, 0, 0]


def test_callers_and_units_are_counted_apart(rates: Rates) -> None:
    for _ in range(5):
        rates.hit("requests", FIVE, "alice")
    assert not rates.hit("requests", FIVE, "bob").is_exceeded
    assert not rates.hit("auth-failures", FIVE, "alice").is_exceeded


def test_looking_takes_nothing(rates: Rates) -> None:
    rates.hit("tokens", FIVE, "alice", 4)
    assert [rates.peek("tokens", FIVE, "alice").remaining for _ in range(3)] == [1, 1, 1]
    rates.hit("tokens", FIVE, "alice", 4)
    assert rates.peek("tokens", FIVE, "alice").is_exceeded


@pytest.mark.parametrize("text", ["often", "0/minute", "-1/minute", "5/blink", "5"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a limit"):
        parse_limit(text)


def test_no_limit_is_no_limit() -> None:
    assert parse_limit(" ") is None


@pytest.mark.parametrize("uri", ["memory://", "async+redis://localhost", "file:///tmp/x", "redis"])
def test_a_storage_that_would_not_be_shared_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match="MINIVAULT_RATE_STORAGE"):
        Rates(uri, tmp_path)


def _locked(directory: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(directory / "limits.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def test_a_storage_that_fails_refuses_nobody_but_still_counts(
    rates: Rates, failures: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rates.hit("requests", FIVE, "alice")
    holder = _locked(tmp_path)
    with caplog.at_level(logging.WARNING):
        windows = [rates.hit("requests", FIVE, "alice") for _ in range(7)]
    assert [window.is_exceeded for window in windows] == [False] * 5 + [True] * 2
    assert failures == ["failed"], "the storage is not tried again for each request"
    assert not rates.is_shared
    assert len(caplog.records) == 1
    holder.execute("ROLLBACK")
    holder.close()


def test_a_storage_in_an_unusable_place_fails_the_same_way(tmp_path: Path, failures: list[str]) -> None:
    (tmp_path / "run").write_text("a file where a directory should be")
    rates = Rates("embedded", tmp_path / "run", on_failure=lambda: failures.append("failed"))
    assert not rates.hit("requests", FIVE, "alice").is_exceeded
    assert failures == ["failed"]
    rates.close()


def test_the_fields_have_the_forms_of_the_draft() -> None:
    windows = [Window("requests", 100, 50, 60, 1029.2), Window("tokens", 9000, 1, 86400, 2000.0)]
    assert rate_headers(windows, 1000.0) == {
        "RateLimit-Policy": '"requests";q=100;w=60, "tokens";q=9000;qu="tokens";w=86400',
        "RateLimit": '"requests";r=50;t=30, "tokens";r=1;t=1000',
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Remaining": "50",
        "X-RateLimit-Reset": "1030",
    }


def test_a_refusal_carries_the_same_numbers_for_its_body() -> None:
    error = refusal(Window("requests", 100, 0, 60, 1029.2, True), 1000.0)
    assert error.retry_after_s == 30
    assert error.headers["RateLimit"] == '"requests";r=0;t=30'
    assert error.details == {
        "policy": "requests",
        "limit": 100,
        "remaining": 0,
        "window_s": 60,
        "retry_after_s": 30,
    }
