"""What a text and what a record says have in common: all of it in one place, or how much agrees and what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import Match as Block
from difflib import SequenceMatcher
from typing import Any

from minivault.vault.said.kept import texts_of
from minivault.vault.said.words import MIN_PART, words

MIN_RUN = 3
"""Words in a row that count as agreeing; fewer agree by chance."""
MAX_SHOWN = 40
"""Words of one side of a difference."""
_PIECE = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Match:
    """A record that says a text, or nearly; words are counted from 1, `text` is the record's own."""

    seq: int
    id: str
    timestamp: str
    model: str
    key: str | None
    api: str
    field: str
    text: str
    first_word: int
    last_word: int
    num_words: int
    """All that the field has."""
    num_agreeing: int
    share: float
    """Of the given text, or of what the record says where that is less."""
    differences: tuple[tuple[str, str], ...] = ()
    """What was given, and what the record has in its place; as words."""

    @property
    def is_whole(self) -> bool:
        """It is all that the field says."""
        return self.num_agreeing == self.num_words and self.last_word - self.first_word + 1 == self.num_words

    def told(self) -> dict[str, Any]:
        """It as JSON tells it."""
        differences = [{"given": given, "recorded": recorded} for given, recorded in self.differences]
        return {**asdict(self), "is_whole": self.is_whole, "differences": differences}


def found_in(record: dict[str, Any], given: Sequence[str]) -> Match | None:
    """Where a record says exactly this; a text of few words has to be all that it says."""
    for name, text in texts_of(record):
        said = words(text)
        at = _place(said, given)
        if at is not None and (len(given) >= MIN_PART or len(said) == len(given)):
            return _match(record, name, text, said, (at, at + len(given)), len(given), len(given))
    return None


def nearly_in(record: dict[str, Any], given: Sequence[str]) -> Match | None:
    """Where a record says what is most like it; None where nothing in a row agrees."""
    matches = (_aligned(record, name, text, given) for name, text in texts_of(record))
    return max((match for match in matches if match is not None), key=lambda match: match.share, default=None)


def _place(said: Sequence[str], given: Sequence[str]) -> int | None:
    text, part = f" {' '.join(said)} ", f" {' '.join(given)} "
    at = text.find(part)
    return None if at < 0 else text.count(" ", 0, at)


def _aligned(record: dict[str, Any], name: str, text: str, given: Sequence[str]) -> Match | None:
    said = words(text)
    matcher = SequenceMatcher(None, given, said)
    blocks = [block for block in matcher.get_matching_blocks() if block.size >= MIN_RUN]
    if not blocks:
        return None
    first, last = blocks[0], blocks[-1]
    start = max(0, first.b - first.a)
    end = min(len(said), last.b + last.size + len(given) - last.a - last.size)
    differences = tuple(_differences(given, said, blocks, start, end))
    num_agreeing = sum(block.size for block in blocks)
    return _match(record, name, text, said, (start, end), num_agreeing, len(given), differences)


def _differences(
    given: Sequence[str], said: Sequence[str], blocks: Sequence[Block], start: int, end: int
) -> Iterator[tuple[str, str]]:
    a, b = 0, start
    for block in (*blocks, Block(len(given), end, 0)):
        if a < block.a or b < block.b:
            yield _shown(given[a : block.a]), _shown(said[b : block.b])
        a, b = block.a + block.size, block.b + block.size


def _shown(run: Sequence[str]) -> str:
    return " ".join(run if len(run) <= MAX_SHOWN else [*run[:MAX_SHOWN], "…"])


def _match(
    record: dict[str, Any],
    name: str,
    text: str,
    said: Sequence[str],
    span: tuple[int, int],
    num_agreeing: int,
    num_given: int,
    differences: tuple[tuple[str, str], ...] = (),
) -> Match:
    return Match(
        seq=record["seq"],
        id=str(record["id"]),
        timestamp=str(record["timestamp"]),
        model=str(record.get("model") or ""),
        key=record.get("key"),
        api=str(record.get("api") or ""),
        field=name,
        text=_excerpt(text, *span),
        first_word=span[0] + 1,
        last_word=span[1],
        num_words=len(said),
        num_agreeing=num_agreeing,
        share=num_agreeing / max(min(num_given, len(said)), 1),
        differences=differences,
    )


def _excerpt(text: str, start: int, end: int) -> str:
    """The text from before its word `start` to before its word `end`, with whatever is written to these."""
    num, first, last = 0, None, 0
    for piece in _PIECE.finditer(text):
        if num >= end:
            break
        num += len(words(piece[0]))
        if num > start:
            first, last = piece.start() if first is None else first, piece.end()
    return text[first or 0 : last]
