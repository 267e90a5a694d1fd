"""Load: many streamed requests at once, each timed from its first byte out to its last line in.

Clients are closed-loop: each of the `concurrency` clients sends its next request when the one before has ended. Times
are those of the caller, so a refused request that is tried again counts its waiting.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from minivault.cli.client.address import Address
from minivault.cli.client.client import ONE_REQUEST_EACH, connecting, reading, request_headers, timeouts
from minivault.cli.client.foreign import NATIVE, Speech
from minivault.cli.client.replies import error_from_reply
from minivault.errors import LoadFailed, MiniVaultError, Overloaded, Unavailable, VaultUnavailable


@dataclass(frozen=True, slots=True)
class Server:
    """A server under load: what to call it, where it is, how it is spoken to, which model it is asked for."""

    name: str
    address: Address
    speech: Speech = NATIVE
    model: str = ""
    api_key: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are seconds on the monotonic clock; `error` is what went wrong, or None."""

    started_s: float
    ended_s: float
    first_token_s: float | None = None
    last_token_s: float | None = None
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_tokens: int = 0
    num_retries: int = 0
    error: MiniVaultError | None = None


@dataclass(slots=True)
class Tally:
    """How a run is going, for a display to read at any time."""

    num_requests: int
    num_running: int = 0
    num_pieces: int = 0
    num_refusals: int = 0
    samples: list[Sample] = field(default_factory=list)

    @property
    def first_error(self) -> MiniVaultError | None:
        return next((sample.error for sample in self.samples if sample.error is not None), None)

    @property
    def num_failed(self) -> int:
        return sum(sample.error is not None for sample in self.samples)


class Load:
    """A run of `bodies` (native requests, in order) by `concurrency` clients against one server, in its dialect."""

    def __init__(
        self,
        server: Server,
        bodies: Sequence[dict[str, Any]],
        *,
        concurrency: int,
        is_retrying: bool = False,
        read_timeout_s: float = 330.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.tally = Tally(len(bodies))
        self._server, self._address, self._concurrency = server, server.address, concurrency
        self._bodies = [server.speech.encode(body, server.model) for body in bodies]
        self._is_retrying, self._clock = is_retrying, clock
        self._headers, self._timeouts = request_headers(server.api_key), timeouts(read_timeout_s)

    def run(self) -> Tally:
        """Blocks until every request has ended; requests that fail are samples, not exceptions."""
        asyncio.run(self._run())
        return self.tally

    async def _run(self) -> None:
        todo = iter(self._bodies)
        async with httpx.AsyncClient(
            base_url=self._address.base_url,
            transport=httpx.AsyncHTTPTransport(uds=self._address.socket, limits=ONE_REQUEST_EACH),
            headers=self._headers,
            timeout=self._timeouts,
        ) as http:
            await asyncio.gather(*(self._client(http, todo) for _ in range(self._concurrency)))

    async def _client(self, http: httpx.AsyncClient, todo: Iterator[dict[str, Any]]) -> None:
        for body in todo:
            self.tally.num_running += 1
            self.tally.samples.append(await self._request(http, body))
            self.tally.num_running -= 1

    async def _request(self, http: httpx.AsyncClient, body: dict[str, Any]) -> Sample:
        started_s, num_retries = self._clock(), 0
        while True:
            try:
                return await self._attempt(http, body, started_s, num_retries)
            except MiniVaultError as error:
                self.tally.num_refusals += isinstance(error, Overloaded)
                pause_s = self._pause_s(error)
                if pause_s is None:
                    return Sample(started_s, self._clock(), num_retries=num_retries, error=error)
            num_retries += 1
            await asyncio.sleep(pause_s)

    async def _attempt(
        self, http: httpx.AsyncClient, body: dict[str, Any], started_s: float, num_retries: int
    ) -> Sample:
        with connecting(self._address):
            request = http.build_request("POST", self._server.speech.path, json=body)
            response = await http.send(request, stream=True)
        try:
            await _ensure_ok(response)
            arrivals, usage = await self._read(response)
        finally:
            await response.aclose()
        return self._sample(started_s, num_retries, arrivals, usage)

    async def _read(self, response: httpx.Response) -> tuple[list[float], dict[str, int]]:
        """When each piece came, and the usage of the last line."""
        parser, arrivals, usage = self._server.speech.parser(), list[float](), dict[str, int]()
        with reading():
            async for data in response.aiter_bytes():
                for line in parser.feed(data):
                    if line.get("token"):
                        arrivals.append(self._clock())
                        self.tally.num_pieces += 1
                    usage = line.get("usage", usage)
        parser.close()
        return arrivals, usage

    def _sample(self, started_s: float, num_retries: int, arrivals: list[float], usage: dict[str, int]) -> Sample:
        return Sample(
            started_s,
            self._clock(),
            first_token_s=arrivals[0] if arrivals else None,
            last_token_s=arrivals[-1] if arrivals else None,
            num_prompt_tokens=usage.get("prompt_tokens", 0),
            num_cached_tokens=usage.get("cached_tokens", 0),
            num_tokens=usage.get("completion_tokens", 0),
            num_retries=num_retries,
        )

    def _pause_s(self, error: MiniVaultError) -> float | None:
        """Seconds until the next try: what the server asked for and up to a quarter more, so that clients spread."""
        if (
            not self._is_retrying
            or not isinstance(error, Unavailable)
            or isinstance(error, (VaultUnavailable, LoadFailed))
        ):
            return None
        return error.retry_after_s * random.uniform(1.0, 1.25)


async def _ensure_ok(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.OK:
        with reading():
            raise error_from_reply(response.status_code, response.headers, await response.aread())
