"""The Llama family (Llama, SmolLM2, Mistral, Qwen2): RMSNorm, rotary positions, grouped keys and values, gated MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.engine.fused.parts import Affine, Ends, Layer, Read
from minivault.engine.fused.shape import Shape
from minivault.engine.fused.support import rope_parameters

PREFIX = "model."


def shape(config: Mapping[str, Any]) -> Shape:
    heads = config["num_attention_heads"]
    return Shape(
        family="llama",
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
        rope=rope_parameters(config),
    )


def layer(read: Read, has: Mapping[str, Any], shape: Shape, index: int) -> Layer:
    """h = x + output(attend(query(n), key(n), value(n))); y = h + down(act(gate(m)) * up(m))."""
    prefix, hidden = f"layers.{index}.", shape.hidden
    keys = shape.num_groups * shape.head_size

    def affine(name: str, rows: int, columns: int) -> Affine:
        bias = f"{prefix}{name}.bias"
        weight = read(f"{prefix}{name}.weight", rows, columns)
        return Affine(weight, read(bias, rows) if bias in has else None)

    return Layer(
        attention_norm=Affine(read(prefix + "input_layernorm.weight", hidden)),
        query=affine("self_attn.q_proj", shape.attention, hidden),
        key=affine("self_attn.k_proj", keys, hidden),
        value=affine("self_attn.v_proj", keys, hidden),
        output=affine("self_attn.o_proj", hidden, shape.attention),
        mlp_norm=Affine(read(prefix + "post_attention_layernorm.weight", hidden)),
        ups=(affine("mlp.gate_proj", shape.mlp, hidden), affine("mlp.up_proj", shape.mlp, hidden)),
        down=affine("mlp.down_proj", hidden, shape.mlp),
    )


def ends(read: Read, has: Mapping[str, Any], shape: Shape) -> Ends:
    embedding = read("embed_tokens.weight", shape.vocabulary, shape.hidden)
    head = read("lm_head.weight", shape.vocabulary, shape.hidden) if "lm_head.weight" in has else embedding
    return Ends(embedding, None, Affine(read("norm.weight", shape.hidden)), head)
