"""GGUF files → the hub's layout (config.json, tokenizer files, weights), so that nothing later needs GGUF.

Metadata and vocabularies of the architectures and kinds that we know are read here, in seconds; everything else goes
through transformers' own reader, which knows more of them and takes longer. Weights stay on the file's grid where the
packer takes them; otherwise they become float32, exactly what the quantised numbers mean.
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
    from minivault.models.gguf import config, general, llama, vocabulary

    with refuses_damage(path):
        file = GgufFile.open(path)
        is_ours = config.can_read(file) and vocabulary.can_build(file)
        if is_ours:
            config.write(file, out)
            vocabulary.build(file, out)
        else:
            general.write_settings(file, out)
        is_packed = packer is not None and _pack(packer, file, out, progress)
        if not is_packed:
            (llama if is_ours and llama.can_convert(file) else general).write_weights(file, out, progress)
        return Converted(file.text("general.license"), file.num_parameters, is_packed)


def _pack(packer: Packer, file: GgufFile, out: Path, progress: Progress) -> bool:
    config = json.loads((out / CONFIG).read_bytes())
    if reason := packer.why_not(config, file):
        log.warning("%s takes the room of floats: %s", file.path.name, reason)
        return False
    packer.pack(file, config, out / PACKED, progress)
    return True
