"""How many tokens a model reads here at once, and the memory for their keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.config import Settings
from minivault.errors import ConfigError
from minivault.service.memory import free_bytes

NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
"""What configs call it."""
SHARE = 2
"""The cache may take this part of what is free: its memory is taken as it is needed, and others need some too."""
UNSAID = 2048
"""Where a model does not say how much it reads, and no setting does."""


def own_context(config: Mapping[str, Any]) -> int | None:
    """How many tokens the model was made to read; None where its config does not say."""
    text = config.get("text_config")
    places = (text, config) if isinstance(text, Mapping) else (config,)
    found = (place.get(name) for place in places for name in NAMES)
    return next((number for number in found if isinstance(number, int) and number > 0), None)


def wanted_context(settings: Settings, config: Mapping[str, Any]) -> int:
    """The model's own context, or what the setting lowers it to. Raises ConfigError where the setting asks for more."""
    own = own_context(config)
    if own is not None and settings.context > own:
        message = f"MINIVAULT_CONTEXT={settings.context}: this model reads {own} tokens at most; leave it out for all"
        raise ConfigError(message, field="MINIVAULT_CONTEXT")
    return settings.context or own or UNSAID


def cache_bytes(settings: Settings, free: int | None = None) -> int:
    """Memory for keys and values in each worker; `free` is what there is for all, measured where it is not given."""
    if settings.cache_mb:
        return settings.cache_mb << 20
    return (free_bytes() if free is None else free) // SHARE // settings.workers


def raised_by(settings: Settings, config: Mapping[str, Any], context: int) -> str:
    """The setting that would allow for more than `context`; empty where that is all that the model reads."""
    if context < wanted_context(settings, config):
        return "MINIVAULT_CACHE_MB"
    own = own_context(config)
    return "" if context == own else "MINIVAULT_CONTEXT"
