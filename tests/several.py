"""Several scripted models that share one room, of which not all fit at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from minivault.config import Settings
from minivault.service import Loaded, LocalModel, Room, Roster
from tests.scripted import backend


def called(name: str) -> Callable[[Settings], Loaded]:
    """A backend of a model of that name, with a fingerprint of its own."""

    def load(settings: Settings) -> Loaded:
        loaded = backend(settings)
        return replace(loaded, info=replace(loaded.info, name=name, fingerprint=f"mv2:{name}"))

    return load


def roster(settings: Settings, *names: str, num_fitting: int = 1) -> Roster:
    """Models of those names, of which `num_fitting` fit into memory together."""
    room = Room(num_fitting)
    models = []
    for name in names:
        info = replace(called(name)(settings).info, fingerprint="", has_chat=True)
        models.append(LocalModel(settings, called(name), room, known=info, need_bytes=1))
    return Roster(*models)
