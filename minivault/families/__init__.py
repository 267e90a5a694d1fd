"""Families: what differs between models that share a forward pass, as data. A file a family; no tensor, no library.

From a config (or a GGUF file's metadata) to a `Block`, and from a tensor's part to its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from minivault.families import (
    centred,
    cohere,
    exaone,
    gemma,
    glm,
    gpt2,
    gpt_oss,
    granite,
    llama,
    mixtral,
    olmo,
    olmoe,
    phi,
    qwen_moe,
)
from minivault.families.block import Block, Config, Experts, Family, Names
from minivault.families.sound import sound, switched_on

__all__ = [
    "GGUF",
    "GGUF_FACTORS",
    "MODEL_TYPES",
    "TABLES",
    "TEXT_PREFIXES",
    "Block",
    "Config",
    "Experts",
    "Family",
    "Names",
    "family_of",
    "switched_on",
    "text_of",
]

_READ = (
    llama.FAMILY,
    gemma.FAMILY,
    gemma.FIRST,
    granite.FAMILY,
    granite.MOE,
    olmo.FAMILY,
    olmoe.FAMILY,
    exaone.FAMILY,
    phi.FAMILY,
    glm.FAMILY,
    glm.FIRST,
    cohere.FAMILY,
    gpt2.FAMILY,
    mixtral.FAMILY,
    qwen_moe.FAMILY,
    gpt_oss.FAMILY,
    *centred.FAMILIES,
)
_ALL = tuple(map(sound, _READ))
_FAMILIES = {kind: family for family in _ALL for kind in family.model_types}
MODEL_TYPES = tuple(_FAMILIES)
GGUF = {name: family for family in _ALL for name in family.gguf}
"""GGUF's names of architectures."""
GGUF_FACTORS = ("rope_freqs", "rope_factors_long", "rope_factors_short")
"""Tensors of GGUF files that divide the frequencies of rotary positions: a config tells of them as `rope_scaling`."""

TABLES = (".inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
"""Ends of tensors that some checkpoints carry and every reader makes itself."""
TEXT_PREFIXES = ("language_model.", "model.language_model.")
"""How the names of tensors begin that belong to the text model within a larger one; its head may stand outside."""


def text_of(config: Config) -> Config:
    """What a config says of the model that reads and writes text, where others see and hear for it; else the config.

    What such a config leaves to the library's defaults is filled in."""
    text, tied = config.get("text_config"), "tie_word_embeddings"
    if not isinstance(text, Mapping) or (family := family_of(text)) is None:
        return config
    return {**family.defaults.get(text["model_type"], {}), **text, **({tied: config[tied]} if tied in config else {})}


def family_of(config: Config) -> Family | None:
    """The family of a config's `model_type`; None where we know none."""
    return _FAMILIES.get(config.get("model_type", ""))
