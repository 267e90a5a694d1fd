"""A vault is the one that was opened: what stands in its place while it is away is never written in."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.errors import VaultError, VaultUnavailable
from minivault.vault import Vault
from minivault.vault.log import Log
from minivault.vault.segments import vault_id
from tests.vault.samples import ask, check, closing, opening, records
from tests.vault.test_writer import until_writable

Make = Callable[..., Vault]


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def bare(directory: Path, _true: Path) -> None:
    directory.mkdir(mode=0o700)


def missing(_directory: Path, _true: Path) -> None:
    """Nothing stands there."""


def another(directory: Path, _true: Path) -> None:
    vault = Vault.open(directory, sync="written")
    ask(vault, "of another vault")
    vault.close()


def older(directory: Path, true: Path) -> None:
    """A backup of the same vault, from before its last record."""
    shutil.copytree(true, directory)
    log = directory / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    (directory / "checkpoints.jsonl").unlink(missing_ok=True)
    (directory / "heads.jsonl").unlink(missing_ok=True)


def forked(directory: Path, true: Path) -> None:
    """A backup that somebody else has written in since: other records at the same seqs."""
    older(directory, true)
    shutil.rmtree(directory / "journal", ignore_errors=True)
    vault = Vault.open(directory, sync="written")
    for _ in range(3):
        ask(vault, "of another history")
    vault.close()


@pytest.mark.parametrize("stand_in", [bare, missing, another, older, forked])
@pytest.mark.parametrize("sync", ["synced", "written"])
def test_service_waits_for_the_true_vault_and_goes_on_with_a_gap(
    sync: str, stand_in: Callable[[Path, Path], None], make_vault: Make, directory: Path
) -> None:
    vault = make_vault(sync=sync)
    ask(vault, "before")
    true = directory.with_name("true-vault")
    directory.rename(true)
    stand_in(directory, true)
    before = snapshot(directory)
    assert not vault.status().writable
    for number in range(20):
        with pytest.raises(VaultUnavailable):
            vault.begin(opening(f"refused {number}")).wait()
        threading.Event().wait(0.02)  # probes come and go
    assert snapshot(directory) == before
    if directory.exists():
        directory.rename(directory.with_name("stand-in"))
    true.rename(directory)
    until_writable(vault)
    ask(vault, "after")
    assert [record["prompt"] for record in records(directory)] == ["before", "after"]
    assert sum(gap["refused"] for gap in records(directory, "gap")) == 20
    seqs = [record["seq"] for record in records(directory, None)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert check(directory).exit_code == 0


def test_a_vault_that_comes_back_as_another_directory_is_the_same(make_vault: Make, directory: Path) -> None:
    """As after a remount, when device and inode may be others."""
    vault = make_vault()
    entry = vault.begin(opening("open all the while"))
    entry.wait()
    true = directory.with_name("true-vault")
    directory.rename(true)
    with pytest.raises(VaultUnavailable):
        entry.finish(closing())
    shutil.copytree(true, directory, ignore=shutil.ignore_patterns("journal"))
    until_writable(vault)
    ask(vault, "after")
    assert [record["prompt"] for record in records(directory)] == ["open all the while", "after"]
    assert check(directory).exit_code == 0


def test_a_process_that_is_told_which_vault_makes_none(make_vault: Make, directory: Path) -> None:
    make_vault().close()
    known = vault_id(directory)
    true = directory.with_name("true-vault")
    directory.rename(true)
    directory.mkdir(mode=0o700)
    vault = make_vault(vault=known)
    with pytest.raises(VaultUnavailable, match="is a mount missing"):
        vault.begin(opening()).wait()
    assert list(directory.iterdir()) == []
    directory.rmdir()
    true.rename(directory)
    until_writable(vault)
    ask(vault)
    assert check(directory).exit_code == 0


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_no_seq_is_given_twice_after_a_log_was_cut_that_had_been_signed(
    kept: int, make_vault: Make, directory: Path
) -> None:
    vault = make_vault()
    ask(vault)
    vault.close()
    log = directory / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:kept]))
    before = log.read_bytes()
    fresh = Log(directory)
    with pytest.raises(VaultError, match="was signed: records are missing"):
        fresh.append([fresh.draft("read", {})])
    fresh.close()
    assert log.read_bytes() == before
