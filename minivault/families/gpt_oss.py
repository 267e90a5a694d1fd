"""gpt-oss: experts in 4 bits with a gate of their own, attention sinks, a window in every other layer."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Experts, Family, missing
from minivault.families.reading import (
    FULL,
    SLIDING,
    layer_types,
    layers,
    num_experts,
    rms,
    rotation,
    why_not_rotations,
    why_not_sizes,
    windows,
)

NAMES = replace(
    llama.PLAIN_NAMES,
    router="mlp.router",
    expert_ups=("mlp.experts.gate_up_proj",),
    expert_down="mlp.experts.down_proj",
    expert_suffixes=("", "_bias"),
    sinks="self_attn.sinks",
    is_alternating=True,
    are_experts_transposed=True,
)
GGUF_NAMES = replace(
    llama.GGUF_NAMES, query_norm=None, key_norm=None, mlp_norm="post_attention_norm", sinks="attn_sinks.weight"
)


def block(config: Config) -> Block:
    experts = Experts(
        num=num_experts(config),
        used=config["num_experts_per_tok"],
        mlp=config["intermediate_size"],
        gate_slope=float(config.get("swiglu_alpha", 1.702)),
        gate_limit=float(config.get("swiglu_limit", 7.0)),
    )
    types = layer_types(config, lambda layer: FULL if layer % 2 else SLIDING)
    return rms(
        config,
        norm_eps=config.get("rms_norm_eps", 1e-5),
        rotations=(rotation(config, 150000.0),),
        layers=layers(windows(config, types)),
        mlp=0,
        experts=experts,
        has_sinks=True,
    )


def why_not(config: Config) -> str | None:
    reason = why_not_sizes(config) or missing(config, "num_experts_per_tok")
    if not reason and not num_experts(config):
        reason = "the config has no num_local_experts"
    if not reason and (act := config.get("hidden_act", "silu")) != "silu":
        reason = f"hidden_act {act!r} is not supported in this model"
    return reason or why_not_rotations(block(config))


FAMILY = Family(("gpt_oss",), NAMES, block, why_not, gguf={"gpt-oss": GGUF_NAMES})
