"""What every family asks of a config before it reads it, and after: values of the right kind, and no switch unread.

Switches that bring tensors of their own are found by these. Those listed here change what is computed and nothing else,
so that a reader who does not know one would compute another model in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from minivault.families.block import Config, Family
from minivault.families.reading import num_experts

_COUNTS: tuple[str, ...] = (
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_hidden_layers",
    "intermediate_size",
)
_COUNTS += ("vocab_size", "head_dim", "max_position_embeddings", "num_experts", "num_local_experts")
_COUNTS += ("num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size")
_COUNTS += ("n_embd", "n_head", "n_layer", "n_positions", "n_inner")
_POSITIVE = ("rope_theta", "rope_local_base_freq", "rotary_emb_base", "query_pre_attn_scalar", "logits_scaling")
_SCALES = ("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale")
_CAPS: tuple[str, ...] = ("attn_logit_softcapping", "final_logit_softcapping", "clip_qkv", "query_pre_attn_scalar")
_CAPS += ("use_bidirectional_attention", "use_parallel_residual", "alibi")
_ROTARY = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings"}
_ROTARY |= {"low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "attention_factor"}
_ROTARY |= {"beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim", "finetuned"}
"""All that any type of rotary positions has here."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = dict.fromkeys(_CAPS, (None, 0)) | dict.fromkeys(_SCALES, (None, 1))
"""What leaves a switch off."""


def sound(family: Family) -> Family:
    """The family, which refuses by name what it would not understand."""
    return replace(family, why_not=lambda config: _why_not(family, config))


def switched_on(config: Config) -> list[str]:
    """Switches without tensors that a config sets to other than what they are without it."""
    return [name for name, neutral in _NEUTRAL.items() if config.get(name) not in neutral]


class _Seen(dict[str, Any]):
    """A config that knows what it was asked for."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.names = set[str]()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def _why_not(family: Family, config: Config) -> str | None:
    if reason := _why_not_values(config):
        return reason
    seen = _Seen(config)
    try:
        if reason := family.why_not(seen):
            return reason
        family.block(seen)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"the config cannot be read: {type(error).__name__}: {error}"
    unread = [name for name in switched_on(config) if name not in seen.names]
    return f"{unread[0]} is set, which is not supported" if unread else None


def _why_not_values(config: Config) -> str | None:
    for name, value in config.items():
        if value is not None and (wanted := _wanted(name, value)):
            return f"{name} is {value!r}, which is not {wanted}"
    if unknown := sorted(_rotary_names(config) - _ROTARY):
        return f"{unknown[0]} is set for rotary positions, which is not supported"
    types, count = config.get("layer_types"), config.get("num_hidden_layers")
    if types and count and len(types) != count:
        return f"layer_types has {len(types)} entries for {count} layers"
    used, num = config.get("num_experts_per_tok") or 0, num_experts(config)
    return f"num_experts_per_tok is {used}, of {num} experts" if 0 < num < used else None


def _rotary_names(config: Config) -> set[str]:
    """What a config says of rotary positions, of all layers or of each type."""
    names = set[str]()
    for rope in (config.get("rope_scaling"), config.get("rope_parameters")):
        parts = [part for part in (rope or {}).values() if isinstance(part, Mapping)]
        for part in parts or [rope or {}]:
            names |= {name for name, value in part.items() if value is not None}
    return names


def _wanted(name: str, value: Any) -> str | None:
    """What a value should be, where it is something else."""
    if name in _COUNTS:
        return None if type(value) is int and value > 0 else "a whole number above 0"
    if name == "sliding_window":
        return None if type(value) is int and value >= 0 else "a whole number"
    if name in _POSITIVE:
        return None if _is_number(value) and value > 0 else "a number above 0"
    if name in ("rope_scaling", "rope_parameters"):
        return None if isinstance(value, Mapping) else "an object"
    if name == "layer_types":
        return None if isinstance(value, list | tuple) else "a list"
    return None if name not in _NEUTRAL or _is_number(value) else "a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
