"""What is told of a request that has ended, to those who watch a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from minivault.types import Usage


@dataclass(frozen=True, slots=True)
class Ended:
    """A piece of work whose record is kept. `began_ns` is Unix time, `timings` are those of the record."""

    id: str
    api: str
    model: str
    began_ns: int
    status: str
    finish_reason: str
    usage: Usage
    timings: Mapping[str, int]
    is_streamed: bool = False
    client: str = ""
    key: str | None = None
    traceparent: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that got an error instead of an answer, with the HTTP status and the error's code."""

    id: str
    route: str
    status: int
    code: str
    client: str = ""
    key: str | None = None


class Watcher(Protocol):
    """Who is told. No call blocks or raises."""

    def ended(self, ended: Ended) -> None: ...

    def refused(self, refused: Refused) -> None: ...

    def close(self) -> None: ...
