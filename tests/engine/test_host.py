"""The host's signature: it changes with what changes logits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minivault.engine.host import host_signature, num_cores

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")
SCRIPT = "from minivault.engine.host import host_signature; print(host_signature())"


def signature_under(**variables: str) -> str:
    """The signature in a fresh process with these environment variables."""
    environ = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ, check=True, capture_output=True, text=True
    ).stdout


def test_every_part_is_text_and_says_something() -> None:
    signature = host_signature()
    assert set(signature) == {"torch", "architecture", "cpu_vendor", "cpu_capability", "mkl"}
    assert all(signature[part] for part in ("torch", "architecture", "cpu_capability"))


@needs_mkl
@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"MKL_CBWR": "COMPATIBLE"}, {"ATEN_CPU_CAPABILITY": "default"}])
def test_a_mode_that_changes_logits_changes_the_signature(variables: dict[str, str]) -> None:
    assert signature_under(**variables) != signature_under()
    assert signature_under() == f"{host_signature()}\n"


@pytest.mark.parametrize(
    ("text", "num"),
    [("max 100000", None), ("100000 100000", 1), ("50000 100000", 1), ("9900000 100000", None), ("", None)],
)
def test_a_container_may_have_less_time_than_cores(tmp_path: Path, text: str, num: int | None) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert num_cores(quota) == (num or len(os.sched_getaffinity(0)))
    assert num_cores(tmp_path / "missing") == len(os.sched_getaffinity(0))
