from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from minivault.engine import fused
from minivault.engine.fused.runner import FusedRunner
from tests.engine.fused import checkpoints

Reference = Callable[[str], tuple[torch.nn.Module, Path]]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads change no bit (there is a test); one does not fight over the cores with what else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The transformers model of a variant and its checkpoint directory, made once."""

    @cache
    def make(variant: str) -> tuple[torch.nn.Module, Path]:
        directory = tmp_path_factory.mktemp(variant)
        return checkpoints.make(variant, directory), directory

    return make


class Loader:
    """Runners of variants with 6 slots of 640 positions, prepared and loaded once for each quantisation."""

    def __init__(self, reference: Reference, folder: Path) -> None:
        self.reference, self.folder = reference, folder
        self.loaded: dict[tuple[str, str], FusedRunner] = {}

    def prepared(self, variant: str, quantization: str = "int8") -> Path:
        """The prepared file of a variant."""
        out = self.folder / f"{variant}-{quantization}.safetensors"
        if not out.exists():
            fused.prepare(self.reference(variant)[1], out, quantization=quantization)
        return out

    def __call__(self, variant: str, quantization: str = "int8") -> FusedRunner:
        key = variant, quantization
        if key not in self.loaded:
            self.loaded[key] = fused.load(self.prepared(*key), num_slots=6, context=640)
        return self.loaded[key]


@pytest.fixture(scope="session")
def load(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    return Loader(reference, tmp_path_factory.mktemp("prepared"))
