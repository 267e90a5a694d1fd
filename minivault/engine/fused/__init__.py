"""The fused runner: our own forward pass for the Llama and GPT-2 families on x86 CPUs.

Rotated int8 weights, batched decode, and logits that do not depend, bit for bit, on what else is in the batch.
`why_not` reads a config and loads nothing; `prepare` writes one file per checkpoint; `load` maps it and is ready.
This package must not know requests, text, sampling or time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.engine.fused.support import why_not

if TYPE_CHECKING:
    from minivault.engine.fused.runner import FusedRunner

__all__ = ["load", "prepare", "why_not"]


def prepare(
    checkpoint_directory: Path,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
    quantization: str = "int8",
) -> None:
    """Rotate and quantise a checkpoint once, into the single safetensors file `out` (written atomically).

    `progress(done, total)` counts layers. `quantization` is `int8` or `fp32`. Raises ModelError, naming the tensor,
    where shapes do not fit the config or values are not finite.
    """
    from minivault.engine.fused import preparing

    preparing.prepare(checkpoint_directory, out, progress, quantization)


def load(prepared: Path, *, num_slots: int, context: int, threads: int | None = None) -> FusedRunner:
    """A runner over a file from `prepare`: `num_slots` sequences of at most `context` positions each.

    `threads` sets torch's intra-op threads for the process; it does not change any logit. Raises ModelError where the
    file is not ours.
    """
    from minivault.engine.fused.runner import FusedRunner

    return FusedRunner.load(prepared, num_slots=num_slots, context=context, threads=threads)
