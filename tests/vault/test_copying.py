"""Encrypted copies: whoever has the key verifies them, nobody else reads them, and redactions and prunes reach them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivault.errors import BadRequest
from minivault.vault.archive import Archive
from tests.vault.samples import check, records

pyrage = pytest.importorskip("pyrage")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def decrypted(target: Path, identity: object) -> Path:
    plain = target.with_name("plain")
    plain.mkdir(exist_ok=True)
    for path in plain.iterdir():
        path.unlink()
    for path in target.iterdir():
        (plain / path.name.removesuffix(".age")).write_bytes(pyrage.decrypt(path.read_bytes(), [identity]))
    return plain


def test_a_copy_is_opened_with_the_key_alone_and_verifies(archive: Archive, directory: Path, target: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    archive.archive(target, [str(identity.to_public())])
    assert not any(b"prompt" in path.read_bytes() for path in target.iterdir())
    with pytest.raises(pyrage.DecryptError):
        decrypted(target, pyrage.x25519.Identity.generate())
    plain = decrypted(target, identity)
    assert not (plain / "vault.key").exists()
    report = check(plain, public_key=(directory / "vault.pub").read_text())
    assert (report.exit_code, report.num_heads > 0) == (0, True)
    assert records(directory, "admin")[-1]["command"] == "vault archive"


def test_a_redaction_and_a_prune_reach_the_copy_the_next_time(
    archive: Archive, ids: list[str], directory: Path, target: Path
) -> None:
    identity = pyrage.x25519.Identity.generate()
    key = [str(identity.to_public())]
    first = archive.archive(target, key)
    assert archive.archive(target, key) < first, "what is sealed and unchanged stays"
    archive.redact(ids[6], "asked to")
    archive.archive(target, key)
    plain = decrypted(target, identity)
    assert check(plain).exit_code == 0
    assert "prompt 6" not in [record.get("prompt") for record in records(plain)]
    assert archive.prune(0).num_records > 0
    archive.archive(target, key)
    plain = decrypted(target, identity)
    assert check(plain).exit_code == 0
    assert {path.name for path in plain.glob("log-*")} == {path.name for path in directory.glob("log-*")}


@pytest.mark.parametrize("key", ["", "age1", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1"])
def test_a_key_that_is_none_copies_nothing(archive: Archive, target: Path, key: str) -> None:
    with pytest.raises(BadRequest, match="age1"):
        archive.archive(target, [key])
    assert not target.exists()
