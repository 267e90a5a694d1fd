"""`FusedRunner`: the Runner protocol over a traced network and a KV cache.

Logits of a row depend only on that row's own tokens: not on the other rows, its slot, the padding, or how many
threads run, nor on where within its chunk of a fixed grid of CHUNK_TOKENS a prefill started.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from minivault.engine.fused import numerics
from minivault.engine.fused.attention import MIN_ROWS, mask
from minivault.engine.fused.cache import KVCache, Stretch
from minivault.engine.fused.loading import Prepared, load_network
from minivault.engine.fused.network import Decode, Network, Prefill, Span
from minivault.engine.fused.script import trace
from minivault.engine.fused.threads import SpareThreads
from minivault.engine.host import Machine
from minivault.engine.runner import Chunk
from minivault.errors import ModelError

VERSION = "2"
CHUNK_TOKENS = 64
BLOCK_TOKENS = 8
"""Small enough to share what a chat template says before the user's first word."""
LEVELS_VNNI, LEVELS_PLAIN = 127, 90
"""Largest magnitude of an int8 activation. Without VNNI, fbgemm adds products in pairs of 16 bits, which saturate. Only
63 levels exclude that; at 90 one pair in a million does, for an error of 0.1 % where quantisation makes 1 %."""

FIRST = Chunk(0, [0], 0, is_prompt=False)
"""What the graph is traced and warmed up with."""


class FusedRunner:
    """Runs a prepared Llama or GPT-2 model on the CPU for up to `num_slots` sequences of `context` positions."""

    name = "fused"
    chunk_tokens = CHUNK_TOKENS
    block_tokens = BLOCK_TOKENS
    can_copy = True

    def __init__(self, network: Network, *, num_slots: int, context: int, signature: dict[str, str]) -> None:
        self.network, self.signature = network, signature
        self.num_slots, self.context = num_slots, context
        self.vocabulary_size = network.block.vocabulary
        self.cache = KVCache(network.block, num_slots + 1, context)  # one more than offered: `embed` works there
        self.bytes_per_slot = self.cache.bytes_per_slot
        # A trace of prefill would be an eighth faster, and cost each start 0.8 s and 60 MB.
        self._prefill = Prefill(network)
        self._threads = SpareThreads(torch.get_num_threads())
        with torch.inference_mode():
            self._decode = trace(Decode(network), self._decode_inputs([FIRST]))
        self._warm_up()

    @classmethod
    def load(
        cls, prepared: Path, *, num_slots: int, context: int, threads: int | None = None, machine: Machine | None = None
    ) -> FusedRunner:
        """See `fused.load`. `machine` decides the number of activation levels."""
        if threads is not None:
            torch.set_num_threads(threads)
        machine, file = machine or Machine.here(), Prepared(prepared)
        if not file.block.rope and context > file.block.positions:
            raise ModelError(f"context {context} exceeds the model's {file.block.positions} learned positions")
        levels = LEVELS_VNNI if machine.has_vnni else LEVELS_PLAIN
        network = load_network(file, context=context, levels=levels)
        numerics.ensure_rows_independent()
        signature = _signature(machine, f"{file.quantization}-{2 * levels + 1}")
        return cls(network, num_slots=num_slots, context=context, signature=signature)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """As the protocol says. A prompt's last token alone takes the way of prompts: bits differ between the two."""
        self._threads.adapt()
        logits = self._prefill_logits(chunks) if chunks[0].is_prompt else self._decode_logits(chunks)
        return logits.numpy()

    def _prefill_logits(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        ends = accumulate(len(chunk.tokens) for chunk in chunks)
        logits: torch.Tensor = self.network.head(self._pass(chunks)[[end - 1 for end in ends]])
        return logits

    def _decode_logits(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """The rows of the batch follow the caches' rows inside."""
        self.cache.gather([chunk.slot for chunk in chunks])
        order = sorted(range(len(chunks)), key=lambda row: self.cache.row_of[chunks[row].slot])
        logits = self._decode(*self._decode_inputs([chunks[row] for row in order]))
        if order == list(range(len(order))):
            return logits
        back = sorted(range(len(order)), key=order.__getitem__)
        return logits[back]

    def release(self, slot: int) -> None:
        self.cache.release(slot)

    @torch.inference_mode()
    def every_logit(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits after each of `tokens` [tokens, vocabulary], for measuring quality."""
        return torch.cat([self.network.head(hidden) for hidden in self._hidden(tokens)])

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        self._threads.adapt()
        total = torch.zeros(self.network.block.hidden)
        for hidden in self._hidden(tokens):
            total += self.network.unfolded(hidden).sum(0)
        return torch.nn.functional.normalize(total, dim=0).numpy()

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
            self._decode(*self._decode_inputs([FIRST]))
        self.release(0)

    def _hidden(self, tokens: Sequence[int]) -> Iterator[torch.Tensor]:
        """The last norm's output for each chunk of `tokens` [rows, width], computed in the spare slot."""
        spare = self.num_slots
        for start in range(0, len(tokens), CHUNK_TOKENS):
            yield self._pass([Chunk(spare, tokens[start : start + CHUNK_TOKENS], start, is_prompt=True)])
        self.release(spare)

    def _pass(self, chunks: Sequence[Chunk]) -> torch.Tensor:
        """One forward pass over chunks of prompts: the last norm's output [rows, width]."""
        ids = torch.tensor([token for chunk in chunks for token in chunk.tokens])
        positions = torch.cat([torch.arange(chunk.start, chunk.start + len(chunk.tokens)) for chunk in chunks])
        ends = accumulate(len(chunk.tokens) for chunk in chunks)
        hidden: torch.Tensor = self._prefill(ids, positions, list(map(self._span, chunks, ends)))
        return hidden

    def _span(self, chunk: Chunk, end: int) -> Span:
        """The chunk whose rows end at `end`."""
        start, stop = chunk.start, chunk.start + len(chunk.tokens)
        self.cache.wrote(chunk.slot, stop)
        keys, values = self.cache.of(chunk.slot)
        new = self.cache.stretch(chunk.slot, start, stop)
        hidden = mask(torch.arange(start, stop), 1, self.network.block.num_queries).flatten(0, 1)
        hidden = pad(hidden, (0, 0, 0, max(0, MIN_ROWS - len(hidden))))[None]
        return Span(slice(end - len(chunk.tokens), end), keys, values, new.keys, new.values, hidden)

    def _decode_inputs(self, chunks: Sequence[Chunk]) -> tuple[torch.Tensor, ...]:
        """Inputs of a decode step for one token each, in the caches' row order already."""
        for chunk in chunks:
            self.cache.wrote(chunk.slot, chunk.start + 1)
        block, where = self.network.block, torch.tensor([chunk.start for chunk in chunks])
        hidden = mask(where, block.num_groups, block.num_queries)
        places = self.cache.places([chunk.slot for chunk in chunks], where)
        ids = torch.tensor([chunk.tokens[0] for chunk in chunks])
        return ids, where, self.cache.keys, self.cache.values, places, hidden


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
