"""Log-probabilities in the layout of `/v1/completions`: parallel arrays, with each token's character in the text.

With `echo` the prompt's tokens come first, and every token has its entry, also those that are no text: clients count.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minivault.types import TokenLogprob, TopLogprob
from minivault.wire.logprobs import finite


@dataclass(frozen=True, slots=True)
class PromptScores:
    """With how many alternatives a prompt's scores are told: echoed with it, and as vLLM's list. None = not told."""

    echoed: int | None = None
    listed: int | None = None

    @property
    def num_top(self) -> int | None:
        """How many alternatives must be known; None: the prompt need not be scored."""
        return max((num for num in (self.echoed, self.listed) if num is not None), default=None)


class TextLogprobs:
    """The layout of one choice, piece after piece. `echo` is the text before the answer."""

    def __init__(self, echo: str) -> None:
        self._echo = echo
        self._offset = len(echo)
        self._decoder = _decoder()

    def encode(
        self, answer: Sequence[TokenLogprob], prompt: Sequence[TokenLogprob] = (), num_top: int = 0
    ) -> dict[str, Any]:
        """The prompt's tokens, the first without numbers, with `num_top` alternatives, then the answer's with all."""
        nothing, scored = [None] * len(prompt[:1]), (*prompt[1:], *answer)
        tops = [*(item.top[:num_top] for item in prompt[1:]), *(item.top for item in answer)]
        return {
            "tokens": [_key(item) for item in (*prompt, *answer)],
            "token_logprobs": [*nothing, *(finite(item.logprob) for item in scored)],
            "top_logprobs": [*nothing, *(_alternatives(item, top) for item, top in zip(scored, tops, strict=True))],
            "text_offset": [*_places(prompt, self._echo), *(self._advance(item.data) for item in answer)],
        }

    def _advance(self, data: bytes) -> int:
        start = self._offset
        self._offset += len(self._decoder.decode(data))
        return start


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


def _places(prompt: Sequence[TokenLogprob], text: str) -> Iterator[int]:
    """Where in `text` each token of the prompt begins. Control tokens, and the space that some vocabularies put before
    a text, may or may not be in it."""
    offset, decoder = 0, _decoder()
    for item in prompt:
        yield min(offset, len(text))
        piece = decoder.decode(item.data) if item.data else item.name
        if text.startswith(piece, offset):
            offset += len(piece)
        elif text.startswith(piece.removeprefix(" "), offset):
            offset += len(piece.removeprefix(" "))
        elif item.data:
            offset += len(piece)


def _alternatives(item: TokenLogprob, top: Sequence[TopLogprob]) -> dict[str, float]:
    """The likeliest tokens and the one itself, likeliest first; of those that look the same the likeliest is told."""
    found: dict[str, float] = {}
    for one in (*top, item):
        found.setdefault(_key(one), finite(one.logprob))
    return found


def _key(item: TopLogprob) -> str:
    """A token's text, or its name; bytes that are no text on their own are written out, so that no two keys collide."""
    try:
        return item.data.decode("utf-8") or item.name
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in item.data)
