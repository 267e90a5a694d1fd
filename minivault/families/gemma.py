"""The Gemma family (text): in Gemma 2 and 3 a norm before and after attention and MLP, windows, soft caps."""

from __future__ import annotations

import math
from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Family, is_set
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
    mlp_norm="pre_feedforward_layernorm",
    attention_output_norm="post_attention_layernorm",
    mlp_output_norm="post_feedforward_layernorm",
)
GGUF_NAMES = replace(llama.GGUF_NAMES, attention_output_norm="post_attention_norm", mlp_output_norm="post_ffw_norm")


def block(config: Config) -> Block:
    """Gemma 3 norms queries and keys, and turns those of layers with a window by a base of their own."""
    is_third = config["model_type"] == "gemma3_text"
    every = int(config.get("sliding_window_pattern") or (6 if is_third else 2))
    types = layer_types(config, lambda layer: SLIDING if (layer + 1) % every else FULL)
    near = rotation({"rope_theta": config.get("rope_local_base_freq", 10000.0)})
    if isinstance((config.get("rope_parameters") or {}).get(SLIDING), dict):
        near = rotation(config, layer_type=SLIDING)
    far = rotation(config, 1e6, layer_type=FULL) if is_third else rotation(config)
    return rms(
        config,
        activation=config.get("hidden_activation") or config.get("hidden_act") or "gelu_pytorch_tanh",
        is_tied=config.get("tie_word_embeddings", True),
        norm_offset=1.0,
        has_output_norms=True,
        head_norm="head" if is_third else "",
        attention_scale=1 / math.sqrt(float(config.get("query_pre_attn_scalar", 256))),
        attention_cap=_cap(config, "attn_logit_softcapping", 0.0 if is_third else 50.0),
        logit_cap=_cap(config, "final_logit_softcapping", 0.0 if is_third else 30.0),
        embedding_scale=math.sqrt(config["hidden_size"]),
        rotations=(far, near) if is_third else (far,),
        layers=layers(windows(config, types), [int(is_third and kind == SLIDING) for kind in types]),
    )


def _cap(config: Config, name: str, default: float) -> float:
    return float(config.get(name, default) or 0.0)


def first(config: Config) -> Block:
    """Gemma 1: Llama's layers with norms of an offset and a scaled embedding. Its first configs say `gelu` and mean the
    approximation, as the library knows."""
    activation = config.get("hidden_act", "gelu")
    return rms(
        config,
        activation="gelu_pytorch_tanh" if activation == "gelu" else activation,
        is_tied=config.get("tie_word_embeddings", True),
        norm_offset=1.0,
        embedding_scale=math.sqrt(config["hidden_size"]),
    )


def why_not_first(config: Config) -> str | None:
    return why_not_sizes(config) or is_set(config, "attention_bias") or why_not_rotations(first(config))


def why_not(config: Config) -> str | None:
    return (
        why_not_sizes(config)
        or is_set(config, "use_bidirectional_attention", "attention_bias")
        or why_not_rotations(block(config))
    )


_LEFT_OUT = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
}
"""Of Gemma 3 within a model that sees."""
FIRST = Family(("gemma",), llama.PLAIN_NAMES, first, why_not_first, gguf={"gemma": llama.PLAIN_GGUF_NAMES})
FAMILY = Family(
    ("gemma2", "gemma3_text"),
    NAMES,
    block,
    why_not,
    gguf={"gemma2": GGUF_NAMES, "gemma3": GGUF_NAMES},
    defaults={"gemma3_text": _LEFT_OUT},
)
