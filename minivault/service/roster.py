"""The models of this server, found by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from minivault.config import Settings
from minivault.errors import ModelNotFound
from minivault.service.local import LocalModel
from minivault.service.model import Model
from minivault.service.upstream import Fleet, UpstreamModel
from minivault.wire.names import is_same_model


class Roster:
    """One model or more; the first answers where a request names none."""

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
        """The model that is called so. Raises Loading or LoadFailed where a model cannot say its name yet."""
        return next((model for model in self if is_same_model(name, model.info.name)), None)

    def get(self, name: str | None) -> Model:
        """The model that is called so; None asks for the default. Raises ModelNotFound naming those there are."""
        if name is None:
            return self.default
        if (model := self.find(name)) is None:
            known = ", ".join(repr(one.info.name) for one in self)
            raise ModelNotFound(f"model {name!r} is not served here; this server runs {known}", field="model")
        return model


def roster_of(settings: Settings) -> Roster:
    """The models that the settings ask for, not yet loading."""
    if settings.backend == "upstream":
        return _upstream(settings)
    return Roster(LocalModel(settings))


def _upstream(settings: Settings) -> Roster:
    """The models of engines elsewhere: those that the settings name, or all that there turn out to be."""
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
