from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.engine.exact import kinds, prepare_checkpoint
from minivault.engine.exact.runner import ExactRunner
from minivault.engine.host import Machine
from tests.engine.exact import checkpoints

KINDS = kinds.kinds(Machine.here().flags)
"""What this CPU can run, `Plain` last."""


COMPILING_S = 600
"""Whichever test comes first waits for a kind's compiler, which is minutes beside other work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(COMPILING_S))


class Loader:
    """Runners of variants with 6 slots of 320 positions, made once for each kind, number of threads and width."""

    def __init__(self, folder: Path, compiled: Path) -> None:
        self.folder, self.compiled = folder, compiled
        self.loaded: dict[tuple[Any, ...], ExactRunner] = {}

    def directory(self, variant: str) -> Path:
        found = self.folder / variant
        return found if found.exists() else checkpoints.write(variant, found)

    def prepared(self, variant: str, bits: int = 8) -> Path:
        out = self.folder / f"{variant}-{bits}.exact"
        if not out.exists():
            prepare_checkpoint(self.directory(variant), out, bits=bits)
        return out

    def open(self, path: Path, kind: type[kinds.Kind] = KINDS[0], num_threads: int = 1, **given: Any) -> ExactRunner:
        sizes = {"num_slots": 6, "context": 320} | given
        return ExactRunner(path, num_threads=num_threads, kind=kind, cache_dir=self.compiled, **sizes)

    def __call__(
        self, variant: str, kind: type[kinds.Kind] = KINDS[0], num_threads: int = 1, bits: int = 8
    ) -> ExactRunner:
        key = variant, kind, num_threads, bits
        if key not in self.loaded:
            self.loaded[key] = self.open(self.prepared(variant, bits), kind, num_threads)
        return self.loaded[key]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Loader]:
    """Machine code is kept between runs of the tests: to compile a kind takes half a minute."""
    assert pytestconfig.cache is not None
    loader = Loader(tmp_path_factory.mktemp("exact"), pytestconfig.cache.mkdir("exact"))
    yield loader
    for runner in loader.loaded.values():
        runner.close()
