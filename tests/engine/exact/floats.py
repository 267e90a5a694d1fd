"""The engine's float mode: a decoder computed from its `Block` and its weights file in float64, without a kernel.

It takes the numbers of the file as they are, so it must give what transformers gives of them; and `rounded`, where the
engine rounds, what the engine gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from minivault.engine.exact.turning import rotations
from minivault.engine.exact.unpacking import Unpacking
from minivault.engine.exact.weights import BLOCK, WeightsFile
from minivault.families import Block, Experts, family_of

ACTIVATIONS: dict[str, Any] = {
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
}


class Floats:
    """One model; `context` is what it is loaded for, which some rotations depend on."""

    def __init__(self, path: Path, context: int, *, is_rounded: bool = False) -> None:
        whole = WeightsFile(path)
        config, self._matrices = whole.header["config"], whole.matrices
        family = family_of(config)
        assert family is not None
        self.block: Block = family.block(config)
        self._file, self._context, self._is_rounded = Unpacking(path), context, is_rounded

    @torch.inference_mode()
    def logits(self, tokens: list[int]) -> np.ndarray:
        """After each of `tokens` [tokens, vocabulary]."""
        block = self.block
        x = self._matrix("embedding")[tokens][:, : block.hidden] * block.embedding_scale
        if not block.rotations:
            x = x + self._vector("positions").reshape(-1, block.hidden)[: len(tokens)]
        for index in range(block.num_layers):
            x = self._after_layer(index, x)
        z = self._normed("norm", x, block.hidden)
        logits = self._mapped("head" if "head" in self._matrices else "embedding", z * block.logit_scale)
        return _capped(logits[:, : block.vocabulary], block.logit_cap).numpy()

    def _after_layer(self, index: int, x: Tensor) -> Tensor:
        block, to = self.block, f"{index}."
        after = x + self._joining(f"{to}attention", self._attended(index, self._read(f"{to}attention_norm", x)))
        z = self._read(f"{to}mlp_norm", x if block.is_parallel else after)
        return after + self._joining(f"{to}mlp", self._transformed(to, z))

    def _read(self, norm: str, x: Tensor) -> Tensor:
        return self._normed(norm, x, self.block.hidden) if self.block.has_input_norms else x

    def _joining(self, part: str, branch: Tensor) -> Tensor:
        block = self.block
        branch = branch[:, : block.hidden] * block.residual_scale
        return self._normed(f"{part}_output_norm", branch, block.hidden) if block.has_output_norms else branch

    def _attended(self, index: int, z: Tensor) -> Tensor:
        block, to, num = self.block, f"{index}.", len(z)
        q, k, v = (self._heads(index, part, self._mapped(to + part, z)) for part in ("query", "key", "value"))
        q = q * ((block.attention_scale or block.head_size**-0.5) / (index + 1 if block.is_scaled_by_depth else 1))
        if self._is_rounded:
            k, v = k.half().double(), v.half().double()
        k, v = (part.repeat_interleave(block.num_queries, 1) for part in (k, v))
        scores = _capped(torch.einsum("qhd,khd->hqk", q, k), block.attention_cap)
        age = torch.arange(num)[:, None] - torch.arange(num)
        is_seen = (age >= 0) & (age < (block.layer(index).window or num))
        scores = scores.masked_fill(~is_seen, -torch.inf)
        sinks = self._vector(f"{to}sinks") if block.has_sinks else torch.full((block.num_heads,), -torch.inf)
        shares = torch.cat([scores, sinks[:, None, None].expand(-1, num, 1)], -1).softmax(-1)[..., :-1]
        return self._mapped(f"{to}output", torch.einsum("hqk,khd->qhd", shares, v).reshape(num, -1))

    def _heads(self, index: int, part: str, rows: Tensor) -> Tensor:
        """[rows, heads, head size], normed and turned."""
        block, size, turn = self.block, self.block.head_size, self.block.layer(index).rotation
        norm = f"{index}.{part}_norm"
        if block.head_norm == "all" and part != "value":
            rows = self._normed(norm, rows, (block.num_heads if part == "query" else block.num_groups) * size)
        heads = rows.reshape(len(rows), -1, -(-size // BLOCK) * BLOCK)[..., :size]
        if block.head_norm == "head" and part != "value":
            heads = self._normed(norm, heads, size)
        if part == "value" or not block.rotations or turn < 0:
            return heads
        found = rotations(block.rotations[turn], block.turned, self._context, range(len(rows)))
        cos, sin = (torch.from_numpy(table).double()[:, None] for table in found)
        first, second, rest = heads.split([block.turned // 2, block.turned // 2, size - block.turned], -1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)

    def _transformed(self, to: str, z: Tensor) -> Tensor:
        block, given = self.block, torch.zeros(1)
        shares = torch.ones(1)
        if block.experts:
            given, shares = self._by_experts(to, z, block.experts)
        if not block.mlp:
            return given
        up = self._mapped(f"{to}up", z)
        inside = self._active(self._mapped(f"{to}gate", z)) * up if block.is_gated else self._active(up)
        return given + self._mapped(f"{to}down", inside[:, : block.mlp]) * shares

    def _by_experts(self, to: str, z: Tensor, experts: Experts) -> tuple[Tensor, Tensor]:
        """What each row's experts give, and the share of the MLP that all rows go through."""
        router = self._vector(f"{to}router").reshape(self.block.hidden, -1)
        numbers = z @ router + (self._vector(f"{to}router.bias") if self._file.has(f"{to}router.bias") else 0)
        routed, total = numbers[:, : experts.num], torch.zeros_like(z)
        chosen = torch.zeros_like(routed, dtype=torch.bool).scatter(1, routed.topk(experts.used).indices, value=True)
        shares = (routed.masked_fill(~chosen, -torch.inf) if experts.is_normalized else routed).softmax(-1)
        for index in chosen.any(0).nonzero()[:, 0].tolist():
            rows = chosen[:, index]
            gate, up = (self._of_expert(f"{to}expert_{part}", index, z[rows]) for part in ("gate", "up"))
            inside = self._gated(experts, gate, up)[:, : experts.mlp]
            answer = self._of_expert(f"{to}expert_down", index, inside)[:, : self.block.hidden]
            total[rows] += shares[rows, index : index + 1] * answer
        return total, numbers[:, experts.num : experts.num + 1].sigmoid() if experts.has_shared else torch.ones(1)

    def _gated(self, experts: Experts, gate: Tensor, up: Tensor) -> Tensor:
        limit = experts.gate_limit
        if not limit:
            return self._active(gate) * up
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        return gate * (gate * experts.gate_slope).sigmoid() * (up + 1)

    def _active(self, x: Tensor) -> Tensor:
        known = ACTIVATIONS.get(self.block.activation)
        found: Tensor = known(x) if known else functional.gelu(x, approximate="tanh")
        return found

    def _normed(self, name: str, x: Tensor, count: int) -> Tensor:
        """`count` numbers of the last axis are the model's; others are zero."""
        mean = x.sum(-1, keepdim=True) / count if self.block.is_centred else 0
        square = (x - mean).square().sum(-1, keepdim=True) / count
        normed = (x - mean) / (square + self.block.norm_eps).sqrt()
        normed = normed * self._vector(f"{name}.weight")[: x.shape[-1]]
        return normed + self._vector(f"{name}.bias")[: x.shape[-1]] if self._file.has(f"{name}.bias") else normed

    def _mapped(self, name: str, x: Tensor) -> Tensor:
        matrix = self._matrix(name)
        return self._product(x, matrix) + self._bias(name)[: len(matrix)]

    def _of_expert(self, name: str, index: int, x: Tensor) -> Tensor:
        assert self.block.experts is not None
        each = self._matrix(name).chunk(self.block.experts.num)[index]
        bias = self._bias(name)
        return self._product(x, each) + (bias.chunk(self.block.experts.num)[index] if len(bias) > 1 else bias)

    def _product(self, x: Tensor, matrix: Tensor) -> Tensor:
        x = functional.pad(x, (0, matrix.shape[1] - x.shape[1]))
        if self._is_rounded:
            groups = x.reshape(len(x), -1, 32)
            steps = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
            x = ((groups / steps).round() * steps).reshape(x.shape)
        return x @ matrix.T

    def _bias(self, name: str) -> Tensor:
        return self._vector(f"{name}.bias") if self._file.has(f"{name}.bias") else torch.zeros(1, dtype=torch.float64)

    def _matrix(self, name: str) -> Tensor:
        return torch.from_numpy(self._file.matrix(name)).double()

    def _vector(self, name: str) -> Tensor:
        return torch.from_numpy(self._file.vector(name)).double()


def _capped(x: Tensor, cap: float) -> Tensor:
    return cap * (x / cap).tanh() if cap else x


@torch.inference_mode()
def by_transformers(directory: Path, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """Logits [tokens, vocabulary] in float32, of a checkpoint's config with these weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(directory)
    with torch.device("meta"):
        kind: Any = type(AutoModelForCausalLM.from_config(config))
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    model, report = kind.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        attn_implementation="eager",
        dtype=torch.float32,
        output_loading_info=True,
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()(torch.tensor([tokens])).logits[0].numpy()
