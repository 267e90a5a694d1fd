"""OLMo 2 and 3: norms only after attention and MLP, and over all queries and all keys together; windows in OLMo 3."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Family
from minivault.families.reading import (
    FULL,
    SLIDING,
    layer_types,
    layers,
    rms,
    rotation,
    why_not_rotations,
    why_not_sizes,
    windows,
)

NAMES = replace(
    llama.NAMES,
    attention_norm=None,
    mlp_norm=None,
    attention_output_norm="post_attention_layernorm",
    mlp_output_norm="post_feedforward_layernorm",
)
GGUF_NAMES = replace(
    llama.GGUF_NAMES,
    attention_norm=None,
    mlp_norm=None,
    attention_output_norm="post_attention_norm",
    mlp_output_norm="post_ffw_norm",
)


def block(config: Config) -> Block:
    """Only OLMo 3's layers without a window have their positions stretched."""
    switches = {"has_input_norms": False, "has_output_norms": True, "head_norm": "all"}
    eps = config.get("rms_norm_eps", 1e-5)
    if config["model_type"] == "olmo2":
        return rms(config, norm_eps=eps, rotations=(rotation(config),), **switches)
    types = layer_types(config, lambda layer: SLIDING if (layer + 1) % 4 else FULL)
    far = rotation(config, 5e5, layer_type=FULL)
    near = rotation(config, 5e5, layer_type=SLIDING)
    if SLIDING not in (config.get("rope_parameters") or {}):
        near = rotation({"rope_theta": far["rope_theta"]})
    turns = [int(kind == SLIDING) for kind in types]
    return rms(config, norm_eps=eps, rotations=(far, near), layers=layers(windows(config, types), turns), **switches)


def why_not(config: Config) -> str | None:
    return why_not_sizes(config) or why_not_rotations(block(config))


FAMILY = Family(("olmo2", "olmo3"), NAMES, block, why_not, gguf={"olmo2": GGUF_NAMES})
