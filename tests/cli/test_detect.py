"""`detect` and `keys watermark`: a text and a key, and no model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minivault.engine.sampler import SamplingState, sample
from minivault.types import SamplingParams
from minivault.watermark import Mark, create_key, read_mark
from tests.cli.conftest import Cli

SCRIPTED = {"MINIVAULT_BACKEND": "tests.scripted:backend"}
PARAMS = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=1)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    create_key(tmp_path / "key")
    return tmp_path / "key"


def written(mark: Mark | None, num: int = 200) -> str:
    """Letters drawn by a mark, each a token."""
    state, letters, said = SamplingState(PARAMS, (), mark=mark), np.full((1, 257), -np.inf, np.float32), bytearray()
    letters[0, 97:123] = 0
    for _ in range(num):
        [choice] = sample(letters, [state])
        assert not isinstance(choice, Exception)
        state.accept(choice.token_id)
        said.append(choice.token_id)
    return said.decode()


def test_a_marked_text_is_found_from_a_file_and_from_stdin(offline_cli: Cli, tmp_path: Path, key: Path) -> None:
    text = written(read_mark(key, ""))
    (tmp_path / "text").write_text(f"{text}\n")
    found = offline_cli("detect", "text", **SCRIPTED, MINIVAULT_WATERMARK_KEY_FILE=str(key))
    assert found.exit_code == 0 and found.stdout.startswith("marked\np = ") and "196 of 200 tokens" in found.stdout
    piped = offline_cli("detect", "--json", "-", "--key", str(key), stdin=text, **SCRIPTED)
    told = json.loads(piped.stdout)
    assert (piped.exit_code, told["verdict"], told["num_counted"]) == (0, "marked", 196)
    assert told["key"] == read_mark(key, "").key_id and told["p_value"] < 1e-30


def test_another_key_or_text_is_not(offline_cli: Cli, tmp_path: Path, key: Path) -> None:
    create_key(tmp_path / "other")
    arguments = ("detect", "-", "--at", "1e-6", "--key")
    text = written(read_mark(key, ""))
    for name, given in (("other", text), ("key", written(None))):
        found = offline_cli(*arguments, str(tmp_path / name), stdin=given, **SCRIPTED)
        assert found.exit_code == 1 and found.stdout.startswith("no mark is found\np = ")


def test_of_a_short_text_nothing_is_said(offline_cli: Cli, key: Path) -> None:
    found = offline_cli("detect", "-", "--key", str(key), stdin="abcd", **SCRIPTED)
    assert (found.exit_code, found.stdout) == (1, "too short: nothing can be told of 4 tokens\n")


@pytest.mark.parametrize(
    ("stdin", "told"),
    [(b"", "empty"), (b" \n", "empty"), (b"\xff\xfe", "not UTF-8"), (b"x" * ((16 << 20) + 1), "longer than 16 MiB")],
)
def test_what_is_no_text_is_told_and_is_no_verdict(offline_cli: Cli, key: Path, stdin: bytes, told: str) -> None:
    found = offline_cli("detect", "-", "--key", str(key), stdin=stdin, **SCRIPTED)
    assert found.exit_code == 64 and told in found.stderr and not found.stdout


def test_without_a_key_it_says_how_to_give_one(offline_cli: Cli, tmp_path: Path, key: Path) -> None:
    assert "MINIVAULT_WATERMARK_KEY_FILE" in offline_cli("detect", "-", stdin="text", **SCRIPTED).stderr
    key.chmod(0o644)
    found = offline_cli("detect", "-", "--key", str(key), stdin="text", **SCRIPTED)
    assert found.exit_code == 64 and "chmod 600" in found.stderr
    missing = offline_cli("detect", str(tmp_path / "none"), "--key", str(key), **SCRIPTED)
    assert missing.exit_code == 64 and "does not exist" in missing.stderr


def test_a_new_key_is_made_once_and_its_setting_printed(offline_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    made = offline_cli("keys", "watermark", str(path))
    assert made.exit_code == 0
    assert made.stdout == f"MINIVAULT_WATERMARK_KEY_FILE={path}\n"
    mark = read_mark(path, "")
    assert mark.key_id in made.stderr and mark.secret.hex() not in made.output
    again = offline_cli("keys", "watermark", str(path))
    assert again.exit_code != 0 and "exists" in again.stderr
    assert read_mark(path, "") == mark
