"""The fingerprint's part: everything that can change a logit, and nothing that cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minivault.engine.fused import numerics
from minivault.engine.fused.runner import FusedRunner
from minivault.engine.host import Machine
from minivault.errors import ModelError
from tests.engine.fused.conftest import Loader
from tests.engine.fused.test_correctness import prefill

DIGEST = "from minivault.engine.fused import numerics; print(numerics.digest())"


def digest_elsewhere(**variables: str) -> str:
    root = str(Path(numerics.__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_signature_names_what_changes_numbers(load: Loader) -> None:
    signature = load("llama").signature
    assert signature["torch"] == torch.__version__
    assert signature["runner"] == "fused"
    assert set(signature) >= {"version", "quantization", "device", "cpu_vendor", "cpu_capability", "numerics"}
    assert load("llama", "fp32").signature["quantization"].startswith("fp32")


def test_activation_levels_are_part_of_the_signature(load: Loader) -> None:
    path = load.prepared("llama")
    plain = Machine("x86_64", "AnyVendor", frozenset({"avx2"}))
    other = FusedRunner.load(path, num_slots=1, context=64, machine=plain)
    assert other.signature["quantization"] == "int8-181"
    assert torch.isfinite(prefill(other, 0, [1, 2, 3])).all()


def test_another_process_computes_the_same_bits() -> None:
    assert digest_elsewhere() == numerics.digest()


def test_another_kernel_choice_is_another_digest() -> None:
    assert digest_elsewhere(ATEN_CPU_CAPABILITY="default") != numerics.digest()


def test_an_operation_that_looks_at_the_batch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    numerics.ensure_rows_independent()
    monkeypatch.setattr(numerics, "operations", lambda: iter([lambda rows: rows - rows.mean(0)]))
    with pytest.raises(ModelError, match="depends on the batch"):
        numerics.ensure_rows_independent()
