"""A GGUF file's metadata → what the hub's config.json says of the same model.

Most keys are `<architecture>.` and a name that all architectures share; what only some have is added after.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivault.families import GGUF
from minivault.models.gguf.metadata import GgufFile

Config = dict[str, Any]
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
_TYPES = {"gemma3": "gemma3_text", "gptneox": "gpt_neox", "phi2": "phi"}
"""Architectures that the hub calls otherwise."""
_CLASSES = {"gemma3_text": "Gemma3", "gpt_neox": "GPTNeoX", "smollm3": "SmolLM3", "stablelm": "StableLm"}


def can_read(file: GgufFile) -> bool:
    """True where our families have the architecture and we know the meaning of all that scales its positions."""
    return file.architecture in GGUF and file.architecture != "gpt2" and _scaling(file) is not None


def config_of(file: GgufFile) -> Config:
    """Raises ModelError where a number is missing."""
    heads, hidden = int(_number(file, "attention.head_count")), int(_number(file, "embedding_length"))
    kind = _TYPES.get(file.architecture, file.architecture)
    config: Config = {
        "architectures": [f"{_CLASSES.get(kind, kind.title())}ForCausalLM"],
        "model_type": kind,
        "hidden_act": "silu",
        **{name: int(_number(file, key)) for name, key in _SIZES.items()},
        "head_dim": int(_value(file, "attention.key_length", hidden // heads)),
        "num_key_value_heads": int(_value(file, "attention.head_count_kv", heads)),
        "rope_theta": _float(_value(file, "rope.freq_base", 10000.0)),
        "rope_scaling": _scaling(file) or None,
        "vocab_size": file.tensor_shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in file.tensor_shapes,
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float32",
    }
    if "blk.0.attn_q.bias" in file.tensor_shapes:
        config["attention_bias"] = True
    return config | _norm(file, kind) | _MORE.get(file.architecture, _nothing_more)(file)


def write(file: GgufFile, out: Path) -> None:
    """Write config.json and generation_config.json into `out`. Raises ModelError where a number is missing."""
    config = config_of(file)
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config[key] is not None}
    generation = {"_from_model_config": True} | ids
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _norm(file: GgufFile, kind: str) -> Config:
    rms = _value(file, "attention.layer_norm_rms_epsilon", None)
    if rms is not None:
        return {"rms_norm_eps": _float(rms)}
    name = {"starcoder2": "norm_epsilon"}.get(kind, "layer_norm_eps")
    return {name: _float(_number(file, "attention.layer_norm_epsilon"))}


def _scaling(file: GgufFile) -> Config | None:
    """How positions are stretched, {} where they are not; None where we do not know what the file says."""
    kind = _value(file, "rope.scaling.type", "none")
    if kind == "none":
        return {}
    factor = _value(file, "rope.scaling.factor", None)
    original = _value(file, "rope.scaling.original_context_length", None)
    if kind == "linear" and factor is not None:
        return {"rope_type": "linear", "factor": _float(factor)}
    if kind == "yarn" and None not in (factor, original):
        return {"rope_type": "yarn", "factor": _float(factor), "original_max_position_embeddings": int(original)}
    return None


def _nothing_more(_file: GgufFile) -> Config:
    return {}


def _gemma2(file: GgufFile) -> Config:
    caps = {
        "attn_logit_softcapping": _float(_value(file, "attn_logit_softcapping", 50.0)),
        "final_logit_softcapping": _float(_value(file, "final_logit_softcapping", 30.0)),
    }
    return _gemma(file) | caps


def _gemma(file: GgufFile) -> Config:
    """Of the 27B models, which have their own scale, files say nothing but their size."""
    is_27b = {"gemma2": 46, "gemma3": 62}[file.architecture] == _number(file, "block_count")
    hidden, heads = _number(file, "embedding_length"), _number(file, "attention.head_count")
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_act": "gelu_pytorch_tanh",
        "sliding_window": int(_value(file, "attention.sliding_window", 4096)),
        "query_pre_attn_scalar": hidden // heads if is_27b else int(_value(file, "attention.key_length", 256)),
    }


def _granite(file: GgufFile) -> Config:
    return {
        "embedding_multiplier": _float(_value(file, "embedding_scale", 1.0)),
        "residual_multiplier": _float(_value(file, "residual_scale", 1.0)),
        "logits_scaling": _float(_value(file, "logit_scale", 1.0)),
        "attention_multiplier": _float(_number(file, "attention.scale")),
    }


def _window(file: GgufFile) -> Config:
    return {"sliding_window": _value(file, "attention.sliding_window", None)}


def _partly_turned(file: GgufFile) -> Config:
    """A part of each head is turned."""
    heads, hidden = int(_number(file, "attention.head_count")), int(_number(file, "embedding_length"))
    size = int(_value(file, "attention.key_length", hidden // heads))
    return {"partial_rotary_factor": int(_value(file, "rope.dimension_count", size)) / size}


def _neox(file: GgufFile) -> Config:
    is_parallel = bool(_value(file, "use_parallel_residual", True))
    return _partly_turned(file) | {"use_parallel_residual": is_parallel, "hidden_act": "gelu"}


_MORE: dict[str, Callable[[GgufFile], Config]] = {
    "gemma2": _gemma2,
    "gemma3": _gemma,
    "granite": _granite,
    "phi3": lambda file: _window(file) | _partly_turned(file),
    "phi2": lambda file: _partly_turned(file) | {"hidden_act": "gelu_new"},
    "gptneox": _neox,
    "stablelm": lambda file: _partly_turned(file) | {"use_qkv_bias": "blk.0.attn_q.bias" in file.tensor_shapes},
    "starcoder2": lambda file: _window(file) | {"hidden_act": "gelu_pytorch_tanh"},
    "cohere2": lambda file: _window(file) | {"logit_scale": _float(_value(file, "logit_scale", 0.0625))},
    "glm4": _partly_turned,
}


def _value(file: GgufFile, key: str, default: Any) -> Any:
    return file.value(f"{file.architecture}.{key}", default)


def _number(file: GgufFile, key: str) -> Any:
    return file.number(f"{file.architecture}.{key}")


def _float(value: Any) -> float:
    """The file holds float32; seven digits give back the number it was made from."""
    return float(f"{value:.7g}")
