"""What may be loaded: only whole checkpoints of plain files. Every refusal is one line that says what to do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import ModelError
from minivault.models import layout

Damage = Callable[[Path], object]


def edit_config(**changes: object) -> Damage:
    def damage(directory: Path) -> None:
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return damage


def write(name: str, data: bytes) -> Damage:
    return lambda directory: (directory / name).write_bytes(data)


def remove(*names: str) -> Damage:
    def damage(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return damage


def only_pickle(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def truncate(directory: Path) -> None:
    file = directory / "model.safetensors"
    os.truncate(file, file.stat().st_size - 1)


def link_out(directory: Path) -> None:
    outside = directory.parent / "outside.safetensors"
    (directory / "model.safetensors").rename(outside)
    (directory / "model.safetensors").symlink_to(outside)


def fifo(directory: Path) -> None:
    (directory / "merges.txt").unlink()
    os.mkfifo(directory / "merges.txt")


def index(*shards: str) -> Damage:
    def damage(directory: Path) -> None:
        (directory / "model.safetensors").unlink(missing_ok=True)
        content = {"weight_map": {f"t{i}": shard for i, shard in enumerate(shards)}}
        (directory / layout.INDEX).write_text(json.dumps(content))

    return damage


REFUSALS: dict[str, tuple[Damage, str]] = {
    "no config": (remove("config.json"), "no config.json.*check the path"),
    "config is not JSON": (write("config.json", b"{"), "config.json cannot be read as JSON.*get the model again"),
    "config is a list": (write("config.json", b"[]"), "config.json is not a JSON object"),
    "no model type": (edit_config(model_type=None), "does not say its model_type"),
    "unknown architecture": (edit_config(model_type="mystery"), "'mystery' is not a known causal LM; choose"),
    "not a causal LM": (edit_config(model_type="vit"), "'vit' is not a known causal LM"),
    "own code": (edit_config(model_type="mine", auto_map={"AutoModel": "x.Y"}), "needs code from its repository"),
    "an adapter": (write("adapter_config.json", b"{}"), "holds a whole model and an adapter .*; keep them apart"),
    "no weights": (remove("model.safetensors"), "has no model.safetensors; get the model again"),
    "pickle only": (only_pickle, "only in pytorch_model.bin, a format that can run code"),
    "cut short": (truncate, "cut short or damaged: .* bytes instead of"),
    "header too long": (write("model.safetensors", b"\xff" * 64), "its header is broken"),
    "header is not JSON": (write("model.safetensors", (8).to_bytes(8, "little") + b"notjson!"), "broken safetensors"),
    "empty weights": (write("model.safetensors", b""), "its header is broken"),
    "link out of the directory": (link_out, "is a link; copy the model with `cp -rL`"),
    "not a regular file": (fifo, "merges.txt is not a regular file"),
    "index names a missing shard": (
        index("model-00001-of-00002.safetensors"),
        "lacks model-00001-of-00002.safetensors",
    ),
    "index names a path": (index("../../etc/x.safetensors"), "is not a file of the model; do not use this model"),
    "index names a pickle": (index("model.bin"), "is not a file of the model"),
    "index is empty": (index(), "has no weight_map"),
    "no tokenizer": (remove("tokenizer.json", "merges.txt"), "save the model's fast tokenizer"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_is_refused_with_one_line_that_says_what_to_do(distilgpt2: Path, case: str) -> None:
    damage, told = REFUSALS[case]
    damage(distilgpt2)
    with pytest.raises(ModelError, match=told) as caught:
        layout.check_directory(distilgpt2)
    assert "\n" not in caught.value.message


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a directory"):
        layout.check_directory(tmp_path / "gone")


def test_only_the_files_of_a_model_are_used(distilgpt2: Path) -> None:
    for name in ("README.md", "modeling.py", "pytorch_model.bin", "extra.safetensors", ".hidden.safetensors"):
        (distilgpt2 / name).write_bytes(b"x")
    assert layout.check_directory(distilgpt2) == [
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ]


def test_shards_named_by_an_index_are_the_weights(distilgpt2: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in names:
        (distilgpt2 / name).write_bytes((distilgpt2 / "model.safetensors").read_bytes())
    (distilgpt2 / "model.safetensors").unlink()
    index(*names)(distilgpt2)
    assert set(names) | {layout.INDEX} <= set(layout.check_directory(distilgpt2))


@pytest.mark.parametrize("name", ["..", "a/b", "/etc/passwd", ".git", "", "a..b", "a\n", "ä", "x\\y", "a" * 300])
def test_names_with_anything_odd_are_not_plain(name: str) -> None:
    assert not layout.is_plain_name(name)


def test_the_number_of_parameters_is_read_from_the_header(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros((3, 4), np.float16), "b": np.zeros(5, np.float32)}, tmp_path / "x.safetensors")
    assert layout.check_safetensors(tmp_path / "x.safetensors") == 17


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_cut_or_flipped_header_byte_ever_crashes_the_check(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    import numpy as np
    from safetensors.numpy import save

    whole = bytearray(save({"a": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float32)}))
    header = 8 + int.from_bytes(whole[:8], "little")
    whole[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(whole[:cut])
    try:
        layout.check_safetensors(path)
    except ModelError as error:
        assert "\n" not in error.message
    else:
        assert cut == len(whole)


def test_the_text_model_within_one_that_sees_is_enough(tmp_path: Path) -> None:
    """Which the library has not as a causal language model, but our own engine has."""
    layout.check_architecture({"model_type": "mistral3", "text_config": {"model_type": "mistral"}}, tmp_path)
    with pytest.raises(ModelError, match="'mistral3' with 'banana' in it is not"):
        layout.check_architecture({"model_type": "mistral3", "text_config": {"model_type": "banana"}}, tmp_path)
