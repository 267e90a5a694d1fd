"""GLM-4: half of each head turned in pairs, joined MLP maps; 0414 has norms after attention and MLP, too."""

from __future__ import annotations

from dataclasses import replace

from minivault.families import llama
from minivault.families.block import Block, Config, Family
from minivault.families.reading import rms, rotation, sizes, turned, why_not_rotations, why_not_sizes

NAMES = replace(
    llama.PLAIN_NAMES,
    ups=("mlp.gate_up_proj",),
    attention_output_norm="post_self_attn_layernorm",
    mlp_output_norm="post_mlp_layernorm",
)


def block(config: Config) -> Block:
    turn = rotation(config, partial=0.5)
    return rms(
        config,
        has_output_norms=config["model_type"] == "glm4",
        rotations=(turn,),
        rotary_size=turned(sizes(config)["head_size"], turn),
        is_interleaved=True,
    )


def why_not(config: Config) -> str | None:
    return why_not_sizes(config) or why_not_rotations(block(config))


GGUF_NAMES = replace(
    llama.PLAIN_GGUF_NAMES,
    ups=("ffn_up",),
    attention_output_norm="post_attention_norm",
    mlp_output_norm="post_ffw_norm",
)
FIRST = Family(("glm",), replace(llama.PLAIN_NAMES, ups=NAMES.ups), block, why_not)
FAMILY = Family(("glm4",), NAMES, block, why_not, gguf={"glm4": GGUF_NAMES})
