"""A checkpoint's tensors, read by their family's names into the plain form that folding works on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from minivault.errors import ModelError
from minivault.families import Block, Names


@dataclass(frozen=True, slots=True)
class Affine:
    """`weight` [out, in] and `bias` [out] or None: x -> weight @ x + bias. A norm is one whose weight is a vector."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """h = x + output(attend(query(n), key(n), value(n))); y = h + down(act(up(m))), with n and m the norms of x and h.

    `ups` is (gate, up) where the MLP is gated, act(gate(m)) * up(m), else (up,)."""

    attention_norm: Affine
    query: Affine
    key: Affine
    value: Affine
    output: Affine
    mlp_norm: Affine
    ups: tuple[Affine, ...]
    down: Affine


@dataclass(frozen=True, slots=True)
class Ends:
    """What comes before the first block and after the last. `positions` [positions, hidden] where they are learned."""

    embedding: torch.Tensor
    positions: torch.Tensor | None
    norm: Affine
    head: torch.Tensor


def _opened(path: Path) -> Any:
    return safe_open(path, framework="pt")


class Tensors:
    """The tensors of a checkpoint directory by name, with or without the family's prefix, as float32."""

    def __init__(self, directory: Path, block: Block, names: Names) -> None:
        self.block, self.names = block, names
        self.files: dict[str, Any] = {}
        for path in sorted(directory.glob("*.safetensors")):
            opened = _opened(path)
            self.files |= dict.fromkeys(opened.keys(), opened)
        if not self.files:
            raise ModelError(f"{directory} holds no .safetensors file")

    def layer(self, index: int) -> Layer:
        block, names, prefix = self.block, self.names, self.names.layer.format(index)
        query, key, value = self._qkv(prefix)
        return Layer(
            attention_norm=self._norm(prefix + names.attention_norm),
            query=query,
            key=key,
            value=value,
            output=self._affine(prefix + names.output, block.hidden, block.attention),
            mlp_norm=self._norm(prefix + names.mlp_norm),
            ups=tuple(self._affine(prefix + up, block.mlp, block.hidden) for up in names.ups),
            down=self._affine(prefix + names.down, block.hidden, block.mlp),
        )

    def ends(self) -> Ends:
        block, names = self.block, self.names
        table, positions, head = (block.vocabulary, block.hidden), None, f"{names.head}.weight"
        embedding = self._read(f"{names.embedding}.weight", *table)
        if names.positions is not None:
            positions = self._read(f"{names.positions}.weight", block.positions, block.hidden)
        norm = self._norm(names.norm)
        return Ends(embedding, positions, norm, self._read(head, *table) if self._has(head) else embedding)

    def _qkv(self, prefix: str) -> list[Affine]:
        keys = self.block.num_groups * self.block.head_size
        rows, names = (self.block.attention, keys, keys), self.names.qkv
        if len(names) == 3:
            return [self._affine(prefix + name, num, self.block.hidden) for name, num in zip(names, rows, strict=True)]
        joint = self._affine(prefix + names[0], sum(rows), self.block.hidden)
        parts = [slice(end - num, end) for num, end in zip(rows, accumulate(rows), strict=True)]
        return [Affine(joint.weight[part], None if joint.bias is None else joint.bias[part]) for part in parts]

    def _affine(self, name: str, rows: int, columns: int) -> Affine:
        is_transposed = self.names.is_transposed
        stored = self._read(f"{name}.weight", *((columns, rows) if is_transposed else (rows, columns)))
        has_bias = self.names.has_biases or self._has(f"{name}.bias")
        bias = self._read(f"{name}.bias", rows) if has_bias else None
        return Affine(stored.t() if is_transposed else stored, bias)

    def _norm(self, name: str) -> Affine:
        weight = self._read(f"{name}.weight", self.block.hidden)
        return Affine(weight, self._read(f"{name}.bias", self.block.hidden) if self.names.has_biases else None)

    def _has(self, name: str) -> bool:
        return name in self.files or self.names.prefix + name in self.files

    def _read(self, name: str, *shape: int) -> torch.Tensor:
        """Raises ModelError where the tensor is missing, misshapen or not finite."""
        full = name if name in self.files else self.names.prefix + name
        if full not in self.files:
            raise ModelError(f"tensor {name} is missing from the checkpoint")
        tensor: torch.Tensor = self.files[full].get_tensor(full)
        if tuple(tensor.shape) != shape:
            raise ModelError(f"tensor {full} has shape {tuple(tensor.shape)}; the config asks for {shape}")
        if not torch.isfinite(tensor).all():
            raise ModelError(f"tensor {full} holds NaN or infinite values")
        return tensor.float()
