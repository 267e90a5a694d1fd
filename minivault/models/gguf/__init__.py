"""GGUF files → the hub's layout (config.json, tokenizer files, model.safetensors), so that nothing later needs GGUF.

`convert` takes Llama-family files with a known byte-level tokenizer apart itself, in seconds; everything else goes
through transformers' own reader, which knows many more architectures and takes longer. Weights become float32, exactly
what the quantised numbers mean.
"""

from __future__ import annotations

from pathlib import Path

from minivault.models.gguf.metadata import GgufFile, refuses_damage
from minivault.models.progress import Progress, silent

__all__ = ["convert"]


def convert(path: Path, out: Path, progress: Progress = silent) -> str:
    """Write the model in `path` into the existing directory `out`; return its license ("" if not stated).

    Raises ModelError when the file is damaged or of an architecture that cannot be read.
    """
    from minivault.models.gguf import general, llama

    with refuses_damage(path):
        file = GgufFile.open(path)
        if llama.can_convert(file):
            llama.convert(file, out, progress)
        else:
            general.convert(file, out, progress)
        return file.text("general.license")
