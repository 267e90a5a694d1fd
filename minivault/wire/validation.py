"""Pydantic's verdict on a request, told in our own words: which field, which value, what would be right.

A field the model does not declare is `Unsupported`, any other fault a `BadRequest`; both carry the path of the field.
Members that are JSON null count as not given, as every client library means them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from minivault.errors import BadRequest, Unsupported

VERBATIM = "verbatim"
"""The type of a `PydanticCustomError` whose message is the whole answer to the client."""

SHOWN_VALUE_CHARACTERS = 60

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], data: dict[str, Any]) -> M:
    """An instance of `model` made from a decoded JSON object. Raises BadRequest naming the field at fault."""
    given = {key: value for key, value in data.items() if value is not None}
    try:
        return model.model_validate(given)
    except ValidationError as invalid:
        raise _refusal(invalid.errors(include_url=False, include_context=False), given) from None


def _refusal(faults: Sequence[ErrorDetails], given: dict[str, Any]) -> BadRequest:
    """The deepest fault: in a union of shapes it belongs to the shape the client meant."""
    located = [(_path(fault, given), fault) for fault in faults]
    path, fault = max(located, key=lambda pair: len(pair[0]))
    field = ".".join(map(str, path)) or None
    if fault["type"] == "extra_forbidden":
        return Unsupported(f"{field} is not supported by this server; leave it out", field=field)
    return BadRequest(_message(field or "the request", fault), field=field)


def _path(fault: ErrorDetails, given: Any) -> list[str | int]:
    """The fault's location without pydantic's names for the branches of a union."""
    path: list[str | int] = []
    for part in fault["loc"]:
        is_inside = part in given if isinstance(given, dict) else isinstance(given, list) and isinstance(part, int)
        if is_inside:
            given = given[part]
            path.append(part)
    if fault["type"] == "missing":
        path.append(fault["loc"][-1])
    return path


def _message(field: str, fault: ErrorDetails) -> str:
    if fault["type"] == VERBATIM:
        return fault["msg"]
    if fault["type"] == "missing":
        return f"{field} is required"
    reason = fault["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    reason = reason.replace("should ", "must ", 1) if reason.startswith("should ") else reason
    shown = repr(fault["input"])
    return f"{field}: {reason}" + (f", not {shown}" if len(shown) <= SHOWN_VALUE_CHARACTERS else "")
