"""GGUF → hub layout: our own fast route gives what transformers' slow one gives."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from minivault.errors import ModelError
from minivault.models.gguf import convert, general, llama, vocabulary
from minivault.models.gguf.metadata import GgufFile, refuses_damage
from minivault.models.layout import check_directory
from minivault.models.progress import silent
from tests.models import tiny_gguf


@pytest.fixture(scope="module")
def fast(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fast")
    found = convert(gguf_file, out)
    assert (found.license, found.is_packed) == ("mit", False)
    return out


@pytest.fixture(scope="module")
def slow(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("slow")
    file = GgufFile.open(gguf_file)
    general.write_settings(file, out)
    general.write_weights(file, out, silent)
    return out


def test_the_fast_route_takes_a_plain_llama(gguf_file: Path) -> None:
    assert llama.can_convert(GgufFile.open(gguf_file))


def test_both_routes_give_the_same_tensors_bit_for_bit(fast: Path, slow: Path) -> None:
    ours, theirs = load_file(fast / "model.safetensors"), load_file(slow / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_both_routes_give_a_model_with_the_same_logits(fast: Path, slow: Path) -> None:
    from transformers import AutoModelForCausalLM

    tokens = torch.arange(40).reshape(1, -1)
    ours, theirs = (
        AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32)(tokens).logits for where in (fast, slow)
    )
    assert torch.equal(ours, theirs)


def test_both_routes_pass_the_check_of_a_whole_checkpoint(fast: Path, slow: Path) -> None:
    assert "model.safetensors" in check_directory(fast)
    assert "model.safetensors" in check_directory(slow)


def test_the_config_has_the_numbers_the_model_was_made_with(fast: Path) -> None:
    config = json.loads((fast / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 100000.0
    assert config["tie_word_embeddings"] is True
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (4, 2, 16)
    assert config["eos_token_id"] == 2


def test_converting_twice_gives_the_same_bytes(gguf_file: Path, fast: Path, tmp_path: Path) -> None:
    convert(gguf_file, tmp_path)
    for path in fast.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_our_reader_reads_what_ggmls_reads(gguf_file: Path) -> None:
    ours, theirs = GgufFile.open(gguf_file), gguf.GGUFReader(gguf_file)
    known = {name for name in theirs.fields if not name.startswith("GGUF.")}
    assert ours.fields.keys() == known
    for name in known:
        value, field = ours.value(name), theirs.get_field(name)
        assert field is not None
        assert (value.tolist() if isinstance(value, memoryview) else value) == field.contents()
    for tensor in theirs.tensors:
        mine = ours.by_name[tensor.name]
        assert (mine.type, mine.shape) == (tensor.tensor_type.name, tuple(reversed(tensor.shape.tolist())))
        assert mine.data.tobytes() == tensor.data.tobytes()


def test_a_long_vocabulary_is_read_at_once(tmp_path: Path) -> None:
    """Each byte once: 400,000 strings take a fraction of a second, where views of each would outlast a test's limit."""
    path = tiny_gguf.write(tmp_path / "long.gguf", [f"token{index}" for index in range(400_000)], [])
    file = GgufFile.open(path)
    assert file.value("tokenizer.ggml.tokens")[-1] == "token399999"


def test_an_unknown_pre_tokenizer_takes_the_general_route(gguf_file: Path, tmp_path: Path) -> None:
    tokens, merges = tiny_gguf.vocabulary_of(gguf_file)
    other = tiny_gguf.write(tmp_path / "other.gguf", tokens, merges, pre="never-heard-of")
    assert not vocabulary.can_build(GgufFile.open(other))


@pytest.mark.parametrize("keep", [3, 100, 60_000])
def test_a_cut_file_is_refused_with_one_line(gguf_file: Path, tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="download it again") as caught:
        convert(cut, tmp_path)
    assert "\n" not in caught.value.message


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_flipped_byte_of_the_header_gets_past_as_anything_but_a_model_or_a_refusal(
    gguf_file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(gguf_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, 3000))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.getbasetemp() / "flipped"
    folder.mkdir(exist_ok=True)
    (folder / "x.gguf").write_bytes(content)
    with contextlib.suppress(ModelError), refuses_damage(folder / "x.gguf"):
        file = GgufFile.open(folder / "x.gguf")
        if llama.can_convert(file):
            llama.write_settings(file, folder)
            llama.write_weights(file, folder, silent)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04" * 100)
    with pytest.raises(ModelError, match="not a GGUF file"):
        convert(tmp_path / "x.gguf", tmp_path)


def test_an_unknown_architecture_is_refused_with_one_line(gguf_file: Path, tmp_path: Path) -> None:
    tokens, merges = tiny_gguf.vocabulary_of(gguf_file)
    strange = tiny_gguf.write(tmp_path / "strange.gguf", tokens, merges, architecture="strange")
    with pytest.raises(ModelError, match="strange") as caught:
        convert(strange, tmp_path)
    assert "\n" not in caught.value.message
