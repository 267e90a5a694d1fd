"""Runners: tensors. A runner owns weights and caches and knows nothing of requests, text or time.

`Runner` is the seam: the engine drives any object of this shape. Slots are small integers that a runner maps to its
own cache memory; the caller decides which are in use.

Optional members tell what a runner can do beyond the protocol:

- `can_copy: bool` (default True): `copy_out` and `copy_in` work. False (a cache that is no plain range of positions, as
  with sliding windows or recurrent state) keeps the prefix cache off.
- `block_tokens: int` (default: `chunk_tokens`, which it divides): `prefill` may start at any multiple of this, whatever
  was copied in before, and gives the same bits; the prefix cache then keeps blocks of so many positions.
- `prefill_many([(slot, tokens, start), …]) -> logits [chunks, vocabulary]` (default: absent): `prefill` of several
  chunks in one pass, those of a slot in order, each row bitwise what `prefill` alone would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

__all__ = ["Runner"]


class Runner(Protocol):
    """A model that can continue several token sequences, each in its own slot."""

    name: str
    num_slots: int
    context: int
    """Most positions a slot can hold."""
    vocabulary_size: int
    chunk_tokens: int
    """Prefill grid: prompts are processed in chunks that do not cross multiples of this."""
    bytes_per_slot: int
    """Cache memory of one full slot."""
    signature: dict[str, str]
    """Everything that can change this runner's logits besides the weights file: name, version, torch, quantisation,
    device, CPU capability. Goes into the fingerprint."""

    def prefill(self, slot: int, tokens: Sequence[int], start: int) -> torch.Tensor:
        """Process `tokens` at positions start, start + 1, … of `slot`; return the last position's logits [vocabulary],
        float32. `start` is a multiple of `chunk_tokens` (or `block_tokens`); everything before it is in the slot."""
        ...

    def decode(self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """Process one token for each slot at the given position; return logits [rows, vocabulary], float32.

        A row's logits do not depend on the other rows. May be repeated: after an error the engine decodes the same
        tokens at the same positions again, row by row, to find out which sequence is at fault."""
        ...

    def release(self, slot: int) -> None:
        """Forget what is in `slot`."""
        ...

    def copy_out(self, slot: int, start: int, stop: int) -> object:
        """The cached positions [start, stop) of `slot`, detached from it, as a value for `copy_in` (prefix cache)."""
        ...

    def copy_in(self, slot: int, start: int, block: object) -> None:
        """Put a value from `copy_out` back at position `start` of `slot`: bitwise what `prefill` would have left."""
        ...

    def embed(self, tokens: Sequence[int]) -> torch.Tensor:
        """Mean over positions of the last hidden states (after the final norm), unit length [hidden], float32."""
        ...

    def close(self) -> None:
        """Free what the runner holds."""
        ...
