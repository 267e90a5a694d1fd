"""What every line of Ollama's replies has, and the one that tells an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from minivault.errors import Overloaded, Unauthorized
from minivault.moment import rfc3339
from minivault.types import Finished, TokenLogprob
from minivault.wire.dialect import shown
from minivault.wire.logprobs import encode_logprobs

Clock = Callable[[], int]
"""Wall-clock nanoseconds since 1970."""

BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's own words, two spaces included: clients look for them."""


def encode_error(error: Exception, _request_id: str = "") -> dict[str, Any]:
    """The body of every error, and the last line of a stream that broke: the value is always a string."""
    if isinstance(error, Overloaded | Unauthorized):
        return {"error": BUSY if isinstance(error, Overloaded) else "unauthorized"}
    return {"error": shown(error).message}


class Lines:
    """Makes the lines of one reply: each has the name the client used and the time, and what it says."""

    NOTHING: ClassVar[dict[str, Any]]
    """What a line says that says nothing."""

    def __init__(self, model: str, clock: Clock) -> None:
        self._model, self._clock = model, clock

    def loaded(self, *, is_unload: bool) -> dict[str, Any]:
        """The reply to a request without a prompt."""
        return self._line(self.NOTHING) | {"done": True, "done_reason": "unload" if is_unload else "load"}

    def end(self) -> list[dict[str, Any]]:
        return []

    def _line(self, said: dict[str, Any], logprobs: Sequence[TokenLogprob] = ()) -> dict[str, Any]:
        line = {"model": self._model, "created_at": rfc3339(self._clock()), **said, "done": False}
        if logprobs:
            line["logprobs"] = encode_logprobs(logprobs)
        return line

    def _last(
        self,
        finished: Finished,
        said: dict[str, Any],
        logprobs: Sequence[TokenLogprob] = (),
        members: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The line that ends a stream, or is the whole reply. Ollama knows two ends: by itself, or cut."""
        reason = "stop" if finished.reason == "stop" else "length"
        ended = {"done": True, "done_reason": reason, **(members or {}), **_timing_fields(finished)}
        return self._line(said, logprobs) | ended


def _timing_fields(finished: Finished) -> dict[str, int]:
    """Durations in nanoseconds and token counts. At least 1: clients divide by them and read a missing one as None."""
    usage, timings = finished.usage, finished.timings
    evaluated = timings.total_ns - timings.queued_ns - timings.prefill_ns
    return {
        "total_duration": max(timings.total_ns, 1),
        "load_duration": max(timings.queued_ns, 1),
        "prompt_eval_count": max(usage.prompt_tokens, 1),
        "prompt_eval_duration": max(timings.prefill_ns, 1),
        "eval_count": usage.completion_tokens,
        "eval_duration": max(evaluated, 1),
    }
