"""Pydantic's verdict on a request, told in our own words: which field, which value, what would be right.

There is one translator; a `Wording` holds what a dialect says otherwise than another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, model_validator
from pydantic_core import ErrorDetails

from minivault.errors import BadRequest, Unsupported
from minivault.faults import reason, shown

VERBATIM = "verbatim"
"""The type of a `PydanticCustomError` whose message is the whole answer to the client."""

M = TypeVar("M", bound=BaseModel)


class Body(BaseModel):
    """The base of every request and every object in one: a member that is null counts as not given, as client
    libraries mean it. What a client writes freely (schemas, arguments, metadata) is no `Body` and keeps its nulls."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


@dataclass(frozen=True, slots=True)
class Wording:
    """How a dialect tells a fault; `{field}` stands for the path of the field."""

    unknown: str
    unknown_error: type[BadRequest]
    missing: str
    wrong: Callable[[str, ErrorDetails], str]
    """Any other fault, of a field or, with an empty path, of the whole request."""
    is_deepest_told: bool = True
    """Of several faults the deepest: in a union of shapes it belongs to the shape the client meant. Else the first."""


def _say_wrong(field: str, fault: ErrorDetails) -> str:
    value = shown(fault["input"])
    return f"{field or 'the request'}: {reason(fault)}{value and f', not {value}'}"


CLIENTS = Wording(
    unknown="{field} is not supported by this server; leave it out",
    unknown_error=Unsupported,
    missing="{field} is required",
    wrong=_say_wrong,
)
"""For dialects whose clients were written for other servers."""


def validated(model: type[M], data: dict[str, Any], wording: Wording = CLIENTS) -> M:
    """An instance of `model` made from a decoded JSON object. Raises BadRequest naming the field at fault."""
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        raise _refusal(invalid.errors(include_url=False), data, wording) from None


def _refusal(faults: Sequence[ErrorDetails], given: dict[str, Any], wording: Wording) -> BadRequest:
    located = [(_path(fault, given), fault) for fault in faults]
    path, fault = max(located, key=lambda pair: len(pair[0])) if wording.is_deepest_told else located[0]
    field = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        return wording.unknown_error(wording.unknown.format(field=field), field=field)
    if fault["type"] == "missing":
        return BadRequest(wording.missing.format(field=field), field=field)
    message = fault["msg"] if fault["type"] == VERBATIM else wording.wrong(field, fault)
    return BadRequest(message, field=field or None)


def _path(fault: ErrorDetails, given: Any) -> list[str | int]:
    """The fault's location without pydantic's names for the branches of a union."""
    path: list[str | int] = []
    is_missing = fault["type"] == "missing"  # then the last part is none of what is there, but for a null
    for part in fault["loc"][:-1] if is_missing else fault["loc"]:
        is_inside = part in given if isinstance(given, dict) else isinstance(given, list) and isinstance(part, int)
        if is_inside:
            given = given[part]
            path.append(part)
    if is_missing:
        path.append(fault["loc"][-1])
    return path
