"""Somebody who has no key and would like a verdict of `intact`, or a reader who reads what no verdict was about."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.record import NO_HASH, draft, seal
from tests.vault.samples import ask, check

Make = Callable[..., Vault]
FORMAT_1 = Path(__file__).with_name("format1")


class Forger:
    """Writes a chain that no key has signed, from any seq and hash on."""

    def __init__(self, seq: int, prev: str) -> None:
        self.seq, self.prev = seq, prev
        self.lines: list[bytes] = []

    def add(self, type_: str, **fields: Any) -> Forger:
        sealed = seal(draft(type_, 1, "boot-1", fields), self.seq, self.prev)
        self.lines.append(sealed.line)
        self.seq, self.prev = sealed.place.seq + 1, sealed.place.hash
        return self

    def write(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "log.jsonl").write_bytes(b"".join(self.lines))


@pytest.fixture
def vault(make_vault: Make, directory: Path) -> dict[str, Any]:
    """A closed vault, and what its owner kept elsewhere: id, public key and last checkpoint."""
    vault = make_vault()
    for number in range(4):
        ask(vault, f"prompt {number}", f"answer {number}")
    vault.close()
    kept = json.loads((directory / "checkpoints.jsonl").read_bytes().splitlines()[-1])
    return {"vault": kept["vault"], "public_key": kept["key"], "seq": kept["seq"], "hash": kept["hash"]}


@pytest.fixture
def kept(vault: dict[str, Any], directory: Path, tmp_path: Path) -> Path:
    path = tmp_path / "kept.jsonl"
    path.write_bytes((directory / "checkpoints.jsonl").read_bytes())
    return path


@pytest.mark.parametrize("distance", [-1, 0, 1, 70])
def test_an_invented_log_that_says_it_was_pruned_is_not_believed(
    distance: int, vault: dict[str, Any], kept: Path, tmp_path: Path
) -> None:
    """Its beginning is told by a record that anybody can write; the kept checkpoint is before, at or after it."""
    last = vault["seq"] + distance
    prev = vault["hash"] if distance == 0 else NO_HASH
    pruned = {"segments": [{"first_seq": 1, "last_seq": last, "last_hash": prev}], "by": "me", "keep_days": 1}
    names = {"vault": vault["vault"], "public_key": vault["public_key"]}
    forger = Forger(last + 1, prev).add("prune", **pruned, **names).add("interaction", prompt="x", response="y")
    forger.write(tmp_path / "forged-vault")
    for options in ({}, {"checkpoint": kept}, {"public_key": vault["public_key"]}):
        assert check(tmp_path / "forged-vault", **options).exit_code == 2, options


def test_an_invented_log_signed_by_an_invented_key_is_not_believed_against_what_was_kept(
    vault: dict[str, Any], kept: Path, make_vault: Make, tmp_path: Path
) -> None:
    other = make_vault(at=tmp_path / "other-vault", segment_bytes=1)
    for _ in range(4):
        ask(other)
    other.close()
    with Archive(tmp_path / "other-vault", by="me") as archive:
        archive.prune(0)
    assert check(tmp_path / "other-vault").exit_code == 0  # the honest limit: a vault of its own
    assert check(tmp_path / "other-vault", checkpoint=kept).exit_code == 2
    assert check(tmp_path / "other-vault", public_key=vault["public_key"]).exit_code == 2


def test_a_prune_counts_once_it_is_signed_and_is_signed_before_anything_goes(archive: Archive, directory: Path) -> None:
    archive.prune(0)
    report = check(directory)
    assert (report.exit_code, report.num_prunes, report.notes[0].kind) == (0, 1, "prune")
    lines = (directory / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "checkpoints.jsonl").write_bytes(b"".join(lines[:-1]))
    assert check(directory).exit_code == 2


def test_a_checkpoint_at_the_seq_before_a_pruned_log_is_compared(
    make_vault: Make, directory: Path, tmp_path: Path
) -> None:
    vault = make_vault(segment_bytes=1 << 20)
    ask(vault)
    vault.close()  # signs the last record of the segment that will go
    kept = tmp_path / "kept.jsonl"
    shutil.copy(directory / "checkpoints.jsonl", kept)
    vault = make_vault(segment_bytes=1)
    ask(vault)
    vault.close()
    first = sorted(directory.glob("log-*"))[0]
    signed = json.loads(kept.read_bytes())
    assert json.loads(gzip.decompress(first.read_bytes()).splitlines()[-1])["seq"] == signed["seq"]
    with Archive(directory, by="me") as archive:
        archive.prune(0)
    start = check(directory).first_seq
    report = check(directory, checkpoint=kept)
    expected = 0 if signed["seq"] >= start - 1 else 3
    assert (report.exit_code, report.num_kept) == (expected, 1)


def test_kept_checkpoints_that_cannot_be_compared_are_never_silently_intact(
    archive: Archive, directory: Path, tmp_path: Path
) -> None:
    early = tmp_path / "early.jsonl"
    early.write_bytes((directory / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)[0])
    archive.prune(0)
    report = check(directory, checkpoint=early)
    assert (report.exit_code, report.num_compared) == (3, 0)
    both = tmp_path / "both.jsonl"
    both.write_bytes((directory / "checkpoints.jsonl").read_bytes())
    report = check(directory, checkpoint=both)
    assert report.exit_code == 0
    assert 0 < report.num_compared < report.num_kept
    assert any("outside" in claim for claim in report.unproven)
