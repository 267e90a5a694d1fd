"""What memory a model needs before it answers anybody, told from its files, and whether there is so much.

Weights of the exact engine are mapped: all workers of a server share them. All else each worker has for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.config import Settings
from minivault.errors import ModelError
from minivault.families import family_of, text_of
from minivault.models import ModelFiles, ModelStore

LEAST_TOKENS = 512
"""A cache of fewer would be of no use."""
BESIDE_BYTES, TOKEN_BYTES = 25_000_000, 800
"""What a process with a model was measured to have beside weights and cache, and what each token it knows adds."""
SCALE_BITS = 0.5
"""Each weight's part of the scale that it shares with others."""
FLOAT_BYTES = 4
"""Of a weight, for the transformers runner."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """In bytes: `shared` is there once for all workers, `own` once for each."""

    shared: int
    own: int

    def total(self, num_workers: int) -> int:
        return self.shared + num_workers * self.own


def footprint(config: Mapping[str, Any], weights_bytes: int, num_parameters: int, *, is_mapped: bool) -> Footprint:
    """Of a model with so many bytes of weights in its file, where they are mapped, or else so many floats."""
    beside = BESIDE_BYTES + TOKEN_BYTES * _number(config, "vocab_size") + LEAST_TOKENS * _cache_bytes_per_token(config)
    if is_mapped:
        return Footprint(weights_bytes, beside)
    return Footprint(0, FLOAT_BYTES * num_parameters + beside)


def may_be_exact(settings: Settings) -> bool:
    """Whether the settings leave a model to our own engine, where that knows it."""
    return settings.runner != "transformers" and not settings.device.startswith("cuda")


def footprint_of(settings: Settings, files: ModelFiles) -> Footprint:
    """Of a model of the store, by the runner that the settings give it."""
    is_mapped = may_be_exact(settings) and family_of(text_of(files.config)) is not None
    weights = _weights_bytes(settings, files)
    return footprint(files.config, weights, files.num_parameters, is_mapped=is_mapped)


def _weights_bytes(settings: Settings, files: ModelFiles) -> int:
    """What is mapped, by its file where that is made already."""
    if files.is_packed:
        return files.size_bytes
    folder, bits = ModelStore(settings.models_dir).prepared_path(files), int(settings.weight_bits)
    made = max((path.stat().st_size for path in folder.glob(f"*-{bits}")), default=0)
    return made or int(files.num_parameters * (bits + SCALE_BITS) / 8)


def ensure_fits(name: str, needed: int, free: int, advice: str) -> None:
    """Raise ModelError with both numbers where a model needs more than there is."""
    if needed > free:
        raise ModelError(
            f"model {name} does not fit: it needs {_mb(needed)} of memory and {_mb(free)} are free, limits of control "
            f"groups included; {advice}"
        )


def _cache_bytes_per_token(config: Mapping[str, Any]) -> int:
    """Keys and values in float16, by the names that most configs use."""
    layers, heads = _number(config, "num_hidden_layers", "n_layer"), _number(config, "num_attention_heads", "n_head")
    groups = _number(config, "num_key_value_heads") or heads
    head_size = _number(config, "head_dim") or _number(config, "hidden_size", "n_embd") // max(1, heads)
    return 2 * 2 * layers * groups * head_size


def _number(config: Mapping[str, Any], *names: str) -> int:
    text = config.get("text_config")
    places = (text, config) if isinstance(text, Mapping) else (config,)
    found = (place.get(name) for place in places for name in names)
    return next((number for number in found if isinstance(number, int) and number > 0), 0)


def _mb(num_bytes: int) -> str:
    return f"{-(-num_bytes // 1_000_000):,} MB"
