"""Fixtures of the engine's tests: an engine that is checked, after each test, to have left nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from minivault.engine.runner import Runner
from tests.engine.driving import Drive
from tests.engine.scripted import ScriptedRunner


@pytest.fixture
def drives() -> Iterator[list[Drive]]:
    """Every engine a test made; at the end each must be idle, whole and without a used slot."""
    made: list[Drive] = []
    yield made
    for drive in made:
        drive.ensure_nothing_left()


@pytest.fixture(autouse=True)
def _no_leaks(drives: list[Drive]) -> None:
    """Makes `drives` check every test, also those that only use `drive`."""


@pytest.fixture
def drive(drives: list[Drive]) -> Callable[..., Drive]:
    """Make an engine: `drive(runner, **engine options)`; the runner is a scripted one if none is given."""

    def make(runner: Runner | None = None, **options: int) -> Drive:
        made = Drive.of(runner or ScriptedRunner(), **options)
        drives.append(made)
        return made

    return make
