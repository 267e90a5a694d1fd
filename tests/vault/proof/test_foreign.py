"""Tools that are not ours read what the vault signs: they accept it, and refuse it once a byte is changed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.proof.witness import Witness
from tests.vault.samples import ask

GOPATH = Path("/usr/share/gocode")
HERE = Path(__file__).parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Proofs:
    """What a vault has given out, as files: its key, an old checkpoint, a newer one, and proofs."""

    vkey: Path
    old: Path
    new: Path
    proof: Path
    consistency: Path
    old_size: int


@pytest.fixture
def proofs(make_vault: Callable[..., Vault], directory: Path, tmp_path: Path) -> Proofs:
    found = Proofs(*(tmp_path / name for name in ("vkey", "old", "new", "record.tlog-proof", "consistency")), 0)
    vault = make_vault()
    ids = [ask(vault, f"prompt {number}")[0] for number in range(11)]
    vault.close()
    with Archive(directory, by="tester") as archive:
        with archive.proving() as prover:
            old_size = prover.signed.head.size
            found.old.write_text(prover.signed.cosigned)
            found.vkey.write_text(prover.verifier_key + "\n")
        found.proof.write_text(archive.prove(ids[4]))
        archive.show(ids[0])
        with archive.proving() as prover:
            found.new.write_text(prover.signed.cosigned)
            found.consistency.write_text(prover.consistency(old_size))
    return Proofs(found.vkey, found.old, found.new, found.proof, found.consistency, old_size)


def spoiled(path: Path, line: int) -> Path:
    """A copy in which one character of a line is another."""
    lines = path.read_text().splitlines()
    at = len(lines[line]) // 2
    lines[line] = lines[line][:at] + ("A" if lines[line][at] != "A" else "B") + lines[line][at + 1 :]
    copy = path.with_name("spoiled")
    copy.write_text("\n".join(lines) + "\n")
    return copy


@pytest.fixture
def go(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs our small program around `golang.org/x/mod/sumdb`, as Debian packages its source."""
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb").is_dir():
        pytest.skip("needs golang-go and golang-golang-x-mod-dev")
    built = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(built / "cache")}
    build = ["go", "build", "-o", str(built / "sumdb"), str(HERE / "sumdb.go")]
    subprocess.run(build, env=environment, check=True, timeout=600)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(built / "sumdb"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.mark.clients
@pytest.mark.timeout(900)
def test_go_s_checksum_database_reads_our_proofs(go: Run, proofs: Proofs) -> None:
    record = go(proofs.vkey, proofs.proof)
    assert (record.returncode, record.stdout.split(":")[0]) == (0, "accepted"), record.stdout
    grown = go(proofs.vkey, proofs.consistency, proofs.old)
    assert (grown.returncode, grown.stdout.split(":")[0]) == (0, "accepted"), grown.stdout
    for line in (1, 2, 3, 4, -1):  # the record, its index, the path, and the signature
        assert go(proofs.vkey, spoiled(proofs.proof, line)).returncode == 1, line
    assert go(proofs.vkey, spoiled(proofs.consistency, 1), proofs.old).returncode == 1
    assert go(proofs.vkey, proofs.consistency, proofs.new).returncode == 1
    assert go(spoiled(proofs.vkey, 0), proofs.proof).returncode == 1


@pytest.fixture
def aics() -> Run:
    """Runs the command `aics-tlog`, wherever it is installed."""
    command = shutil.which("aics-tlog")
    if command is None:
        pytest.skip("needs the command aics-tlog (pip install aics-tlog, Python 3.12)")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)

    return run


def accepted(done: subprocess.CompletedProcess[str]) -> bool:
    said = json.loads(done.stdout)
    assert said["ok"] == (done.returncode == 0)
    return bool(said["ok"])


@pytest.mark.clients
def test_aics_tlog_reads_our_checkpoints_and_proofs(aics: Run, proofs: Proofs, tmp_path: Path) -> None:
    assert accepted(aics("verify-checkpoint", "--note", proofs.new, "--vkey-file", proofs.vkey))
    assert not accepted(aics("verify-checkpoint", "--note", spoiled(proofs.new, 1), "--vkey-file", proofs.vkey))
    witness = Witness(tmp_path / "witness", "example.org/w1", [proofs.vkey.read_text()], lambda: 1_795_000_000)
    note = proofs.new.read_text()
    reply = witness.add_checkpoint(f"old 0\n\n{note}".encode())
    cosigned = tmp_path / "cosigned"
    cosigned.write_text(note + reply.body)
    quorum = ("--vkey-file", proofs.vkey, "--witness-key", witness.verifier_key, "--quorum", 1)
    assert accepted(aics("verify-checkpoint", "--note", cosigned, *quorum))
    assert not accepted(aics("verify-checkpoint", "--note", proofs.new, *quorum))
    head, _, note = proofs.proof.read_text().partition("\n\n")
    _, extra, index, *path = head.split("\n")
    leaf, paths = tmp_path / "leaf", tmp_path / "path"

    leaf.write_bytes(hashlib.sha256(base64.b64decode(extra[6:])).digest())
    paths.write_text("\n".join(path) + "\n")
    _, size, root = note.split("\n")[:3]

    def included(index: int) -> bool:
        place = ("--index", index, "--size", size, "--root", root, "--proof", paths)
        return accepted(aics("verify-inclusion", "--leaf", leaf, *place))

    assert included(int(index[6:]))
    assert not included(int(index[6:]) + 1)
    old_root = proofs.old.read_text().split("\n")[2]
    head, _, note = proofs.consistency.read_text().partition("\n\n")
    _, size, root = note.split("\n")[:3]
    paths.write_text("\n".join(head.split("\n")[1:]) + "\n")

    def grown(old_root: str) -> bool:
        sizes = ("--old-size", proofs.old_size, "--new-size", size, "--old-root", old_root, "--new-root", root)
        return accepted(aics("verify-consistency", *sizes, "--proof", paths))

    assert grown(old_root)
    assert not grown(root)
