"""Families with LayerNorm and rotary positions: StarCoder2, StableLM, Phi-2, GPT-NeoX (Pythia)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Family, Names, is_set
from minivault.families.reading import (
    layers,
    rms,
    rotation,
    sizes,
    turned,
    why_not_rotations,
    why_not_sizes,
)

STARCODER2_NAMES = replace(llama.PLAIN_NAMES, ups=("mlp.c_fc",), down="mlp.c_proj")
PHI_NAMES = replace(
    llama.PLAIN_NAMES, norm="final_layernorm", output="self_attn.dense", mlp_norm=None, ups=("mlp.fc1",), down="mlp.fc2"
)
NEOX_NAMES = Names(
    prefix="gpt_neox.",
    embedding="embed_in",
    norm="final_layer_norm",
    head="embed_out",
    layer="layers.{}.",
    attention_norm="input_layernorm",
    qkv=("attention.query_key_value",),
    is_joined_by_head=True,
    output="attention.dense",
    mlp_norm="post_attention_layernorm",
    ups=("mlp.dense_h_to_4h",),
    down="mlp.dense_4h_to_h",
)


_GGUF_PLAIN = replace(llama.PLAIN_GGUF_NAMES, ups=("ffn_up",))


def starcoder2(config: Config) -> Block:
    window = int(config.get("sliding_window") or 0)
    return rms(
        config,
        norm_eps=config.get("norm_epsilon", 1e-5),
        activation=config.get("hidden_act", "gelu_pytorch_tanh"),
        is_gated=False,
        is_centred=True,
        is_tied=config.get("tie_word_embeddings", True),
        layers=layers([window] * config["num_hidden_layers"]),
    )


def stablelm(config: Config) -> Block:
    return _partly_turned(config, 0.25, is_gated=True, is_parallel=bool(config.get("use_parallel_residual")))


def phi(config: Config) -> Block:
    activation = config.get("hidden_act", "gelu_new")
    return _partly_turned(config, 0.5, is_gated=False, is_parallel=True, activation=activation)


def neox(config: Config) -> Block:
    old = {"rope_theta": config.get("rotary_emb_base"), "partial_rotary_factor": config.get("rotary_pct")}
    is_parallel, activation = config.get("use_parallel_residual", True), config.get("hidden_act", "gelu")
    switches = {"is_gated": False, "is_parallel": is_parallel, "activation": activation}
    return _partly_turned(old | dict(config), 0.25, num_groups=config["num_attention_heads"], **switches)


def _partly_turned(config: Config, partial: float, **switches: object) -> Block:
    turn = rotation(config, partial=partial)
    size, eps = turned(sizes(config)["head_size"], turn), config.get("layer_norm_eps", 1e-5)
    return rms(config, rotary_size=size, rotations=(turn,), norm_eps=eps, is_centred=True, **switches)


def _family(
    kind: str, names: Names, block: Callable[[Config], Block], gguf: tuple[str, Names], *unsupported: str
) -> Family:
    def why_not(config: Config) -> str | None:
        return why_not_sizes(config) or is_set(config, *unsupported) or why_not_rotations(block(config))

    return Family((kind,), names, block, why_not, gguf=dict([gguf]))


FAMILIES = (
    _family("starcoder2", STARCODER2_NAMES, starcoder2, ("starcoder2", _GGUF_PLAIN)),
    _family("stablelm", llama.PLAIN_NAMES, stablelm, ("stablelm", llama.PLAIN_GGUF_NAMES), "qk_layernorm"),
    _family("phi", PHI_NAMES, phi, ("phi2", replace(_GGUF_PLAIN, mlp_norm=None)), "qk_layernorm"),
    _family("gpt_neox", NEOX_NAMES, neox, ("gptneox", replace(_GGUF_PLAIN, qkv=("attn_qkv",)))),
)
