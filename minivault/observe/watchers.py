"""All who watch a server, as one; nobody, until a worker has its settings."""

from __future__ import annotations

from minivault.config import Settings
from minivault.observe.ended import Ended, Refused, Watcher
from minivault.observe.request_log import RequestLog
from minivault.observe.traces import Traces, ensure_installed


class Watchers:
    """Passes on what it is told. Each worker opens it after its fork: those who watch have threads."""

    def __init__(self) -> None:
        self._all: list[Watcher] = []

    def open(self, settings: Settings) -> None:
        """Begin to tell those whom the settings name."""
        if settings.request_log != "off":
            self._all.append(RequestLog(settings.request_log))
        if settings.otel_endpoint:
            self._all.append(Traces(settings.otel_endpoint))

    @staticmethod
    def check(settings: Settings) -> None:
        """Raise ConfigError where what the settings ask for is not installed."""
        if settings.otel_endpoint:
            ensure_installed()

    def ended(self, ended: Ended) -> None:
        for one in self._all:
            one.ended(ended)

    def refused(self, refused: Refused) -> None:
        for one in self._all:
            one.refused(refused)

    def close(self) -> None:
        for one in self._all:
            one.close()
        self._all = []
