"""Proofs that stand alone: of one record, and that the log only grew."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from minivault.errors import BadRequest, Unavailable, VaultError
from minivault.vault.archive import Archive
from minivault.vault.proof.heads import signed_heads
from minivault.vault.proof.tree import is_consistent
from minivault.vault.verify import Misused, parse_notes, unbase64
from tests.vault.samples import check


@pytest.fixture
def key(directory: Path) -> str:
    return (directory / "vault.pub").read_text()


def test_a_proof_is_of_its_record_and_holds_no_content(
    archive: Archive, ids: list[str], key: str, tmp_path: Path
) -> None:
    path = tmp_path / "one.tlog-proof"
    path.write_text(archive.prove(ids[5]))
    report = check(path, public_key=key)
    assert (report.exit_code, report.num_records) == (0, 1)
    assert ids[5] in report.notes[0].message
    said = base64.b64decode(path.read_text().splitlines()[1].removeprefix("extra "))
    assert json.loads(said)["id"] == ids[5] and b"prompt" not in said.replace(b"prompt_tokens", b"")


def test_a_proof_is_believed_by_a_key_that_was_given_alone(archive: Archive, ids: list[str], tmp_path: Path) -> None:
    path = tmp_path / "one.tlog-proof"
    path.write_text(archive.prove(ids[5]))
    with pytest.raises(Misused, match="--pubkey"):
        check(path)
    other = "ed25519:" + base64.b64encode(bytes(31) + b"\1").decode()
    assert check(path, public_key=other).exit_code == 2


def test_no_byte_of_a_proof_can_be_changed(archive: Archive, ids: list[str], key: str, tmp_path: Path) -> None:
    data, path = archive.prove(ids[5]).encode(), tmp_path / "one.tlog-proof"
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        if path.read_bytes().startswith(b"c2sp.org/tlog-proof@v1"):
            assert check(path, public_key=key).exit_code in (2, 3), at


def test_a_redacted_record_is_proven_as_before(archive: Archive, ids: list[str], key: str, tmp_path: Path) -> None:
    path, before = tmp_path / "one.tlog-proof", archive.prove(ids[5])
    archive.redact(ids[5], "asked for")
    path.write_text(archive.prove(ids[5]))
    assert check(path, public_key=key).exit_code == 0
    assert path.read_text().splitlines()[1] == before.splitlines()[1]


def test_growth_is_proven_between_heads_that_were_signed(archive: Archive, ids: list[str]) -> None:
    with archive.proving() as prover:
        old = parse_notes(prover.signed.note)[0]
    archive.show(ids[0])
    with archive.proving() as prover:
        text = prover.consistency(old.size)
    lines, _, note = text.partition("\n\n")
    first, *path = lines.split("\n")
    new = parse_notes(note)[0]
    assert (first, new.size > old.size) == (f"old {old.size}", True)
    assert is_consistent(old.size, old.root, new.size, new.root, [unbase64(line) for line in path])
    with archive.proving(old.size) as prover:
        assert prover.signed.head.size == old.size
    with pytest.raises(BadRequest, match=f"nearest are .*{old.size}"), archive.proving(old.size - 1):
        pass


def test_a_head_that_was_kept_elsewhere_is_missed_by_whoever_rewrites(
    archive: Archive, ids: list[str], directory: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text(signed_heads(directory)[-1].note)
    report = check(directory, checkpoint=kept)
    assert (report.exit_code, report.num_compared, report.num_kept) == (0, 1, 1)
    archive.show(ids[0])
    with archive.proving() as prover:
        kept.write_text(kept.read_text() + "\n" + prover.signed.note)
    kept.write_bytes(kept.read_bytes().replace(b"\n", b"\r\n"))
    assert check(directory, checkpoint=kept).num_compared == 2, "a mail may have other line ends"
    log = directory / "log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    for name in ("heads.jsonl", "checkpoints.jsonl"):
        (directory / name).unlink()
    assert check(directory).exit_code == 0
    assert check(directory, checkpoint=kept).exit_code == 2


def test_a_head_that_was_changed_where_it_was_kept_says_nothing_of_the_log(
    archive: Archive, directory: Path, tmp_path: Path
) -> None:
    with archive.proving() as prover:
        note, size = prover.signed.note, prover.signed.head.size
    kept = tmp_path / "kept"
    kept.write_text(note.replace(f"\n{size}\n", f"\n{size + 9}\n"))
    [found] = check(directory, checkpoint=kept).findings
    assert "changed where it was kept" in found.message
    for spoiled in (note.replace("=\n\n", "=\nmore\n\n"), note.replace(f"\n{size}\n", f"\n0{size}\n"), note[:-9]):
        kept.write_text(spoiled)
        with pytest.raises(Misused, match="--checkpoint: line 1 is no checkpoint"):
            check(directory, checkpoint=kept)


def test_nothing_stands_before_or_after_the_head_in_a_proof(archive: Archive, ids: list[str], tmp_path: Path) -> None:
    proof, key = archive.prove(ids[5]), (archive.directory / "vault.pub").read_text()
    path = tmp_path / "one.tlog-proof"
    path.write_text(proof)
    assert check(path, public_key=key).exit_code == 0
    for text in (proof + " ", proof + "\n", proof.replace("\n\n", "\n\n\n", 1), proof.replace("\n", "\r\n")):
        path.write_bytes(text.encode())
        assert check(path, public_key=key).exit_code == 3


def test_a_proof_is_under_the_last_head_that_covers_its_record(
    archive: Archive, ids: list[str], directory: Path
) -> None:
    archive.checkpoint()
    with archive.proving() as prover:
        last = prover.signed.head.size
    assert [archive.prove(ids[5]).count(f"\n{last}\n") for _ in range(2)] == [1, 1]
    assert len({one.head.size for one in signed_heads(directory)} - {last}) == len(signed_heads(directory)) - 1
    archive.show(ids[0])
    assert archive.prove(str(last + 1)).count(f"\n{last + 1}\n") == 1, "a later record takes a later head"


def test_a_tree_that_is_far_behind_keeps_no_request_waiting(archive: Archive, ids: list[str], directory: Path) -> None:
    (directory / "tree.hashes").unlink()
    (directory / "heads.jsonl").unlink()
    with pytest.raises(Unavailable, match="being made"), archive.proving(covers=3, is_patient=False):
        pass
    assert archive.prove(ids[0]).startswith("c2sp.org/tlog-proof@v1")


def test_a_damaged_tree_proves_nothing(archive: Archive, ids: list[str], directory: Path) -> None:
    archive.prove(ids[5])
    path = directory / "tree.hashes"
    path.write_bytes(path.read_bytes()[:64] + bytes(path.stat().st_size - 64))
    with pytest.raises(VaultError, match="damaged"):
        archive.prove(ids[5])
    with archive.proving():
        pass
    assert archive.prove(ids[5])
