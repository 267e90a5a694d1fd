"""Phi-3, 3.5 and 4-mini: Llama's layers with joined maps; a part of each head turned."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Family
from minivault.families.reading import (
    layers,
    rms,
    rotation,
    sizes,
    turned,
    why_not_rotations,
    why_not_sizes,
)

NAMES = replace(llama.PLAIN_NAMES, qkv=("self_attn.qkv_proj",), ups=("mlp.gate_up_proj",))
GGUF_NAMES = replace(llama.PLAIN_GGUF_NAMES, qkv=("attn_qkv",), ups=("ffn_up",))


def block(config: Config) -> Block:
    turn, window = rotation(config), int(config.get("sliding_window") or 0)
    return rms(
        config,
        norm_eps=config.get("rms_norm_eps", 1e-5),
        rotations=(turn,),
        rotary_size=turned(sizes(config)["head_size"], turn),
        layers=layers([window] * config["num_hidden_layers"]),
    )


def why_not(config: Config) -> str | None:
    return why_not_sizes(config) or why_not_rotations(block(config))


FAMILY = Family(("phi3",), NAMES, block, why_not, gguf={"phi3": GGUF_NAMES})
