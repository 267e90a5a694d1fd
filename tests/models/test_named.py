"""What MINIVAULT_MODEL may name: one model, several, or a folder of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivault.errors import ConfigError
from minivault.models.named import names_in


def model(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return str(folder)


def test_one_name_is_one_model_and_several_stand_between_commas() -> None:
    assert names_in("smollm2-135m") == ["smollm2-135m"]
    assert names_in(" a , org/b@main,c.gguf,") == ["a", "org/b@main", "c.gguf"]


def test_a_folder_stands_for_the_models_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    found = [model(folder / "a"), model(folder / "b")]
    for name in ("c.gguf", "d-00001-of-00002.gguf", "d-00002-of-00002.gguf", "README.md", ".hidden.gguf"):
        (folder / name).touch()
    (folder / "notes").mkdir()
    inside = [*found, str(folder / "c.gguf"), str(folder / "d-00001-of-00002.gguf")]
    assert names_in(str(folder)) == inside
    assert names_in(f"smollm2-135m,{folder}") == ["smollm2-135m", *inside]


def test_a_directory_that_is_a_model_stands_for_itself_also_with_a_comma_in_its_name(tmp_path: Path) -> None:
    name = model(tmp_path / "a,b")
    assert names_in(name) == [name]


def test_a_folder_without_models_is_left_to_who_looks_for_one(tmp_path: Path) -> None:
    assert names_in(str(tmp_path)) == [str(tmp_path)]


@pytest.mark.parametrize(("setting", "told"), [(",", "names no model"), ("a,b,a", "names a twice")])
def test_what_names_nothing_or_a_model_twice_is_refused(setting: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        names_in(setting)
