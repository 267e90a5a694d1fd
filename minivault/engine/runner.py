"""Runner: the seam to the tensors. A runner owns weights and caches and knows nothing of requests, text or time.

The engine drives any object of this shape, and speaks to it in NumPy. Slots are small integers that a runner maps to
its own cache memory; the caller decides which are in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive tokens of one slot, at positions `start`, `start` + 1, …

    Of a prompt (`is_prompt`), it does not cross a multiple of `chunk_tokens` and starts at one of `block_tokens`;
    otherwise it is the token that was sampled last, and behind it guesses of what comes next (`num_drafts`), with
    logits after each. Wrong ones are overwritten: the next chunk begins where they did. What comes before `start` is in
    the slot."""

    slot: int
    tokens: Sequence[int]
    start: int
    is_prompt: bool
    num_logits: int = 1
    """After so many of the last tokens logits are wanted: of one, or, where a prompt is scored or a token followed by
    guesses, of all."""


class Runner(Protocol):
    """A model that can continue several token sequences, each in its own slot."""

    name: str
    num_slots: int
    context: int
    """Most positions a slot can hold."""
    vocabulary_size: int
    chunk_tokens: int
    """Prompts are processed on this grid."""
    block_tokens: int
    """The prefix cache keeps blocks of so many positions: a divisor of `chunk_tokens`."""
    can_copy: bool
    """`copy_out` and `copy_in` work. False (a cache that is no plain range of positions, as with sliding windows or
    recurrent state) keeps the prefix cache off."""
    bytes_per_slot: int
    """Cache memory of one full slot."""
    num_blocks: int
    """Blocks of `block_tokens` positions that there are for all slots together: enough for one full slot at least."""

    num_drafts: int
    """Most guesses that `forward` takes behind a sampled token. 0 where they would change a bit of what is sampled."""

    @property
    def num_free_blocks(self) -> int:
        """Those of them that nobody holds. A slot takes one where a block of its positions begins; `copy_in` takes
        none, or else every slot has memory of its own."""
        ...

    signature: dict[str, str]
    """Everything that can change this runner's logits besides the weights file: name, version, libraries,
    quantisation, device, CPU capability. Goes into the fingerprint."""

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Process chunks that are all of prompts or all sampled tokens, those of a slot in order; return the logits
        after the last `num_logits` tokens of each [rows, vocabulary]: one row a chunk, unless a prompt is scored.

        A row's bits do not depend on the other rows, nor on what of it was copied in. May be repeated: after an error
        the engine runs the same chunks again, sequence by sequence, to find out which is at fault."""
        ...

    def release(self, slot: int) -> None:
        """Forget what is in `slot`."""
        ...

    def copy_out(self, slot: int, start: int, stop: int) -> object:
        """The cached positions [start, stop) of `slot`, detached from it, as a value for `copy_in` (prefix cache)."""
        ...

    def copy_in(self, slot: int, start: int, block: object) -> None:
        """Put a value from `copy_out` back at position `start` of `slot`: bitwise what `forward` would have left."""
        ...

    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Mean over positions of the last hidden states (after the final norm), unit length [hidden]."""
        ...

    def close(self) -> None:
        """Free what the runner holds."""
        ...
