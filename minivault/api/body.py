"""Reads a request body whole or refuses it: never cut, never half, never for ever."""

from __future__ import annotations

from typing import TypeVar

from flask import current_app, g, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected

from minivault.api.coding import PLAIN, known_coding, unpacked
from minivault.config import Settings
from minivault.errors import BadRequest, BodyTimeout, TooLarge, UnsupportedMediaType
from minivault.wire.strict_json import loads
from minivault.wire.validation import CLIENTS, Body, Wording, validated

M = TypeVar("M", bound=Body)

JSON_TYPES = ("application/json", "application/x-www-form-urlencoded", "")
"""`curl -d` calls everything a form; a body that is not JSON fails as JSON."""


class LengthRequired(BadRequest):
    status = 411
    code = "length_required"


def read_json_body() -> bytes:
    """The body's bytes. Raises UnsupportedMediaType for a content type that is not JSON, else as `read_body`."""
    kind = request.mimetype
    if kind not in JSON_TYPES and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"the body is {kind}: send application/json", field="Content-Type")
    return read_body()


def decoded(model: type[M], body: bytes, wording: Wording = CLIENTS) -> M:
    """A body as the fields of `model`. What binds nobody is told in a header of the reply and kept in the record.
    Raises BadRequest naming the field at fault."""
    settings: Settings = current_app.config["MINIVAULT"]
    fields = validated(model, loads(body), wording, is_strict=settings.strict)
    g.noted = fields.noted
    return fields


def read_body() -> bytes:
    """The body's bytes, unpacked. Raises TooLarge, BodyTimeout, UnsupportedMediaType for a coding that is not known
    here, or BadRequest for a body that is short, badly framed or badly packed."""
    settings: Settings = current_app.config["MINIVAULT"]
    limit = settings.max_body_kb << 10
    coding = known_coding(request.content_encoding) if request.content_encoding else PLAIN
    length = request.content_length
    if length is None and not request.environ.get("wsgi.input_terminated"):
        raise LengthRequired("send a Content-Length with the body", field="Content-Length")
    if length is not None and length > limit:
        raise _too_large(limit)
    body = _read(limit + 1 if length is None else length)
    if length is not None and len(body) < length:
        raise BadRequest(f"the body ended after {len(body)} of {length} bytes", field="Content-Length")
    if len(body) > limit:
        raise _too_large(limit)
    return body if coding == PLAIN else unpacked(body, coding, limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit >> 10} KiB (MINIVAULT_MAX_BODY_KB)")


def _read(size: int) -> bytes:
    try:
        data: bytes = request.environ["wsgi.input"].read(size)
    except (BlockingIOError, TimeoutError):
        raise BodyTimeout("the body did not arrive in time") from None
    except (OSError, ValueError, ParseException, ClientDisconnected):
        raise BadRequest("the body could not be read: its framing is broken or the connection was lost") from None
    return data
