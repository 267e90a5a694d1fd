"""Where a model comes from: four closed kinds, as values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WheelOrigin:
    """One GGUF file inside one wheel of a package index. Digests are SHA-256 in hex."""

    project: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_sha256: str
    member_bytes: int

    def __str__(self) -> str:
        return f"package {self.project} {self.version}"


@dataclass(frozen=True, slots=True)
class HubOrigin:
    """A repository of a model hub at a branch, tag or commit."""

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hub {self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class DirectoryOrigin:
    """A directory of this machine in the hub's layout; used in place and never written to."""

    path: Path

    def __str__(self) -> str:
        return f"directory {self.path}"


@dataclass(frozen=True, slots=True)
class GgufOrigin:
    """A GGUF file of this machine; converted once."""

    path: Path

    def __str__(self) -> str:
        return f"file {self.path}"


ModelOrigin = WheelOrigin | HubOrigin | DirectoryOrigin | GgufOrigin
