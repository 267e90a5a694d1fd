"""Weights as the file has them: packed when pulled, prepared where they are floats, and floats for transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from minivault.config import Settings
from minivault.engine import exact
from minivault.errors import ModelError
from minivault.models import ModelFiles, ModelStore, load_transformers_model
from minivault.models.gguf import convert
from minivault.service.backends import load_local, pull_model
from minivault.service.weights import ExactPacker, float_weights, weights_file
from tests.models import gpt2, tiny_gguf

KINDS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    folder = tmp_path_factory.mktemp("vocabulary")
    gpt2.write_vocabulary(folder)
    return tiny_gguf.vocabulary(folder / "merges.txt")


@pytest.fixture
def gguf_file(tmp_path: Path, vocabulary: tuple[list[str], list[str]]) -> Path:
    return tiny_gguf.write(tmp_path / "tiny.gguf", *vocabulary)


@pytest.fixture
def settings(tmp_path: Path, gguf_file: Path) -> Settings:
    return Settings(home=tmp_path / "home", model=str(gguf_file), runner="transformers")


def pulled(settings: Settings) -> ModelFiles:
    return pull_model(settings, settings.model)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights_are_the_files_own_numbers(
    tmp_path: Path, vocabulary: tuple[list[str], list[str]], kind: str
) -> None:
    file = tiny_gguf.write(tmp_path / "tiny.gguf", *vocabulary, kind=kind)
    for name, packer in (("packed", ExactPacker()), ("floats", None)):
        (tmp_path / name).mkdir()
        assert convert(file, tmp_path / name, packer=packer).is_packed == (name == "packed")
    floats, packed = (
        load_file(tmp_path / "floats" / "model.safetensors"),
        exact.unpack(tmp_path / "packed" / "weights.exact"),
    )
    assert floats.keys() == packed.keys()
    for name, values in floats.items():
        assert np.array_equal(values, packed[name]), name


def test_transformers_computes_the_same_from_packed_weights(tmp_path: Path, settings: Settings) -> None:
    packed = pulled(settings)
    floats = ModelStore(tmp_path / "floats").pull(settings.model)
    assert packed.is_packed and not floats.is_packed
    assert not (settings.models_dir / ".prepared").exists()
    tokens = torch.arange(40).reshape(1, -1)
    ours = load_transformers_model(packed, weights=float_weights(settings, packed))
    theirs = load_transformers_model(floats)
    assert float_weights(settings, floats) is None
    assert torch.equal(ours(tokens).logits, theirs(tokens).logits)
    assert load_local(settings).info.runner == "transformers"


def test_weights_that_lack_a_tensor_are_refused(settings: Settings) -> None:
    files = pulled(settings)
    weights = exact.unpack(weights_file(settings, files))
    del weights["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(ModelError, match="lack 1 tensors"):
        load_transformers_model(files, weights=weights)


def test_a_packed_model_takes_little_more_than_its_file(settings: Settings, gguf_file: Path) -> None:
    files = pulled(settings)
    assert files.size_bytes < 1.2 * gguf_file.stat().st_size


@pytest.mark.parametrize("bits", ["8", "4"])
def test_a_checkpoint_in_floats_is_prepared_beside_the_models(tmp_path: Path, bits: str) -> None:
    directory = gpt2.write_checkpoint(tmp_path / "gpt2")
    settings = Settings(home=tmp_path / "home", model=str(directory), weight_bits=bits)
    files = ModelStore(settings.models_dir).pull(str(directory))
    path = weights_file(settings, files)
    assert path.is_relative_to(settings.models_dir / ".prepared") and path.name.endswith(f"-{bits}")
    made = path.stat().st_mtime_ns
    assert weights_file(settings, files).stat().st_mtime_ns == made
    floats, found = load_file(directory / "model.safetensors"), exact.unpack(path)
    known = {name.removeprefix("transformer."): values for name, values in floats.items()}
    assert known.keys() - {"lm_head.weight"} >= {name.removeprefix("transformer.") for name in found}
    for name, values in found.items():
        original = known[name.removeprefix("transformer.")]
        step = np.abs(original).max() / (127 if bits == "8" else 7)
        assert np.allclose(values, original, atol=step), name


def test_a_model_that_an_earlier_version_pulled_is_prepared_from_its_floats(settings: Settings) -> None:
    """And the next pull packs it, and removes what is needed no more."""
    old = ModelStore(settings.models_dir).pull(settings.model)
    stale = settings.models_dir / ".prepared" / "abc" / "fused.safetensors"
    stale.parent.mkdir(parents=True)
    stale.touch()
    prepared = weights_file(settings, old)
    assert prepared.is_file() and load_local(settings).info.weights_digest == old.weights_digest
    new = pulled(settings)
    assert new.is_packed and new.num_parameters == old.num_parameters
    assert not prepared.exists() and not stale.exists()
    assert not list(settings.models_dir.glob("*/model.safetensors"))


def test_a_weights_file_of_another_version_is_pulled_again(settings: Settings) -> None:
    files = pulled(settings)
    path = weights_file(settings, files)
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 0'))
    exact_settings = replace(settings, runner="exact")
    with pytest.raises(ModelError, match=r"has version 0.*get it again with `minivault models pull") as caught:
        load_local(exact_settings)
    assert "\n" not in caught.value.message


def test_a_model_that_the_exact_engine_does_not_run_is_refused_to_it(tmp_path: Path) -> None:
    directory = gpt2.write_checkpoint(tmp_path / "gpt2")
    config = directory / "config.json"
    config.write_text(config.read_text().replace('"gelu_new"', '"gelu_fast"'))
    settings = Settings(home=tmp_path / "home", model=str(directory), runner="exact")
    with pytest.raises(ModelError, match=r"MINIVAULT_RUNNER=exact cannot serve .*: activation 'gelu_fast'"):
        load_local(settings)


def test_a_checkpoint_that_cannot_be_prepared_is_left_to_transformers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = gpt2.write_checkpoint(tmp_path / "gpt2")
    weights = load_file(directory / "model.safetensors")
    name = next(name for name in weights if name.endswith("h.1.mlp.c_fc.weight"))
    weights[name][3, 5] = 1e7
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    settings = Settings(home=tmp_path / "home", model=str(directory))
    assert load_local(settings).info.runner == "transformers"
    assert "the transformers runner serves" in caplog.text and "values too large for float16 scales" in caplog.text


def test_a_tensor_that_is_not_served_is_named_and_the_model_becomes_floats(
    tmp_path: Path, vocabulary: tuple[list[str], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    file = tiny_gguf.write(tmp_path / "strange.gguf", *vocabulary, extra={"rope_others.weight": (8,)})
    packer = ExactPacker()
    (tmp_path / "out").mkdir()
    assert not convert(file, tmp_path / "out", packer=packer).is_packed
    assert "strange.gguf takes the room of floats: tensor rope_others.weight (F32)" in caplog.text


def test_infinite_scales_are_refused_by_name(tmp_path: Path, gguf_file: Path) -> None:
    content = bytearray(gguf_file.read_bytes())
    content[-20:-18] = np.float16("inf").tobytes()  # the scale of the last block of Q4_1
    gguf_file.write_bytes(content)
    with pytest.raises(ModelError, match=r"tensor blk.1.ffn_down.weight \(Q4_1\) has NaN or infinite scales"):
        convert(gguf_file, tmp_path, packer=ExactPacker())
    assert not (tmp_path / "weights.exact").exists()
