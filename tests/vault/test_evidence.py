"""What was given out of a vault is checked by two files alone, and by the first of them not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minivault.vault import evidence, verify
from minivault.vault.archive import Archive
from minivault.vault.reader import Filter
from minivault.vault.verify import Misused
from tests.vault.samples import check

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def folder(archive: Archive, ids: list[str], tmp_path: Path) -> Path:
    """An auditor's folder: both files, an excerpt, a proof, and the key to trust."""
    path = tmp_path / "auditor"
    path.mkdir()
    for module in (verify, evidence):
        shutil.copy(str(module.__file__), path)
    (path / "excerpt.jsonl").write_bytes(b"".join(archive.export_jsonl(Filter(text="prompt"))[0]))
    (path / "one.tlog-proof").write_text(archive.prove(ids[2]))
    shutil.copy(archive.directory / "vault.pub", path)
    return path


def run(folder: Path, *arguments: object, program: str = "evidence.py") -> Done:
    """As an auditor runs it: no packages, no environment, another directory."""
    command = [sys.executable, "-I", "-S", str(folder / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.parametrize("name", ["excerpt.jsonl", "one.tlog-proof"])
def test_the_two_files_check_what_was_given_out(name: str, folder: Path) -> None:
    path, key = folder / name, ("--pubkey", folder / "vault.pub")
    done = run(folder, path, *key)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "intact"), done.stderr
    assert verify.describe(check(path, public_key=key[1].read_text())) + "\n" == done.stdout
    data = path.read_bytes()
    path.write_bytes(data.replace(b"20", b"21"))
    assert run(folder, path, *key).returncode == 2


def test_of_a_vault_both_files_say_the_same(folder: Path, directory: Path) -> None:
    both = [run(folder, directory, "--json", program=name).stdout for name in ("verify.py", "evidence.py")]
    assert both[0] == both[1] != ""


@pytest.mark.parametrize("arguments", [["one.tlog-proof"], ["none"], ["vault.pub", "--policy", "vault.pub"], ["-x"]])
def test_wrong_arguments_are_no_verdict(arguments: list[str], folder: Path) -> None:
    done = run(folder, *[folder / name if "." in name else name for name in arguments])
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.splitlines()[-1].startswith("evidence.py: error: ")


def test_without_the_first_file_the_second_says_so(folder: Path) -> None:
    (folder / "verify.py").unlink()
    done = run(folder, folder / "excerpt.jsonl")
    assert (done.returncode, done.stderr) == (64, "evidence.py: error: it needs verify.py beside it\n")


@pytest.mark.parametrize("name", ["excerpt.jsonl", "one.tlog-proof"])
def test_the_first_file_alone_names_the_second(name: str, folder: Path) -> None:
    with pytest.raises(Misused, match=r"evidence\.py"):
        verify.verify(folder / name)
    (folder / "evidence.py").unlink()
    assert run(folder, folder / name, program="verify.py").returncode == 64
