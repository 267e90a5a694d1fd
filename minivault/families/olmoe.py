"""OLMoE: Llama's layers with experts, and norms over all queries and all keys together."""

from __future__ import annotations

from minivault.families import llama, qwen_moe
from minivault.families.block import Block, Config, Experts, Family, is_set, missing
from minivault.families.reading import num_experts, rms, why_no_experts, why_not_rotations, why_not_sizes


def block(config: Config) -> Block:
    is_normalized = bool(config.get("norm_topk_prob", False))
    experts = Experts(num_experts(config), config["num_experts_per_tok"], config["intermediate_size"], is_normalized)
    return rms(config, mlp=0, experts=experts, norm_eps=config.get("rms_norm_eps", 1e-5), head_norm="all")


def why_not(config: Config) -> str | None:
    reason = why_not_sizes(config) or missing(config, "num_experts_per_tok") or is_set(config, "clip_qkv")
    return reason or why_no_experts(config) or why_not_rotations(block(config))


FAMILY = Family(("olmoe",), qwen_moe.NAMES, block, why_not, gguf={"olmoe": llama.GGUF_NAMES})
