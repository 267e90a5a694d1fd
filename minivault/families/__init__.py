"""Families: what differs between models that share a forward pass, as data. A file a family; no tensor, no library.

From a config (or a GGUF file's metadata) to a `Block`, and from a tensor's part to its name.
"""

from __future__ import annotations

from minivault.families import gpt2, llama
from minivault.families.block import Block, Config, Family, Names

__all__ = ["MODEL_TYPES", "Block", "Config", "Family", "Names", "family_of"]

_FAMILIES = {kind: family for family in (llama.FAMILY, gpt2.FAMILY) for kind in family.model_types}
MODEL_TYPES = tuple(_FAMILIES)


def family_of(config: Config) -> Family | None:
    """The family of a config's `model_type`; None where we know none."""
    return _FAMILIES.get(config.get("model_type", ""))
