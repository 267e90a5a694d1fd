"""Content codings: unpacks gzip and deflate, within bounds that hold before anything is unpacked.

What a few bytes may unpack to is bounded twice: by the size any body may have, and by a ratio that text does not reach.
"""

from __future__ import annotations

import zlib

from minivault.errors import BadRequest, TooLarge, UnsupportedMediaType

FIELD = "Content-Encoding"
PLAIN, GZIP, DEFLATE = "identity", "gzip", "deflate"
NAMES = {"": PLAIN, PLAIN: PLAIN, GZIP: GZIP, "x-gzip": GZIP, DEFLATE: DEFLATE}
MAX_RATIO = 200
FREE_BYTES = 64 << 10
"""A body that unpacks to no more than this may have any ratio: a short prompt of one repeated word is a prompt."""
MAX_MEMBERS = 16
GZIP_WINDOW, ZLIB_WINDOW, RAW_WINDOW = 31, 15, -15
ZLIB_METHOD = 8


def known_coding(name: str) -> str:
    """One of the codings above. Raises UnsupportedMediaType for any other, and for several at once."""
    coding = NAMES.get(name.strip().lower())
    if coding is None:
        raise UnsupportedMediaType(f"the body is {name[:40]}-encoded: send it plain, gzip or deflate", field=FIELD)
    return coding


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """What a packed body holds. Raises TooLarge beyond `limit` or the ratio, BadRequest for what is badly packed."""
    allowed = min(limit, max(FREE_BYTES, MAX_RATIO * len(body)))
    try:
        data = _inflated(body, coding, allowed)
    except zlib.error:
        raise BadRequest(f"the body is not {coding}: it cannot be unpacked", field=FIELD) from None
    if len(data) <= allowed:
        return data
    if allowed == limit:
        raise TooLarge(f"the body unpacks to more than {limit >> 10} KiB (MINIVAULT_MAX_BODY_KB)")
    raise TooLarge(f"the body unpacks to more than {MAX_RATIO} times its size: send it plain", field=FIELD)


def _inflated(body: bytes, coding: str, allowed: int) -> bytes:
    """At most one byte more than allowed. A gzip body may have a few members; nothing else may follow."""
    data, rest = b"", body
    for _ in range(MAX_MEMBERS if coding == GZIP else 1):
        inflater = zlib.decompressobj(_window(rest, coding))
        data += inflater.decompress(rest, allowed + 1 - len(data))
        if len(data) > allowed:
            return data
        if not inflater.eof:
            raise BadRequest(f"the body ended within its {coding} data", field=FIELD)
        rest = inflater.unused_data
        if not rest:
            return data
    raise BadRequest(f"the body goes on after its {coding} data", field=FIELD)


def _window(data: bytes, coding: str) -> int:
    """How to begin. `deflate` means zlib's format; some clients send what is inside it alone."""
    if coding == GZIP:
        return GZIP_WINDOW
    has_header = len(data) >= 2 and data[0] & 15 == ZLIB_METHOD and int.from_bytes(data[:2], "big") % 31 == 0
    return ZLIB_WINDOW if has_header else RAW_WINDOW
