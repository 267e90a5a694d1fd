"""`FusedRunner`: the Runner protocol over a traced network and a KV cache.

Logits of a row depend only on that row's own tokens: not on the other rows, its slot, the padding, or how many
threads run, nor on where within its chunk of a fixed grid of CHUNK_TOKENS a prefill started.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import cast

import torch
from torch.nn.functional import pad

from minivault.engine.fused import numerics
from minivault.engine.fused.attention import MIN_ROWS, mask
from minivault.engine.fused.cache import KVCache, Stretch
from minivault.engine.fused.loading import Prepared, load_network
from minivault.engine.fused.network import Chunk, Decode, Network, Prefill
from minivault.engine.fused.script import trace
from minivault.engine.host import Machine
from minivault.errors import ModelError

VERSION = "2"
CHUNK_TOKENS = 64
BLOCK_TOKENS = 8
"""Small enough to share what a chat template says before the user's first word."""
LEVELS_VNNI, LEVELS_PLAIN = 127, 90
"""Largest magnitude of an int8 activation. Without VNNI, fbgemm adds products in pairs of 16 bits, which saturate. Only
63 levels exclude that; at 90 one pair in a million does, for an error of 0.1 % where quantisation makes 1 %."""


class FusedRunner:
    """Runs a prepared Llama or GPT-2 model on the CPU for up to `num_slots` sequences of `context` positions."""

    name = "fused"
    chunk_tokens = CHUNK_TOKENS
    block_tokens = BLOCK_TOKENS

    def __init__(self, network: Network, *, num_slots: int, context: int, signature: dict[str, str]) -> None:
        self.network, self.signature = network, signature
        self.num_slots, self.context = num_slots, context
        self.vocabulary_size = network.shape.vocabulary
        self.cache = KVCache(network.shape, num_slots + 1, context)  # one more than offered: `embed` works there
        self.bytes_per_slot = self.cache.bytes_per_slot
        # A trace of prefill would be an eighth faster, and cost each start 0.8 s and 60 MB.
        self._prefill = Prefill(network)
        with torch.inference_mode():
            self._decode = trace(Decode(network), self._decode_inputs([0], [0], [0]))
        self._warm_up()

    @classmethod
    def load(
        cls, prepared: Path, *, num_slots: int, context: int, threads: int | None = None, machine: Machine | None = None
    ) -> FusedRunner:
        """See `fused.load`. `machine` decides the number of activation levels."""
        if threads is not None:
            torch.set_num_threads(threads)
        machine, file = machine or Machine.here(), Prepared(prepared)
        if not file.shape.rope and context > file.shape.positions:
            raise ModelError(f"context {context} exceeds the model's {file.shape.positions} learned positions")
        levels = LEVELS_VNNI if machine.has_vnni else LEVELS_PLAIN
        network = load_network(file, context=context, levels=levels)
        numerics.ensure_rows_independent()
        signature = _signature(machine, f"{file.quantization}-{2 * levels + 1}")
        return cls(network, num_slots=num_slots, context=context, signature=signature)

    @torch.inference_mode()
    def prefill(self, slot: int, tokens: Sequence[int], start: int) -> torch.Tensor:
        logits: torch.Tensor = self.network.head(self._hidden(slot, tokens, start)[-1:])[0]
        return logits

    @torch.inference_mode()
    def prefill_many(self, chunks: Sequence[tuple[int, Sequence[int], int]]) -> torch.Tensor:
        """`prefill` of several (slot, tokens, start), at most CHUNK_TOKENS each, in one pass: the same bits, sooner.
        Chunks of one slot follow each other. Logits [chunks, vocabulary]."""
        ends = list(accumulate(len(tokens) for _, tokens, _ in chunks))
        hidden = self._pass(chunks)[[end - 1 for end in ends]]
        logits: torch.Tensor = self.network.head(hidden)
        return logits

    @torch.inference_mode()
    def decode(self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """As the protocol says; `slots` are distinct. The rows of the batch follow the caches' rows inside."""
        self.cache.gather(slots)
        order = sorted(range(len(slots)), key=lambda row: self.cache.row_of[slots[row]])
        inputs = self._decode_inputs(*([given[row] for row in order] for given in (slots, tokens, positions)))
        logits = self._decode(*inputs)
        if order == list(range(len(order))):
            return logits
        back = sorted(range(len(order)), key=order.__getitem__)
        return logits[back]

    def release(self, slot: int) -> None:
        self.cache.release(slot)

    @torch.inference_mode()
    def every_logit(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits after each of `tokens` [tokens, vocabulary], for measuring quality."""
        scratch, parts = self.num_slots, []
        for start in range(0, len(tokens), CHUNK_TOKENS):
            hidden = self._hidden(scratch, tokens[start : start + CHUNK_TOKENS], start)
            parts.append(self.network.head(hidden))
        self.release(scratch)
        return torch.cat(parts)

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        scratch, total = self.num_slots, torch.zeros(self.network.shape.hidden)
        for start in range(0, len(tokens), CHUNK_TOKENS):
            hidden = self._hidden(scratch, tokens[start : start + CHUNK_TOKENS], start)
            total += self.network.unfolded(hidden).sum(0)
        self.release(scratch)
        return torch.nn.functional.normalize(total, dim=0)

    @torch.inference_mode()
    def copy_out(self, slot: int, start: int, stop: int) -> list[Stretch]:
        return self.cache.copy_out(slot, start, stop)

    @torch.inference_mode()
    def copy_in(self, slot: int, start: int, block: object) -> None:
        self.cache.copy_in(slot, start, cast(list[Stretch], block))

    def close(self) -> None:
        del self.cache, self._prefill, self._decode, self.network

    def _warm_up(self) -> None:
        """A graph is optimised in its first call: let nobody's request wait for that."""
        with torch.inference_mode():
            self._decode(*self._decode_inputs([0], [0], [0]))
        self.release(0)

    def _hidden(self, slot: int, tokens: Sequence[int], start: int) -> torch.Tensor:
        """Process `tokens` chunk by chunk; the last norm's output for the last chunk [rows, width]."""
        for first in range(0, len(tokens), CHUNK_TOKENS):
            chunk = tokens[first : first + CHUNK_TOKENS]
            hidden = self._pass([(slot, chunk, start + first)])
        return hidden

    def _pass(self, chunks: Sequence[tuple[int, Sequence[int], int]]) -> torch.Tensor:
        """One forward pass over (slot, tokens, start) chunks: the last norm's output [rows, width]."""
        ids = torch.tensor([token for _, tokens, _ in chunks for token in tokens])
        positions = torch.cat([torch.arange(start, start + len(tokens)) for _, tokens, start in chunks])
        ends = accumulate(len(tokens) for _, tokens, _ in chunks)
        parts = [
            self._chunk(slot, start, end, len(tokens)) for (slot, tokens, start), end in zip(chunks, ends, strict=True)
        ]
        hidden: torch.Tensor = self._prefill(ids, positions, parts)
        return hidden

    def _chunk(self, slot: int, start: int, end: int, num_tokens: int) -> Chunk:
        """The chunk of `num_tokens` at position `start` of `slot` whose rows end at `end`."""
        stop = start + num_tokens
        self.cache.wrote(slot, stop)
        keys, values = self.cache.of(slot)
        new = self.cache.stretch(slot, start, stop)
        hidden = mask(torch.arange(start, stop), 1, self.network.shape.num_queries).flatten(0, 1)
        hidden = pad(hidden, (0, 0, 0, max(0, MIN_ROWS - len(hidden))))[None]
        return Chunk(slice(end - num_tokens, end), keys, values, new.keys, new.values, hidden)

    def _decode_inputs(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]
    ) -> tuple[torch.Tensor, ...]:
        """Inputs of a decode step in the caches' row order, which is that of `slots` already."""
        for slot, position in zip(slots, positions, strict=True):
            self.cache.wrote(slot, position + 1)
        shape, where = self.network.shape, torch.tensor(positions)
        hidden = mask(where, shape.num_groups, shape.num_queries)
        places = self.cache.places(slots, where)
        return torch.tensor(tokens), where, self.cache.keys, self.cache.values, places, hidden


def _signature(machine: Machine, quantization: str) -> dict[str, str]:
    """Everything besides the weights that can change a logit. `numerics` covers MKL's mode and all kernel choices."""
    return {
        "runner": FusedRunner.name,
        "version": VERSION,
        "torch": torch.__version__,
        "quantization": quantization,
        "device": "cpu",
        "cpu_vendor": machine.vendor,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "numerics": numerics.digest(),
    }
