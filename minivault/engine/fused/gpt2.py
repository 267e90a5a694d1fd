"""The GPT-2 family (GPT-2, DistilGPT2): LayerNorm, learned positions, biases, weights stored as [in, out]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.engine.fused.parts import Affine, Ends, Layer, Read
from minivault.engine.fused.shape import Shape

PREFIX = "transformer."


def shape(config: Mapping[str, Any]) -> Shape:
    hidden, heads = config["n_embd"], config["n_head"]
    return Shape(
        family="gpt2",
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
        is_scaled_by_depth=config.get("scale_attn_by_inverse_layer_idx", False),
    )


def layer(read: Read, _has: Mapping[str, Any], shape: Shape, index: int) -> Layer:
    """h = x + output(attend(query(n), key(n), value(n))); y = h + down(act(up(m)))."""
    prefix, hidden = f"h.{index}.", shape.hidden

    def affine(name: str, rows: int, columns: int) -> Affine:
        weight = read(f"{prefix}{name}.weight", columns, rows).t()
        return Affine(weight, read(f"{prefix}{name}.bias", rows))

    def norm(name: str) -> Affine:
        return Affine(read(f"{prefix}{name}.weight", hidden), read(f"{prefix}{name}.bias", hidden))

    joint = affine("attn.c_attn", 3 * hidden, hidden)
    assert joint.bias is not None
    query, key, value = map(Affine, joint.weight.chunk(3), joint.bias.chunk(3))
    return Layer(
        attention_norm=norm("ln_1"),
        query=query,
        key=key,
        value=value,
        output=affine("attn.c_proj", hidden, hidden),
        mlp_norm=norm("ln_2"),
        ups=(affine("mlp.c_fc", shape.mlp, hidden),),
        down=affine("mlp.c_proj", hidden, shape.mlp),
    )


def ends(read: Read, has: Mapping[str, Any], shape: Shape) -> Ends:
    embedding = read("wte.weight", shape.vocabulary, shape.hidden)
    head = read("lm_head.weight", shape.vocabulary, shape.hidden) if "lm_head.weight" in has else embedding
    norm = Affine(read("ln_f.weight", shape.hidden), read("ln_f.bias", shape.hidden))
    return Ends(embedding, read("wpe.weight", shape.positions, shape.hidden), norm, head)
