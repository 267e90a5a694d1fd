"""Thought formats: how families of models write what they think before they answer, told from the answer as it comes.

A thought stands at the beginning of an answer, between an opening and a closing; some templates write the opening
themselves, so that the answer begins inside. Tags are part of neither. How the text is cut into pieces does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from minivault.talk.harmony import ENDING, MARKS, Harmony
from minivault.talk.pieces import overlap
from minivault.types import Thinking, Thought

HARMONY = "harmony"


@dataclass(frozen=True, slots=True)
class ThoughtFormat:
    """`answer` is what may stand around the answer after a thought; no part of it."""

    name: str
    opening: str
    closing: str
    answer: tuple[str, str] = ("", "")
    known_by: tuple[str, ...] = ()
    """What its templates hold; empty: opening and closing."""

    @property
    def ending(self) -> str:
        """What is written to end a thought that is not to go on."""
        return ENDING if self.name == HARMONY else f"\n{self.closing}\n\n"

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that may be control tokens of a model's vocabulary."""
        found = MARKS if self.name == HARMONY else (self.opening.strip(), self.closing, *self.answer)
        return tuple(mark for mark in found if mark)

    def begins(self, rendered: str) -> Thinking | None:
        """How an answer to this prompt begins; None where its template has closed the thought already."""
        end = rendered.rstrip()
        if self.name != HARMONY and end.endswith(self.closing):
            return None
        return "begun" if end.endswith(self.opening.rstrip()) else "possible"

    def reader(self, begins: Thinking) -> Thought:
        """What tells the thoughts of one answer."""
        return Harmony() if self.name == HARMONY else Tagged(self, is_begun=begins == "begun")


FORMATS = {
    form.name: form
    for form in (
        ThoughtFormat(HARMONY, "<|channel|>", "<|message|>"),
        ThoughtFormat("gemma", "<|channel>thought\n", "<channel|>", known_by=("<|channel>", "<channel|>")),
        ThoughtFormat("mistral", "[THINK]", "[/THINK]"),
        ThoughtFormat("seed", "<seed:think>", "</seed:think>"),
        ThoughtFormat("command", "<|START_THINKING|>", "<|END_THINKING|>", ("<|START_RESPONSE|>", "<|END_RESPONSE|>")),
        ThoughtFormat("apertus", "<|inner_prefix|>", "<|inner_suffix|>"),
        ThoughtFormat(
            "granite", "<think>", "</think>", ("<response>", "</response>"), known_by=("<response></response>",)
        ),
        ThoughtFormat("think", "<think>", "</think>"),
        ThoughtFormat("reasoning", "<reasoning>", "</reasoning>"),
    )
}
"""By name, in the order in which a template is asked."""


def thought_format_of(template: str) -> str:
    """The name of the format in which a model with this chat template thinks; empty where it does not."""
    return next((form.name for form in FORMATS.values() if _is_in(form, template)), "")


def thought_format(name: str) -> ThoughtFormat | None:
    return FORMATS.get(name)


def _is_in(form: ThoughtFormat, template: str) -> bool:
    return all(mark in template for mark in form.known_by or (form.opening, form.closing))


class Tagged:
    """A `types.Thought` between two tags."""

    def __init__(self, form: ThoughtFormat, *, is_begun: bool) -> None:
        self._form = form
        self._is_begun = is_begun
        self._place: Literal["before", "inside", "wrapped", "after"] = "before"
        self._held = ""
        self._thought = ""
        self._has_thought = False
        self._steps: dict[str, Callable[[], str | None]] = {
            "before": self._begin,
            "inside": self._think,
            "wrapped": self._unwrap,
            "after": self._answer,
        }

    @property
    def is_open(self) -> bool:
        return self._place == "inside" or (self._is_begun and self._place == "before")

    def feed(self, text: str) -> str:
        self._held += text
        said = ""
        while (piece := self._steps[self._place]()) is not None:
            said += piece
        return said

    def take(self) -> str:
        thought, self._thought = self._thought, ""
        return thought

    def finish(self) -> str:
        held, self._held = self._held, ""
        if self.is_open:
            self._thought += held.strip() if self._place == "before" else held.rstrip()
            return ""
        return held if self._place != "wrapped" else held.lstrip()

    def _begin(self) -> str | None:
        """Whether it begins with a thought; None until that is known."""
        start = self._held.lstrip()
        opening = self._form.opening
        if start.startswith(opening):
            self._held, self._place = start.removeprefix(opening), "inside"
            return ""
        if opening.startswith(start):
            return None
        if self._is_begun:
            self._held, self._place = start, "inside"
        else:
            self._place = "after"
        return ""

    def _think(self) -> str | None:
        closing = self._form.closing
        self._held = self._held if self._has_thought else self._held.lstrip()
        thought, found, rest = self._held.partition(closing)
        if found:
            self._thought += thought.rstrip()
            self._held, self._place = rest, "wrapped"
            return ""
        kept = len(self._held) - overlap(self._held, closing)
        kept = len(self._held[:kept].rstrip())
        if kept:
            self._thought += self._held[:kept]
            self._held, self._has_thought = self._held[kept:], True
        return None

    def _unwrap(self) -> str | None:
        """Blanks after a thought, and what opens the answer."""
        self._held = self._held.lstrip()
        opening = self._form.answer[0]
        if not self._held or (opening.startswith(self._held) and self._held != opening):
            return None
        self._held = self._held.removeprefix(opening).lstrip() if opening else self._held
        self._place = "after"
        return ""

    def _answer(self) -> str | None:
        closing = self._form.answer[1]
        if not closing:
            said, self._held = self._held, ""
            return said or None
        self._held = self._held.replace(closing, "")
        kept = len(self._held) - overlap(self._held, closing)
        said, self._held = self._held[:kept], self._held[kept:]
        return said or None
