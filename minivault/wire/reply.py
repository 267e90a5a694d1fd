"""The one contract of every reply, streamed or whole, over one choice or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from minivault.types import Event, Finished, TokenLogprob


class Answer(Protocol):
    """One answer, complete and recorded, whoever collected it."""

    @property
    def text(self) -> str: ...

    @property
    def reasoning(self) -> str: ...

    @property
    def finished(self) -> Finished: ...

    @property
    def token_ids(self) -> tuple[int, ...]: ...

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]: ...

    @property
    def prompt_logprobs(self) -> tuple[TokenLogprob, ...] | None: ...


class Reply(Protocol):
    """Encodes one request's answers, each a choice; a request for a single answer has choice 0 alone."""

    def encode(self, index: int, event: Event) -> list[dict[str, Any]]:
        """What a stream says at one event of choice `index`: objects in order, or none."""
        ...

    def end(self) -> list[dict[str, Any]]:
        """What a stream says after the last choice."""
        ...

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The one object of a reply that is not streamed."""
        ...


def with_receipt(said: list[dict[str, Any]], event: Event) -> list[dict[str, Any]]:
    """What a stream says at an event; in every dialect the last object of an answer carries its `receipt`."""
    if said and isinstance(event, Finished) and event.receipt is not None:
        said[-1]["receipt"] = event.receipt
    return said


def with_receipts(value: dict[str, Any], receipts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """A whole reply in any dialect with its `receipt`, or with its `receipts`, one a choice in order."""
    found = [receipt for receipt in receipts if receipt is not None]
    if len(found) == 1:
        value["receipt"] = found[0]
    elif found:
        value["receipts"] = found
    return value
