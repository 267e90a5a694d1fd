"""GGUF files → the hub's layout (config.json, tokenizer files, weights), so that nothing later needs GGUF.

`convert` takes Llama-family files with a known byte-level tokenizer apart itself, in seconds; everything else goes
through transformers' own reader, which knows many more architectures and takes longer. Weights stay on the file's grid
where the packer takes them; otherwise they become float32, exactly what the quantised numbers mean.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.models.gguf.metadata import GgufFile, refuses_damage
from minivault.models.layout import CONFIG, PACKED
from minivault.models.progress import Progress, silent

if TYPE_CHECKING:
    from minivault.models.packer import Packer

__all__ = ["Converted", "convert"]

log = logging.getLogger("minivault.models")


@dataclass(frozen=True, slots=True)
class Converted:
    """What was learned on the way; `license` is "" if not stated."""

    license: str
    num_parameters: int
    is_packed: bool


def convert(path: Path, out: Path, progress: Progress = silent, packer: Packer | None = None) -> Converted:
    """Write the model in `path` into the existing directory `out`.

    Raises ModelError when the file is damaged or of an architecture that cannot be read.
    """
    from minivault.models.gguf import general, llama

    with refuses_damage(path):
        file = GgufFile.open(path)
        route = llama if llama.can_convert(file) else general
        route.write_settings(file, out)
        is_packed = packer is not None and _pack(packer, file, out, progress)
        if not is_packed:
            route.write_weights(file, out, progress)
        return Converted(file.text("general.license"), file.num_parameters, is_packed)


def _pack(packer: Packer, file: GgufFile, out: Path, progress: Progress) -> bool:
    config = json.loads((out / CONFIG).read_bytes())
    if reason := packer.why_not(config, file):
        log.warning("%s takes the room of floats: %s", file.path.name, reason)
        return False
    packer.pack(file, config, out / PACKED, progress)
    return True
