"""Qwen2-MoE and Qwen3-MoE: experts instead of an MLP, in Qwen2 beside a shared one; norms of heads in Qwen3."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Experts, Family, is_set, missing
from minivault.families.reading import (
    FULL,
    SLIDING,
    layer_types,
    layers,
    num_experts,
    rms,
    why_no_experts,
    why_not_rotations,
    why_not_sizes,
    windows,
)

NAMES = replace(
    llama.NAMES,
    ups=("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"),
    down="mlp.shared_expert.down_proj",
    router="mlp.gate",
    expert_ups=("mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj"),
    expert_down="mlp.experts.{}.down_proj",
    shared_router="mlp.shared_expert_gate",
)
GGUF_NAMES = replace(
    llama.GGUF_NAMES,
    ups=("ffn_gate_shexp", "ffn_up_shexp"),
    down="ffn_down_shexp",
    shared_router="ffn_gate_inp_shexp",
)


def block(config: Config) -> Block:
    is_second = config["model_type"] == "qwen2_moe"
    experts = Experts(
        num=num_experts(config),
        used=config["num_experts_per_tok"],
        mlp=config["moe_intermediate_size"],
        is_normalized=bool(config.get("norm_topk_prob", False)),
        has_shared=is_second,
    )
    return rms(
        config,
        mlp=config["shared_expert_intermediate_size"] if is_second else 0,
        experts=experts,
        head_norm="" if is_second else "head",
        layers=layers(windows(config, _layer_types(config, is_second=is_second))),
    )


def _layer_types(config: Config, *, is_second: bool) -> list[str]:
    """Where there are windows, all layers of Qwen3 have one; of Qwen2 every other one of the first."""
    if not config.get("use_sliding_window"):
        return [FULL] * config["num_hidden_layers"]
    if not is_second:
        return [SLIDING] * config["num_hidden_layers"]
    first = int(config.get("max_window_layers", 28))
    return list(layer_types(config, lambda layer: SLIDING if (layer + 1) % 2 and layer < first else FULL))


def why_not(config: Config) -> str | None:
    reason = why_not_sizes(config) or missing(config, "num_experts_per_tok", "moe_intermediate_size")
    reason = reason or why_no_experts(config)
    if not reason and config["model_type"] == "qwen2_moe":
        reason = missing(config, "shared_expert_intermediate_size")
    if not reason and int(config.get("decoder_sparse_step") or 1) != 1:
        reason = f"decoder_sparse_step {config['decoder_sparse_step']} is not supported: all layers must have experts"
    return reason or is_set(config, "mlp_only_layers") or why_not_rotations(block(config))


FAMILY = Family(
    ("qwen2_moe", "qwen3_moe"), NAMES, block, why_not, gguf=dict.fromkeys(("qwen2moe", "qwen3moe"), GGUF_NAMES)
)
