"""The one contract of every reply, streamed or whole, over one choice or several."""

from __future__ import annotations

from collections.abc import Sequence
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
