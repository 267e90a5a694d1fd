"""A model on this machine that has been checked and can be loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivault.models.adapter import Adapter
from minivault.models.signature import Signature


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A directory in the hub's layout (config.json, tokenizer files, weights) and what is known of it.

    The weights are safetensors, or one file packed for an engine of ours. Digests are `sha256:` and 64 hex digits.
    `weights_digest` is that of the one weights file, or, of several, the digest of their `sha256sum` listing in order
    of name; `template_digest` is empty when there is no chat template.
    """

    name: str
    """What clients call it."""
    reference: str
    """What commands and settings call it: the same, or the whole path of a directory or file of the user's own."""
    directory: Path
    source: str
    weights_digest: str
    config_digest: str
    """Of config.json and generation_config.json."""
    tokenizer_digest: str
    template_digest: str
    size_bytes: int
    """Of all weights files."""
    num_parameters: int
    license: str
    is_packed: bool
    modified_ns: int
    """When it was pulled, or first seen, in nanoseconds since 1970."""
    chat_template: str = field(repr=False)
    config: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    adapter: Adapter | None = None
    """What is added to the weights, which are its base's then."""

    signature: Signature | None = None
    """Of whoever published the model; of an adapter's base."""

    @property
    def text_directory(self) -> Path:
        """Where tokenizer and chat template are."""
        return self.adapter.directory if self.adapter and self.adapter.has_tokenizer else self.directory
