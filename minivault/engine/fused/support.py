"""Which models and machines the fused runner serves, decided from a config alone: no file, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.engine.host import Machine

LLAMA_TYPES = ("llama", "mistral", "qwen2")
GPT2_TYPES = ("gpt2",)
ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
ROPE_TYPES = ("default", "linear", "llama3")


def why_not(config: Mapping[str, Any], machine: Machine | None = None) -> str | None:
    """One line saying why the fused runner cannot serve a model of this config here; None where it can."""
    machine = machine or Machine.here()
    return _machine_reason(machine) or _config_reason(config)


def _machine_reason(machine: Machine) -> str | None:
    if not machine.is_x86:
        return f"this CPU is {machine.architecture}: the fused runner's int8 kernels are for x86"
    if "avx2" not in machine.flags:
        return "this CPU has no AVX2, which the fused runner's int8 kernels need"
    return None


def _config_reason(config: Mapping[str, Any]) -> str | None:
    kind = config.get("model_type")
    if kind in LLAMA_TYPES:
        return _llama_reason(config)
    if kind in GPT2_TYPES:
        return _gpt2_reason(config)
    known = ", ".join((*LLAMA_TYPES, *GPT2_TYPES))
    return f"model_type {kind!r} is not one the fused runner knows ({known})"


def _missing(config: Mapping[str, Any], *names: str) -> str | None:
    absent = [name for name in names if config.get(name) is None]
    return f"the config has no {absent[0]}" if absent else None


def _llama_reason(config: Mapping[str, Any]) -> str | None:
    needed = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size")
    if reason := _missing(config, *needed):
        return reason
    heads = int(config["num_attention_heads"])
    groups = int(config.get("num_key_value_heads") or heads)
    if heads % groups:
        return f"num_attention_heads {heads} is not a multiple of num_key_value_heads {groups}"
    return (
        _head_reason(int(config.get("head_dim") or int(config["hidden_size"]) // heads))
        or _activation_reason(config.get("hidden_act", "silu"))
        or _window_reason(config)
        or _rope_reason(rope_parameters(config))
    )


def _gpt2_reason(config: Mapping[str, Any]) -> str | None:
    if reason := _missing(config, "n_embd", "n_head", "n_layer", "n_positions", "vocab_size"):
        return reason
    if config.get("add_cross_attention"):
        return "add_cross_attention is set: the fused runner serves decoders only"
    if not config.get("scale_attn_weights", True):
        return "scale_attn_weights is off, which the fused runner does not support"
    width, heads = int(config["n_embd"]), int(config["n_head"])
    if width % heads:
        return f"n_embd {width} is not a multiple of n_head {heads}"
    return _head_reason(width // heads) or _activation_reason(config.get("activation_function", "gelu_new"))


def _head_reason(size: int) -> str | None:
    return f"head size {size} has no power-of-two factor to rotate by" if size % 2 else None


def _activation_reason(name: str) -> str | None:
    return None if name in ACTIVATIONS else f"activation {name!r} is not supported ({', '.join(ACTIVATIONS)})"


def _window_reason(config: Mapping[str, Any]) -> str | None:
    window, longest = config.get("sliding_window"), int(config.get("max_position_embeddings", 0))
    is_used = config.get("use_sliding_window", True) or "sliding_attention" in (config.get("layer_types") or ())
    if window is not None and is_used and int(window) < longest:
        return f"sliding_window {window} is shorter than the model's {longest} positions: not supported"
    return None


def _rope_reason(rope: Mapping[str, Any]) -> str | None:
    kind = rope["rope_type"]
    if kind not in ROPE_TYPES:
        return f"rope_type {kind!r} is not supported ({', '.join(ROPE_TYPES)})"
    if float(rope.get("partial_rotary_factor", 1.0)) != 1.0:
        return f"partial_rotary_factor {rope['partial_rotary_factor']} is not supported"
    return None


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary settings of a config, old layout or new, with `rope_type` and `rope_theta` always set."""
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    kind = rope.get("rope_type") or rope.get("type") or "default"
    theta = rope.get("rope_theta") or config.get("rope_theta") or 10000.0
    partial = config.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or 1.0
    return rope | {"rope_type": kind, "rope_theta": float(theta), "partial_rotary_factor": float(partial)}
