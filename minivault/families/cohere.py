"""Cohere 2 (Command R7B, Command A): one norm for attention and MLP, which are added together; windows."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Family, is_set
from minivault.families.reading import (
    FULL,
    SLIDING,
    layer_types,
    layers,
    rms,
    rotation,
    why_not_rotations,
    why_not_sizes,
    windows,
)

NAMES = replace(llama.PLAIN_NAMES, mlp_norm=None)


def block(config: Config) -> Block:
    """Layers that look back on everything have no positions."""
    types = layer_types(config, lambda layer: SLIDING if (layer + 1) % 4 else FULL)
    return rms(
        config,
        norm_eps=config.get("layer_norm_eps", 1e-5),
        is_centred=True,
        is_tied=config.get("tie_word_embeddings", True),
        is_parallel=True,
        logit_scale=float(config.get("logit_scale", 0.0625)),
        rotations=(rotation(config),),
        is_interleaved=True,
        layers=layers(windows(config, types), [0 if kind == SLIDING else -1 for kind in types]),
    )


def why_not(config: Config) -> str | None:
    return why_not_sizes(config) or is_set(config, "use_qk_norm") or why_not_rotations(block(config))


GGUF_NAMES = replace(llama.PLAIN_GGUF_NAMES, mlp_norm=None)
FAMILY = Family(("cohere2",), NAMES, block, why_not, gguf={"cohere2": GGUF_NAMES})
