"""What the fused runner needs to know of the machine, as a value, so that tests can describe other machines."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """A CPU: architecture as `platform.machine()` tells it, vendor string, and the flags it offers (Linux names)."""

    architecture: str
    vendor: str
    flags: frozenset[str]

    @classmethod
    def here(cls) -> Machine:
        """This machine. Where the system lists no flags, torch's own capability stands in for them."""
        listed = _listed(Path("/proc/cpuinfo"))
        flags = frozenset(listed.get("flags", "").split()) or _flags_torch_uses()
        return cls(platform.machine().lower(), listed.get("vendor_id", platform.processor()), flags)

    @property
    def is_x86(self) -> bool:
        return self.architecture in ("x86_64", "amd64", "i686")

    @property
    def has_vnni(self) -> bool:
        """Whether fbgemm multiplies 8-bit numbers straight into 32-bit sums, which cannot saturate."""
        return {"avx512_vnni", "avx512vl", "avx512bw"} <= self.flags


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
