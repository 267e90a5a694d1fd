"""One setting: how it is declared and what of its text it takes.

Every command reads the settings before it says its first word, so this is plain Python: a library for it would take
longer than most commands do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

_BOOLEANS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}
_RULE = "rule"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting means and which values it takes; `check` raises ValueError for one that it does not."""

    meaning: str
    is_secret: bool = False
    gt: float | None = None
    ge: float | None = None
    le: float | None = None
    pattern: str | None = None
    check: Callable[[Any], object] | None = None

    def read(self, kind: Any, given: Any) -> Any:
        """A value of type `kind` from what was given, text or not. Raises ValueError saying what it must be."""
        value = _converted(kind, given)
        if self.gt is not None and not value > self.gt:
            raise ValueError(f"must be greater than {_shown(self.gt)}")
        if self.ge is not None and not value >= self.ge:
            raise ValueError(f"must be at least {_shown(self.ge)}")
        if self.le is not None and not value <= self.le:
            raise ValueError(f"must be at most {_shown(self.le)}")
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise ValueError(f"must match {self.pattern}")
        if self.check is not None:
            self.check(value)
        return value


def setting(default: Any, *, meaning: str, is_secret: bool = False, **limits: Any) -> Any:
    """A field of a settings dataclass; `limits` are those of `Rule`. A function as default is called each time."""
    given: Any = {"default_factory": default} if callable(default) else {"default": default}
    return field(**given, repr=not is_secret, metadata={_RULE: Rule(meaning, is_secret, **limits)})


def rules_of(settings: type) -> Mapping[str, Rule]:
    """The rule of each setting by its field's name, in their order."""
    return {one.name: one.metadata[_RULE] for one in fields(settings) if _RULE in one.metadata}


def kinds_of(settings: type) -> Mapping[str, Any]:
    """The type of each setting by its field's name."""
    return get_type_hints(settings)


def ensure_address(value: str) -> None:
    """Raise ValueError for what is no `host:port` and no `unix:PATH`."""
    if value.startswith("unix:") and len(value) > len("unix:"):
        return
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("must be HOST:PORT or unix:PATH")


def ensure_urls(value: str) -> None:
    """Raise ValueError where one of several, by comma, is no URL of a server."""
    for url in filter(None, map(str.strip, value.split(","))):
        ensure_url(url, "must be http://HOST:PORT/v1 or https://…, several by comma")


def ensure_url(value: str, message: str = "must be http://HOST:PORT or https://…") -> None:
    """Raise ValueError with this message for what is no URL of a server, nor empty."""
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username):
        raise ValueError(message)


def _converted(kind: Any, given: Any) -> Any:
    if kind is Path:
        return given if isinstance(given, Path) else Path(given)
    if kind is bool:
        return _boolean(given)
    if kind is int or kind is float:
        return _number(kind, given)
    if options := get_args(kind):
        return _one_of(options, given)
    if not isinstance(given, str):
        raise ValueError("must be a string")
    return given


def _boolean(given: Any) -> bool:
    found = _BOOLEANS.get(str(given).strip().lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def _number(kind: type[int] | type[float], given: Any) -> int | float:
    try:
        return kind(given)
    except (TypeError, ValueError):
        raise ValueError("must be an integer" if kind is int else "must be a number") from None


def _one_of(options: tuple[str, ...], given: Any) -> Any:
    if given not in options:
        *first, last = map(repr, options)
        raise ValueError(f"must be {', '.join(first)} or {last}")
    return given


def _shown(limit: float) -> float:
    return int(limit) if limit == int(limit) else limit
