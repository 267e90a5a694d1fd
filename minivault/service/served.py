"""What a backend hands over: a model's facts, its tokenizer and a runner that computes it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from minivault.config import Settings
from minivault.errors import ConfigError
from minivault.types import ModelInfo, Tokenizer

if TYPE_CHECKING:
    from minivault.engine.runner import Runner


@dataclass(frozen=True, slots=True)
class ServedModel:
    info: ModelInfo
    tokenizer: Tokenizer
    runner: Runner


Backend = Callable[[Settings], ServedModel]


def resolve_backend(settings: Settings) -> Backend:
    """The function that loads what `MINIVAULT_BACKEND` names. Raises ConfigError if there is no such function."""
    if settings.backend == "local":
        from minivault.service.local import load_local

        return load_local
    module, _, function = settings.backend.partition(":")
    try:
        return cast(Backend, getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"MINIVAULT_BACKEND={settings.backend!r}: {error}", field="MINIVAULT_BACKEND") from None
