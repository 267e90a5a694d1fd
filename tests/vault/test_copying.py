"""Encrypted copies: whoever has the key verifies them, nobody else reads them, and redactions and prunes reach them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.errors import BadRequest
from minivault.vault import Vault
from minivault.vault.archive import Archive
from tests.vault.samples import ask, check, records

pyrage = pytest.importorskip("pyrage")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def decrypted(target: Path, identity: object) -> Path:
    plain = target.with_name("plain")
    plain.mkdir(exist_ok=True)
    for path in plain.iterdir():
        path.unlink()
    for path in target.glob("*.age"):
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


def test_a_copy_takes_the_place_of_nothing_else(
    archive: Archive, make_vault: Callable[..., Vault], directory: Path, target: Path
) -> None:
    """Where a directory is not this vault's copy, all that is there stays, this vault itself included."""
    key = [str(pyrage.x25519.Identity.generate().to_public())]
    ask(make_vault(at=directory.with_name("other")))
    with Archive(directory.with_name("other"), by="tester") as other:
        other.archive(target, key)
    (target / "log-000000000001.jsonl.gz.age").touch()
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with pytest.raises(BadRequest, match="another vault"):
        archive.archive(target, key)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    with pytest.raises(BadRequest, match="other files"):
        archive.archive(directory, key)
    assert not list(directory.glob("*.age*"))


def test_what_a_crash_left_of_a_copy_is_gone_after_the_next(archive: Archive, target: Path) -> None:
    key = [str(pyrage.x25519.Identity.generate().to_public())]
    archive.archive(target, key)
    (target / "log-000000000001.jsonl.gz.age.tmp").touch()
    archive.archive(target, key)
    assert not list(target.glob("*.tmp"))


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
