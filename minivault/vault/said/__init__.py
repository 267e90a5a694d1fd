"""Did this server say that? A text, or a part of an answer, is looked for in all that the vault has of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from minivault.errors import BadRequest, VaultError
from minivault.vault.disk import Disk
from minivault.vault.index import records_at
from minivault.vault.said.index import Watch, hits, update
from minivault.vault.said.kept import Header
from minivault.vault.said.matching import Match, found_in, nearly_in
from minivault.vault.said.words import MIN_PART, SHINGLE, STRIDE, sought, words
from minivault.vault.segments import first_record, segments

__all__ = ["MAX_CHARACTERS", "MIN_PART", "Match", "Reach", "Said", "said", "words_of"]

Verdict = Literal["found", "nearly", "not found"]
MAX_CHARACTERS = 100_000
MIN_SHARE = 0.6
"""How much has to agree for `nearly`."""
MAX_FOUND, MAX_NEAR = 10, 3
_MAX_READ, _MAX_ALIGNED = 200, 10
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Reach:
    """What was looked through: records from the first to the last that the vault holds."""

    first_seq: int
    last_seq: int
    since: str
    num_answers: int
    num_gone: int
    """Answers that were redacted, whole or in part: nobody can say whether it was in these."""


@dataclass(frozen=True, slots=True)
class Said:
    """Whether it was said, where, and what that is told from."""

    verdict: Verdict
    num_words: int
    matches: tuple[Match, ...]
    num_more: int
    """Records that were not looked at, because enough were found."""
    reach: Reach

    @property
    def is_part_sought(self) -> bool:
        """Also as a part of an answer; a text of few words only as the whole of one."""
        return self.num_words >= MIN_PART

    def told(self) -> dict[str, Any]:
        """It as JSON tells it."""
        return {**asdict(self), "matches": [match.told() for match in self.matches],
                "is_part_sought": self.is_part_sought}  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a text to look for. Raises BadRequest where there are none, or too many."""
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(
            f"the text has {len(text)} characters and may have {MAX_CHARACTERS}: give a part of it", field="text"
        )
    if "\0" in text:
        raise BadRequest("the text holds NUL characters: it is no text", field="text")
    if not (found := words(text)):
        raise BadRequest("the text holds no word to look for", field="text")
    return found


def said(directory: Path, given: Sequence[str], *, disk: Disk | None = None, watch: Watch | None = None) -> Said:
    """Look for a text, given as its words. Raises VaultError, OSError."""
    kept, found = _hits(directory, given, disk, watch)
    least = max(1, (len(given) - SHINGLE + 1) // STRIDE)
    ranked = sorted(found, key=lambda seq: (-found[seq], seq))
    likely = [seq for seq in ranked if found[seq] >= least][:_MAX_READ]
    matches: list[Match] = []
    num_read = 0
    for record in records_at(directory, likely):
        num_read += 1
        if (match := found_in(record, given)) is not None:
            matches.append(match)
            if len(matches) == MAX_FOUND:
                break
    reach = _reach(directory, kept)
    if matches:
        return Said("found", len(given), tuple(matches), sum(found[seq] >= least for seq in ranked) - num_read, reach)
    near = _nearest(directory, ranked[:_MAX_ALIGNED], given)
    return Said("nearly" if near else "not found", len(given), near, 0, reach)


def _hits(
    directory: Path, given: Sequence[str], disk: Disk | None, watch: Watch | None
) -> tuple[list[Header], Counter[int]]:
    for _ in range(_ATTEMPTS):
        kept = update(directory, disk, watch)
        found = hits(directory, sought(given))
        if found is not None:
            return kept, found
    raise VaultError("the log is being rewritten; ask again in a moment")


def _nearest(directory: Path, seqs: Sequence[int], given: Sequence[str]) -> tuple[Match, ...]:
    if len(given) < MIN_PART:
        return ()
    matches = [match for record in records_at(directory, seqs) if (match := nearly_in(record, given)) is not None]
    near = [match for match in matches if match.share >= MIN_SHARE and match.num_agreeing >= MIN_PART]
    return tuple(sorted(near, key=lambda match: (-match.share, -match.num_agreeing, match.seq))[:MAX_NEAR])


def _reach(directory: Path, kept: Sequence[Header]) -> Reach:
    first = next((record for segment in segments(directory)[:1] if (record := first_record(segment))), {})
    return Reach(
        int(first.get("seq") or 0),
        max((header.last_seq for header in kept), default=0),
        str(first.get("timestamp") or ""),
        sum(header.num_answers for header in kept),
        sum(header.num_gone for header in kept),
    )
