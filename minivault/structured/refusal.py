"""SchemaRefused: why a schema cannot be used, and where in it the reason is."""

from __future__ import annotations

from collections.abc import Sequence


class SchemaRefused(Exception):
    """`reason` is one line for whoever wrote the schema."""

    def __init__(self, reason: str, path: Sequence[str | int] = ()) -> None:
        place = ".".join(map(str, path))
        self.reason = f"{place}: {reason}" if place else reason
        super().__init__(self.reason)
