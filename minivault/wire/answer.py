"""What the encoders of whole replies need to know of a finished answer, whoever collected it."""

from __future__ import annotations

from typing import Protocol

from minivault.types import Finished, TokenLogprob


class Answer(Protocol):
    """One answer, complete and recorded."""

    @property
    def text(self) -> str: ...

    @property
    def finished(self) -> Finished: ...

    @property
    def token_ids(self) -> tuple[int, ...]: ...

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]: ...
