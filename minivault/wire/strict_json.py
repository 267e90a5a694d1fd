"""JSON that means one thing only: what another parser would read differently is refused.

Refused with BadRequest: encodings other than UTF-8, byte-order marks, NaN and infinities (also by overflow), duplicate
keys, nesting beyond 64 levels, unpaired surrogates, and a top level that is not an object.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from minivault.errors import BadRequest

MAX_DEPTH = 64
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def loads(body: bytes) -> dict[str, Any]:
    """Parse a request body. Raises BadRequest saying what is wrong and where."""
    if not body.strip():
        raise BadRequest("missing request body: send a JSON object")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BadRequest("the body starts with a byte-order mark: send plain UTF-8")
    _check_depth(body)
    value = _parse(body)
    if not isinstance(value, dict):
        raise BadRequest(f"the body is a JSON {_kind(value)}: send an object")
    if b"\\u" in body:  # bytes that are UTF-8 hold none; only an escape can
        _check_surrogates(value)
    return value


def _parse(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise BadRequest("the body holds a number with too many digits") from None


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRUCTURE.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels")
        elif first in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRequest(f"the key {_shown(twice)} appears twice in one object", field=twice[:64])
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadRequest(f"the number {text[:32]} is too large")
    return value


def _check_surrogates(value: Any, field: str | None = None) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadRequest("the text holds an unpaired surrogate, which is not a character", field=field)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_surrogates(key)
            _check_surrogates(item, field or key)
    elif isinstance(value, list):
        for item in value:
            _check_surrogates(item, field)


def _shown(key: str) -> str:
    return json.dumps(key[:64])


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "array"
    if isinstance(value, str):
        return "string"
    return "literal" if value is None or isinstance(value, bool) else "number"
