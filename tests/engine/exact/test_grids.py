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
from tests.engine.exact.checkpoints import CONFIGS, noise, tensors
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import tokens

ROUNDED_ONCE = {"Q4_K", "Q5_K", "Q6_K"}


def numbers(grid: Grid, zero: int, group: int) -> np.ndarray:
    codes = grid.codes.astype(np.float64).reshape(*grid.scales.shape, group) - zero
    values = codes * grid.scales[..., None].astype(np.float64)
    if grid.minima is not None:
        values += grid.minima[..., None].astype(np.float64)
    return values.reshape(grid.codes.shape)


def random_blocks(kind: str, rows: int, inputs: int) -> np.ndarray:
    """Bytes of a tensor [rows, …] whose float16 scales are ordinary numbers and whose other bits are arbitrary."""
    packing = PACKINGS[kind]
    count = rows * inputs // packing.inputs
    raw = (noise(kind, count, packing.num_bytes) * 4096).astype(np.int64).astype(np.uint8)
    scales = (np.abs(noise(kind + "d", count, 2)) * 0.02 + 0.001).astype(np.float16).view(np.uint8).reshape(count, 4)
    at = 208 if kind == "Q6_K" else 0
    width = 4 if packing.format.has_minima else 2
    raw[:, at : at + width] = scales[:, :width]
    return raw.reshape(rows, -1)


@pytest.mark.parametrize("kind", PACKINGS)
def test_a_grid_holds_what_the_file_means(kind: str) -> None:
    raw, packing = random_blocks(kind, 16, 512), PACKINGS[kind]
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[kind])
    found = numbers(packing.grid(raw), packing.zero, packing.format.group)
    tolerance = 1e-3 if kind in ROUNDED_ONCE else 1e-6
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


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
    """The tiny Llama with its linear maps as one type."""
    config, inside = CONFIGS["llama"] | {"hidden_size": 256, "intermediate_size": 256}, dict[str, np.ndarray]()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(256)
    writer.add_block_count(2)
    writer.add_feed_forward_length(256)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    del config
    shapes = {"attn_q": 256, "attn_k": 128, "attn_v": 128, "attn_output": 256, "ffn_gate": 256, "ffn_up": 256}
    kinds = gguf.GGMLQuantizationType
    for layer in range(2):
        for name, rows in (shapes | {"ffn_down": 256}).items():
            full = f"blk.{layer}.{name}.weight"
            if kind in PACKINGS:
                writer.add_tensor(full, random_blocks(kind, rows, 256), raw_dtype=kinds[kind])
            else:
                can = kind != "Q2_K"  # which the library does not make: 84 bytes for 256
                values = (
                    gguf.quantize(noise(full, rows, 256) * 0.1, kinds[kind]) if can else np.zeros((rows, 84), np.uint8)
                )
                writer.add_tensor(full, values, raw_dtype=kinds[kind])
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", 1 + noise(f"{layer}{name}", 256))
    inside["token_embd.weight"] = noise("embedding", 90, 256)
    writer.add_tensor("token_embd.weight", gguf.quantize(inside["token_embd.weight"], kinds.Q8_0), raw_dtype=kinds.Q8_0)
    writer.add_tensor("output_norm.weight", 1 + noise("norm", 256))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", [*PACKINGS, "F16", "BF16", "F32"])
@pytest.mark.timeout(600)
def test_every_type_is_served_with_the_same_bits_by_every_kind(kind: str, load: Loader, tmp_path: Path) -> None:
    prepare_gguf(write_gguf(tmp_path / "model.gguf", kind), tmp_path / "model.exact")
    seen = []
    for one in KINDS:
        runner = load.open(tmp_path / "model.exact", one)
        seen.append(runner.every_logit(tokens(13)).tobytes())
        runner.close()
    assert len(set(seen)) == 1
    assert np.isfinite(np.frombuffer(seen[0], np.float32)).all()


def test_pairs_of_a_gguf_file_become_halves(load: Loader, tmp_path: Path) -> None:
    """The tiny Llama as llama.cpp's converter would write it gives the bits of its checkpoint."""
    given, path = tensors("llama"), tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(1024)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    parts |= {"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    parts |= {f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")}
    for name, values in given.items():
        place = name.removeprefix("model.").removesuffix(".weight")
        if place.startswith("layers."):
            _, layer, part = place.split(".", 2)
            to = f"blk.{layer}.{parts[part]}"
        else:
            to = {"embed_tokens": "token_embd", "norm": "output_norm"}[place]
        has_pairs = to.endswith(("attn_q", "attn_k"))
        stored = values.reshape(-1, 2, 8, 64).swapaxes(1, 2) if has_pairs else values
        writer.add_tensor(f"{to}.weight", np.ascontiguousarray(stored).reshape(values.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    prepare_gguf(path, tmp_path / "model.exact")
    runner = load.open(tmp_path / "model.exact")
    assert runner.every_logit(tokens(40)).tobytes() == load("llama").every_logit(tokens(40)).tobytes()
    runner.close()


def test_a_type_that_is_not_served_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"blk\.0\.attn_q\.weight has type Q2_K"):
        prepare_gguf(write_gguf(tmp_path / "model.gguf", "Q2_K"), tmp_path / "out.exact")
    assert not list(tmp_path.glob("out*"))
