"""A checkpoint directory into one prepared file: folded, rotated, quantised; once, so that starting is only mapping.

The file is safetensors: `layers.N.qkv.weight` and so on, `.scale` beside int8 weights, `.bias` where there is one; its
metadata holds the format's version, the quantisation and the model's config. It appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from minivault.engine.fused import gpt2, llama
from minivault.engine.fused.fold import Fold
from minivault.engine.fused.packing import quantize
from minivault.engine.fused.parts import Affine
from minivault.engine.fused.shape import Shape
from minivault.engine.fused.support import GPT2_TYPES, why_not
from minivault.errors import ModelError

FORMAT = "minivault-fused-1"


def family_of(config: Mapping[str, Any]) -> Any:
    """The module that knows this model_type's names: `shape`, `layer`, `ends`, `PREFIX`."""
    return gpt2 if config["model_type"] in GPT2_TYPES else llama


def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt")


class Tensors:
    """The tensors of a checkpoint directory by name, with or without the family's prefix, as float32."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self.prefix = prefix
        self.files: dict[str, Any] = {}
        for path in sorted(directory.glob("*.safetensors")):
            opened = _opened(path)
            self.files |= dict.fromkeys(opened.keys(), opened)
        if not self.files:
            raise ModelError(f"{directory} holds no .safetensors file")

    def keys(self) -> dict[str, Any]:
        return {name.removeprefix(self.prefix): None for name in self.files}

    def read(self, name: str, *shape: int) -> torch.Tensor:
        full = name if name in self.files else self.prefix + name
        if full not in self.files:
            raise ModelError(f"tensor {name} is missing from the checkpoint")
        tensor: torch.Tensor = self.files[full].get_tensor(full)
        if tuple(tensor.shape) != shape:
            raise ModelError(f"tensor {full} has shape {tuple(tensor.shape)}; the config asks for {shape}")
        if not torch.isfinite(tensor).all():
            raise ModelError(f"tensor {full} holds NaN or infinite values")
        return tensor.float()


@torch.inference_mode()
def prepare(
    directory: Path, out: Path, progress: Callable[[int, int], None] | None = None, quantization: str = "int8"
) -> None:
    """See `fused.prepare`."""
    config = json.loads((directory / "config.json").read_text())
    if reason := why_not(config):
        raise ModelError(f"the fused runner cannot serve this model: {reason}")
    if quantization not in ("int8", "fp32"):
        raise ModelError(f"quantization {quantization!r} is neither int8 nor fp32")
    family = family_of(config)
    shape = family.shape(config)
    tensors = Tensors(directory, family.PREFIX)
    folded = _fold(family, shape, tensors, progress or _silent, quantization)
    metadata = {"format": FORMAT, "quantization": quantization, "config": json.dumps(config)}
    _write(out, folded, metadata)


def _silent(_done: int, _total: int) -> None:
    """Nobody watches."""


def _fold(
    family: Any, shape: Shape, tensors: Tensors, progress: Callable[[int, int], None], quantization: str
) -> dict[str, torch.Tensor]:
    fold, has, total = Fold(shape), tensors.keys(), shape.num_layers + 1
    store: dict[str, torch.Tensor] = {}
    for index in range(shape.num_layers):
        for name, affine in fold.layer(family.layer(tensors.read, has, shape, index), index).items():
            store |= _stored(f"layers.{index}.{name}", affine, quantization)
        progress(index + 1, total)
    ends = family.ends(tensors.read, has, shape)
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
