"""Families: what differs between models that share a forward pass, as data. A file a family; no tensor, no library.

From a config (or a GGUF file's metadata) to a `Block`, and from a tensor's part to its name.
"""

from __future__ import annotations

from minivault.families import centred, cohere, gemma, glm, gpt2, gpt_oss, granite, llama, mixtral, olmo, phi, qwen_moe
from minivault.families.block import Block, Config, Experts, Family, Names

__all__ = ["GGUF", "GGUF_FACTORS", "MODEL_TYPES", "Block", "Config", "Experts", "Family", "Names", "family_of"]

_ALL = (
    llama.FAMILY,
    gemma.FAMILY,
    granite.FAMILY,
    olmo.FAMILY,
    phi.FAMILY,
    glm.FAMILY,
    cohere.FAMILY,
    gpt2.FAMILY,
    mixtral.FAMILY,
    qwen_moe.FAMILY,
    gpt_oss.FAMILY,
    *centred.FAMILIES,
)
_FAMILIES = {kind: family for family in _ALL for kind in family.model_types}
MODEL_TYPES = tuple(_FAMILIES)
GGUF = {name: family for family in _ALL for name in family.gguf}
"""GGUF's names of architectures."""
GGUF_FACTORS = ("rope_freqs", "rope_factors_long", "rope_factors_short")
"""Tensors of GGUF files that divide the frequencies of rotary positions: a config tells of them as `rope_scaling`."""


def family_of(config: Config) -> Family | None:
    """The family of a config's `model_type`; None where we know none."""
    return _FAMILIES.get(config.get("model_type", ""))
