from __future__ import annotations

import pytest

from minivault.replay.calibration import Judged, line
from minivault.replay.limits import Kind
from tests.cli.conftest import Cli, clean_environment

__all__ = ["clean_environment"]


def judged(*, is_honest: bool, kind: Kind = "sampled", answers: list[list[float]]) -> Judged:
    found = Judged("some way", is_honest)
    found.found[kind] += answers
    return found


def test_the_line_runs_between_what_is_honest_and_what_is_not() -> None:
    honest = [judged(is_honest=True, kind=kind, answers=[[0.0, 0.02] * 20]) for kind in ("sampled", "greedy")]
    others = [judged(is_honest=False, kind=kind, answers=[[0.0, 2.0] * 20]) for kind in ("sampled", "greedy")]
    limits = line([*honest, *others])
    assert limits is not None
    assert (limits.sampled, limits.greedy) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (limits.num_tokens, limits.worst) == (8, pytest.approx(0.1))


def test_what_shows_late_takes_more_tokens_and_what_never_shows_no_line() -> None:
    honest = [judged(is_honest=True, kind=kind, answers=[[0.1] * 64]) for kind in ("sampled", "greedy")]
    late = [
        judged(is_honest=False, kind=kind, answers=[[0.0] * 15 + [9.0], [1.0] * 16] * 4)
        for kind in ("sampled", "greedy")
    ]
    limits = line([*honest, *late])
    assert limits is not None
    assert limits.num_tokens == 16
    assert (
        line([*honest, *(judged(is_honest=False, kind="greedy", answers=run.found["greedy"]) for run in honest)])
        is None
    )


def test_what_is_held_out_moves_no_line_and_tells_how_good_it_is() -> None:
    honest = [judged(is_honest=True, kind=kind, answers=[[0.0, 0.02] * 20]) for kind in ("sampled", "greedy")]
    others = [judged(is_honest=False, kind=kind, answers=[[0.0, 2.0] * 20]) for kind in ("sampled", "greedy")]
    tried = Judged("some way", is_honest=True, is_held_out=True)
    tried.found["sampled"] += [[0.0] * 16, [0.0] * 8 + [0.05] * 8, [0.5] * 8 + [0.0] * 7, [0.0] * 7]
    limits = line([*honest, *others])
    assert limits is not None
    assert line([*honest, *others, tried]) == limits
    assert tried.num_within("sampled", limits) == (4, 5)


def test_only_a_model_of_this_machine_is_calibrated(offline_cli: Cli) -> None:
    result = offline_cli("calibrate", MINIVAULT_BACKEND="tests.scripted:backend")
    assert (result.exit_code, "MINIVAULT_BACKEND=local" in result.stderr) == (2, True)


@pytest.fixture
def offline_cli() -> Cli:
    return Cli()
