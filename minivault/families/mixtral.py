"""Mixtral: Llama's layers with experts instead of an MLP."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Experts, Family, missing
from minivault.families.reading import layers, rms, rotation, why_not_rotations, why_not_sizes

NAMES = replace(
    llama.PLAIN_NAMES,
    router="block_sparse_moe.gate",
    expert_ups=("block_sparse_moe.experts.{}.w1", "block_sparse_moe.experts.{}.w3"),
    expert_down="block_sparse_moe.experts.{}.w2",
)


def block(config: Config) -> Block:
    window = int(config.get("sliding_window") or 0)
    return rms(
        config,
        norm_eps=config.get("rms_norm_eps", 1e-5),
        rotations=(rotation(config, 1e6),),
        layers=layers([window] * config["num_hidden_layers"]),
        mlp=0,
        experts=Experts(config["num_local_experts"], config["num_experts_per_tok"], config["intermediate_size"]),
    )


def why_not(config: Config) -> str | None:
    reason = why_not_sizes(config) or missing(config, "num_local_experts", "num_experts_per_tok")
    return reason or why_not_rotations(block(config))


FAMILY = Family(("mixtral",), NAMES, block, why_not)
"""Its GGUF files say that they are Llamas, with experts."""
