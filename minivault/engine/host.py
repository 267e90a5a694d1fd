"""The host: what a runner needs of the machine, what of it and its math libraries can change a logit, and what the
machine gets back once a model is loaded.

Threads are not among it: measured, they change nothing. MKL's mode is, and so is the code branch that it picks for
this CPU; torch's library tells both, so nothing depends on how the mode was set. torch is imported only when asked.
"""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_MADV_DONTNEED = 4
_M_ARENA_MAX = -8
_MKL_CBWR_BRANCH = 1
"""Selects the branch among what `mkl_cbwr_get` can tell (Intel oneMKL reference, "Conditional Numerical
Reproducibility Control")."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A CPU: architecture as `platform.machine()` tells it, vendor string, and the flags it offers (Linux names). A
    value, so that tests can describe other machines."""

    architecture: str
    vendor: str
    flags: frozenset[str]

    @classmethod
    def here(cls) -> Machine:
        """This machine. Where the system lists no flags, torch's own capability stands in for them."""
        listed = _listed(Path("/proc/cpuinfo"))
        flags = frozenset(listed.get("flags", listed.get("Features", "")).split()) or _flags_torch_uses()
        return cls(platform.machine().lower(), listed.get("vendor_id", platform.processor()), flags)

    @property
    def is_x86(self) -> bool:
        return self.architecture in ("x86_64", "amd64", "i686")

    @property
    def has_vnni(self) -> bool:
        """Whether 8-bit numbers are multiplied straight into 32-bit sums, which cannot saturate."""
        return {"avx512_vnni", "avx512vl", "avx512bw"} <= self.flags


def num_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many cores this process may keep busy: those it is bound to, or fewer where its container may use less time
    than that (`quota` holds two numbers of microseconds, how much in which period)."""
    bound = len(os.sched_getaffinity(0))
    try:
        used, period = quota.read_text().split()
        return max(1, min(bound, int(used) // int(period)))
    except (OSError, ValueError):  # no such limit: the file is missing, or says `max`
        return bound


def host_signature() -> dict[str, str]:
    """torch's version, the CPU's architecture, vendor and capability as torch uses it, and MKL's mode."""
    import torch

    return {
        "torch": torch.__version__,
        "architecture": platform.machine(),
        "cpu_vendor": Machine.here().vendor,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": _mkl_mode(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"),
    }


def keep_few_arenas() -> None:
    """Have the threads of this process share two of the C library's heaps: of what loading a model allocated each keeps
    some 10 MB, and there would be eight for each core. Only threads that begin from now on are bound."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 2)


def give_memory_back(maps: Path = Path("/proc/self/maps")) -> None:
    """Return to the system what loading allocated and freed, some 30 MB, which the C library keeps otherwise; and the
    compiler's code, 50 MB that are read from its file again should anything be compiled later."""
    library = ctypes.CDLL(None)
    if trim := getattr(library, "malloc_trim", None):
        trim(0)
    if not maps.exists():
        return
    for line in maps.read_text().splitlines():
        # Code only: the pages around it hold addresses that were filled in, and would come back without them.
        if line.endswith("libllvmlite.so") and " r-xp " in line:
            start, end = (int(place, 16) for place in line.split()[0].split("-"))
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def _mkl_mode(path: Path) -> str:
    """The reproducibility branch in force and the one MKL would pick by itself, as numbers; empty without MKL."""
    try:
        library = ctypes.CDLL(str(path))
        return f"{library.mkl_serv_cbwr_get(_MKL_CBWR_BRANCH)}/{library.mkl_serv_cbwr_get_auto_branch()}"
    except (OSError, AttributeError):
        return ""


def _listed(cpuinfo: Path) -> dict[str, str]:
    if not cpuinfo.exists():
        return {}
    first = cpuinfo.read_text().split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _flags_torch_uses() -> frozenset[str]:
    import torch

    capability = torch.backends.cpu.get_cpu_capability().lower()
    return frozenset({"avx2"} if capability.startswith("avx") else ())
