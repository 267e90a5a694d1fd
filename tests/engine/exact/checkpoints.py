"""Small random checkpoints whose every bit is fixed here: integers from a counter, no library's generator."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

VOCABULARY = 90
_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 1024,
    "vocab_size": VOCABULARY,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "llama3": _LLAMA
    | {"rope_scaling": _LLAMA3 | {"original_max_position_embeddings": 64}, "tie_word_embeddings": False}
    | {"num_key_value_heads": 4},
    "odd": _LLAMA
    | {"hidden_size": 52, "intermediate_size": 70, "num_attention_heads": 4, "num_key_value_heads": 1}
    | {"head_dim": 22},
    "qwen2": _LLAMA | {"model_type": "qwen2", "head_dim": 16},
    "gpt2": _GPT2,
    "gpt2-scaled": _GPT2 | {"activation_function": "gelu", "n_inner": 80, "scale_attn_by_inverse_layer_idx": True},
}
VARIANTS = tuple(CONFIGS)


def noise(name: str, *shape: int) -> Floats:
    """Numbers from -1 to 1 in steps of 2**-12, roughly normal, fixed by the name and the shape."""
    count = int(np.prod(shape))
    data = hashlib.shake_256(name.encode()).digest(4 * count)
    parts = np.frombuffer(data, np.uint8).reshape(count, 4).astype(np.int64).sum(1) - 510
    return (parts * 8).astype(np.float32).reshape(shape) / np.float32(4096)


def tensors(variant: str) -> dict[str, Floats]:
    return _gpt2(CONFIGS[variant]) if variant.startswith("gpt2") else _llama(CONFIGS[variant])


def _llama(config: dict[str, Any]) -> dict[str, Floats]:
    hidden, mlp, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    groups = config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, hidden)}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for part, count in (("q", heads), ("k", groups), ("v", groups)):
            shapes[f"{at}self_attn.{part}_proj.weight"] = (count * size, hidden)
            if config["model_type"] == "qwen2":
                shapes[f"{at}self_attn.{part}_proj.bias"] = (count * size,)
        shapes[f"{at}self_attn.o_proj.weight"] = (hidden, heads * size)
        shapes |= {f"{at}mlp.{name}_proj.weight": (mlp, hidden) for name in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, mlp)
        shapes |= {f"{at}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCABULARY, hidden)
    return {name: _values(name, shape) for name, shape in shapes.items()}


def _gpt2(config: dict[str, Any]) -> dict[str, Floats]:
    hidden = config["n_embd"]
    mlp = config.get("n_inner") or 4 * hidden
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (VOCABULARY, hidden), "wpe.weight": (1024, hidden)}
    for layer in range(config["n_layer"]):
        maps = {"attn.c_attn": (hidden, 3 * hidden), "attn.c_proj": (hidden, hidden)}
        for name, shape in (maps | {"mlp.c_fc": (hidden, mlp), "mlp.c_proj": (mlp, hidden)}).items():
            shapes |= {f"h.{layer}.{name}.weight": shape, f"h.{layer}.{name}.bias": shape[1:]}
        shapes |= {f"h.{layer}.ln_{i}.{part}": (hidden,) for i in (1, 2) for part in ("weight", "bias")}
    shapes |= {f"ln_f.{part}": (hidden,) for part in ("weight", "bias")}
    return {f"transformer.{name}": _values(name, shape) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...]) -> Floats:
    is_norm = len(shape) == 1 and name.endswith("weight")
    return noise(name, *shape) * np.float32(0.5) + np.float32(1 if is_norm else 0)


def write(variant: str, directory: Path, changed: dict[str, Any] | None = None) -> Path:
    """The checkpoint as the hub would have it; `changed` tensors instead of their namesakes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIGS[variant]))
    save(directory / "model.safetensors", tensors(variant) | (changed or {}))
    return directory


def save(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64"}
    header, end = dict[str, Any](), 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        shape = list(tensor.shape)
        header[name] = {"dtype": kinds[str(tensor.dtype)], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensor.tobytes() for tensor in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
