"""The forward pass of both families: one block, written once, over folded weights.

    z = norm(x);  x = x + output(attend(heads(qkv(z))));  z = norm(x);  x = x + down(rotate(act(up(z))))

`Decode` runs one new token of each of several sequences; `Prefill` runs consecutive tokens of each. They differ only in
where keys and values go and in how queries are laid out for attention. `Decode` can be traced: no size is read from
Python, no branch depends on data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch.nn.functional import gelu, layer_norm, pad, relu, silu

from minivault.engine.fused.attention import attend
from minivault.engine.fused.rotation import block_size, hadamard, stream_width
from minivault.families import Block

Attend = Callable[[int, torch.Tensor], torch.Tensor]

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": silu,
    "swish": silu,
    "gelu": gelu,
    "gelu_new": lambda x: gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: gelu(x, approximate="tanh"),
    "relu": relu,
}


class FoldedLayer(torch.nn.Module):
    """The four linear maps of one layer."""

    def __init__(
        self, qkv: torch.nn.Module, output: torch.nn.Module, up: torch.nn.Module, down: torch.nn.Module
    ) -> None:
        super().__init__()
        self.qkv, self.output, self.up, self.down = qkv, output, up, down


class Network(torch.nn.Module):
    """Folded weights of a whole model. `turns` [context, queries + 2, head_size / 2] are the rotary factors, or None;
    `places` [positions, width] are learned positions, or None."""

    def __init__(
        self,
        block: Block,
        layers: list[FoldedLayer],
        embedding: torch.Tensor,
        places: torch.Tensor | None,
        turns: torch.Tensor | None,
        head: torch.nn.Module,
        unfolded: torch.nn.Module,
    ) -> None:
        super().__init__()
        self.block, self.layers, self.head, self.unfolded = block, torch.nn.ModuleList(layers), head, unfolded
        self.width = stream_width(block.hidden)
        self.embedding, self.places, self.turns = embedding, places, turns
        self.eps = block.norm_eps * block.hidden / self.width
        self.activation = ACTIVATIONS[block.activation]
        self.turn: torch.Tensor = hadamard(block_size(block.mlp)).float()

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (self.width,), None, None, self.eps)

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        x = self.embedding[ids].float()
        return x if self.places is None else x.add_(self.places[positions])

    def run(self, x: torch.Tensor, attend: Attend) -> torch.Tensor:
        """The rotated stream [rows, width] through every layer and the last norm."""
        for index, layer in enumerate(cast(list[FoldedLayer], self.layers)):
            x = layer.output(x, attend(index, layer.qkv(self.norm(x))))
            x = layer.down(x, self.inner(layer.up(self.norm(x))))
        return self.norm(x)

    def inner(self, up: torch.Tensor) -> torch.Tensor:
        """The MLP's activation, rotated in blocks. A product per row: its bits do not depend on the number of rows."""
        if self.block.is_gated:
            gate, up = up.chunk(2, -1)
            up = self.activation(gate).mul_(up)
        else:
            up = self.activation(up)
        size = self.turn.size(0)
        rows = up.view(-1, self.block.mlp // size, size)
        return torch.bmm(rows, self.turn.expand(rows.size(0), size, size)).view(-1, self.block.mlp)

    def heads(self, qkv: torch.Tensor, turns: torch.Tensor | None) -> torch.Tensor:
        """[rows, groups, queries + 2, head_size], queries and key turned to their positions."""
        groups, size = self.block.num_groups, self.block.head_size
        if turns is None:
            return qkv.view(-1, groups, self.block.num_queries + 2, size)
        pairs = torch.view_as_complex(qkv.view(-1, groups, self.block.num_queries + 2, size // 2, 2))
        return torch.view_as_real(pairs * turns).flatten(-2)

    def turns_at(self, positions: torch.Tensor) -> torch.Tensor | None:
        return None if self.turns is None else self.turns[positions][:, None]


class Decode(torch.nn.Module):
    """One token of each row: logits [rows, vocabulary]. The rows' caches are the first of `keys` and `values`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        places: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        network, batch = self.network, mask.size(0)
        queries, size = network.block.num_queries, network.block.head_size
        turns = network.turns_at(positions)
        all_keys, all_values = (
            keys.view(keys.size(0), -1, size).unbind(0),
            values.view(keys.size(0), -1, size).unbind(0),
        )
        near_keys, near_values = keys[:, :, :batch].unbind(0), values[:, :, :batch].unbind(0)

        def attend_(index: int, qkv: torch.Tensor) -> torch.Tensor:
            heads = network.heads(qkv, turns).view(-1, queries + 2, size)
            all_keys[index].index_copy_(0, places, heads[:, queries])
            all_values[index].index_copy_(0, places, heads[:, queries + 1])
            attended = attend(heads[:, :queries], near_keys[index], near_values[index], mask)
            return attended.view(-1, network.block.attention)

        logits: torch.Tensor = network.head(network.run(network.embed(ids, positions), attend_))
        return logits


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk in a pass: which rows of the pass they are, that sequence's caches, the places of these
    tokens in them, and what each query may look at, with rows to spare where they are fewer than MIN_ROWS."""

    rows: slice
    keys: torch.Tensor
    values: torch.Tensor
    new_keys: torch.Tensor
    new_values: torch.Tensor
    mask: torch.Tensor


class Prefill(torch.nn.Module):
    """Several chunks in one pass: last norm's output [rows, width]. Linear maps see all rows together and attention
    each chunk alone, after the chunks before it, so a chunk's bits do not depend on its company."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, spans: Sequence[Span]) -> torch.Tensor:
        network = self.network
        turns = network.turns_at(positions)

        def attend_(index: int, qkv: torch.Tensor) -> torch.Tensor:
            heads = network.heads(qkv, turns)
            return torch.cat([self._attend(index, heads[span.rows], span) for span in spans])

        return network.run(network.embed(ids, positions), attend_)

    def _attend(self, index: int, heads: torch.Tensor, span: Span) -> torch.Tensor:
        block = self.network.block
        groups, queries, size = block.num_groups, block.num_queries, block.head_size
        span.new_keys[index].copy_(heads[:, :, queries].transpose(0, 1))
        span.new_values[index].copy_(heads[:, :, queries + 1].transpose(0, 1))
        query = heads[:, :, :queries].transpose(0, 1).reshape(groups, -1, size)
        num_rows, lacking = query.size(1), span.mask.size(1) - query.size(1)
        if lacking:
            query = pad(query, (0, 0, 0, lacking))
        mask = span.mask.expand(groups, -1, -1)
        attended = attend(query, span.keys[index], span.values[index], mask)[:, :num_rows]
        return attended.view(groups, -1, queries * size).transpose(0, 1).reshape(-1, block.attention)
