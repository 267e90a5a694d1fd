"""The Llama family (Llama, SmolLM2, Mistral, Qwen2): RMSNorm, rotary positions, grouped keys and values, gated MLP."""

from __future__ import annotations

from typing import Any

from minivault.families.block import Block, Config, Family, Names, missing

ROPE_TYPES = ("default", "linear", "llama3")

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
)
GGUF_ARCHITECTURE = "llama"
GGUF_KEYS = {
    "hidden_size": "llama.embedding_length",
    "head_dim": "llama.attention.key_length",
    "intermediate_size": "llama.feed_forward_length",
    "num_hidden_layers": "llama.block_count",
    "num_attention_heads": "llama.attention.head_count",
    "num_key_value_heads": "llama.attention.head_count_kv",
    "max_position_embeddings": "llama.context_length",
    "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
    "rope_theta": "llama.rope.freq_base",
    "rope_scaling": "llama.rope.scaling.type",
}
"""Where a GGUF file's metadata holds what a config calls so."""


def block(config: Config) -> Block:
    heads = config["num_attention_heads"]
    return Block(
        hidden=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_groups=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or config["hidden_size"] // heads,
        mlp=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        positions=config.get("max_position_embeddings", 2048),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        activation=config.get("hidden_act", "silu"),
        is_gated=True,
        is_centred=False,
        rope=_rope(config),
    )


def why_not(config: Config) -> str | None:
    needed = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")
    if reason := missing(config, *needed):
        return reason
    heads = int(config["num_attention_heads"])
    groups = int(config.get("num_key_value_heads") or heads)
    if heads % groups:
        return f"num_attention_heads {heads} is not a multiple of num_key_value_heads {groups}"
    return _window_reason(config) or _rope_reason(_rope(config))


def _window_reason(config: Config) -> str | None:
    window, longest = config.get("sliding_window"), int(config.get("max_position_embeddings", 0))
    is_used = config.get("use_sliding_window", True) or "sliding_attention" in (config.get("layer_types") or ())
    if window is not None and is_used and int(window) < longest:
        return f"sliding_window {window} is shorter than the model's {longest} positions: not supported"
    return None


def _rope_reason(rope: dict[str, Any]) -> str | None:
    kind = rope["rope_type"]
    if kind not in ROPE_TYPES:
        return f"rope_type {kind!r} is not supported ({', '.join(ROPE_TYPES)})"
    if float(rope.get("partial_rotary_factor", 1.0)) != 1.0:
        return f"partial_rotary_factor {rope['partial_rotary_factor']} is not supported"
    return None


def _rope(config: Config) -> dict[str, Any]:
    """The rotary settings of a config, old layout or new, with `rope_type` and `rope_theta` always set."""
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    kind = rope.get("rope_type") or rope.get("type") or "default"
    theta = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    partial = config.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or 1.0
    return rope | {"rope_type": kind, "rope_theta": float(theta), "partial_rotary_factor": float(partial)}


FAMILY = Family(("llama", "mistral", "qwen2"), NAMES, block, why_not)
