"""Fits a dialect that encodes events as objects to the contract of `streaming`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minivault.errors import MiniVaultError
from minivault.types import Delta, Event, Failed, Finished, Started


class ObjectStream:
    """A stream of one interaction whose dialect encodes events as objects; `frame` puts an object on the wire."""

    def __init__(
        self,
        encode: Callable[[Event], list[dict[str, Any]]],
        frame: Callable[[dict[str, Any]], bytes],
        content_type: str,
        tail: bytes = b"",
    ) -> None:
        self._encode, self._frame, self._tail = encode, frame, tail
        self.content_type = content_type

    def start(self) -> bytes:
        return self._frames(Started(0))

    def delta(self, delta: Delta) -> bytes:
        return self._frames(delta)

    def finish(self, finished: Finished) -> bytes:
        return self._frames(finished) + self._tail

    def fail(self, error: MiniVaultError) -> bytes:
        return self._frames(Failed(error))

    def _frames(self, event: Event) -> bytes:
        return b"".join(map(self._frame, self._encode(event)))
