"""LoRA adapters in a folder as PEFT writes it: which base they are for, how they are scaled, whether they are plain.

What an adapter's config switches on beyond that is refused by name: left out it would be another model.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.models import layout

CONFIG, WEIGHTS = layout.ADAPTER, "adapter_model.safetensors"
_READ = ("base_model_name_or_path", "revision", "lora_alpha", "use_rslora", "peft_type", "task_type", "bias")
_OF_TRAINING = (
    "auto_mapping",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",  # PEFT itself goes by what the layer is
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "runtime_config",
    "target_modules",
)
"""What changes nothing once an adapter is trained, or is seen from its tensors."""
_PLAIN_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Of `init_lora_weights`; others begin by changing the base."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A folder with adapter_config.json and adapter_model.safetensors."""

    directory: Path
    base: str
    """The model that it is for, by a name that `identify` understands."""
    alpha: float
    is_root_scaled: bool
    """By the root of the rank (rsLoRA) rather than by the rank."""
    has_tokenizer: bool
    """It brings the tokenizer, and with it the chat template, that it was trained with."""
    digest: str = ""

    def scale(self, rank: int) -> float:
        """What the product of two matrices of this rank is multiplied by."""
        return self.alpha / (math.sqrt(rank) if self.is_root_scaled else rank)


def is_adapter(directory: Path) -> bool:
    """True for a folder with an adapter and no weights of a whole model."""
    return (directory / CONFIG).is_file() and not any(
        (directory / name).is_file() for name in ("model.safetensors", layout.INDEX)
    )


def wanted(names: Collection[str]) -> list[str]:
    """The files of an adapter that are used, of those there are; none where they are a whole model's, or no adapter."""
    if CONFIG not in names or layout.INDEX in names or "model.safetensors" in names:
        return []
    return sorted(name for name in names if name in (CONFIG, WEIGHTS, *layout.TOKENIZER_FILES))


def check_adapter(directory: Path) -> list[str]:
    """Check that a folder holds a whole, plain adapter and return the names of the files to use. Raises ModelError."""
    names = wanted({path.name for path in directory.iterdir()})
    for name in names:
        if (directory / name).is_symlink():
            raise ModelError(f"{directory / name} is a link; copy the adapter with `cp -rL` and use the copy")
    read_adapter(directory)
    if WEIGHTS not in names:
        raise ModelError(f"{directory} has no {WEIGHTS}; save the adapter again with safe_serialization=True")
    layout.check_safetensors(directory / WEIGHTS)
    return names


def read_adapter(directory: Path, digest: str = "", *, has_tokenizer: bool = False) -> Adapter:
    """What an adapter's config says. Raises ModelError, naming the field, for what is no plain LoRA."""
    config = layout.read_json(directory / CONFIG)
    ensure_plain(config, directory)
    revision = config.get("revision")
    pinned = f"@{revision}" if isinstance(revision, str) and revision not in ("", "main") else ""
    return Adapter(
        directory,
        base=config["base_model_name_or_path"] + pinned,
        alpha=float(config["lora_alpha"]),
        is_root_scaled=config.get("use_rslora") is True,
        has_tokenizer=has_tokenizer,
        digest=digest,
    )


def ensure_plain(config: dict[str, Any], directory: Path) -> None:
    """Raise ModelError, naming the field, unless a config is one of a plain LoRA."""
    where = directory / CONFIG
    if not isinstance(config.get("base_model_name_or_path"), str) or not config["base_model_name_or_path"]:
        raise ModelError(f"{where} names no base: set base_model_name_or_path to a model's name or directory")
    if not _is_number(config.get("lora_alpha")):
        raise ModelError(f"{where} has lora_alpha {config.get('lora_alpha')!r}, no number; get the adapter again")
    for field, allowed in (
        ("peft_type", ("LORA",)),
        ("task_type", (None, "CAUSAL_LM")),
        ("bias", (None, "none")),
        ("use_rslora", (None, False, True)),
        ("init_lora_weights", _PLAIN_BEGINNINGS),
    ):
        if config.get(field) not in allowed:
            raise _not_plain(where, field, config.get(field))
    for field, value in config.items():
        if field not in _READ and field not in _OF_TRAINING and value:
            raise _not_plain(where, field, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _not_plain(where: Path, field: str, value: Any) -> ModelError:
    shown = str(value)[:80]
    told = f"{where} has {field} {shown}, which is no plain LoRA"
    return ModelError(f"{told}; merge it into its base with PEFT's merge_and_unload, save that, and serve it")
