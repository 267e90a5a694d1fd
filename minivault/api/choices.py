"""Several interactions that answer one request: OpenAI's `n`, and lists of prompts.

Each choice is an interaction of its own, with its own seed and its own record; the first has the request's id. They run
together and are sent one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from flask import Response

from minivault.api.streaming import Watched, start
from minivault.interaction import Answer, Origin, next_id
from minivault.types import Event, Failed, GenerationRequest
from minivault.wire import sse


class ChoicesEncoder(Protocol):
    """A dialect's stream over several choices, as objects."""

    def encode(self, index: int, event: Event) -> list[dict[str, Any]]: ...

    def end(self) -> list[dict[str, Any]]: ...


def start_choices(wanted: Sequence[GenerationRequest], source: Origin) -> list[Watched]:
    """Start every choice, or none: when one is refused, the others are stopped and the refusal is raised."""
    started: list[Watched] = []
    try:
        for index, request in enumerate(wanted):
            started.append(start(request, source if index == 0 else replace(source, id=next_id())))
    except BaseException:
        close_choices(started)
        raise
    return started


def collect_choices(choices: Sequence[Watched]) -> list[Answer]:
    """The whole answers, in order. Raises the error of the first that failed."""
    try:
        return [choice.interaction.collect() for choice in choices]
    finally:
        close_choices(choices)


def stream_choices(choices: Sequence[Watched], encoder: ChoicesEncoder) -> Response:
    """A streamed reply, choice after choice. What fails before the first event is raised, to get a real status."""
    sources = [choice.interaction.events() for choice in choices]
    try:
        first = next(sources[0])
        if isinstance(first, Failed):
            raise first.error
    except BaseException:
        close_choices(choices)
        raise
    response = Response(_pieces(first, sources, encoder), content_type=sse.CONTENT_TYPE)
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(lambda: close_choices(choices))
    return response


def close_choices(choices: Sequence[Watched]) -> None:
    """Stop and record whatever still runs."""
    for choice in choices:
        choice.close()


def _pieces(first: Event, sources: Sequence[Iterator[Event]], encoder: ChoicesEncoder) -> Iterator[bytes]:
    yield from map(sse.encode, encoder.encode(0, first))
    for index, events in enumerate(sources):
        for event in events:
            yield from map(sse.encode, encoder.encode(index, event))
            if isinstance(event, Failed):
                return
    yield from map(sse.encode, encoder.end())
    yield sse.DONE
