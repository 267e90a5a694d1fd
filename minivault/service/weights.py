"""The weights that the exact engine maps, and who makes them: `models` and the engine, introduced to each other.

Out of a GGUF file they are packed when it is pulled, on the file's own grid. Of a checkpoint in floats they are
prepared, beside the models, when it is pulled or first served.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.config import Settings
from minivault.engine import exact
from minivault.errors import ModelError
from minivault.models import ModelFiles, ModelStore
from minivault.models.layout import PACKED
from minivault.models.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minivault.engine.exact.lora import Change
    from minivault.engine.runner import Runner
    from minivault.models.gguf.metadata import GgufFile


class ExactPacker:
    """A `models.packer.Packer` of the exact engine's form."""

    def __init__(self) -> None:
        self.form = exact.form()

    def why_not(self, config: Mapping[str, Any], file: GgufFile | None = None) -> str | None:
        return exact.why_not(config) or (exact.why_not_file(file) if file is not None else None)

    def pack(self, file: GgufFile, config: Mapping[str, Any], out: Path, progress: Progress) -> None:
        exact.prepare_gguf(file, config, out, partial(_in_bytes, progress, file.size_bytes))


def _in_bytes(progress: Progress, size_bytes: int, done: int, total: int) -> None:
    progress("packing", size_bytes * done // total, size_bytes)


def weights_file(settings: Settings, files: ModelFiles, progress: Progress = silent) -> Path:
    """The file that the exact engine maps, made now if it is not there."""
    if files.is_packed:
        return files.directory / PACKED
    told = partial(_in_bytes, progress, files.size_bytes)

    def make(path: Path) -> None:
        exact.prepare_checkpoint(files.directory, path, told, int(settings.weight_bits), files.adapter)

    return ModelStore(settings.models_dir).prepared(files, f"{exact.form()}-{settings.weight_bits}", make)


def load_exact(settings: Settings, files: ModelFiles, progress: Progress = silent, **size: int) -> Runner:
    """A runner over the model's weights, of a size that `exact.load` knows. What was prepared and cannot be used
    is prepared again; what was packed is pulled again. Raises ModelError with one line."""

    def load(path: Path) -> Runner:
        return exact.load(path, cache_dir=settings.kernels_dir, **size)

    path = weights_file(settings, files, progress)
    try:
        return load(path)
    except ModelError as error:
        if files.is_packed:
            told = f"model {files.name}: {error.message}; get it again with `minivault models pull {files.name}`"
            raise ModelError(told) from error
        path.unlink()
    return load(weights_file(settings, files, progress))


def float_weights(settings: Settings, files: ModelFiles) -> dict[str, NDArray[np.float32]] | None:
    """Packed weights as the floats that they stand for; None where a model's files hold floats."""
    return exact.unpack(weights_file(settings, files)) if files.is_packed else None


def adapter_changes(files: ModelFiles) -> Mapping[str, Change] | None:
    """What the model's adapter adds to its base, by map; None where there is none."""
    return exact.changes(files.adapter) if files.adapter else None
