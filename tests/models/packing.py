"""A stand-in for an engine that keeps weights on a file's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.models.gguf.metadata import GgufFile
from minivault.models.progress import Progress


@dataclass
class CopyingPacker:
    """Packs by copying the tensors' bytes; `refuses` is a reason not to, `asks_the_file` one that needs the file."""

    form: str = "copy-1"
    refuses: str | None = None
    refuses_file: str | None = None

    def why_not(self, config: Mapping[str, Any], file: GgufFile | None = None) -> str | None:
        assert config["model_type"] == "llama"
        return self.refuses or (self.refuses_file if file else None)

    def pack(self, file: GgufFile, config: Mapping[str, Any], out: Path, progress: Progress) -> None:
        out.write_bytes(self.form.encode() + b"".join(tensor.data.tobytes() for tensor in file.by_name.values()))
        progress("packing", 1, 1)
