"""A GGUF file's metadata → what the hub's config.json says of the same model.

Most keys are `<architecture>.` and a name that all architectures share; what only some have is added after.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.families import GGUF
from minivault.models.gguf import rotation
from minivault.models.gguf.metadata import GgufFile

Config = dict[str, Any]
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
_TYPES = {
    "gemma3": "gemma3_text",
    "gpt-oss": "gpt_oss",
    "gptneox": "gpt_neox",
    "phi2": "phi",
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
}
"""Architectures that the hub calls otherwise."""
_CLASSES = {
    "gemma3_text": "Gemma3",
    "gpt_neox": "GPTNeoX",
    "gpt_oss": "GptOss",
    "qwen2_moe": "Qwen2Moe",
    "qwen3_moe": "Qwen3Moe",
    "smollm3": "SmolLM3",
    "stablelm": "StableLm",
}


def can_read(file: GgufFile) -> bool:
    """True where our families have the architecture."""
    return file.architecture in GGUF and file.architecture != "gpt2"


def config_of(file: GgufFile) -> Config:
    """Raises ModelError where a number is missing, or names what is said of the model that we do not know."""
    heads = int(_number(file, "attention.head_count"))
    kind = _kind(file)
    config: Config = {
        "architectures": [f"{_CLASSES.get(kind, kind.title())}ForCausalLM"],
        "model_type": kind,
        "hidden_act": "silu",
        **{name: int(_number(file, key)) for name, key in _SIZES.items()},
        "head_dim": _head_size(file),
        "num_key_value_heads": _whole(file, "attention.head_count_kv", heads),
        "rope_theta": rotation.shortest(_value(file, "rope.freq_base", 10000.0)),
        "rope_scaling": rotation.scaling(file),
        "vocab_size": file.tensor_shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in file.tensor_shapes,
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float32",
    }
    if "blk.0.attn_q.bias" in file.tensor_shapes:
        config["attention_bias"] = True
    config |= _norm(file, kind) | _MORE.get(kind, _nothing_more)(file)
    _refuse_more(file, config)
    return config


def _kind(file: GgufFile) -> str:
    """The hub's `model_type`. A Llama with experts is a Mixtral."""
    if file.architecture == "llama" and _value(file, "expert_count", 0):
        return "mixtral"
    return _TYPES.get(file.architecture, file.architecture)


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
        return {"rms_norm_eps": rotation.shortest(rms)}
    name = {"starcoder2": "norm_epsilon"}.get(kind, "layer_norm_eps")
    return {name: rotation.shortest(_number(file, "attention.layer_norm_epsilon"))}


_OF_NO_USE = ("vocab_size", "tensor_data_layout", "expert_used_count", "attention.layer_norm_epsilon")
"""The last two are said, in some files, of models without experts and with the other norm as well."""


def _refuse_more(file: GgufFile, config: Config) -> None:
    """What is said of a model and nobody has asked for would be ignored, and make it another model."""
    size = config["head_dim"]
    turned = int(size * config.get("partial_rotary_factor", 1))
    needed = {"attention.value_length": size, "rope.dimension_count": turned, "attention.causal": True}
    for key, known in (needed | {"rope.scale_linear": 1.0}).items():
        if (found := _value(file, key, known)) != known:
            raise _unknown(file, key, found)
    prefix = f"{file.architecture}."
    for key in sorted(file.fields.keys() - file.asked):
        name, value = key.removeprefix(prefix), file.fields[key]
        if key.startswith(prefix) and name not in _OF_NO_USE and value not in (0, "", "none"):
            raise _unknown(file, name, value)


def _unknown(file: GgufFile, key: str, value: Any) -> ModelError:
    said = value if isinstance(value, int | float | str) else "several values"
    return ModelError(
        f"{file.path.name} has {file.architecture}.{key} = {said}, which is not supported in this architecture"
    )


def _nothing_more(_file: GgufFile) -> Config:
    return {}


def _gemma3(file: GgufFile) -> Config:
    near = rotation.shortest(_value(file, "rope.freq_base_swa", 10000.0))
    return _gemma(file) | {"rope_local_base_freq": near, "final_logit_softcapping": _cap(file)}


def _cap(file: GgufFile) -> float | None:
    cap = _value(file, "final_logit_softcapping", 0.0)
    return rotation.shortest(cap) if cap else None


def _gemma2(file: GgufFile) -> Config:
    caps = {
        "attn_logit_softcapping": rotation.shortest(_value(file, "attn_logit_softcapping", 50.0)),
        "final_logit_softcapping": rotation.shortest(_value(file, "final_logit_softcapping", 30.0)),
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


def _gemma1(_file: GgufFile) -> Config:
    return {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}


def _granite(file: GgufFile) -> Config:
    return {
        "embedding_multiplier": rotation.shortest(_value(file, "embedding_scale", 1.0)),
        "residual_multiplier": rotation.shortest(_value(file, "residual_scale", 1.0)),
        "logits_scaling": rotation.shortest(_value(file, "logit_scale", 1.0)),
        "attention_multiplier": rotation.shortest(_number(file, "attention.scale")),
    }


def _window(file: GgufFile) -> Config:
    return {"sliding_window": _value(file, "attention.sliding_window", None)}


def _partly_turned(file: GgufFile) -> Config:
    """A part of each head is turned."""
    size = _head_size(file)
    return {"partial_rotary_factor": int(_value(file, "rope.dimension_count", size)) / size}


def _stablelm(file: GgufFile) -> Config:
    """Files say `use_parallel_residual` of all: those without a norm for the MLP are meant."""
    _value(file, "use_parallel_residual", True)
    is_parallel, has_biases = ("blk.0.ffn_norm.weight" not in file.by_name), "blk.0.attn_q.bias" in file.by_name
    return _partly_turned(file) | {"use_parallel_residual": is_parallel, "use_qkv_bias": has_biases}


def _neox(file: GgufFile) -> Config:
    is_parallel = bool(_value(file, "use_parallel_residual", True))
    return _partly_turned(file) | {"use_parallel_residual": is_parallel, "hidden_act": "gelu"}


def _experts(file: GgufFile) -> Config:
    """All of these models have as many experts in every layer."""
    used, mlp = int(_number(file, "expert_used_count")), int(_number(file, "feed_forward_length"))
    return {
        "num_experts": int(_number(file, "expert_count")),
        "num_experts_per_tok": used,
        "moe_intermediate_size": _whole(file, "expert_feed_forward_length", mlp // used),
    }


def _qwen2_moe(file: GgufFile) -> Config:
    shared = _whole(file, "expert_shared_feed_forward_length", int(_number(file, "feed_forward_length")))
    return _experts(file) | {"shared_expert_intermediate_size": shared, "norm_topk_prob": False}


def _mixtral(file: GgufFile) -> Config:
    return _window(file) | _local_experts(file)


def _local_experts(file: GgufFile) -> Config:
    """Files say an expert's width as the model's."""
    used = int(_number(file, "expert_used_count"))
    return {"num_local_experts": int(_number(file, "expert_count")), "num_experts_per_tok": used}


def _gpt_oss(file: GgufFile) -> Config:
    """What files do not say is what all released models have."""
    found, rope = _experts(file), rotation.scaling(file)
    return {
        "num_local_experts": found["num_experts"],
        "num_experts_per_tok": found["num_experts_per_tok"],
        "intermediate_size": found["moe_intermediate_size"],
        "rope_scaling": rope | {"truncate": False} if rope else None,
        **_window(file),
    }


_MORE: dict[str, Callable[[GgufFile], Config]] = {
    "exaone4": lambda file: _window(file) | {"sliding_window_pattern": 4},
    "gemma": _gemma1,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "granite": _granite,
    "granitemoe": lambda file: _granite(file) | _local_experts(file),
    "olmoe": lambda file: _experts(file) | {"norm_topk_prob": False},
    "phi3": lambda file: _window(file) | _partly_turned(file),
    "phi": lambda file: _partly_turned(file) | {"hidden_act": "gelu_new"},
    "gpt_neox": _neox,
    "mixtral": _mixtral,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": lambda file: _experts(file) | {"norm_topk_prob": True},
    "gpt_oss": _gpt_oss,
    "stablelm": _stablelm,
    "starcoder2": lambda file: _window(file) | {"hidden_act": "gelu_pytorch_tanh"},
    "cohere2": lambda file: _window(file) | {"logit_scale": rotation.shortest(_value(file, "logit_scale", 0.0625))},
    "glm4": _partly_turned,
}


def _head_size(file: GgufFile) -> int:
    heads, hidden = int(_number(file, "attention.head_count")), int(_number(file, "embedding_length"))
    return _whole(file, "attention.key_length", hidden // heads)


def _whole(file: GgufFile, key: str, default: int) -> int:
    """A number that is the same in all layers."""
    value = _value(file, key, default)
    if not isinstance(value, int):
        raise _unknown(file, key, value)
    return value


def _value(file: GgufFile, key: str, default: Any) -> Any:
    return file.value(f"{file.architecture}.{key}", default)


def _number(file: GgufFile, key: str) -> Any:
    """A number above 0, which must be there."""
    value = file.number(f"{file.architecture}.{key}")
    if not 0 < value < float("inf"):
        raise _unknown(file, key, value)
    return value
