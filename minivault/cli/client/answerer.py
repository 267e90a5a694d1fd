"""Where a command's answers come from: a running server if there is one, else a model loaded here.

An address that was asked for (`--url` or MINIVAULT_URL) is the only one tried. Otherwise the server's own bind address
is tried, for as long as `--wait` says, and when no MiniVault answers there the model is loaded into this process,
saying so on stderr.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from minivault.cli.client.address import Address, bound_address, parse_address
from minivault.cli.show.terminal import note
from minivault.config import Settings
from minivault.errors import ConfigError, Unreachable

if TYPE_CHECKING:
    from minivault.cli.client.client import Client

SILENCE_S = 30.0
"""How long after its own deadline a server may stay silent before it is given up."""


class Answerer(Protocol):
    """Who answers. Requests and replies are the native dialect's objects (wire.md §1)."""

    def generate(self, body: dict[str, Any]) -> dict[str, Any]: ...

    def stream(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """What the user said about where to ask: `url` or None, `is_local`, and seconds to wait for a busy server."""

    url: str | None = None
    is_local: bool = False
    wait_s: float = 0.0


@contextmanager
def open_answerer(settings: Settings, target: Target, api: str) -> Iterator[Answerer]:
    """Who answers one command; `api` names the command in records made here."""
    if target.url and target.is_local:
        raise click.UsageError("--url and --local exclude each other.")
    if target.wait_s and target.is_local:
        raise click.UsageError("--wait and --local exclude each other: nobody is waited for.")
    client = None if target.is_local else find_server(settings, target)
    if client is not None:
        with client:
            yield client
        return
    model = settings.model if settings.backend == "local" else settings.backend
    why = "" if target.is_local else f"No server{_at(settings)}: "
    note(f"{why}loading {model} into this process.")
    with _local_answerer(settings, api) as answerer:
        yield answerer


@contextmanager
def open_client(settings: Settings, target: Target) -> Iterator[Client]:
    """A client for a command that needs a server; raises Unreachable when there is none."""
    client = find_server(settings, target)
    if client is None:
        raise Unreachable(f"no server answers{_at(settings)}; start one with `minivault serve` or name it with --url")
    with client:
        yield client


def find_server(settings: Settings, target: Target) -> Client | None:
    """A client for the server that was asked for, or for the one that answers at the bind address."""
    asked = target.url or settings.url
    if asked:
        return _client(settings, _parse(asked, "--url" if target.url else "MINIVAULT_URL"), target.wait_s)
    address = bound_address(settings.bind)
    if address is None:
        return None
    with _client(settings, address, target.wait_s) as probe:
        left_s = probe.find()
    return None if left_s is None else _client(settings, address, left_s)


def _client(settings: Settings, address: Address, wait_s: float) -> Client:
    from minivault.cli.client.client import Client

    return Client(address, api_key=settings.api_key, read_timeout_s=settings.deadline_s + SILENCE_S, wait_s=wait_s)


def _parse(text: str, name: str) -> Address:
    try:
        return parse_address(text)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.message}", field=name) from None


@contextmanager
def _local_answerer(settings: Settings, api: str) -> Iterator[Answerer]:
    from minivault.cli.client.local import LocalAnswerer
    from minivault.interaction import open_local

    _keep_log_off_stderr(settings)
    with open_local(settings) as recorder:
        yield LocalAnswerer(recorder, api)


def _keep_log_off_stderr(settings: Settings) -> None:
    """What goes wrong is told once, as the command's error; the application log is for those who ask for it."""
    log = logging.getLogger("minivault")
    if settings.log_level == "debug":
        logging.basicConfig()
        log.setLevel(logging.DEBUG)
    elif not log.handlers:
        log.addHandler(logging.NullHandler())


def _at(settings: Settings) -> str:
    address = bound_address(settings.bind)
    return f" at {address}" if address else ""
