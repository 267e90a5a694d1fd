"""Granite: Llama's layers with multipliers of their own, or with experts for their MLPs."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Experts, Family, is_set, missing
from minivault.families.reading import rms, why_not_rotations, why_not_sizes


def block(config: Config) -> Block:
    return rms(
        config,
        attention_scale=float(config.get("attention_multiplier", 1.0)),
        embedding_scale=float(config.get("embedding_multiplier", 1.0)),
        residual_scale=float(config.get("residual_multiplier", 1.0)),
        logit_scale=1 / float(config.get("logits_scaling", 1.0)),
    )


def why_not(config: Config) -> str | None:
    reason = why_not_sizes(config) or is_set(config, "attention_bias", "mlp_bias")
    return reason or why_not_rotations(block(config))


def with_experts(config: Config) -> Block:
    experts = Experts(config["num_local_experts"], config["num_experts_per_tok"], config["intermediate_size"])
    return replace(block(config), mlp=0, experts=experts)


def why_not_with_experts(config: Config) -> str | None:
    return missing(config, "num_local_experts", "num_experts_per_tok") or why_not(config)


MOE_NAMES = replace(
    llama.PLAIN_NAMES,
    router="block_sparse_moe.router.layer",
    expert_ups=("block_sparse_moe.input_linear",),
    expert_down="block_sparse_moe.output_linear",
)
MOE = Family(
    ("granitemoe",),
    MOE_NAMES,
    with_experts,
    why_not_with_experts,
    gguf={"granitemoe": llama.GGUF_NAMES},
    gguf_paired=("granitemoe",),
)
FAMILY = Family(("granite",), llama.NAMES, block, why_not, gguf={"granite": llama.GGUF_NAMES}, gguf_paired=("granite",))
