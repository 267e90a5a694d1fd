"""What has come of one request on a connection: first its header, then its body. Bytes in, a request out.

Parsing a header stays gunicorn's; here is known only where it ends, and when its body has come whole, came too slowly,
or will never be read. No socket is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gunicorn.http.body import ChunkedReader  # type: ignore[import-untyped]
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.http.message import Request  # type: ignore[import-untyped]
from gunicorn.http.unreader import IterUnreader  # type: ignore[import-untyped]

from minivault.config import Settings
from minivault.worker.body import CollectedBody, Limit

MAX_HEADER_BYTES = 64 << 10
ASK_AFTER_S = 1.0
"""How long a body may follow its header before the application says whether it wants it."""
BAD_REQUEST = b"400 Bad Request"
REFUSALS = {
    LimitRequestLine: b"414 URI Too Long",
    LimitRequestHeaders: b"431 Request Header Fields Too Large",
    ExpectationFailed: b"417 Expectation Failed",
}
"""What a header that cannot be read is answered with; a client's fault is never a 5xx."""

UPLOAD = ("POST", "/v1/files")

Phase = Literal["header", "body", "whole", "malformed"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take to come. Seconds, bytes, and bytes a second."""

    header_s: float
    body_s: float
    body_rate: int
    max_body_bytes: int
    max_upload_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Patience:
        max_body, max_upload = settings.max_body_kb << 10, settings.max_upload_bytes
        return cls(settings.receive_timeout_s, settings.body_timeout_s, settings.body_rate, max_body, max_upload)

    def limit_of(self, method: str, path: str) -> Limit:
        """Of a request's body: files go to the disk as they come."""
        if (method, path) == UPLOAD:
            return Limit(self.max_upload_bytes, "MINIVAULT_MAX_FILE_MB", is_on_disk=True)
        return Limit(self.max_body_bytes)


class Reception:
    """One request. It is fed until its `phase` is `whole` or `malformed`; `rest` then belongs to the next one.

    It stands in for gunicorn's parser where a thread asks a connection for its request.
    """

    def __init__(self, cfg: Any, client: Any, patience: Patience, began: float, number: int = 1) -> None:
        self._cfg, self._client, self._patience, self._began = cfg, client, patience, began
        self.number = number
        self.unreader = IterUnreader(())
        """What came behind this request, where gunicorn looks for it."""
        self.request: Any = None
        self.body = CollectedBody(0, Limit(0))
        self.refusal = b""
        """The status of a request that cannot be read."""
        self.num_bytes = 0
        self.num_body_pieces = 0
        self.is_screened = False
        """True once the application has seen the header and asked for the body."""
        self.expects_continue = False
        self._head = bytearray()
        self._num_body_bytes = 0
        self._must_close = False

    @property
    def phase(self) -> Phase:
        if self.refusal:
            return "malformed"
        if self.request is None:
            return "header"
        return "body" if self.body.end is None else "whole"

    @property
    def deadline(self) -> float:
        """When to stop waiting, on the caller's clock: each byte of a body buys time, up to a limit for it whole. Of
        a body that nobody has asked for, when to ask."""
        if self.request is None:
            return self._began + self._patience.header_s
        if not self.is_screened:
            return self._began + ASK_AFTER_S
        bought_s = self._patience.header_s + self._num_body_bytes / self._patience.body_rate
        return self._began + min(bought_s, self._patience.body_s)

    @property
    def is_waiting(self) -> bool:
        """True when more must come before anything can be done.

        A body that comes right behind its header is waited for. Before more of a slower one is kept, the application
        is to say whether it wants it at all.
        """
        is_slow = self.expects_continue or self.num_body_pieces > 1
        return self.phase == "header" or (self.phase == "body" and (self.is_screened or not is_slow))

    def feed(self, data: bytes, now: float) -> None:
        """Take the next bytes from the client."""
        if not self.body.limit.is_on_disk:
            self.num_bytes += len(data)
        if self.phase == "header":
            self._head += data
            if not _is_decided(self._head):
                return
            self._began = now
            data = self._parse()
        if self.phase == "body":
            self.num_body_pieces += 1
            self._num_body_bytes += len(data)
            data = self.body.feed(data)
        self.unreader.unread(self.unreader.take_buffered() + data)

    def begin(self, *, may_keep: bool) -> None:
        """Before the application is run: the connection is closed behind the reply unless the body has been read whole
        and the connection `may` be kept."""
        self.request.must_close = self._must_close or self.body.end != "whole" or not may_keep

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The request, as gunicorn's parser gives it."""
        return self.request

    def finish_body(self, deadline: float | None = None) -> bool:  # noqa: ARG002 - gunicorn's signature
        """Whether another request may follow on the connection. Nothing is drained."""
        return self.body.end == "whole"

    def _parse(self) -> bytes:
        """Read the header; what came behind it."""
        head, self._head = bytes(self._head), bytearray()
        try:
            request = Request(self._cfg, IterUnreader([head]), self._client, self.number)
        except (ParseException, OSError, StopIteration) as error:
            is_too_long = len(head) > MAX_HEADER_BYTES and not isinstance(error, ParseException)
            self.refusal = REFUSALS[LimitRequestHeaders] if is_too_long else REFUSALS.get(type(error), BAD_REQUEST)
            return b""
        self._accept(request)
        rest: bytes = request.unreader.take_buffered()
        return rest

    def _accept(self, request: Any) -> None:
        reader = request.body.reader
        length = None if isinstance(reader, ChunkedReader) else reader.length
        self.body = CollectedBody(
            length,
            self._patience.limit_of(request.method, request.path),
            lambda lines: request.parse_headers(lines, from_trailer=True),
        )
        # Said by us when the application wants the body, not by gunicorn before anyone was asked.
        self.expects_continue, request._expected_100_continue = request._expected_100_continue, False
        self._must_close = request.must_close
        self.request, request.body = request, self.body


def _is_decided(head: bytes | bytearray) -> bool:
    """True when no more of a header is needed to know what to do with it."""
    return _is_whole(head) or not _may_be_http(head) or len(head) > MAX_HEADER_BYTES


def _is_whole(head: bytes | bytearray) -> bool:
    """True when the header ends, also where it ends wrongly (bare line feeds)."""
    return b"\r\n\r\n" in head or b"\n\n" in head


def _may_be_http(head: bytes | bytearray) -> bool:
    """False for TLS and other protocols, whose header would never end."""
    return head.lstrip(b"\r\n")[:1].isupper() or not head.strip(b"\r\n")
