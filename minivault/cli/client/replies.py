"""Reading a server's bytes: error bodies back into our exception tree, NDJSON back into objects.

Pure: no network. A reply that is not in the documented shape is a `ServerError` and never taken for an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from minivault.errors import BadRequest, MiniVaultError, QuotaExceeded, ServerError, Unavailable


def error_from_reply(status: int, headers: Mapping[str, str], body: bytes) -> MiniVaultError:
    """The error that a reply other than 200 carries. `headers` are looked up in lower case."""
    try:
        error = json.loads(body)["error"]
        code, message, field = str(error["code"]), str(error["message"]), error.get("field")
    except (ValueError, KeyError, TypeError, AttributeError):
        code, field = "", None
        message = f"status {status} with a body that is not MiniVault's: {_excerpt(body)}"
    return _build(code, status, message, field, _seconds(headers.get("retry-after", "")))


def is_ours(status: int, body: bytes) -> bool:
    """True when this reply to /health is a MiniVault's: its report, or an error in our shape."""
    try:
        value = json.loads(body)
        return "status" in value if status == 200 else {"code", "message"} <= set(value["error"])
    except (ValueError, KeyError, TypeError):
        return False


def error_from_line(line: Mapping[str, Any]) -> MiniVaultError | None:
    """The error that a line of a stream carries, or None."""
    if "error" not in line:
        return None
    error = line["error"] if isinstance(line["error"], dict) else {"message": line["error"]}
    return _build(str(error.get("code")), 500, str(error.get("message")), error.get("field"), 1)


def parse_object(data: bytes) -> dict[str, Any]:
    """One JSON object; raises ServerError when `data` is anything else."""
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServerError(f"the server sent what is not a JSON object: {_excerpt(data)}")
    return value


class LineParser:
    """Bytes of an NDJSON body, in pieces of any size, into objects.

    `is_done` says that the line with `done` has been read; a body that ends before it was cut.
    """

    def __init__(self) -> None:
        self.is_done = False
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects completed by `data`. Raises the error that a line carries."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                yield self._read(line)

    def close(self) -> None:
        """The body has ended: raises ServerError unless it was whole."""
        if not self.is_done:
            raise ServerError("the answer was cut: the stream ended without its last line")

    def _read(self, line: bytes) -> dict[str, Any]:
        parsed = parse_object(line)
        error = error_from_line(parsed)
        if error is not None:
            raise error
        self.is_done = self.is_done or parsed.get("done") is True
        return parsed


def _build(code: str, status: int, message: str, field: Any, retry_after_s: int) -> MiniVaultError:
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (BadRequest if 400 <= status < 500 else ServerError)
    if issubclass(kind, (Unavailable, QuotaExceeded)):
        return kind(message, retry_after_s=retry_after_s)
    return kind(message, field=str(field) if field else None)


def _tree(root: type[MiniVaultError]) -> Iterator[type[MiniVaultError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_BY_CODE = {kind.code: kind for kind in _tree(MiniVaultError)}
_BY_STATUS = {kind.status: kind for kind in reversed([*_tree(MiniVaultError)]) if kind.status != MiniVaultError.status}


def _seconds(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 1


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return repr(text[:80]) if text else "nothing"
