"""Llama-family GGUF (which SmolLM2 is) → the hub's Llama checkpoint.

GGUF stores the rows of the query and key projections interleaved for its own rotary embedding; the hub's layout wants
each head's two halves apart. Everything else is a change of names.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import ModelError
from minivault.models.gguf import byte_level_tokenizer, safetensors_stream
from minivault.models.gguf.metadata import GgufFile
from minivault.models.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


def can_convert(file: GgufFile) -> bool:
    """True for a plain Llama (no experts, rope scaling or extra tensors) with a tokenizer that we rebuild exactly."""
    scaled = file.value("llama.rope.scaling.type", "none") != "none"
    return (
        file.architecture == "llama"
        and not scaled
        and all(_hub_name(name) for name in file.tensor_shapes)
        and byte_level_tokenizer.can_build(file)
    )


def convert(file: GgufFile, out: Path, progress: Progress) -> None:
    """Write config.json, generation_config.json, the tokenizer files and model.safetensors into `out`."""
    config = _config(file)
    for name, value in (("config.json", config), ("generation_config.json", _generation_config(config))):
        (out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    byte_level_tokenizer.build(file, out)
    shapes = {_hub_name(name): shape for name, shape in file.tensor_shapes.items()}
    _check_layers(file, shapes, config["num_hidden_layers"])
    tensors = _hub_tensors(file, config["num_attention_heads"], config["num_key_value_heads"])
    safetensors_stream.write(out / "model.safetensors", shapes, tensors, progress)


def _hub_name(name: str) -> str:
    """The hub's name of a GGUF tensor, or "" for one that a plain Llama does not have."""
    if name in _TOP:
        return _TOP[name]
    match = _BLOCK.fullmatch(name)
    return f"model.layers.{match[1]}.{_LAYER[match[2]]}.weight" if match and match[2] in _LAYER else ""


def _check_layers(file: GgufFile, shapes: dict[str, tuple[int, ...]], num_layers: int) -> None:
    layers = (f"model.layers.{i}.{part}.weight" for i in range(num_layers) for part in _LAYER.values())
    expected = itertools.chain(("model.embed_tokens.weight", "model.norm.weight"), layers)
    # One at a time: a damaged header may claim billions of layers.
    if missing := next((name for name in expected if name not in shapes), None):
        raise ModelError(f"{file.path.name} lacks the tensor {missing}; download it again")


def _hub_tensors(file: GgufFile, num_heads: int, num_kv_heads: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, tensor in file.tensors():
        if ".attn_q." in name:
            yield _hub_name(name), _split_halves(tensor, num_heads)
        elif ".attn_k." in name:
            yield _hub_name(name), _split_halves(tensor, num_kv_heads)
        else:
            yield _hub_name(name), tensor


def _split_halves(weight: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Rows of each head from (pair, half) to (half, pair) order; weight is [heads * head_size, hidden]."""
    pairs = weight.shape[0] // num_heads // 2
    halves: NDArray[np.float32] = weight.reshape(num_heads, pairs, 2, -1).swapaxes(1, 2).reshape(weight.shape)
    return halves


def _config(file: GgufFile) -> dict[str, Any]:
    num_heads = int(file.number("llama.attention.head_count"))
    hidden = int(file.number("llama.embedding_length"))
    shapes = file.tensor_shapes
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "head_dim": int(file.value("llama.attention.key_length", hidden // num_heads)),
        "intermediate_size": int(file.number("llama.feed_forward_length")),
        "num_hidden_layers": int(file.number("llama.block_count")),
        "num_attention_heads": num_heads,
        "num_key_value_heads": int(file.value("llama.attention.head_count_kv", num_heads)),
        "max_position_embeddings": int(file.number("llama.context_length")),
        # The file holds float32; seven digits give back the number it was made from.
        "rms_norm_eps": float(f"{file.number('llama.attention.layer_norm_rms_epsilon'):.7g}"),
        "rope_theta": float(file.value("llama.rope.freq_base", 10000.0)),
        "rope_scaling": None,
        "vocab_size": shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in shapes,
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "float32",
    }


def _generation_config(config: dict[str, Any]) -> dict[str, Any]:
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config[key] is not None}
    return {"_from_model_config": True} | ids
