"""A GGUF file of every architecture is read as the checkpoint that it was made from: same block, same logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from minivault.engine import exact
from minivault.families import GGUF, Block, Family, family_of
from minivault.models.gguf import config
from minivault.models.gguf.metadata import GgufFile
from tests.engine.exact import families
from tests.engine.exact.driving import tokens

_ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox", "phi": "phi2"}
_TRIED = ("qwen2-yarn", "qwen3", "smollm3", "gemma2", "gemma3", "granite", "olmo2", "phi3")
_TRIED += ("glm4", "cohere2", "starcoder2", "stablelm", "phi", "gpt_neox")


_GEMMA = {"query_pre_attn_scalar": 20, "num_hidden_layers": 7}
_AS_RELEASED = {"gemma2": _GEMMA, "gemma3": _GEMMA | {"sliding_window_pattern": 6}}
"""What files do not say, since all released models have it so."""


def test_every_architecture_is_tried() -> None:
    tried = {_ARCHITECTURES.get(kind := families.CONFIGS[name]["model_type"], kind) for name in _TRIED}
    assert tried == set(GGUF) - {"llama", "gpt2"}  # those two: tests/models/test_gguf.py


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", _TRIED)
def test_a_gguf_file_is_the_checkpoint_it_was_made_from(variant: str, tmp_path: Path) -> None:
    directory = families.write(variant, tmp_path / variant, _AS_RELEASED.get(variant))
    original = json.loads((directory / "config.json").read_text())
    path = _write(tmp_path / "model.gguf", original, load_file(directory / "model.safetensors"))
    file = GgufFile.open(path)
    assert config.can_read(file)
    read = config.config_of(file)
    family = family_of(original)
    assert family is not None
    assert family_of(read) is family
    _compare(family.block(read), family.block(original))
    exact.prepare_checkpoint(directory, tmp_path / "one.exact")
    exact.prepare_gguf(file, read, tmp_path / "two.exact")
    one, two = (exact.load(tmp_path / f"{name}.exact", num_slots=1, context=256) for name in ("one", "two"))
    assert np.array_equal(one.every_logit(tokens(60)), two.every_logit(tokens(60)))


def _compare(read: Block, original: Block) -> None:
    """Equal but for what no file says."""
    for name in ("rotations", "layers"):
        assert len(getattr(read, name)) == len(getattr(original, name))
    assert [layer.rotation for layer in read.layers] == [layer.rotation for layer in original.layers]
    same = [name for name in Block.__slots__ if name not in ("rotations", "layers", "optional")]
    assert {n: getattr(read, n) for n in same} == pytest.approx({n: getattr(original, n) for n in same})


def _write(path: Path, original: dict[str, Any], weights: dict[str, Any]) -> Path:
    kind = original["model_type"]
    family, architecture = family_of(original), _ARCHITECTURES.get(kind, kind)
    assert family is not None
    block = family.block(original)
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in _metadata(original, block).items():
        name = f"{architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_float32(name, value)
    for name, value in _tensors(family, architecture, block, weights).items():
        writer.add_tensor(name, np.ascontiguousarray(value, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _metadata(original: dict[str, Any], block: Block) -> dict[str, Any]:
    is_rms = "rms_norm_eps" in original
    turn = block.rotations[0]
    found = {
        "embedding_length": block.hidden,
        "feed_forward_length": block.mlp,
        "block_count": block.num_layers,
        "context_length": block.positions,
        "attention.head_count": block.num_heads,
        "attention.head_count_kv": block.num_groups,
        "attention.key_length": block.head_size,
        f"attention.layer_norm_{'rms_' if is_rms else ''}epsilon": block.norm_eps,
        "rope.freq_base": float(turn["rope_theta"]),
        "rope.dimension_count": block.turned,
    }
    if turn["rope_type"] != "default":
        found |= {"rope.scaling.type": turn["rope_type"], "rope.scaling.factor": float(turn["factor"])}
        found["rope.scaling.original_context_length"] = int(turn.get("original_max_position_embeddings", 0))
    if window := max(layer.window for layer in block.layers or [block.layer(0)]):
        found["attention.sliding_window"] = window
    if original["model_type"] == "granite":
        found |= {"embedding_scale": block.embedding_scale, "residual_scale": block.residual_scale}
        found |= {"logit_scale": 1 / block.logit_scale, "attention.scale": block.attention_scale}
    if original["model_type"] == "cohere2":
        found["logit_scale"] = block.logit_scale
    return found


def _tensors(family: Family, architecture: str, block: Block, weights: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = family.names, family.gguf[architecture]
    names = {
        ours.prefix + ours.embedding: theirs.embedding,
        ours.prefix + ours.norm: theirs.norm,
        ours.head: theirs.head,
    }
    for layer in range(block.num_layers):
        for field in ("qkv", "ups"):
            pairs = zip(getattr(ours, field), getattr(theirs, field), strict=True)
            names |= {_at(ours, layer, one): _at(theirs, layer, two) for one, two in pairs}
        for field in ("output", "down", *_NORMS):
            if getattr(ours, field) and getattr(theirs, field):
                names[_at(ours, layer, getattr(ours, field))] = _at(theirs, layer, getattr(theirs, field))
    found = {}
    for name, value in weights.items():
        stem, _, part = name.rpartition(".")
        found[f"{names[stem]}.{part}"] = _converted(names[stem], part, value, architecture, family, block)
    return found


_NORMS = ("attention_norm", "mlp_norm", "attention_output_norm", "mlp_output_norm", "query_norm", "key_norm")


def _at(names: Any, layer: int, part: str) -> str:
    return names.prefix + names.layer.format(layer) + part


def _converted(name: str, part: str, value: Any, architecture: str, family: Family, block: Block) -> Any:
    """As llama.cpp's converters change some tensors."""
    if "norm" in name and part == "weight":
        return value + np.float32(block.norm_offset)
    if architecture in family.gguf_paired and name.rpartition(".")[2] in ("attn_q", "attn_k"):
        halves = value.reshape(-1, 2, block.head_size // 2, *value.shape[1:])
        return halves.swapaxes(1, 2).reshape(value.shape)
    if family.names.is_joined_by_head and name.endswith("attn_qkv"):
        return value.reshape(block.num_heads, 3, block.head_size, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
    return value
