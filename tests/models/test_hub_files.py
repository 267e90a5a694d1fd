"""Which file of a repository is meant, and under which names."""

from __future__ import annotations

import pytest

from minivault.errors import ModelError
from minivault.models.catalog import HubOrigin, canonical_name, identify, store_key
from minivault.models.hub_files import gguf_files

MANY = ["a-Q4_K_M.gguf", "a-Q8_0.gguf", "a-IQ4_XS.gguf", "a.BF16.gguf", "mmproj-F16.gguf", "README.md", "config.json"]
PARTS = ["Q6_K/a-Q6_K-00001-of-00002.gguf", "Q6_K/a-Q6_K-00002-of-00002.gguf", "a-Q8_0.gguf"]


def found(file: str, names: list[str]) -> list[str]:
    return gguf_files(HubOrigin("org/a", file=file), names)


def test_a_file_is_found_by_the_end_of_its_name_and_in_any_case() -> None:
    assert found("Q8_0", MANY) == ["a-Q8_0.gguf"]
    assert found("iq4_xs", MANY) == ["a-IQ4_XS.gguf"]
    assert found("BF16", MANY) == ["a.BF16.gguf"]
    assert found("a-Q8_0.gguf", MANY) == ["a-Q8_0.gguf"]
    assert found("Q6_K", PARTS) == PARTS[:2]


def test_without_a_word_safetensors_are_meant_or_the_usual_file_or_the_only_one() -> None:
    assert found("", [*MANY, "model.safetensors"]) == []
    assert found("", MANY) == ["a-Q4_K_M.gguf"]
    assert found("", ["odd.gguf", "mmproj-odd.gguf"]) == ["odd.gguf"]
    assert found("", ["README.md"]) == []
    assert found("Q8_0", [*MANY, "model.safetensors"]) == ["a-Q8_0.gguf"]


@pytest.mark.parametrize(
    ("file", "names", "told"),
    [
        ("", PARTS, "no file called Q4_K_M; choose one with --file or behind a colon: Q6_K, Q8_0"),
        ("4_K_M", MANY, "no file called 4_K_M"),
        ("Q8_0", ["a-Q8_0.gguf", "b-Q8_0.gguf", "odd.gguf"], "several files called Q8_0.*: Q8_0, Q8_0, odd.gguf"),
        ("Q8_0", ["model.safetensors"], "has no GGUF files; leave out :Q8_0"),
    ],
)
def test_what_is_not_there_or_not_one_is_refused_with_what_there_is(file: str, names: list[str], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        found(file, names)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("smollm2:135m", "smollm2-135m"),
        ("smollm2-135m:latest", "smollm2-135m"),
        ("hf.co/org/name", "org/name"),
        ("https://huggingface.co/org/name", "org/name"),
        ("org/name:latest", "org/name"),
        ("hf.co/org/name:q4_k_m", "org/name:Q4_K_M"),
        ("org/name:Q4_K_M@v1", "org/name:Q4_K_M@v1"),
        ("HF.co/org/name@v1", "org/name@v1"),
    ],
)
def test_every_spelling_of_a_name_is_one_model(spelling: str, name: str) -> None:
    origin = identify(spelling)
    assert origin == identify(name)
    assert canonical_name(spelling, origin) == name
    assert store_key(spelling, origin) == store_key(name, identify(name))
