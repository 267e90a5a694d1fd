"""What an engine offers that keeps weights on a GGUF file's own grid, so that no copy in floats is made.

Models and engines do not know each other: whoever pulls a model passes one in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from minivault.models.gguf.metadata import GgufFile
from minivault.models.progress import Progress


class Packer(Protocol):
    """One form of packed weights."""

    form: str
    """Names the form and its version: what was made in another one is made again by the next pull."""

    def why_not(self, config: Mapping[str, Any], file: GgufFile | None = None) -> str | None:
        """One line saying why a model of this config (in this file) cannot be packed; None where it can."""
        ...

    def pack(self, file: GgufFile, config: Mapping[str, Any], out: Path, progress: Progress) -> None:
        """Write the weights file `out`. Raises ModelError naming the tensor that it cannot take."""
        ...
