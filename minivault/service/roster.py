"""The models of this server, found by name."""

from __future__ import annotations

from collections.abc import Iterator

from minivault.config import Settings
from minivault.errors import ModelNotFound
from minivault.service.local import LocalModel
from minivault.service.model import Model
from minivault.wire.names import is_same_model


class Roster:
    """One model or more; the first answers where a request names none."""

    def __init__(self, *models: Model) -> None:
        self._models = models

    @property
    def default(self) -> Model:
        return self._models[0]

    def close(self) -> None:
        """End every generation with `shutdown` and free the models."""
        for model in self._models:
            model.close()

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def find(self, name: str) -> Model | None:
        """The model that is called so. Raises Loading or LoadFailed where a model cannot say its name yet."""
        return next((model for model in self._models if is_same_model(name, model.info.name)), None)

    def get(self, name: str | None) -> Model:
        """The model that is called so; None asks for the default. Raises ModelNotFound naming those there are."""
        if name is None:
            return self.default
        if (model := self.find(name)) is None:
            known = ", ".join(repr(one.info.name) for one in self._models)
            raise ModelNotFound(f"model {name!r} is not served here; this server runs {known}", field="model")
        return model


def roster_of(settings: Settings) -> Roster:
    """The models that the settings ask for, not yet loading."""
    return Roster(LocalModel(settings))
