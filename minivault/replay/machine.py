"""The models of one machine, as records name them: those that are served, and those in its store, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from minivault.config import Settings
from minivault.errors import Loading, Unavailable
from minivault.service import LocalModel, Model, roster_of
from minivault.service.store import store
from minivault.wire.names import is_same_model

Records = list[Mapping[str, Any]]


class Machine:
    """What the settings name, and beyond it what was pulled or prepared. `told` hears of each model that is loaded."""

    def __init__(self, settings: Settings, told: Callable[[str], None] = lambda _name: None) -> None:
        self._settings, self._told = settings, told
        self.roster = roster_of(settings)

    def by_model(self, records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Model | None, Records]]:
        """All records, those of one model together, each with its model: None where that is not here. One that is not
        served is freed before the next."""
        groups = dict[str, Records]()
        for record in records:
            groups.setdefault(str(record.get("model")), []).append(record)
        for name, made_by_it in groups.items():
            if (model := self._served(name)) is not None:
                self._told(name)
                yield model, made_by_it
            elif (stored := self._stored(name)) is None:
                yield None, made_by_it
            else:
                self._told(name)
                try:
                    yield stored, made_by_it
                finally:
                    stored.close()

    def close(self) -> None:
        """Free the models."""
        self.roster.close()

    def _served(self, name: str) -> Model | None:
        with suppress(Unavailable):
            try:
                return self.roster.find(name)
            except Loading:
                self.roster.default.wait_loaded()
                return self.roster.find(name)
        return None

    def _stored(self, name: str) -> Model | None:
        if self._settings.backend not in ("local", "upstream"):
            return None
        for files in store(self._settings).list():
            if is_same_model(name, files.name):
                return LocalModel(replace(self._settings, backend="local", model=files.reference))
        return None
