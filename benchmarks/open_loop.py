"""Requests at a fixed rate, whether or not earlier ones have been answered: what overload is made of."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Offered:
    """What became of them. Refused is 429 or 503; latencies in seconds, each on its own connection."""

    seconds: float
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    num_failed: int = 0

    @property
    def accepted_per_s(self) -> float:
        return len(self.accepted_s) / self.seconds


def offer(address: tuple[str, int], body: dict[str, Any], *, per_s: float, seconds: float) -> Offered:
    """POST `body` to /generate `per_s` times a second for `seconds`, and wait for every answer."""
    return asyncio.run(_offer(address, _request(body), per_s, seconds))


async def _offer(address: tuple[str, int], request: bytes, per_s: float, seconds: float) -> Offered:
    offered = Offered(seconds)
    begun = time.monotonic()
    tasks = []
    for number in range(int(per_s * seconds)):
        await asyncio.sleep(max(0.0, begun + number / per_s - time.monotonic()))
        tasks.append(asyncio.create_task(_one(address, request, offered)))
    await asyncio.gather(*tasks)
    offered.seconds = time.monotonic() - begun
    return offered


async def _one(address: tuple[str, int], request: bytes, offered: Offered) -> None:
    begun = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        reply = await reader.read()
        writer.close()
    except OSError:
        offered.num_failed += 1
        return
    took = time.monotonic() - begun
    status = reply.split(b" ", 2)[1] if reply.startswith(b"HTTP/") else b""
    if status == b"200":
        offered.accepted_s.append(took)
    elif status in (b"429", b"503"):
        offered.refused_s.append(took)
    else:
        offered.num_failed += 1


def _request(body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
