"""Granite (dense): Llama's layers with multipliers of their own."""

from __future__ import annotations

from minivault.families import llama
from minivault.families.block import Block, Config, Family, is_set
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


FAMILY = Family(("granite",), llama.NAMES, block, why_not, gguf={"granite": llama.GGUF_NAMES}, gguf_paired=("granite",))
