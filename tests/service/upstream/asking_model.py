"""A model of engines on loopback, started and closed, and one request to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivault.config import Settings
from minivault.service import Model, Roster, roster_of
from minivault.service.engine_loop import Generation
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest, Message, SamplingParams
from tests.live import GUARD_S


@contextmanager
def served(*urls: str, **settings: Any) -> Iterator[Roster]:
    """The roster of a server whose models are those of the engines at `urls`, known."""
    roster = roster_of(Settings(backend="upstream", upstream_url=",".join(urls), home=Path("/nowhere"), **settings))
    try:
        roster.default.wait_loaded(GUARD_S)
        yield roster
    finally:
        roster.close()


def ask(
    model: Model, prompt: str = "Hi", *, deadline_s: float | None = None, id_: str = "one", **wanted: Any
) -> Generation:
    """Begin an answer; `wanted` are fields of the request, or its parameters as `params`."""
    params = wanted.pop("params", SamplingParams())
    is_chat = not wanted.keys() & {"messages", "raw"}
    given = wanted | ({"messages": (Message("user", prompt),)} if is_chat else {})
    given |= {"prompt": prompt} if "raw" in wanted else {}
    task = model.prepare(GenerationRequest(params=params, **given))
    deadline_ns = None if deadline_s is None else time.monotonic_ns() + int(deadline_s * 1e9)
    return model.generate(task, id_, deadline_ns)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def answer(model: Model, prompt: str = "Hi", **wanted: Any) -> tuple[str, Event]:
    """A whole answer: its text and its end."""
    events = list(ask(model, prompt, **wanted).events())
    return text_of(events), events[-1]


def error_of(end: Event) -> Any:
    """The error of an answer that failed."""
    assert isinstance(end, Failed), end
    return end.error


def reason_of(end: Event) -> str:
    """Why an answer ended that did not fail."""
    assert isinstance(end, Finished), end
    return end.reason
