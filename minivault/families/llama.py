"""The Llama family (Llama, SmolLM2 and 3, Mistral, Ministral, Qwen2 and 3, Seed-OSS, ERNIE 4.5): RMSNorm, rotary
positions, gated MLP."""

from __future__ import annotations

from dataclasses import replace

from minivault.families.block import Block, Config, Family, Names
from minivault.families.reading import (
    FULL,
    SLIDING,
    WINDOW,
    layer_types,
    layers,
    rms,
    why_not_rotations,
    why_not_sizes,
    windows,
)

NAMES = Names(
    prefix="model.",
    embedding="embed_tokens",
    norm="norm",
    head="lm_head",
    layer="layers.{}.",
    attention_norm="input_layernorm",
    qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    output="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    ups=("mlp.gate_proj", "mlp.up_proj"),
    down="mlp.down_proj",
    query_norm="self_attn.q_norm",
    key_norm="self_attn.k_norm",
)
GGUF_NAMES = Names(
    prefix="",
    embedding="token_embd",
    norm="output_norm",
    head="output",
    layer="blk.{}.",
    attention_norm="attn_norm",
    qkv=("attn_q", "attn_k", "attn_v"),
    output="attn_output",
    mlp_norm="ffn_norm",
    ups=("ffn_gate", "ffn_up"),
    down="ffn_down",
    query_norm="attn_q_norm",
    key_norm="attn_k_norm",
    router="ffn_gate_inp",
    expert_ups=("ffn_gate_exps", "ffn_up_exps"),
    expert_down="ffn_down_exps",
)

PLAIN_NAMES, PLAIN_GGUF_NAMES = (
    replace(names, query_norm=None, key_norm=None, router=None, expert_ups=(), expert_down="")
    for names in (NAMES, GGUF_NAMES)
)
"""Without norms of queries and keys, and without experts."""


def block(config: Config) -> Block:
    """Mistral and Qwen have windows, in all layers or in some; SmolLM3 turns nothing in every fourth layer; Qwen3 norms
    each head's queries and keys; ERNIE turns neighbours."""
    found, count = rms(config), config["num_hidden_layers"]
    kind = config.get("model_type")
    turns = [0] * count
    if kind == "smollm3":
        every = int(config.get("no_rope_layer_interval") or 4)
        turned = config.get("no_rope_layers") or [int((layer + 1) % every != 0) for layer in range(count)]
        turns = [0 if is_turned else -1 for is_turned in turned]
    return replace(
        found,
        head_norm="head" if kind == "qwen3" else "",
        is_interleaved=kind == "ernie4_5",
        layers=layers(windows(config, _layer_types(config)), turns),
    )


def _layer_types(config: Config) -> list[str]:
    kind = config.get("model_type")
    is_used = config.get("use_sliding_window", kind in ("mistral", "ministral"))
    if not is_used or not config.get("sliding_window", WINDOW):
        return [FULL] * config["num_hidden_layers"]
    first = int(config.get("max_window_layers", 28)) if kind in ("qwen2", "qwen3") else 0
    return list(layer_types(config, lambda layer: SLIDING if layer >= first else FULL))


def why_not(config: Config) -> str | None:
    return why_not_sizes(config) or why_not_rotations(block(config))


FAMILY = Family(
    ("llama", "mistral", "ministral", "qwen2", "qwen3", "smollm3", "seed_oss", "ernie4_5"),
    NAMES,
    block,
    why_not,
    gguf={
        **dict.fromkeys(("llama", "qwen2", "qwen3", "smollm3", "ernie4_5"), GGUF_NAMES),
        "seed_oss": replace(GGUF_NAMES, mlp_norm="post_attention_norm"),
    },
    gguf_paired=("llama", "smollm3"),
)
