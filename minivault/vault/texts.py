"""What people and models wrote in a record: the texts that somebody may search for, or that a hold keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from minivault.vault.place import Record
from minivault.vault.record import content_of

_SAID = ("prompt", "response", "reasoning")
_NAMES = frozenset({"role", "type", "model"})
"""Members of a request whose values are the interface's own words."""


def request_of(record: Record) -> dict[str, Any]:
    """The body of the request that a record is of; empty where it is no JSON object."""
    request = record.get("request")
    try:
        body = json.loads(request) if isinstance(request, str) else None
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def has_text(text: str, texts: Iterable[str]) -> bool:
    """Whether a text is in one of others, whatever its case."""
    wanted = text.lower()
    return any(wanted in one.lower() for one in texts)


def written(record: Record) -> Iterator[str]:
    """What was asked, thought and answered: all of a request's texts (system prompts, earlier turns, tools and what
    they gave) and none that a model's template adds."""
    yield from (text for name in _SAID if isinstance(text := record.get(name), str))
    yield from _texts(request_of(record))


def everything(record: Record) -> Iterator[str]:
    """Every text of the content, what the model read in the end included."""
    yield from _texts(content_of(record), frozenset())
    yield from _texts(request_of(record), frozenset())


def _texts(value: Any, passed_over: frozenset[str] = _NAMES) -> Iterator[str]:
    left = [value]
    while left:
        match left.pop():
            case str() as text:
                yield text
            case list() as items:
                left += items
            case dict() as members:
                left += [one for name, one in members.items() if name not in passed_over]
