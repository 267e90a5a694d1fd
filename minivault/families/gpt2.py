"""The GPT-2 family (GPT-2, DistilGPT2): LayerNorm, learned positions, biases, weights stored as [in, out]."""

from __future__ import annotations

from minivault.families.block import Block, Config, Family, Names, missing

NAMES = Names(
    prefix="transformer.",
    embedding="wte",
    positions="wpe",
    norm="ln_f",
    head="lm_head",
    layer="h.{}.",
    attention_norm="ln_1",
    qkv=("attn.c_attn",),
    output="attn.c_proj",
    mlp_norm="ln_2",
    ups=("mlp.c_fc",),
    down="mlp.c_proj",
    is_transposed=True,
    has_biases=True,
)

GGUF_NAMES = Names(
    prefix="",
    embedding="token_embd",
    positions="position_embd",
    norm="output_norm",
    head="output",
    layer="blk.{}.",
    attention_norm="attn_norm",
    qkv=("attn_qkv",),
    output="attn_output",
    mlp_norm="ffn_norm",
    ups=("ffn_up",),
    down="ffn_down",
    has_biases=True,
)


def block(config: Config) -> Block:
    hidden, heads = config["n_embd"], config["n_head"]
    return Block(
        hidden=hidden,
        num_layers=config["n_layer"],
        num_heads=heads,
        num_groups=heads,
        head_size=hidden // heads,
        mlp=config.get("n_inner") or 4 * hidden,
        vocabulary=config["vocab_size"],
        positions=config["n_positions"],
        norm_eps=config.get("layer_norm_epsilon", 1e-5),
        activation=config.get("activation_function", "gelu_new"),
        is_gated=False,
        is_centred=True,
        is_tied=config.get("tie_word_embeddings", True),
        is_scaled_by_depth=config.get("scale_attn_by_inverse_layer_idx", False),
    )


def why_not(config: Config) -> str | None:
    if reason := missing(config, "n_embd", "n_head", "n_layer", "n_positions", "vocab_size"):
        return reason
    if config.get("add_cross_attention"):
        return "add_cross_attention is set, and only decoders are served"
    if not config.get("scale_attn_weights", True):
        return "scale_attn_weights is off, which is not supported"
    width, heads = int(config["n_embd"]), int(config["n_head"])
    if width % heads:
        return f"n_embd {width} is not a multiple of n_head {heads}"
    return None


FAMILY = Family(("gpt2",), NAMES, block, why_not, gguf={"gpt2": GGUF_NAMES})
