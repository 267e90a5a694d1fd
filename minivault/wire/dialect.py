"""A dialect as one value: whoever renders errors, reads keys or publishes routes asks it, and knows none by name.

A new dialect is a folder beside this file, a blueprint in `api/` and its name in the factory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from minivault.errors import MiniVaultError

Model = type[BaseModel]
WORK_ERRORS = ("400", "401", "404", "429", "503")


@dataclass(frozen=True, slots=True)
class Operation:
    """One published method of one path: what it takes, gives and refuses with. `lines` are what a stream is made of."""

    method: Literal["get", "post", "delete"]
    path: str
    summary: str
    request: Model | None = None
    reply: Model | None = None
    lines: tuple[Model, ...] = ()
    stream_types: tuple[str, ...] = ()
    error: Model | None = None
    errors: tuple[str, ...] = ("401", "429")
    text_type: str = ""
    parameters: tuple[str, ...] = ()
    """Names in the path."""
    query: tuple[str, ...] = ()
    """Names that may follow the path."""
    request_type: str = "application/json"

    @property
    def name(self) -> str:
        """A unique name made from the route."""
        words = self.path.replace("{", "").replace("}", "").replace("-", "/").replace("_", "/").split("/")
        return self.method + "".join(word.title() for word in words)

    @property
    def models(self) -> tuple[Model, ...]:
        """Every model its description refers to."""
        named = (self.request, self.reply, self.error, *self.lines)
        return tuple(model for model in named if model is not None)


@dataclass(frozen=True, slots=True)
class Dialect:
    """`name` and `about` head its part of the document; `encode_error` takes an error and the request's id.

    Paths that begin with `prefix` are its own, also where there is no route; an empty one takes what no other claims.
    """

    name: str
    about: str
    encode_error: Callable[[Exception, str], dict[str, Any]]
    operations: tuple[Operation, ...]
    prefix: str = ""
    key_headers: tuple[str, ...] = ("Authorization",)
    """The request headers that may hold a key: `Authorization` after the scheme, any other alone."""
    marker: str = ""
    """A request header that only its clients send: with it, the paths beside its own are answered in its words too."""
    statuses: tuple[tuple[str, int], ...] = ()
    """An error's code and the HTTP status it has here, where that is not the error's own."""

    def claims(self, path: str) -> bool:
        """True for its own paths."""
        return f"{path}/".startswith(f"{self.prefix}/")

    def is_near(self, path: str) -> bool:
        """True for its own paths and those beside them."""
        return path.startswith(f"{self.prefix.rpartition('/')[0]}/")


def shown(error: Exception) -> MiniVaultError:
    """The error as a client may see it: one that is not ours says nothing of itself."""
    return error if isinstance(error, MiniVaultError) else MiniVaultError("internal error")
