"""A model in several GGUF files is the model in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivault.errors import ModelError
from minivault.models import ModelStore
from minivault.models.catalog import served_name
from minivault.models.gguf.metadata import GgufFile
from minivault.service.weights import ExactPacker
from tests.models import tiny_gguf


@pytest.fixture
def files(gguf_file: Path, tmp_path: Path) -> list[Path]:
    """The parts, then the same model in one file."""
    tokens, merges = tiny_gguf.vocabulary_of(gguf_file)
    whole = tiny_gguf.write(tmp_path / "whole.gguf", tokens, merges)
    tiny_gguf.write(tmp_path / "tiny.gguf", tokens, merges, tensors_each=8)
    parts = sorted(tmp_path.glob("tiny-*.gguf"))
    assert [part.name for part in parts] == [f"tiny-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    return [*parts, whole]


def test_the_first_part_stands_for_all(files: list[Path], tmp_path: Path) -> None:
    one, two = (
        ModelStore(tmp_path / name).pull(str(path), packer=ExactPacker())
        for name, path in (("one", files[0]), ("two", files[-1]))
    )
    assert (one.weights_digest, one.tokenizer_digest, one.config_digest, one.num_parameters) == (
        two.weights_digest,
        two.tokenizer_digest,
        two.config_digest,
        two.num_parameters,
    )
    assert one.name == "tiny"


def test_another_part_is_told_of_the_first(files: list[Path]) -> None:
    with pytest.raises(ModelError, match=r"part 2 of 3; give the first, tiny-00001-of-00003\.gguf"):
        GgufFile.open(files[1])


def test_a_missing_part_is_named(files: list[Path], tmp_path: Path) -> None:
    files[2].unlink()
    for read in (GgufFile.open, lambda path: ModelStore(tmp_path / "store").pull(str(path))):
        with pytest.raises(ModelError, match=r"tiny-00003-of-00003\.gguf is missing"):
            read(files[0])


def test_a_damaged_part_is_named(files: list[Path]) -> None:
    files[1].write_bytes(files[1].read_bytes()[:-200])
    with pytest.raises(ModelError, match=r"tiny-00002-of-00003\.gguf is cut short"):
        GgufFile.open(files[0])


def test_parts_of_another_model_are_not_taken(files: list[Path]) -> None:
    files[2].write_bytes(files[1].read_bytes())
    with pytest.raises(ModelError, match=r"tiny-00003-of-00003\.gguf is .*another part as well"):
        GgufFile.open(files[0])


def test_a_part_under_another_name_is_refused(files: list[Path], tmp_path: Path) -> None:
    renamed = files[0].rename(tmp_path / "first.gguf")
    with pytest.raises(ModelError, match="one of 3 parts"):
        GgufFile.open(renamed)


def test_a_model_whose_part_has_changed_is_pulled_again(files: list[Path], tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    store.pull(str(files[0]))
    changed = bytearray(files[2].read_bytes())
    changed[-1] ^= 1
    files[2].write_bytes(changed)
    with pytest.raises(ModelError, match="models pull"):
        store.resolve(str(files[0]))


def test_clients_do_not_hear_of_parts() -> None:
    assert served_name("/models/Qwen3-8B-Q4_K_M-00001-of-00002.gguf") == "Qwen3-8B-Q4_K_M"
