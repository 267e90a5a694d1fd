"""Small random checkpoints of every family, with the switches that its real models set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.engine.exact.checkpoints import VOCABULARY, noise, save

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
_LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    "long_factor": [2.0, 2.1, 2.2, 2.3, 2.4, 2.5],
}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_WINDOW = {"sliding_window": 40}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama3": {"model_type": "llama", "rope_scaling": _LLAMA3 | {"original_max_position_embeddings": 64}},
    "mistral": {"model_type": "mistral", **_WINDOW},
    "ministral": {"model_type": "ministral", "head_dim": 16, "use_sliding_window": True, **_WINDOW},
    "qwen2-yarn": {"model_type": "qwen2", "rope_scaling": _YARN},
    "qwen3": {"model_type": "qwen3", "head_dim": 24, "tie_word_embeddings": True},
    "smollm3": {"model_type": "smollm3", "no_rope_layers": [1, 1, 1, 0]},
    "gemma2": {"model_type": "gemma2", "head_dim": 20, "query_pre_attn_scalar": 24, **_WINDOW},
    "gemma3": {
        "model_type": "gemma3_text",
        "head_dim": 20,
        "query_pre_attn_scalar": 24,
        "sliding_window_pattern": 2,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        **_WINDOW,
    },
    "granite": {
        "model_type": "granite",
        "embedding_multiplier": 12.0,
        "attention_multiplier": 0.1,
        "residual_multiplier": 0.22,
        "logits_scaling": 8.0,
    },
    "olmo2": {"model_type": "olmo2"},
    "olmo3": {"model_type": "olmo3", "rope_scaling": _YARN | {"rope_theta": 500000.0}, **_WINDOW},
    "phi3": {"model_type": "phi3", "partial_rotary_factor": 0.75, **_WINDOW},
    "phi3-long": {
        "model_type": "phi3",
        "partial_rotary_factor": 0.75,
        "rope_scaling": _LONGROPE,
        "original_max_position_embeddings": 64,
    },
    "glm": {"model_type": "glm", "head_dim": 16, "attention_bias": True},
    "glm4": {"model_type": "glm4", "head_dim": 16},
    "gemma": {"model_type": "gemma", "head_dim": 20, "tie_word_embeddings": True},
    "seed_oss": {"model_type": "seed_oss", "head_dim": 20, "attention_bias": True},
    "ernie4_5": {"model_type": "ernie4_5", "head_dim": 16, "rope_theta": 500000.0},
    "exaone4": {"model_type": "exaone4", "sliding_window_pattern": 4, **_WINDOW},
    "exaone4-whole": {"model_type": "exaone4", "sliding_window": None, "layer_types": ["full_attention"] * 4},
    "olmoe": {"model_type": "olmoe", "num_experts": 10, "num_experts_per_tok": 3},
    "granitemoe": {
        "model_type": "granitemoe",
        "num_local_experts": 9,
        "num_experts_per_tok": 3,
        "embedding_multiplier": 12.0,
        "attention_multiplier": 0.1,
        "residual_multiplier": 0.22,
        "logits_scaling": 8.0,
    },
    "cohere2": {"model_type": "cohere2", **_WINDOW},
    "starcoder2": {"model_type": "starcoder2", **_WINDOW},
    "stablelm": {"model_type": "stablelm", "use_qkv_bias": True},
    "phi": {"model_type": "phi"},
    "gpt_neox": {"model_type": "gpt_neox"},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 6, **_WINDOW},
    "qwen2_moe": {
        "model_type": "qwen2_moe",
        "num_experts": 7,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 40,
        "shared_expert_intermediate_size": 70,
        "use_sliding_window": True,
        "max_window_layers": 2,
        **_WINDOW,
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "head_dim": 24,
        "num_experts": 20,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 40,
        "norm_topk_prob": True,
    },
    "gpt_oss-released": {
        "model_type": "gpt_oss",
        "head_dim": 16,
        "num_local_experts": 8,
        "num_experts_per_tok": 4,
        "swiglu_limit": 7.0,
        "rope_scaling": _YARN | {"truncate": False},
        **_WINDOW,
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "head_dim": 16,
        "num_local_experts": 8,
        "num_experts_per_tok": 3,
        "swiglu_limit": 1.5,
        "rope_scaling": _YARN | {"truncate": False},
        **_WINDOW,
    },
}
VARIANTS = tuple(CONFIGS)


def write(variant: str, directory: Path, changed: Mapping[str, Any] | None = None) -> Path:
    """The checkpoint as transformers would save it, its names and shapes the library's own."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = _SIZES | CONFIGS[variant] | dict(changed or {})
    config = AutoConfig.for_model(given.pop("model_type"), **given)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config.to_dict()))
    tied = set(model.all_tied_weights_keys)
    shapes = {
        on_hub(name, variant): tuple(value.shape) for name, value in model.state_dict().items() if name not in tied
    }
    is_offset = config.model_type.startswith("gemma")
    values = {name: _values(name, shape, is_offset) for name, shape in shapes.items()}
    if getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None):
        _save_experts(directory, model, values)
    else:
        save(directory / "model.safetensors", values)
    return directory


def _save_experts(directory: Path, model: Any, values: Mapping[str, Any]) -> None:
    """Through the library, which holds all experts in one tensor, where most files have one for each."""
    import torch

    given = {name: torch.from_numpy(value) for name, value in values.items()}
    model.load_state_dict(given, assign=True)
    model.save_pretrained(directory)


def on_hub(name: str, variant: str) -> str:
    """How files name a tensor that the library has come to name otherwise."""
    return name.replace("lm_head.", "embed_out.") if variant == "gpt_neox" else name


def _values(name: str, shape: tuple[int, ...], is_offset: bool) -> Any:
    is_norm = len(shape) == 1 and name.endswith("weight") and not is_offset
    return noise(name, *shape) / (4 if len(shape) == 1 else 2) + (1 if is_norm else 0)
