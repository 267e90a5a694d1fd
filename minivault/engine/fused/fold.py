"""A layer's tensors folded into the four linear maps that are left at run time.

The equations, with Q the stream matrix, z the LayerNorm of the rotated stream, R the block rotation and r the ratio of
the two norms' lengths:
    reads   W (g * n + b)  =  (W g Q' r) z + W b      norm weights and biases disappear into what reads the stream
    writes  Q (W a + c)    =  (Q W) a + Q c           everything that writes the stream writes it rotated
    values  attend(v) R    =  attend(v R)             the output projection undoes it
Query scale and rotary order go into the query and key rows, and rows are laid out group by group: the queries of a
group, its key, its value.
"""

from __future__ import annotations

import torch

from minivault.engine.fused.parts import Affine, Ends, Layer
from minivault.engine.fused.rope import interleave
from minivault.engine.fused.rotation import block_size, rotate_inputs, rotate_outputs, stream, stream_width
from minivault.families import Block


class Fold:
    """Folds the layers of one model."""

    def __init__(self, block: Block) -> None:
        self.block = block
        width = stream_width(block.hidden)
        self.stream = stream(block.hidden, width, block.is_centred).float()
        self.ratio = (block.hidden / width) ** 0.5
        self.head_block = block_size(block.head_size)
        self.mlp_block = block_size(block.mlp)

    def layer(self, layer: Layer, index: int) -> dict[str, Affine]:
        """The four linear maps of one block: qkv, output, up, down."""
        return {
            "qkv": self._reads(layer.attention_norm, self._heads(layer, index)),
            "output": self._writes(layer.output, self.head_block),
            "up": self._reads(layer.mlp_norm, _stack(layer.ups)),
            "down": self._writes(layer.down, self.mlp_block),
        }

    def head(self, ends: Ends) -> Affine:
        return self._reads(ends.norm, Affine(ends.head))

    def embedding(self, table: torch.Tensor) -> torch.Tensor:
        """Rows of an embedding table, rotated [rows, width]."""
        return table @ self.stream.t()

    def unfolded(self, ends: Ends) -> Affine:
        """From the last LayerNorm back to the model's own normalised hidden state (for embeddings)."""
        return self._reads(ends.norm, Affine(torch.eye(self.block.hidden)))

    def _reads(self, norm: Affine, affine: Affine) -> Affine:
        bias = affine.bias
        if norm.bias is not None:
            shift = affine.weight @ norm.bias
            bias = shift if bias is None else bias + shift
        return Affine((affine.weight * norm.weight) @ self.stream.t() * self.ratio, bias)

    def _writes(self, affine: Affine, block: int) -> Affine:
        bias = None if affine.bias is None else self.stream @ affine.bias
        return Affine(self.stream @ rotate_inputs(affine.weight, block), bias)

    def _heads(self, layer: Layer, index: int) -> Affine:
        scale = self.block.head_size**-0.5 / (index + 1 if self.block.is_scaled_by_depth else 1)
        weights = self._grouped(layer.query.weight * scale, layer.key.weight, layer.value.weight)
        given = [part.bias for part in (layer.query, layer.key, layer.value)]
        if all(bias is None for bias in given):
            return Affine(weights)
        parts = zip(given, (layer.query, layer.key, layer.value), strict=True)
        query, key, value = (torch.zeros(len(part.weight)) if bias is None else bias for bias, part in parts)
        return Affine(weights, self._grouped(query * scale, key, value))

    def _grouped(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        size = self.block.head_size
        if self.block.rope:
            query, key = interleave(query, size), interleave(key, size)
        value = rotate_outputs(value, self.head_block)
        parts = [part.reshape(self.block.num_groups, -1, *part.shape[1:]) for part in (query, key, value)]
        return torch.cat(parts, 1).flatten(0, 1)


def _stack(parts: tuple[Affine, ...]) -> Affine:
    weight = torch.cat([part.weight for part in parts])
    if all(part.bias is None for part in parts):
        return Affine(weight)
    biases = [torch.zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
    return Affine(weight, torch.cat(biases))
