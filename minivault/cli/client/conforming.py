"""Conforming: does a server give the same request the same answer, whoever else is there? A suite over OpenAI's API.

A black box is asked: what it answers alone, the first time, is what every other way of asking has to give again. Each
question begins with words of its own that no server has seen, so that nothing of it is cached before.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

from minivault.cli.client.openai_chat import Asked, Chat
from minivault.errors import MiniVaultError

Outcome = Literal["same", "differs", "not supported", "skipped", "failed"]
Mode = Literal["sampled", "greedy"]
SAMPLING: Mapping[Mode, Mapping[str, Any]] = {"sampled": {"temperature": 0.8}, "greedy": {"temperature": 0}}
CHECKS = {
    "again": "alone, asked once more",
    "prefix": "after another question with the same beginning",
    "stream": "streamed instead of whole",
    "load": "while others are answered",
    "choices": "three choices at once, twice",
    "restart": "after the server was started again",
    "seed": "another seed gives another answer",
}
"""What is checked, in order, and what it is called for a person."""
PREFACE = (
    "You are the librarian of a small town by the sea. You know each book on your shelves and like to talk about them. "
    "You answer in plain words, in three or four sentences, and never twice in the same way."
)
QUESTIONS = (
    "Which book would you give to somebody who has never seen the sea?",
    "What do people ask you for most often in winter?",
    "Tell me what happened on the strangest day in your library.",
)
OTHER = "What are your opening hours?"
NUM_CHOICES = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found in one mode: `num_held` of `num_compared` answers were as they had to be."""

    check: str
    mode: Mode
    outcome: Outcome
    num_held: int = 0
    num_compared: int = 0
    note: str = ""


class Suite:
    """All checks against one server. `restart` starts the server again and returns once it answers; None skips that."""

    def __init__(
        self,
        chat: Chat,
        *,
        max_tokens: int,
        concurrency: int,
        restart: Callable[[], None] | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._chat, self._max_tokens, self._concurrency, self._restart = chat, max_tokens, concurrency, restart
        self._nonce = nonce

    def run(self, told: Callable[[str], None] = lambda _what: None) -> Iterator[Result]:
        """Every result as it is known; those after a restart last. Raises where the server cannot be asked at all."""
        known = dict[Mode, tuple[list[Asked], list[str]]]()
        for mode in SAMPLING:
            told(f"{mode}: alone")
            asked = [self._question(text, mode, seed) for seed, text in enumerate(QUESTIONS, 1)]
            known[mode] = asked, [self._chat.whole(one) for one in asked]
            for check in ("again", "prefix", "stream", "load", "choices"):
                told(f"{mode}: {CHECKS[check]}")
                yield self._checked(check, mode, *known[mode])
        yield self._checked("seed", "sampled", *known["sampled"])
        if self._restart is None:
            yield from (Result("restart", mode, "skipped", note="no --restart-command") for mode in SAMPLING)
            return
        told("restarting")
        try:
            self._restart()
        except MiniVaultError as error:
            yield from (Result("restart", mode, "failed", note=error.message) for mode in SAMPLING)
            return
        for mode in SAMPLING:
            yield self._checked("restart", mode, *known[mode])

    def _checked(self, check: str, mode: Mode, asked: Sequence[Asked], first: Sequence[str]) -> Result:
        ways: dict[str, Callable[[Mode, Sequence[Asked], Sequence[str]], Result]] = {
            "again": self._again,
            "prefix": self._prefix,
            "stream": self._stream,
            "load": self._load,
            "choices": self._choices,
            "seed": self._seed,
        }
        try:
            return replace(ways.get(check, self._again)(mode, asked, first), check=check)
        except MiniVaultError as error:
            return Result(check, mode, "failed", note=error.message)

    # -- each check ------------------------------------------------------------------------------------------------

    def _again(self, mode: Mode, asked: Sequence[Asked], first: Sequence[str]) -> Result:
        return _compared("again", mode, zip(first, map(self._chat.whole, asked), strict=True))

    def _prefix(self, mode: Mode, asked: Sequence[Asked], first: Sequence[str]) -> Result:
        pairs = []
        for one, expected in zip(asked, first, strict=True):
            self._chat.whole(one.asking(OTHER))
            pairs.append((expected, self._chat.whole(one)))
        return _compared("prefix", mode, pairs)

    def _stream(self, mode: Mode, asked: Sequence[Asked], first: Sequence[str]) -> Result:
        return _compared("stream", mode, zip(first, map(self._chat.streamed, asked), strict=True))

    def _load(self, mode: Mode, asked: Sequence[Asked], first: Sequence[str]) -> Result:
        """The questions and as many others, all at once."""
        jobs = list[tuple[Asked, str | None]]()
        for number in range(self._concurrency):
            which = number // 2 % len(asked)
            is_other = number % 2
            other = self._question(f"{OTHER} And on day {number}?", mode, 1000 + number)
            jobs.append((other, None) if is_other else (asked[which], first[which]))
        with ThreadPoolExecutor(self._concurrency) as pool:
            answers = list(pool.map(self._attempted, [one for one, _ in jobs]))
        pairs = [
            (expected, answer)
            for (_, expected), answer in zip(jobs, answers, strict=True)
            if expected is not None and isinstance(answer, str)
        ]
        failed = [answer for answer in answers if isinstance(answer, MiniVaultError)]
        note = f"{len(failed)} of {len(jobs)} were not answered: {failed[0].message}" if failed else ""
        return _compared("load", mode, pairs, note)

    def _choices(self, mode: Mode, asked: Sequence[Asked], _first: Sequence[str]) -> Result:
        try:
            once, twice = (self._chat.choices(asked[0], NUM_CHOICES) for _ in range(2))
        except MiniVaultError as error:
            return Result("choices", mode, "not supported", note=error.message)
        if len(once) < NUM_CHOICES:
            return Result("choices", mode, "not supported", note=f"{NUM_CHOICES} were asked for, {len(once)} came")
        is_one = mode == "sampled" and len(set(once)) == 1
        return _compared("choices", mode, zip(once, twice, strict=False), "all three are one" if is_one else "")

    def _seed(self, mode: Mode, asked: Sequence[Asked], first: Sequence[str]) -> Result:
        others = [self._chat.whole(one.seeded(one.seed + 100)) for one in asked]
        num_other = sum(other != expected for other, expected in zip(others, first, strict=True))
        is_other = num_other == len(first)
        note = "" if is_other else "the seed is not heard, or there is hardly a choice"
        return Result("seed", mode, "same" if is_other else "differs", num_other, len(first), note)

    # -- asking ----------------------------------------------------------------------------------------------------

    def _question(self, text: str, mode: Mode, seed: int) -> Asked:
        return Asked(f"[{self._nonce()}] {PREFACE}", text, seed, self._max_tokens, dict(SAMPLING[mode]))

    def _attempted(self, asked: Asked) -> str | MiniVaultError:
        try:
            return self._chat.whole(asked)
        except MiniVaultError as error:
            return error


def _compared(check: str, mode: Mode, compared: Iterable[tuple[str, str]], note: str = "") -> Result:
    """Of pairs of texts, the expected one first."""
    pairs = list(compared)
    wrong = [(expected, other) for expected, other in pairs if expected != other]
    if not pairs:
        return Result(check, mode, "failed", note=note or "nothing was answered")
    if wrong:
        place = min(_first_difference(*pair) for pair in wrong)
        told = f"the first difference is at character {place}"
        note = f"{told}; {note}" if note else told
    return Result(check, mode, "differs" if wrong else "same", len(pairs) - len(wrong), len(pairs), note)


def _first_difference(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
