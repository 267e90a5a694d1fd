"""Signed heads: when they are made, by which key, and what happens without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.errors import VaultError
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.proof.key import SigningKey
from tests.vault.samples import Clock, ask, check, records

Make = Callable[..., Vault]


def test_a_checkpoint_is_signed_once_for_a_head(archive: Archive, directory: Path) -> None:
    archive.tail(1)
    first = archive.checkpoint()
    assert archive.checkpoint() == first
    assert first["hash"] == archive.head().hash
    assert first["key"] == (directory / "vault.pub").read_text().strip()


def test_a_torn_checkpoint_is_dropped_by_the_next(archive: Archive, directory: Path) -> None:
    path = directory / "checkpoints.jsonl"
    with path.open("ab") as file:
        file.write(b'{"type":"checkp')
    assert check(directory).exit_code == 1
    archive.tail(1)
    archive.checkpoint()
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert check(directory).exit_code == 0


def test_checkpoints_are_signed_as_time_and_records_go_by(make_vault: Make, directory: Path) -> None:
    clock = Clock()
    vault = make_vault(clock=clock)
    ask(vault)
    assert not (directory / "checkpoints.jsonl").exists()
    clock.step(16 * 60)
    ask(vault)
    ask(vault)
    assert len((directory / "checkpoints.jsonl").read_bytes().splitlines()) == 1
    vault.close()
    assert len((directory / "checkpoints.jsonl").read_bytes().splitlines()) == 2
    assert check(directory).num_signatures == 4, "each with a head of the tree"


def test_a_lost_key_is_replaced_and_the_log_says_so(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=1)
    ask(vault)
    (directory / "vault.key").unlink()
    ask(vault)
    assert vault.status().writable
    vault.close()
    [key] = records(directory, "key")
    assert key["public_key"] == (directory / "vault.pub").read_text().strip()
    report = check(directory)
    assert (report.exit_code, report.public_key) == (0, key["public_key"])
    first_key = records(directory, "genesis")[0]["public_key"]
    assert check(directory, public_key=first_key).exit_code == 2


def test_a_damaged_public_half_is_no_other_key(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=1)
    key = (directory / "vault.pub").read_text().strip()
    ask(vault)
    (directory / "vault.pub").write_bytes(b"\xff")
    ask(vault)
    ask(vault)
    vault.close()
    with Archive(directory, by="tester", segment_bytes=1) as archive:
        assert archive.prune(0).num_records > 0
    report = check(directory)
    assert (report.exit_code, report.public_key) == (0, key)


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("not a key"), lambda path: path.mkdir()])
def test_a_checkpoint_that_cannot_be_signed_stops_no_answer(
    spoil: Callable[[Path], object], make_vault: Make, directory: Path
) -> None:
    vault = make_vault(segment_bytes=1)
    ask(vault)
    (directory / "vault.key").unlink()
    spoil(directory / "vault.key")
    ask(vault)
    ask(vault)
    assert vault.status().writable
    assert len(records(directory)) == 3


def test_a_file_that_is_no_key_is_named(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    assert SigningKey.load(directory) is None
    (directory / "vault.key").write_text("not a key")
    with pytest.raises(VaultError, match="not a signing key"):
        SigningKey.load(directory)
