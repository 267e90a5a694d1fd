"""Small LoRA adapters for `gpt2.write_checkpoint`'s model, in PEFT's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.models.gpt2 import CONFIG

MAP = "transformer.h.0.mlp.c_fc"


def write(directory: Path, base: object, rank: int = 2, **given: Any) -> Path:
    """An adapter of one map; `given` goes into its config."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {"base_model_name_or_path": str(base), "peft_type": "LORA", "r": rank, "lora_alpha": 6, "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps(config | given))
    random, width = np.random.default_rng(5), CONFIG["n_embd"]
    shapes = {"lora_A": (rank, width), "lora_B": (4 * width, rank)}
    tensors = {part: random.standard_normal(shape, dtype=np.float32) for part, shape in shapes.items()}
    names = {f"base_model.model.{MAP}.{part}.weight": values for part, values in tensors.items()}
    save_file(names, directory / "adapter_model.safetensors")
    return directory
