"""What the configs of most families have in common: sizes, rotations, windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minivault.families.block import Block, Config, Layer, Rotation, missing

ROTATION_TYPES = ("default", "linear", "llama3", "yarn", "longrope")
WINDOW = 4096
"""Of layers that have one, where a config does not say how wide."""
SLIDING, FULL = "sliding_attention", "full_attention"
SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")


def sizes(config: Config) -> dict[str, Any]:
    """A `Block`'s sizes."""
    heads = config["num_attention_heads"]
    return {
        "hidden": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "num_heads": heads,
        "num_groups": config.get("num_key_value_heads") or heads,
        "head_size": config.get("head_dim") or config["hidden_size"] // heads,
        "mlp": config["intermediate_size"],
        "vocabulary": config["vocab_size"],
        "positions": config.get("max_position_embeddings", 2048),
    }


def rms(config: Config, **switches: Any) -> Block:
    """A block with RMSNorm and a gated MLP, as most have it, and what a family has besides."""
    given: dict[str, Any] = {
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "activation": config.get("hidden_act", "silu"),
        "is_gated": True,
        "is_centred": False,
        "is_tied": bool(config.get("tie_word_embeddings", False)),
        "rotations": (rotation(config),),
        "biased": _biased(config),
    }
    return Block(**(sizes(config) | given | switches))


def _biased(config: Config) -> tuple[str, ...]:
    attention = any(config.get(name) for name in ("attention_bias", "use_qkv_bias", "use_bias"))
    always = config.get("model_type") in ("qwen2", "qwen2_moe")
    mlp = any(config.get(name) for name in ("mlp_bias", "use_bias"))
    return (*(("query", "key", "value") if attention or always else ()), *(("gate", "up", "down") if mlp else ()))


def rotation(config: Config, theta: float = 10000.0, layer_type: str = "", partial: float = 1.0) -> Rotation:
    """The rotary settings of a config, old layout or new, with `rope_type` and `rope_theta` always set.

    Where layers differ, those of a `layer_type`. `theta` and `partial` are the family's defaults."""
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    if isinstance(rope.get(layer_type), dict):
        rope = rope[layer_type]
    kind = rope.get("rope_type") or rope.get("type") or "default"
    base = rope.get("rope_theta") or config.get("rope_theta") or theta
    part = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or partial
    kind = {"su": "longrope"}.get(kind, kind)  # as the first Phi-3 called it
    longest = config.get("max_position_embeddings")
    if kind in ("llama3", "yarn", "longrope"):
        rope.setdefault("original_max_position_embeddings", config.get("original_max_position_embeddings") or longest)
    if kind == "longrope":
        rope.setdefault("factor", float(longest or 1) / float(rope["original_max_position_embeddings"] or 1))
    return rope | {"rope_type": kind, "rope_theta": float(base), "partial_rotary_factor": float(part)}


def turned(head_size: int, turn: Rotation) -> int:
    """Numbers of a head that a rotation turns."""
    return int(head_size * float(turn["partial_rotary_factor"]))


def layer_types(config: Config, default: Callable[[int], str]) -> Sequence[str]:
    """A config's own list, else the family's rule from a layer's number (from 0)."""
    return config.get("layer_types") or [default(layer) for layer in range(config["num_hidden_layers"])]


def windows(config: Config, types: Sequence[str]) -> list[int]:
    """A window for each layer; 0 where it looks back on all."""
    size = int(config.get("sliding_window", WINDOW) or 0)
    return [size if kind == SLIDING else 0 for kind in types]


def layers(sizes: Sequence[int], rotations: Sequence[int] = ()) -> tuple[Layer, ...]:
    """Layers with these windows, and these rotations where they differ."""
    return tuple(Layer(size, turn) for size, turn in zip(sizes, rotations or [0] * len(sizes), strict=True))


def num_experts(config: Config) -> int:
    """By either name that configs have for it; 0 where there are none."""
    return int(config.get("num_experts") or config.get("num_local_experts") or 0)


def why_no_experts(config: Config) -> str | None:
    return None if num_experts(config) else "the config has no num_experts"


def why_not_sizes(config: Config) -> str | None:
    """A line about sizes that are missing or do not fit each other."""
    if reason := missing(config, *SIZES):
        return reason
    heads, groups = int(config["num_attention_heads"]), int(config.get("num_key_value_heads") or 0)
    if groups and heads % groups:
        return f"num_attention_heads {heads} is not a multiple of num_key_value_heads {groups}"
    if not config.get("head_dim") and int(config["hidden_size"]) % heads:
        return f"hidden_size {config['hidden_size']} is not a multiple of num_attention_heads {heads}"
    kinds = set(config.get("layer_types") or ()) - {SLIDING, FULL}
    if kinds:
        return f"layer_types has {sorted(kinds)[0]!r}, which is not supported"
    return None


def why_not_rotations(block: Block) -> str | None:
    """A line about a rotation that is not supported."""
    for turn in block.rotations:
        kind = turn["rope_type"]
        if kind not in ROTATION_TYPES:
            return f"rope_type {kind!r} is not supported ({', '.join(ROTATION_TYPES)})"
        needed = {"default": (), "longrope": ("long_factor", "short_factor")}.get(kind, ("factor",))
        if absent := [name for name in needed if turn.get(name) is None]:
            return f"rope_type {kind!r} has no {absent[0]}"
        if kind == "longrope" and {len(turn[name]) for name in needed} != {block.turned // 2}:
            return f"the factors of rope_type {kind!r} are not as many as the {block.turned // 2} pairs of a head"
    return None
