from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from minivault.engine.runners import fused
from minivault.engine.runners.fused.runner import FusedRunner
from tests.engine.fused import checkpoints

Loader = Callable[..., FusedRunner]
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


@pytest.fixture(scope="session")
def load(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    """A runner of a variant with 6 slots of 640 positions, prepared and loaded once for each quantisation."""

    @cache
    def make(variant: str, quantization: str = "int8") -> FusedRunner:
        out = tmp_path_factory.mktemp("prepared") / f"{variant}.safetensors"
        fused.prepare(reference(variant)[1], out, quantization=quantization)
        return fused.load(out, num_slots=6, context=640)

    return make
