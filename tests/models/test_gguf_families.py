"""A GGUF file of every architecture is read as the checkpoint that it was made from: same block, same logits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from minivault.engine import exact
from minivault.engine.exact.turning import frequencies
from minivault.errors import ModelError
from minivault.families import GGUF, Block, Family, family_of
from minivault.families.block import Experts, Names, Rotation
from minivault.models.gguf import config, general, llama
from minivault.models.gguf.metadata import GgufFile
from minivault.models.progress import silent
from tests.engine.exact import families
from tests.engine.exact.driving import tokens

_ARCHITECTURES = {
    "gemma3_text": "gemma3",
    "gpt_neox": "gptneox",
    "gpt_oss": "gpt-oss",
    "mixtral": "llama",
    "phi": "phi2",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
}
_TRIED = ("llama3", "phi3-long", "qwen2-yarn", "qwen3", "smollm3", "gemma2", "gemma3", "granite", "olmo2", "phi3")
_TRIED += ("glm4", "cohere2", "starcoder2", "stablelm", "phi", "gpt_neox", "mixtral", "qwen2_moe", "qwen3_moe")
_TRIED += ("gpt_oss", "gemma", "seed_oss", "ernie4_5", "exaone4", "olmoe", "granitemoe")


_GEMMA = {"query_pre_attn_scalar": 20, "num_hidden_layers": 7}
_AS_RELEASED = {
    "gemma2": _GEMMA,
    "gemma3": _GEMMA | {"sliding_window_pattern": 6},
    "qwen2_moe": {"use_sliding_window": False},
    "gpt_oss": {"swiglu_limit": 7.0},
}
"""What files do not say, since all released models have it so."""


def test_every_architecture_is_tried() -> None:
    tried = {_ARCHITECTURES.get(kind := families.CONFIGS[name]["model_type"], kind) for name in _TRIED}
    assert tried == set(GGUF) - {"gpt2"}  # that one: tests/engine/exact/test_grids.py


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", _TRIED)
def test_a_gguf_file_is_the_checkpoint_it_was_made_from(variant: str, tmp_path: Path) -> None:
    directory = families.write(variant, tmp_path / variant, _AS_RELEASED.get(variant))
    original = json.loads((directory / "config.json").read_text())
    path = write(tmp_path / "model.gguf", original, load_file(directory / "model.safetensors"))
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
    ours, theirs = one.every_logit(tokens(60)), two.every_logit(tokens(60))
    if variant == "llama3":  # a file has its factors as float32
        assert np.abs(ours - theirs).max() < 1e-3 * np.abs(ours).max()
    else:
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("variant", "key", "value"),
    [
        ("qwen3", "final_logit_softcapping", 30.0),
        ("qwen3", "attention.sliding_window", 40),
        ("qwen3", "attention.value_length", 12),
        ("qwen3", "rope.dimension_count", 12),
        ("qwen3", "attention.causal", False),
        ("qwen3", "attention.head_count_kv", 2.5),
        ("qwen3", "attention.head_count", 0),
        ("granitemoe", "expert_used_count", 0),
        ("qwen2-yarn", "rope.scaling.yarn_log_multiplier", 0.1),
        ("qwen2-yarn", "rope.scaling.type", "dynamic"),
    ],
)
def test_what_is_said_of_a_model_and_not_known_is_refused_by_name(
    variant: str, key: str, value: Any, tmp_path: Path
) -> None:
    directory = families.write(variant, tmp_path / variant)
    original = json.loads((directory / "config.json").read_text())
    weights = load_file(directory / "model.safetensors")
    file = GgufFile.open(write(tmp_path / "model.gguf", original, weights, {key: value}))
    with pytest.raises(ModelError, match=re.escape(key)):
        config.config_of(file)


def test_factors_that_no_config_tells_of_are_refused_by_name(tmp_path: Path) -> None:
    directory = families.write("llama3", tmp_path / "llama3")
    original = json.loads((directory / "config.json").read_text())
    path = write(tmp_path / "model.gguf", original, load_file(directory / "model.safetensors"))
    file = replace(GgufFile.open(path), fields={"general.architecture": "mpt"})
    with pytest.raises(ModelError, match=r"rope_freqs\.weight"):
        general.write_settings(file, tmp_path)


def _compare(read: Block, original: Block) -> None:
    """Equal but for what no file says."""
    for name in ("rotations", "layers"):
        assert len(getattr(read, name)) == len(getattr(original, name))
    assert [layer.rotation for layer in read.layers] == [layer.rotation for layer in original.layers]
    same = [name for name in Block.__slots__ if name not in ("rotations", "layers", "biased")]
    assert {n: getattr(read, n) for n in same} == pytest.approx({n: getattr(original, n) for n in same})


def write(
    path: Path,
    original: dict[str, Any],
    weights: dict[str, Any],
    more: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Path:
    """A GGUF file of a checkpoint's weights in float32, but for what `change` makes bytes of: those are MXFP4."""
    kind = original["model_type"]
    family, architecture = family_of(original), _ARCHITECTURES.get(kind, kind)
    assert family is not None
    block = family.block(original)
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in (_metadata(original, block) | dict(more or {})).items():
        name = f"{architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_float32(name, value)
    for name, value in change(_tensors(family, architecture, block, weights) | _factors(block)).items():
        if getattr(value, "dtype", None) == np.uint8:
            writer.add_tensor(name, value, raw_dtype=gguf.GGMLQuantizationType.MXFP4)
        else:
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
        "feed_forward_length": original["intermediate_size"],
        "block_count": block.num_layers,
        "context_length": block.positions,
        "attention.head_count": block.num_heads,
        "attention.head_count_kv": block.num_groups,
        "attention.key_length": block.head_size,
        f"attention.layer_norm_{'rms_' if is_rms else ''}epsilon": block.norm_eps,
        "rope.freq_base": float(turn["rope_theta"]),
        "rope.dimension_count": block.turned,
    }
    if turn["rope_type"] == "longrope":
        found |= {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": _amplitude(turn)}
        found["rope.scaling.original_context_length"] = int(turn["original_max_position_embeddings"])
    elif turn["rope_type"] not in ("default", "llama3"):
        found |= {"rope.scaling.type": turn["rope_type"], "rope.scaling.factor": float(turn["factor"])}
        found["rope.scaling.original_context_length"] = int(turn.get("original_max_position_embeddings", 0))
    if window := max(layer.window for layer in block.layers or [block.layer(0)]):
        found["attention.sliding_window"] = window
    if block.experts:
        found |= {"expert_count": block.experts.num, "expert_used_count": block.experts.used}
        if original["model_type"] not in ("mixtral", "olmoe", "granitemoe"):  # where that is the model's
            found["expert_feed_forward_length"] = block.experts.mlp
        if block.experts.has_shared:
            found["expert_shared_feed_forward_length"] = block.mlp
    if original["model_type"] in ("granite", "granitemoe"):
        found |= {"embedding_scale": block.embedding_scale, "residual_scale": block.residual_scale}
        found |= {"logit_scale": 1 / block.logit_scale, "attention.scale": block.attention_scale}
    if original["model_type"] == "cohere2":
        found["logit_scale"] = block.logit_scale
    return found


def _amplitude(turn: Rotation) -> float:
    return math.sqrt(1 + math.log(turn["factor"]) / math.log(turn["original_max_position_embeddings"]))


def _factors(block: Block) -> dict[str, Any]:
    """As llama.cpp's converters write them: what frequencies are divided by."""
    turn = block.rotations[0]
    if turn["rope_type"] == "longrope":
        return {f"rope_factors_{name}.weight": turn[f"{name}_factor"] for name in ("long", "short")}
    if turn["rope_type"] != "llama3":
        return {}
    plain = frequencies({"rope_type": "default", "rope_theta": turn["rope_theta"]}, block.turned)
    return {"rope_freqs.weight": plain / frequencies(turn, block.turned)}


def _tensors(family: Family, architecture: str, block: Block, weights: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = family.names, GGUF[architecture].gguf[architecture]
    names = {
        ours.prefix + ours.embedding: theirs.embedding,
        ours.prefix + ours.norm: theirs.norm,
        ours.head: theirs.head,
    }
    for layer in range(block.num_layers):
        for field in ("qkv", "ups"):
            pairs = zip(getattr(ours, field), getattr(theirs, field), strict=True)
            names |= {_at(ours, layer, one): _at(theirs, layer, two) for one, two in pairs}
        for field in ("output", "down", "router", "shared_router", *_NORMS):
            if getattr(ours, field) and getattr(theirs, field):
                names[_at(ours, layer, getattr(ours, field))] = _at(theirs, layer, getattr(theirs, field))
    found = dict[str, Any]()
    if block.experts:
        for layer in range(block.num_layers):
            found |= _of_experts(block.experts, ours, theirs, layer, weights)
    for name, value in weights.items():
        if ".experts." in name or "sinks" in name:
            continue
        stem, _, part = name.rpartition(".")
        found[f"{names[stem]}.{part}"] = _converted(names[stem], part, value, architecture, family, block)
    return found


def _of_experts(experts: Experts, ours: Names, theirs: Names, layer: int, weights: dict[str, Any]) -> dict[str, Any]:
    """All experts in one tensor, and sinks; out of one tensor of gate and up, in turn (gpt-oss) or not, come two."""
    found = dict[str, Any]()
    if ours.sinks:
        found[_at(theirs, layer, str(theirs.sinks))] = weights[_at(ours, layer, ours.sinks)]
    if len(ours.expert_ups) > 1:
        pairs = zip((*ours.expert_ups, ours.expert_down), (*theirs.expert_ups, theirs.expert_down), strict=True)
        for one, two in pairs:
            each = [weights[_at(ours, layer, one.replace("{}", str(i))) + ".weight"] for i in range(experts.num)]
            found[_at(theirs, layer, two) + ".weight"] = np.stack(each)
        return found
    up, down = (_at(ours, layer, name) for name in (ours.expert_ups[0], ours.expert_down))
    if not ours.is_alternating:
        halves = np.split(weights.pop(f"{up}.weight"), 2, axis=1)
        parts = (*halves, weights.pop(f"{down}.weight"))
        return {
            f"{_at(theirs, layer, to)}.weight": part
            for to, part in zip((*theirs.expert_ups, theirs.expert_down), parts, strict=True)
        }
    for start, to in enumerate(theirs.expert_ups):
        found[_at(theirs, layer, to) + ".weight"] = weights[up].swapaxes(1, 2)[:, start::2]
        found[_at(theirs, layer, to) + ".bias"] = weights[f"{up}_bias"][:, start::2]
    found[_at(theirs, layer, theirs.expert_down) + ".weight"] = weights[down].swapaxes(1, 2)
    found[_at(theirs, layer, theirs.expert_down) + ".bias"] = weights[f"{down}_bias"]
    return found


_NORMS = ("attention_norm", "mlp_norm", "attention_output_norm", "mlp_output_norm", "query_norm", "key_norm")


def _at(names: Any, layer: int, part: str) -> str:
    return names.prefix + names.layer.format(layer) + part


def _converted(name: str, part: str, value: Any, architecture: str, family: Family, block: Block) -> Any:
    """As llama.cpp's converters change some tensors."""
    if "norm" in name and part == "weight":
        return value + np.float32(block.norm_offset)
    if name.endswith("shexp") and value.ndim == 2 and len(value) == 1:  # a router's one row
        return value.reshape(-1)
    if architecture in GGUF[architecture].gguf_paired and name.rpartition(".")[2] in ("attn_q", "attn_k"):
        halves = value.reshape(-1, 2, block.head_size // 2, *value.shape[1:])
        return halves.swapaxes(1, 2).reshape(value.shape)
    if family.names.is_joined_by_head and name.endswith("attn_qkv"):
        return value.reshape(block.num_heads, 3, block.head_size, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
    return value


def test_a_factor_of_zero_is_refused(tmp_path: Path) -> None:
    directory = families.write("phi3-long", tmp_path / "phi3")
    original = json.loads((directory / "config.json").read_text())
    rope = original.get("rope_parameters") or original["rope_scaling"]
    rope["long_factor"][0] = 0.0
    file = GgufFile.open(write(tmp_path / "model.gguf", original, load_file(directory / "model.safetensors")))
    with pytest.raises(ModelError, match=r"factor in rope_factors_long\.weight"):
        config.config_of(file)


def test_a_llama_without_a_packer_keeps_its_factors(tmp_path: Path) -> None:
    directory = families.write("llama3", tmp_path / "llama3")
    original = json.loads((directory / "config.json").read_text())
    weights = load_file(directory / "model.safetensors")
    file = GgufFile.open(write(tmp_path / "model.gguf", original, weights))
    llama.write_weights(file, tmp_path, silent)
    assert load_file(tmp_path / "model.safetensors").keys() == weights.keys()
    assert config.config_of(file)["rope_scaling"]["long_factor"][-1] == 8.0
