"""A request's body as it comes in, piece by piece, without a thread that waits for it.

The poller feeds a `CollectedBody` with bytes; the application reads it as `wsgi.input`. A read before the body has
come raises `BodyPending`, which ends the request without a reply: it is begun again when the body is there.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from gunicorn.http.body import CHUNK_EXT_RE  # type: ignore[import-untyped]

from minivault.errors import TooLarge, Unavailable

MAX_LINE_BYTES = 8190
"""Of a chunk's size, and of all trailers."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(;.*)?", re.DOTALL)

End = Literal["whole", "late", "cut", "broken", "too long", "no room"]


class BodyPending(BaseException):
    """The application wants a body that has not come. No `Exception`: nothing on the way makes a reply of it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How large a body may be, by which setting, and where it is kept meanwhile."""

    num_bytes: int
    setting: str = "MINIVAULT_MAX_BODY_KB"
    is_on_disk: bool = False

    def __str__(self) -> str:
        return f"{self.num_bytes >> 10} KiB ({self.setting})"


class CollectedBody(io.RawIOBase):
    """What has come of a body of `length` bytes, or of chunks where `length` is None; no more than `limit` is kept.

    `check_trailers` is given the lines behind the last chunk and raises for those that may not stand there.
    """

    def __init__(
        self, length: int | None, limit: Limit, check_trailers: Callable[[bytes], object] = lambda _: None
    ) -> None:
        self._framing = _Length(length) if length is not None else _Chunks(limit.num_bytes, check_trailers)
        self.limit = limit
        self._payload: Payload = DiskPayload() if limit.is_on_disk else bytearray()
        self._position = 0
        self.end: End | None = "whole" if length == 0 else None
        """How it ended; None while it is coming."""
        if length is not None and length > limit.num_bytes:
            self.end = "too long"

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body, and return what came behind it."""
        if self.end is not None:
            return data
        try:
            rest = self._framing.take(data, self._payload)
        except OSError:
            self.end = "no room"
            return b""
        except Exception:  # gunicorn's own errors for trailers, and ours for the rest
            self.end = "broken"
            return b""
        if self._framing.is_too_long:
            self.end = "too long"
        elif rest is not None:
            self.end = "whole"
        return rest or b""

    def give_up(self, end: End) -> None:
        """Nothing more will come: the client was too slow, or has gone."""
        self.end = self.end or end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As `io.RawIOBase`. Raises BodyPending while the body is coming, TimeoutError where it came too slowly,
        TooLarge, and ValueError where its framing is broken or a chunk is missing."""
        if self.end is None:
            raise BodyPending
        if self.end == "late":
            raise TimeoutError("the body came too slowly")
        if self.end == "too long":
            raise TooLarge(f"the body is larger than {self.limit}")
        if self.end == "no room":
            raise Unavailable("there is no room on the disk to take the body in", retry_after_s=60)
        if self.end == "broken" or (self.end == "cut" and isinstance(self._framing, _Chunks)):
            raise ValueError("the body's framing is broken")
        piece = self._payload[self._position : self._position + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


class DiskPayload:
    """Bytes in a file without a name, which goes with its last user. Raises OSError where there is no room."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._size = 0

    def extend(self, piece: bytes | bytearray) -> None:
        if self._fd is None:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._fd)
        view = memoryview(bytes(piece))
        while view:
            written = os.pwrite(self._fd, view, self._size)
            self._size += written
            view = view[written:]

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        return b"" if self._fd is None else os.pread(self._fd, part.stop - part.start, part.start)


Payload = bytearray | DiskPayload


class _Length:
    """A body whose length was announced."""

    is_too_long = False

    def __init__(self, length: int) -> None:
        self._left = length

    def take(self, data: bytes, payload: Payload) -> bytes | None:
        """Move the body's bytes to `payload`; what is behind its end, or None while more is to come."""
        payload.extend(data[: self._left])
        rest = data[self._left :]
        self._left = max(0, self._left - len(data))
        return rest if self._left == 0 else None


class _Chunks:
    """A chunked body (RFC 9112, section 7.1), read as strictly as gunicorn reads it. Errors are ValueErrors."""

    def __init__(self, limit: int, check_trailers: Callable[[bytes], object]) -> None:
        self._limit = limit
        self._check_trailers = check_trailers
        self._buffer = bytearray()
        self._step: Callable[[Payload], bool] = self._size
        self._left = 0
        self._is_whole = False
        self.is_too_long = False

    def take(self, data: bytes, payload: Payload) -> bytes | None:
        """As `_Length.take`."""
        self._buffer += data
        while not self._is_whole and not self.is_too_long and self._step(payload):
            pass
        return bytes(self._buffer) if self._is_whole else None

    def _size(self, payload: Payload) -> bool:
        """The line before a chunk. Each step says whether it was taken: False asks for more bytes."""
        line = self._line()
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None or (match[2] is not None and not CHUNK_EXT_RE.fullmatch(match[2])):
            raise ValueError("a chunk's size is none")
        if match[2] is None and line != match[1]:
            raise ValueError("space behind a chunk's size")
        self._left = int(match[1], 16)
        self.is_too_long = len(payload) + self._left > self._limit
        self._step = self._data if self._left else self._trailers
        return True

    def _data(self, payload: Payload) -> bool:
        piece = self._buffer[: self._left]
        del self._buffer[: len(piece)]
        payload.extend(piece)
        self._left -= len(piece)
        if self._left or len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise ValueError("a chunk is longer than its size")
        del self._buffer[:2]
        self._step = self._size
        return True

    def _trailers(self, _payload: Payload) -> bool:
        """The lines behind the last chunk, up to an empty one."""
        if self._buffer.startswith(b"\r\n"):
            end, trailers = 2, b""
        elif (found := self._buffer.find(b"\r\n\r\n")) >= 0:
            end, trailers = found + 4, bytes(self._buffer[:found])
        else:
            _ensure_short(self._buffer)
            return False
        if trailers:
            self._check_trailers(trailers)
        del self._buffer[:end]
        self._is_whole = True
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            _ensure_short(self._buffer)
            return None
        if self._buffer[end - 1 : end] != b"\r":
            raise ValueError("a bare line feed")
        line = bytes(self._buffer[: end - 1])
        _ensure_short(line)
        del self._buffer[: end + 1]
        return line


def _ensure_short(line: bytes | bytearray) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError("a line of the framing is too long")
