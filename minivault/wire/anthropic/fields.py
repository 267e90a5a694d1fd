"""What all objects of Anthropic's requests have in common: members that nothing here reads are noted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict

from minivault.wire.validation import Body


class Open(Body):
    """An object whose known members are of the exact JSON type, and whose other members are kept and told."""

    model_config = ConfigDict(extra="allow", strict=True)


def noted(body: Open) -> tuple[str, ...]:
    """Every member of a request that is not read, by its path without the numbers of list entries, once each."""
    return tuple(dict.fromkeys(_unread(body, "")))


def _unread(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _unread(item, path)
    elif isinstance(value, Open):
        for name in type(value).model_fields:
            yield from _unread(getattr(value, name), f"{path}{name}.")
        yield from (f"{path}{name}" for name in value.model_extra or ())
