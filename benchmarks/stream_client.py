"""A load generator light enough not to be what is measured: raw sockets, one asyncio loop, no HTTP library.

Speaks just enough HTTP/1.1 to read a chunked NDJSON stream and to stamp each line as it arrives.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Stream:
    """One streamed answer: when it was asked for, when each piece came (seconds), and its last line."""

    started: float
    arrivals: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def first_token_s(self) -> float:
        return self.arrivals[0] - self.started

    @property
    def gaps_s(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)]

    @property
    def num_tokens(self) -> int:
        return int(self.last["usage"]["completion_tokens"])


async def ask(port: int, body: dict[str, Any], delay_s: float = 0.0) -> Stream:
    """Stream one answer from 127.0.0.1. Raises RuntimeError for anything but a whole answer."""
    await asyncio.sleep(delay_s)
    payload = json.dumps(body).encode()
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /stream-generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(payload)}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + payload)
    stream = Stream(started)
    try:
        await _read(reader, stream)
    finally:
        writer.close()
    if not stream.last.get("done") or "error" in stream.last:
        raise RuntimeError(f"no whole answer: {stream.last}")
    return stream


async def _read(reader: asyncio.StreamReader, stream: Stream) -> None:
    status = await reader.readline()
    while (await reader.readline()).strip():
        pass
    if b" 200 " not in status:
        raise RuntimeError(f"{status!r} {await reader.read()!r}")
    while size := int((await reader.readline()).strip() or b"0", 16):
        data = await reader.readexactly(size + 2)
        now = time.perf_counter()
        for line in data.splitlines():
            if line.startswith(b'{"token"'):
                stream.arrivals.append(now)
            elif line:
                stream.last = json.loads(line)


def ask_all(port: int, bodies: list[dict[str, Any]], delays_s: list[float] | None = None) -> list[Stream]:
    """Stream every body at once (or each after its delay); blocks until all have ended."""

    async def run() -> list[Stream]:
        delays = delays_s or [0.0] * len(bodies)
        return await asyncio.gather(*(ask(port, body, delay) for body, delay in zip(bodies, delays, strict=True)))

    return asyncio.run(run())
