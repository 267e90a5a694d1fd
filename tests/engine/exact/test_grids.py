"""Every type of GGUF tensor becomes the numbers that the file means."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from minivault.engine.exact import prepare_gguf
from minivault.engine.exact.grids import PACKINGS, fitted
from minivault.engine.exact.weights import Grid
from minivault.errors import ModelError
from minivault.models.gguf.llama import config_of
from minivault.models.gguf.metadata import GgufFile
from tests.engine.exact.checkpoints import CONFIGS, noise, tensors
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import tokens

LLAMA = {"context_length": 1024, "embedding_length": 64, "block_count": 2, "feed_forward_length": 96}
LLAMA |= {"attention.head_count": 4, "attention.head_count_kv": 2}
LLAMA_NUMBERS = LLAMA | {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0}
GPT2 = {"context_length": 1024, "embedding_length": 48, "block_count": 2, "feed_forward_length": 192}
GPT2_NUMBERS = GPT2 | {"attention.head_count": 4, "attention.layer_norm_epsilon": 1e-5}

ROUNDED_ONCE = {"IQ4_XS", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}
"""Whose scales, products of a float16 and an integer, become float16."""
SCALES_AT = {"Q2_K": 80, "Q3_K": 108, "Q6_K": 208}


def numbers(grid: Grid, zero: int, group: int) -> np.ndarray:
    scales, *minima = (part[..., None].astype(np.float64) for part in grid.of_groups)
    codes = grid.codes if grid.levels is None else grid.levels[grid.codes]
    values = (codes.astype(np.float64).reshape(len(codes), -1, group) - zero) * scales
    if minima:
        values += minima[0]
    return values.reshape(grid.codes.shape)


def random_blocks(kind: str, rows: int, inputs: int) -> np.ndarray:
    """Bytes of a tensor [rows, …] whose float16 scales are ordinary numbers and whose other bits are arbitrary."""
    packing = PACKINGS[kind]
    count = rows * inputs // packing.inputs
    raw = (noise(kind, count, packing.num_bytes) * 4096).astype(np.int64).astype(np.uint8)
    if kind == "MXFP4":  # powers of two
        raw[:, 0] = 115 + raw[:, 0] % 8
        return raw.reshape(rows, -1)
    scales = (np.abs(noise(kind + "d", count, 2)) * 0.02 + 0.001).astype(np.float16).view(np.uint8).reshape(count, 4)
    at, width = SCALES_AT.get(kind, 0), 4 if packing.format.has_minima else 2
    raw[:, at : at + width] = scales[:, :width]
    return raw.reshape(rows, -1)


@pytest.mark.parametrize("kind", PACKINGS)
def test_a_grid_holds_what_the_file_means(kind: str) -> None:
    raw, packing = random_blocks(kind, 16, 512), PACKINGS[kind]
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[kind])
    found = numbers(packing.grid(raw), packing.zero, packing.format.group)
    tolerance = 1e-3 if kind in ROUNDED_ONCE else 1e-6
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_no_type_of_four_bits_and_more_takes_a_quarter_more_than_in_its_file() -> None:
    for kind, packing in PACKINGS.items():
        form, in_file = packing.format, 8 * packing.num_bytes / packing.inputs
        of_scales = 16 / (256 if form.is_nested else form.group) + form.is_nested * 8 / form.group
        assert form.bits + form.num_factors * of_scales <= 1.25 * in_file or kind in ("Q2_K", "Q3_K"), kind


def test_a_power_of_two_beyond_float16_becomes_infinite() -> None:
    """And is then refused as such; smaller ones than float16 has stand for next to nothing."""
    blocks = np.array([[exponent, *[0x77] * 16] for exponent in (254, 143, 60)], np.uint8)
    with np.errstate(over="raise"):
        scales = PACKINGS["MXFP4"].grid(blocks).scales.reshape(-1)
    assert scales.tolist() == [np.inf, 2.0**15, 0.0]


@pytest.mark.parametrize(("bits", "steps"), [(8, 254), (4, 15)])
def test_a_fitted_grid_is_half_a_step_away_at_most(bits: int, steps: int) -> None:
    values = noise("values", 16, 64)
    found = numbers(fitted(values, bits), 128 if bits == 8 else 0, 32)
    groups = values.reshape(16, 2, 32)
    span = 2 * np.abs(groups).max(-1) if bits == 8 else groups.max(-1) - groups.min(-1)
    assert (np.abs(found - values).reshape(groups.shape).max(-1) <= 0.52 * span / steps).all()


def test_a_fitted_grid_keeps_zeros_and_pads() -> None:
    for bits, zero in ((8, 128), (4, 0)):
        grid = fitted(np.zeros((16, 40), np.float32), bits)
        assert not numbers(grid, zero, 32).any()


def write_gguf(path: Path, kind: str) -> Path:
    """A tiny Llama, wide enough for every type, with its linear maps as that type."""
    writer, kinds = gguf.GGUFWriter(str(path), "llama"), gguf.GGMLQuantizationType
    for key, value in (LLAMA | {"embedding_length": 256, "feed_forward_length": 256}).items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    rows = {"attn_q": 256, "attn_k": 128, "attn_v": 128, "attn_output": 256}
    for layer in range(2):
        for name, count in (rows | dict.fromkeys(("ffn_gate", "ffn_up", "ffn_down"), 256)).items():
            full = f"blk.{layer}.{name}.weight"
            if kind in PACKINGS:
                values = random_blocks(kind, count, 256)
            elif kind == "IQ2_S":  # which the library does not make: 82 bytes for 256
                values = np.zeros((count, 82), np.uint8)
            else:
                values = gguf.quantize(noise(full, count, 256) * np.float32(0.1), kinds[kind])
            writer.add_tensor(full, values, raw_dtype=kinds[kind])
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", 1 + noise(f"{layer}{name}", 256))
    writer.add_tensor("token_embd.weight", gguf.quantize(noise("e", 90, 256), kinds.Q8_0), raw_dtype=kinds.Q8_0)
    writer.add_tensor("output_norm.weight", 1 + noise("norm", 256))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def prepare(path: Path, out: Path) -> None:
    file = GgufFile.open(path)
    prepare_gguf(file, config_of(file), out)


@pytest.mark.parametrize("kind", [*PACKINGS, "F16", "BF16", "F32"])
def test_every_type_is_served_with_the_same_bits_by_every_kind(kind: str, load: Loader, tmp_path: Path) -> None:
    prepare(write_gguf(tmp_path / "model.gguf", kind), tmp_path / "model.exact")
    seen = []
    for one in KINDS:
        runner = load.open(tmp_path / "model.exact", one)
        seen.append(runner.every_logit(tokens(13)).tobytes())
        runner.close()
    assert len(set(seen)) == 1
    assert np.isfinite(np.frombuffer(seen[0], np.float32)).all()


def written(path: Path, architecture: str, numbers: dict[str, float], given: dict[str, np.ndarray]) -> Path:
    """A GGUF file of float tensors; a number whose key is whole is written as one."""
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in numbers.items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"{architecture}.{key}", value)  # type: ignore[arg-type]
    for name, values in given.items():
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama_as_gguf() -> dict[str, np.ndarray]:
    """As llama.cpp's converter names and orders the tiny Llama's tensors."""
    parts = {f"self_attn.{name}_proj": f"attn_{name}" for name in "qkv"} | {"self_attn.o_proj": "attn_output"}
    parts |= {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    parts |= {f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")}
    found = dict[str, np.ndarray]()
    for name, values in tensors("llama").items():
        place = name.removeprefix("model.").removesuffix(".weight")
        to = {"embed_tokens": "token_embd", "norm": "output_norm"}.get(place)
        if to is None:
            _, layer, part = place.split(".", 2)
            to = f"blk.{layer}.{parts[part]}"
        has_pairs = to.endswith(("attn_q", "attn_k"))
        stored = values.reshape(-1, 2, 8, 64).swapaxes(1, 2) if has_pairs else values
        found[f"{to}.weight"] = stored.reshape(values.shape)
    return found


def gpt2_as_gguf() -> dict[str, np.ndarray]:
    parts = {"attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    parts |= {"ln_1": "attn_norm", "ln_2": "ffn_norm"}
    found = dict[str, np.ndarray]()
    for name, values in tensors("gpt2").items():
        place, kind = name.removeprefix("transformer.").rsplit(".", 1)
        to = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}.get(place)
        if to is None:
            _, layer, part = place.split(".", 2)
            to = f"blk.{layer}.{parts[part]}"
        found[f"{to}.{kind}"] = values.T if values.ndim == 2 and to.startswith("blk") else values
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_gguf_file_of_floats_gives_the_bits_of_its_checkpoint(family: str, load: Loader, tmp_path: Path) -> None:
    """Pairs of llama.cpp's heads become halves again; GPT-2's maps are no longer transposed."""
    numbers, given = (LLAMA_NUMBERS, llama_as_gguf()) if family == "llama" else (GPT2_NUMBERS, gpt2_as_gguf())
    file = GgufFile.open(written(tmp_path / "model.gguf", family, numbers, given))
    prepare_gguf(file, CONFIGS[family], tmp_path / "model.exact")
    runner = load.open(tmp_path / "model.exact")
    assert runner.every_logit(tokens(40)).tobytes() == load(family).every_logit(tokens(40)).tobytes()
    runner.close()


def test_a_type_that_is_not_served_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"blk\.0\.attn_q\.weight has type IQ2_S"):
        prepare(write_gguf(tmp_path / "model.gguf", "IQ2_S"), tmp_path / "out.exact")
    assert not list(tmp_path.glob("out*"))
