"""Pydantic's verdict on a request, told in our own words: which field, which value, what would be right.

There is one translator; a `Wording` holds what a dialect says otherwise than another. What a request holds besides the
fields of its model is set aside at every depth: noted, or refused by the table of `fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from minivault.errors import BadRequest, Unsupported
from minivault.faults import reason, shown
from minivault.wire.fields import Foreign, Refused

VERBATIM = "verbatim"
"""The type of a `PydanticCustomError` whose message is the whole answer to the client."""

DRAWN_BY = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
"""What a model's makers may have a wish for."""
MAX_NOTED = 64
MAX_NOTED_CHARACTERS = 64
"""Of fields that bind nobody so many are told, and so much of each name."""


class Body(BaseModel):
    """The base of every request and every object in one: a member that is null counts as not given, as client
    libraries mean it. What a client writes freely (schemas, arguments, metadata) is no `Body` and keeps its nulls."""

    model_config = ConfigDict(extra="allow")  # so that what is unknown can be looked at, and then taken out

    foreign: ClassVar[Foreign] = {}
    """Of a whole request: what becomes of fields, at every depth, that it does not honour."""
    is_strict: ClassVar[bool] = False
    """Of a whole request: whether one that nobody here has heard of is refused, whatever the settings say."""
    _noted: tuple[str, ...] = PrivateAttr(())

    @property
    def noted(self) -> tuple[str, ...]:
        """Of a whole request: the fields that bind nobody, by their path without the numbers of a list."""
        return self._noted

    def unsaid(self, **called: str) -> tuple[str, ...]:
        """The parameters that tokens are drawn by and the request does not set, by their own names; `called` says what
        some of them are called here."""
        return tuple(name for name in DRAWN_BY if called.get(name, name) not in self.model_fields_set)

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


M = TypeVar("M", bound=Body)


def validated(model: type[M], data: dict[str, Any], wording: Wording = CLIENTS, *, is_strict: bool = False) -> M:
    """An instance of `model` made from a decoded JSON object, with nothing in it but fields of the model. Raises
    BadRequest naming the field at fault; where `is_strict`, also for one that nobody here has heard of."""
    try:
        body = model.model_validate(data)
    except ValidationError as invalid:
        raise _refusal(invalid.errors(include_url=False), data, wording) from None
    sieve = _Sieve(model.foreign, wording, str(data.get("model", "")), is_strict or model.is_strict)
    sieve.sift(body)
    body._noted = tuple(sieve.noted)
    return body


@dataclass(slots=True)
class _Sieve:
    """Takes out of a request what it does not honour; `noted` are the paths of that, each once, in order."""

    foreign: Foreign
    wording: Wording
    model: str
    is_strict: bool
    noted: dict[str, None] = field(default_factory=dict)

    def sift(self, body: BaseModel, path: tuple[str | int, ...] = (), place: str = "") -> None:
        """Look at what was sent of an object at `path`, which is called `place` in the table. Raises BadRequest."""
        given, declared = body.model_fields_set, type(body).model_fields
        for name, value in body.__dict__.items():
            if name not in given:
                continue
            label = declared[name].alias or name
            if place + label in self.foreign:
                self._set_aside(place, path, label, value)
            elif isinstance(value, BaseModel):
                self.sift(value, (*path, label), f"{place}{label}.")
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, BaseModel):
                        self.sift(item, (*path, label, index), f"{place}{label}.")
        for label, value in (body.__pydantic_extra__ or {}).items():
            self._set_aside(place, path, label, value)
        if body.__pydantic_extra__:
            body.__pydantic_extra__.clear()

    def _set_aside(self, place: str, path: tuple[str | int, ...], label: str, value: Any) -> None:
        verdict = self.foreign.get(place + label)
        where = ".".join(map(str, (*path, label)))
        if isinstance(verdict, Refused) and not verdict.allows(value):
            told = verdict.words.format(field=where, instead=verdict.instead, model=self.model)
            raise Unsupported(told, field=where)
        if verdict is None and self.is_strict:
            raise self.wording.unknown_error(self.wording.unknown.format(field=where), field=where)
        name = (place + label)[:MAX_NOTED_CHARACTERS] if len(self.noted) < MAX_NOTED else "..."
        self.noted[name] = None


def _refusal(faults: Sequence[ErrorDetails], given: dict[str, Any], wording: Wording) -> BadRequest:
    located = [(_path(fault, given), fault) for fault in faults]
    path, fault = max(located, key=lambda pair: len(pair[0])) if wording.is_deepest_told else located[0]
    field = ".".join(map(str, path))
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
