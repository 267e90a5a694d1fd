"""A checkpoint directory into one prepared file: folded, rotated, quantised; once, so that starting is only mapping.

The file is safetensors: `layers.N.qkv.weight` and so on, `.scale` beside int8 weights, `.bias` where there is one; its
metadata holds the format's version, the quantisation and the model's config. It appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from minivault.engine.fused.fold import Fold
from minivault.engine.fused.packing import quantize
from minivault.engine.fused.parts import Affine, Tensors
from minivault.engine.fused.support import why_not
from minivault.errors import ModelError
from minivault.families import family_of

FORMAT = "minivault-fused-1"


@torch.inference_mode()
def prepare(
    directory: Path, out: Path, progress: Callable[[int, int], None] | None = None, quantization: str = "int8"
) -> None:
    """See `fused.prepare`."""
    config = json.loads((directory / "config.json").read_text())
    reason, family = why_not(config), family_of(config)
    if reason or family is None:
        raise ModelError(f"the fused runner cannot serve this model: {reason}")
    if quantization not in ("int8", "fp32"):
        raise ModelError(f"quantization {quantization!r} is neither int8 nor fp32")
    folded = _fold(Tensors(directory, family.block(config), family.names), progress or _silent, quantization)
    metadata = {"format": FORMAT, "quantization": quantization, "config": json.dumps(config)}
    _write(out, folded, metadata)


def _silent(_done: int, _total: int) -> None:
    """Nobody watches."""


def _fold(tensors: Tensors, progress: Callable[[int, int], None], quantization: str) -> dict[str, torch.Tensor]:
    fold, total = Fold(tensors.block), tensors.block.num_layers + 1
    store: dict[str, torch.Tensor] = {}
    for index in range(tensors.block.num_layers):
        for name, affine in fold.layer(tensors.layer(index), index).items():
            store |= _stored(f"layers.{index}.{name}", affine, quantization)
        progress(index + 1, total)
    ends = tensors.ends()
    table = torch.float16 if quantization == "int8" else torch.float32
    store["embedding"] = fold.embedding(ends.embedding).to(table)
    if ends.positions is not None:
        store["positions"] = fold.embedding(ends.positions)
    store |= _stored("head", fold.head(ends), quantization)
    store |= _stored("unfolded", fold.unfolded(ends), "fp32")
    progress(total, total)
    return store


def _stored(name: str, affine: Affine, quantization: str) -> dict[str, torch.Tensor]:
    bias = {} if affine.bias is None else {f"{name}.bias": affine.bias.contiguous()}
    if quantization == "fp32":
        return {f"{name}.weight": affine.weight.contiguous(), **bias}
    weight, scale = quantize(affine.weight)
    return {f"{name}.weight": weight, f"{name}.scale": scale, **bias}


def _write(out: Path, store: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    try:
        save_file(store, partial, metadata)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
