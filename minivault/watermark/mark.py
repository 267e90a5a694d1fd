"""A mark: the key that tokens are drawn by instead of the seed, so that whoever holds it can tell.

A token's number comes from (key, the WIDTH tokens before it, the token itself), by the construction of Aaronson's
Gumbel watermark (2022): HMAC-SHA256 of the context under the key gives a Philox stream, and a candidate is a place in
that. Over the choice of the key each draw is from the very distribution that the seed's would be from. A context that
was used before in the same answer would give the same numbers again, which is no free draw: there the seed draws, and
nobody counts the token (Hu et al., arXiv 2310.10669, and SynthID-Text, Nature 634, 818-823, do likewise).

By one key alone, answers of other seeds would go on alike from the first four tokens that they have in common, and to a
plain question nearly all begin alike. So a key has LANES streams for each context, and the seed of an answer says which
is its own; a detector looks through all, and pays for that in its p-value.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SCHEME = "gumbel-mark-1"
"""Whoever lets any key and context give another number changes it."""
WIDTH = 4
"""So many tokens are the context of the next."""
LANES = 16
KEY_BYTES = 32
_CONTEXT, _KEY_ID = b"minivault gumbel-mark-1 context", b"minivault gumbel-mark-1 key id"

Context = tuple[int, ...]
"""WIDTH token ids."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A key, and what is said of it."""

    secret: bytes = field(repr=False)
    """KEY_BYTES of them."""
    key_id: str = field(init=False)
    """16 hex digits that tell keys apart and tell nothing of them."""

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        object.__setattr__(self, "key_id", hmac.digest(self.secret, _KEY_ID, "sha256")[:8].hex())

    @property
    def name(self) -> str:
        """Scheme and key id, as parameters and fingerprints hold them."""
        return f"{SCHEME}:{self.key_id}"

    @property
    def told(self) -> dict[str, str]:
        """What anybody may know of it."""
        return {"scheme": SCHEME, "key": self.key_id}

    def words(self, context: Context) -> tuple[int, int, int]:
        """Where the numbers of the token after a context come from: the two halves of the Philox key, and the first
        word of its counter. Ids are below 2**32."""
        message = _CONTEXT + struct.pack("<4I", *context)
        low, high, position = struct.unpack_from("<3I", hmac.digest(self.secret, message, "sha256"))
        return low, high, position


def purpose_of(lane: int) -> int:
    """The third word of the Philox counter in a lane; 0 is the seed's own numbers."""
    return 1 + lane


def lane_of(seed: int) -> int:
    """Of an answer; the next seed's is the next, so that as many answers as there are lanes are all apart."""
    return seed % LANES


class Contexts:
    """Goes along one answer, and says before each of its tokens whether that is marked."""

    def __init__(self) -> None:
        self._last: Context = ()
        self._used = set[Context]()

    @property
    def fresh(self) -> Context | None:
        """The context that the next token is marked in: the last WIDTH tokens of the answer, where they follow each
        other for the first time; else None."""
        return self._last if len(self._last) == WIDTH and self._last not in self._used else None

    def accept(self, token_id: int) -> None:
        """Take the next token."""
        if len(self._last) == WIDTH:
            self._used.add(self._last)
        self._last = (*self._last[1 - WIDTH :], token_id)


def marked(token_ids: Iterable[int]) -> Iterator[tuple[Context, int]]:
    """The tokens of a whole answer that were drawn by a mark, each behind its context."""
    contexts = Contexts()
    for token_id in token_ids:
        if (context := contexts.fresh) is not None:
            yield context, token_id
        contexts.accept(token_id)


def num_marked(token_ids: Iterable[int]) -> int:
    """How many tokens of a whole answer were drawn by a mark."""
    return sum(1 for _ in marked(token_ids))
