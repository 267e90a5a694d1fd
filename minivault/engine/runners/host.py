"""The host's part of a signature: what of this machine and its math libraries can change a logit.

Threads are not among it: measured, they change nothing. MKL's mode is, and so is the code branch that it picks for
this CPU; torch's library tells both, so nothing depends on how the mode was set.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import torch

from minivault.engine.runners.fused.machine import Machine

_MKL_CBWR_BRANCH = 1
"""Selects the branch among what `mkl_cbwr_get` can tell (Intel oneMKL reference, "Conditional Numerical
Reproducibility Control")."""


def host_signature() -> dict[str, str]:
    """torch's version, the CPU's architecture, vendor and capability as torch uses it, and MKL's mode."""
    return {
        "torch": torch.__version__,
        "architecture": platform.machine(),
        "cpu_vendor": Machine.here().vendor,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": _mkl_mode(),
    }


def _mkl_mode() -> str:
    """The reproducibility branch in force and the one MKL would pick by itself, as numbers; empty without MKL."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        library = ctypes.CDLL(str(path))
        return f"{library.mkl_serv_cbwr_get(_MKL_CBWR_BRANCH)}/{library.mkl_serv_cbwr_get_auto_branch()}"
    except (OSError, AttributeError):
        return ""
