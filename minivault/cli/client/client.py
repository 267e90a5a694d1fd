"""A MiniVault server over HTTP, spoken to in its native dialect (NDJSON).

Guarantees: every failure is one of our errors with a sentence a person can act on; an answer is whole or an error;
leaving a stream early closes the connection, which is how the server learns to stop. Requests to this machine ignore
proxy variables, redirects are never followed, so prompts and keys go nowhere but to the address given.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx

from minivault import __version__
from minivault.cli.client.address import Address
from minivault.cli.client.replies import LineParser, error_from_reply, is_ours, parse_object
from minivault.errors import (
    ConfigError,
    DeadlineExceeded,
    LoadFailed,
    ServerError,
    Unavailable,
    Unreachable,
    VaultUnavailable,
)

CONNECT_TIMEOUT_S = 5.0
PROBE_TIMEOUT_S = 5.0
PAUSE_S = 1.0
"""Between two tries of a server that does not say when to come again."""

GENERATE = "/generate"
_GENERATED = re.compile(r'^minivault_engine_tokens_total\{kind="completion"\} (\S+)$', re.MULTILINE)
ONE_REQUEST_EACH = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""A connection for each request: one kept open could be closed by the server just as the next request is sent."""

Result = TypeVar("Result")


class Client:
    """One server. `read_timeout_s` bounds the silence between two pieces; `wait_s` is how long a 503 is tried again."""

    def __init__(
        self,
        address: Address,
        *,
        api_key: str = "",
        read_timeout_s: float = 330.0,
        wait_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self._wait_s, self._clock, self._sleep = wait_s, clock, sleep
        self._http = httpx.Client(
            base_url=address.base_url,
            transport=httpx.HTTPTransport(uds=address.socket, limits=ONE_REQUEST_EACH) if address.socket else None,
            limits=ONE_REQUEST_EACH,
            trust_env=not address.is_loopback,
            headers=request_headers(api_key),
            timeout=timeouts(read_timeout_s),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def probe(self) -> bool:
        """True when a MiniVault answers here. Raises Unreachable when something listens and stays silent."""
        try:
            response = self._http.get("/health", timeout=timeouts(PROBE_TIMEOUT_S))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.RemoteProtocolError):
            return False
        except httpx.TransportError as error:
            message = f"{self.address} takes connections but does not answer /health: {_reason(error)}"
            raise Unreachable(message) from None
        return is_ours(response.status_code, response.content)

    def find(self) -> float | None:
        """Wait until a MiniVault answers here, `wait_s` at most; the seconds still left of that, or None."""
        end = self._clock() + self._wait_s
        while True:
            is_last = self._clock() + PAUSE_S > end
            try:
                if self.probe():
                    return max(0.0, end - self._clock())
            except Unreachable:
                if is_last:
                    raise
            if is_last:
                return None
            self._sleep(PAUSE_S)

    def health(self) -> dict[str, Any]:
        """The server's /health object."""
        return self._retrying(lambda: self._get("/health"))

    def ready(self) -> dict[str, Any]:
        """The server's /ready object; raises Unavailable while it is not ready."""
        return self._retrying(lambda: self._get("/ready"))

    def num_generated(self) -> int | None:
        """Tokens generated so far, by answers that still run as well; None where the server does not tell."""
        with suppress(httpx.TransportError):
            found = _GENERATED.search(self._http.get("/metrics", timeout=timeouts(PROBE_TIMEOUT_S)).text)
            return int(float(found[1])) if found else None
        return None

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        """One whole reply to the request `body` (wire.md §1)."""
        return self._retrying(lambda: self._post(body))

    def stream(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The lines of one streamed reply; the last one has `done`. Closing the iterator stops the generation."""
        response = self._retrying(lambda: self._open(body))
        try:
            yield from self._lines(response)
        finally:
            response.close()

    def _get(self, path: str) -> dict[str, Any]:
        try:
            response = self._http.get(path, timeout=timeouts(PROBE_TIMEOUT_S))
        except httpx.TransportError as error:
            raise Unreachable(f"no server answers at {self.address}: {_reason(error)}") from None
        return self._object(response)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        with connecting(self.address):
            response = self._http.post(GENERATE, json={**body, "stream": False})
        return self._object(response)

    def _open(self, body: dict[str, Any]) -> httpx.Response:
        request = self._http.build_request("POST", GENERATE, json={**body, "stream": True})
        with connecting(self.address):
            response = self._http.send(request, stream=True)
            if response.status_code == httpx.codes.OK:
                return response
            try:
                raise error_from_reply(response.status_code, response.headers, response.read())
            finally:
                response.close()

    def _lines(self, response: httpx.Response) -> Iterator[dict[str, Any]]:
        parser = LineParser()
        with reading():
            for data in response.iter_bytes():
                yield from parser.feed(data)
        parser.close()

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code != httpx.codes.OK:
            raise error_from_reply(response.status_code, response.headers, response.content)
        return parse_object(response.content)

    def _retrying(self, call: Callable[[], Result]) -> Result:
        end = self._clock() + self._wait_s
        while True:
            try:
                return call()
            except (Unavailable, Unreachable) as error:
                pause = float(getattr(error, "retry_after_s", PAUSE_S))
                if isinstance(error, (VaultUnavailable, LoadFailed)) or self._clock() + pause > end:
                    raise
            self._sleep(pause)


def request_headers(api_key: str) -> dict[str, str]:
    """The headers of every request; raises ConfigError for a key that no header can carry."""
    headers = {"User-Agent": f"minivault-cli/{__version__}", "Accept": "application/x-ndjson, application/json"}
    if not api_key:
        return headers
    if not api_key.isascii() or not api_key.isprintable():
        raise ConfigError("MINIVAULT_API_KEY holds characters that no key has", field="MINIVAULT_API_KEY")
    return {**headers, "Authorization": f"Bearer {api_key}"}


def timeouts(read_timeout_s: float) -> httpx.Timeout:
    """Timeouts in seconds: short to connect, `read_timeout_s` for a silent server."""
    return httpx.Timeout(read_timeout_s, connect=min(CONNECT_TIMEOUT_S, read_timeout_s), pool=None)


@contextmanager
def connecting(address: Address) -> Iterator[None]:
    """Turn httpx's errors before the first byte into ours. Only an Unreachable server has not seen the request."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Unreachable(f"no server answers at {address}: {_reason(error)}") from None
    except httpx.ReadTimeout:
        raise DeadlineExceeded(f"{address} took the request but sent nothing back in time") from None
    except httpx.TransportError as error:
        raise ServerError(f"{address} broke off before its reply: {_reason(error)}") from None
    except httpx.InvalidURL as error:
        raise ConfigError(f"{address} is no server address: {error}", field="url") from None


@contextmanager
def reading() -> Iterator[None]:
    """Turn httpx's errors inside a body into ours."""
    try:
        yield
    except httpx.TransportError as error:
        raise ServerError(f"the answer was cut: {_reason(error)}") from None
    except httpx.DecodingError as error:
        raise ServerError(f"the server's reply cannot be decoded: {error}") from None


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.split("] ", 1)[1] if text.startswith("[Errno ") and "] " in text else text
