"""Tiny random checkpoints of both families, saved by transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

LLAMA: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "llama-untied-biased": {"num_key_value_heads": 4, "tie_word_embeddings": False, "attention_bias": True},
    "llama-wide-heads": {"num_key_value_heads": 1, "head_dim": 32, "mlp_bias": True},
    "llama-linear-rope": {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 1e4}},
    "llama-llama3-rope": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "mistral": {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": None},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True},
}
GPT2: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt2-depth-scaled": {"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu", "n_inner": 96},
}
SMALL = ("llama", "gpt2")
VARIANTS = (*LLAMA, *GPT2)
VOCABULARY = 96


def make(variant: str, directory: Path, seed: int = 0) -> torch.nn.Module:
    """A random model of `variant` in eval mode, also saved in `directory` as a checkpoint."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(_config(variant)).eval()
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        is_norm = parameter.dim() == 1 and "weight" in name
        parameter.data = 1 + 0.2 * noise if is_norm else 0.3 * noise
    model.tie_weights()
    model.save_pretrained(directory)
    return model


def _config(variant: str) -> Any:
    from transformers import AutoConfig

    if variant in GPT2:
        sizes = {"n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": 1024}
        return AutoConfig.for_model("gpt2", vocab_size=VOCABULARY, **sizes | GPT2[variant])
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    given = {"vocab_size": VOCABULARY, "max_position_embeddings": 1024} | sizes | LLAMA[variant]
    return AutoConfig.for_model(given.pop("model_type", "llama"), **given)
