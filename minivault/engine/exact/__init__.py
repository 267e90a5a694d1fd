"""The exact engine: decoders of known families on CPUs, with the same bits on every one of them.

`prepare_checkpoint` and `prepare_gguf` write one file per model; `load` maps it and is ready. `docs/engine.md` explains
the arithmetic. This package must not know requests, text, sampling or time, and imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.engine.exact.support import why_not
from minivault.families import Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minivault.engine.exact.gguf_file import Gguf
    from minivault.engine.exact.lora import Adapter, Change
    from minivault.engine.exact.runner import ExactRunner

__all__ = ["changes", "form", "load", "prepare_checkpoint", "prepare_gguf", "unpack", "why_not", "why_not_file"]

Progress = Callable[[int, int], None]


def prepare_checkpoint(
    directory: Path, out: Path, progress: Progress | None = None, bits: int = 8, adapter: Adapter | None = None
) -> None:
    """Write a weights file from config.json and safetensors files, at 8 or 4 bits a weight and a scale for 32. What a
    LoRA adapter changes is added before.

    `progress(done, total)` counts layers. The file appears whole or not at all. Raises ModelError in a line that names
    the tensor and its type."""
    from minivault.engine.exact import prepare

    prepare.prepare_checkpoint(directory, out, progress, bits, adapter)


def why_not_file(file: Gguf) -> str | None:
    """One line saying why an open GGUF file cannot be prepared, naming tensor and type; None where it can."""
    from minivault.engine.exact import gguf_file

    return gguf_file.why_not_file(file)


def prepare_gguf(file: Gguf, config: Config, out: Path, progress: Progress | None = None) -> None:
    """The same from an open GGUF file, whose own grid is kept; `config` is what config.json says of it."""
    from minivault.engine.exact import prepare

    prepare.prepare_gguf(file, config, out, progress)


def changes(adapter: Adapter) -> dict[str, Change]:
    """What a LoRA adapter adds to each map, by the hub's names, for runners that want floats. Raises ModelError."""
    from minivault.engine.exact import lora

    return lora.changes(adapter)


def unpack(path: Path) -> dict[str, NDArray[np.float32]]:
    """A weights file's tensors in float32 under the hub's names, for runners that want floats."""
    from minivault.engine.exact import unpacking

    return unpacking.unpack(path)


def form() -> str:
    """Names the weights file's format and version."""
    from minivault.engine.exact.weights import VERSION

    return f"exact-{VERSION}"


def load(
    path: Path,
    *,
    num_slots: int,
    context: int,
    cache_bytes: int | None = None,
    threads: int | None = None,
    cache_dir: Path | None = None,
) -> ExactRunner:
    """A runner over a weights file: `num_slots` sequences of at most `context` positions each.

    `cache_bytes` bounds keys and values of all sequences together, and with them the context; without it every slot
    can be full at once.
    `threads` is by default the number of CPUs that we may use. Machine code is kept in `cache_dir`; where that is
    None, or cannot be written, it is compiled at each start, with a line on stderr. None of these changes a logit."""
    from minivault.engine.exact.runner import ExactRunner

    return ExactRunner(
        path,
        num_slots=num_slots,
        context=context,
        cache_bytes=cache_bytes,
        num_threads=threads,
        cache_dir=cache_dir,
    )
