"""The models of this server, found by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from minivault.config import Settings
from minivault.errors import Draining, LoadFailed, Loading, ModelError, ModelNotFound, Unavailable
from minivault.service.backends import budget_bytes, described, each_model, ensure_unmarked, need_bytes
from minivault.service.local import LocalModel
from minivault.service.model import Model, ModelStatus
from minivault.service.room import Room
from minivault.service.store import store
from minivault.service.upstream import Fleet, UpstreamModel
from minivault.types import ModelInfo
from minivault.wire.names import is_same_model

log = logging.getLogger("minivault.service")


class Roster:
    """One model or more; the first answers where a request names none, and is loaded at start."""

    def __init__(self, *models: Model, more: Callable[[], Iterable[Model]] = tuple) -> None:
        """`more` gives models that are found out later."""
        self._models = models
        self._more = more

    @property
    def default(self) -> Model:
        return self._models[0]

    def close(self) -> None:
        """End every generation with `shutdown` and free the models."""
        for model in self:
            model.close()

    def __iter__(self) -> Iterator[Model]:
        yield from self._models
        yield from self._more()

    def find(self, name: str) -> Model | None:
        """The model that is called so, loaded or not. Raises Loading or LoadFailed while one cannot say its name."""
        unknown: Unavailable | None = None
        for model in self:
            try:
                if is_same_model(name, model.info.name):
                    return model
            except Unavailable as error:
                unknown = unknown or error
        if unknown is not None:
            raise unknown
        return None

    def get(self, name: str | None) -> Model:
        """The model that is called so; None asks for the default. Raises ModelNotFound naming those there are."""
        if name is None:
            return self.default
        if (model := self.find(name)) is None:
            known = ", ".join(repr(info.name) for info in self.infos())
            raise ModelNotFound(f"model {name!r} is not served here; this server runs {known}", field="model")
        return model

    def infos(self) -> list[ModelInfo]:
        """What is known of those of which something is. Raises Loading or LoadFailed where that is none."""
        found = list[ModelInfo]()
        for model in self:
            with suppress(Unavailable):
                found.append(model.info)
        return found or [self.default.info]

    def of_record(self, record: Mapping[str, Any]) -> Model:
        """The model that made a record; the default where no model here is called like that one."""
        name = str(record.get("model"))
        try:
            return self.find(name) or self.default
        except Loading:  # a backend of somebody's own says its model's name only once that is there
            self.default.wait_loaded()
            return self.find(name) or self.default

    # -- all of them together -------------------------------------------------------------------------------------

    def status(self) -> ModelStatus:
        """What all models do together; the state is that of the default, whose rest keeps nobody from being served."""
        every = [model.status() for model in self]
        first = every[0]
        stats, cache = Counter[str](), Counter[str]()
        for one in every:
            stats.update(one.stats)
            cache.update(one.cache)
        running, waiting = sum(one.running for one in every), sum(one.waiting for one in every)
        state = "ready" if first.state == "resting" else first.state
        return ModelStatus(state, first.reason, running, waiting, dict(stats), dict(cache))

    @property
    def is_ready(self) -> bool:
        """Whether a request that names no model would be served. Asked several times for each connection."""
        return self.default.status().state in ("ready", "resting")

    def ensure_ready(self) -> None:
        """Raises Loading, LoadFailed or Draining while a request that names no model would not be served."""
        self.default.start()
        status = self.default.status()
        if status.state == "draining":
            raise Draining("the server is stopping", retry_after_s=5)
        if status.state == "failed":
            raise LoadFailed(status.reason, retry_after_s=5)
        if status.state != "resting":
            self.default.ensure_loaded()


def roster_of(settings: Settings) -> Roster:
    """The models that the settings ask for, not yet loading."""
    if settings.backend == "upstream":
        return _upstream(settings)
    if settings.backend != "local":
        return Roster(LocalModel(settings))
    room, every = Room(budget_bytes(settings)), each_model(settings)
    if len(every) > 1:
        log.info("%d models share %d MB of memory in each worker (MINIVAULT_MODELS_MB)", len(every), room.budget_mb)
    return Roster(*(_local(one, room) for one in every))


def _local(settings: Settings, room: Room) -> LocalModel:
    """One from the store. What its files say is known before it is loaded, unless something is wrong with them."""
    try:
        files = store(settings).resolve(settings.model)
        known = described(settings, files)
        need = need_bytes(settings, files)
    except ModelError as error:
        log.warning("%s", error.message)
        return LocalModel(settings, room=room)
    return LocalModel(settings, room=room, known=known, need_bytes=need)


def _upstream(settings: Settings) -> Roster:
    """The models of engines elsewhere: those that the settings name, or all that there turn out to be."""
    ensure_unmarked(settings)
    fleet = Fleet(settings)
    named = [UpstreamModel(settings, fleet, name) for name in fleet.names()]
    if named:
        return Roster(*named)
    first, others = UpstreamModel(settings, fleet), dict[str, UpstreamModel]()

    def listed() -> list[Model]:
        for name in fleet.names()[1:]:
            others.setdefault(name, UpstreamModel(settings, fleet, name))
        return [model for name, model in others.items() if name != first.info.name]

    return Roster(first, more=listed)
