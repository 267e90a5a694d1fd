"""A prepared file into a network: read, laid out for the kernels, nothing computed again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from minivault.engine.fused import rope
from minivault.engine.fused.linear import FloatRead, FloatWrite, Int8Read, Int8Write
from minivault.engine.fused.network import FoldedLayer, Network
from minivault.engine.fused.packing import pack
from minivault.engine.fused.preparing import FORMAT
from minivault.errors import ModelError
from minivault.families import Block, family_of


def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt")


class Prepared:
    """An open prepared file. Raises ModelError where it is not one, or of another version."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = _opened(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} is not a prepared model: {error}; prepare the model again") from error
        metadata = self.file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ModelError(f"{path} has format {metadata.get('format')!r}, not {FORMAT}: prepare the model again")
        self.path, self.names = path, set(self.file.keys())
        self.quantization: str = metadata["quantization"]
        config = json.loads(metadata["config"])
        family = family_of(config)
        if family is None:
            raise ModelError(f"{path} is of no family that we know: prepare the model again")
        self.block: Block = family.block(config)

    def get(self, name: str) -> torch.Tensor | None:
        """A tensor of the file. Of a quantised model only the packed weights and copies stay in memory, not the map."""
        if name not in self.names:
            return None
        tensor: torch.Tensor = self.file.get_tensor(name)
        return tensor if self.quantization == "fp32" or tensor.dtype == torch.int8 else tensor.clone()

    def require(self, name: str) -> torch.Tensor:
        tensor = self.get(name)
        if tensor is None:
            raise self._lacks(name)
        return tensor

    def mapped(self, name: str) -> torch.Tensor:
        """A tensor left in the file, in a map of its own: rows that nobody asks for take no memory."""
        if name not in self.names:
            raise self._lacks(name)
        tensor: torch.Tensor = _opened(self.path).get_tensor(name)
        return tensor

    def _lacks(self, name: str) -> ModelError:
        return ModelError(f"tensor {name} is missing from the prepared file: prepare the model again")

    def read(self, name: str, levels: int) -> torch.nn.Module:
        """A linear map over the normalised stream."""
        weight, scale, bias = self.require(f"{name}.weight"), self.get(f"{name}.scale"), self.get(f"{name}.bias")
        return FloatRead(weight, bias) if scale is None else Int8Read(pack(weight, scale, bias), levels)

    def write(self, name: str, levels: int) -> torch.nn.Module:
        """A linear map into the stream."""
        weight, scale, bias = self.require(f"{name}.weight"), self.get(f"{name}.scale"), self.get(f"{name}.bias")
        return FloatWrite(weight, bias) if scale is None else Int8Write(pack(weight, scale, None), levels, bias)


def load_network(prepared: Prepared, *, context: int, levels: int) -> Network:
    """The network of a prepared file, for up to `context` positions, activations in 2 * `levels` + 1 steps."""
    block = prepared.block
    with ThreadPoolExecutor(torch.get_num_threads()) as packers:  # fbgemm lays out one weight on one thread
        head = packers.submit(prepared.read, "head", levels)  # the largest first
        layers = list(packers.map(lambda index: _layer(prepared, f"layers.{index}.", levels), range(block.num_layers)))
    turns = rope.turns(block.rope, block.head_size, block.num_queries, context) if block.rope else None
    return Network(
        block,
        layers,
        prepared.mapped("embedding"),
        prepared.get("positions"),
        turns,
        head.result(),
        prepared.read("unfolded", levels),
    )


def _layer(prepared: Prepared, prefix: str, levels: int) -> FoldedLayer:
    return FoldedLayer(
        prepared.read(f"{prefix}qkv", levels),
        prepared.write(f"{prefix}output", levels),
        prepared.read(f"{prefix}up", levels),
        prepared.write(f"{prefix}down", levels),
    )
