"""Detokenizer: token bytes to text that can be sent at once and never has to be taken back.

Every piece is whole characters; bytes that begin a character wait for its end, and text that may turn out to begin a
stop string waits until that is decided. Where the output is cut depends on the text alone, never on how it was split
into tokens: the stop string that is complete first ends it (of two that end together, the longer).
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence

from minivault.types import Thought, TokenDecoder

_Utf8 = codecs.getincrementaldecoder("utf-8")


NO_MARKS: Mapping[int, bytes] = {}


class Detokenizer:
    """The text of one answer. Bytes that are no UTF-8 become U+FFFD. Thoughts are left to `thought`, and no stop string
    is looked for in them; of control tokens only `marks` have a text."""

    def __init__(
        self,
        decode: TokenDecoder,
        stop: Sequence[str] = (),
        thought: Thought | None = None,
        marks: Mapping[int, bytes] = NO_MARKS,
    ) -> None:
        self.stopped_by: str | None = None
        """The stop string that ended the answer."""
        self._decode = decode
        self._utf8 = _Utf8("replace")
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self._thought = thought
        self._marks = marks

    @property
    def is_stopped(self) -> bool:
        return self.stopped_by is not None

    def feed(self, token_id: int) -> str:
        """Take one token; return the text that is now certain (may be empty)."""
        text = self._utf8.decode(self._marks.get(token_id) or self._decode(token_id))
        if self._thought is not None:
            text = self._thought.feed(text)
        return self._release(text) if self._stop else text

    def flush(self, *, is_cut: bool = False) -> str:
        """The text still held, at the end of the answer. An unfinished character becomes one U+FFFD; where the answer
        was cut, it is dropped."""
        text = "" if is_cut else self._utf8.decode(b"", final=True)
        if self._thought is not None:
            text = self._thought.feed(text) + self._thought.finish()
        if not self._stop:
            return text
        text = self._release(text)
        rest, self._held = self._held, ""
        return text + rest

    def _release(self, text: str) -> str:
        """What is certain of the text held back and `text`."""
        if self.is_stopped:
            return ""
        pending = self._held + text
        found = self._found(pending)
        if found is not None:
            at, self.stopped_by = found
            self._held = ""
            return pending[:at]
        keep = self._num_undecided(pending)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def _found(self, text: str) -> tuple[int, str] | None:
        """Where the output ends if `text` holds a stop string, and which."""
        found = [(at + len(stop), at, stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        return min(found)[1:] if found else None

    def _num_undecided(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(map(len, self._stop)) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self._stop)), 0)
