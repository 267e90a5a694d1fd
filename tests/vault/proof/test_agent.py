"""A signing key that is with an ssh-agent: signatures like any other, and what happens when the agent is gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from minivault.errors import BadRequest, VaultError
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.proof import agent
from minivault.vault.proof.agent import AgentSigner, fingerprint_of, identities
from minivault.vault.reader import Filter
from minivault.vault.verify import verify_receipts
from tests.vault.samples import ask, check, closing, opening, records

Make = Callable[..., Vault]
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


BLOB = string(b"ssh-ed25519") + string(PUBLIC)
RSA = string(b"ssh-rsa") + string(b"\1\0\1") + string(bytes(64))


class TinyAgent:
    """Speaks as much of the protocol as is asked of it; `answer` may be replaced to lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_asked = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def answer(self, request: bytes) -> bytes:
        if request[0] == 11:
            keys = string(RSA) + string(b"old") + string(BLOB) + string(b"vault key")
            return string(bytes([12]) + struct.pack(">I", 2) + keys)
        blob, data = request[5 : 5 + len(BLOB)], request[5 + len(BLOB) + 4 : -4]
        if blob != BLOB:
            return string(bytes([5]))
        return string(bytes([14]) + string(string(b"ssh-ed25519") + string(SECRET.sign(data))))

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                size = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))[0]
                if size:
                    self.num_asked += 1
                    connection.sendall(self.answer(connection.recv(size, socket.MSG_WAITALL)))

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyAgent]:
    running = TinyAgent(tmp_path / "agent")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(running.path))
    yield running
    running.close()


def test_only_ed25519_keys_are_shown_each_with_the_fingerprint_of_ssh(tiny: TinyAgent) -> None:
    [identity] = identities()
    assert (identity.public, identity.comment) == (PUBLIC, "vault key")
    assert identity.fingerprint == fingerprint_of(PUBLIC) and identity.fingerprint.startswith("SHA256:")


def test_what_an_agent_signs_is_verified_as_ever(make_vault: Make, directory: Path, tiny: TinyAgent) -> None:
    ask(make_vault(), "before")
    with Archive(directory, by="tester (uid 1)") as archive:
        archive.change_signer(fingerprint_of(PUBLIC))
        assert archive.signer() == ("ssh-agent", fingerprint_of(PUBLIC))
        vault = make_vault()
        entry = vault.begin(opening("with an agent"))
        entry.wait()
        entry.finish(closing())
        assert entry.receipt() is not None
        vault.close()
        archive.checkpoint()
        parts, _ = archive.export_jsonl(Filter())
        (directory.parent / "excerpt.jsonl").write_bytes(b"".join(parts))
    assert b"ssh-agent:SHA256:" in (directory / "vault.key").read_bytes()
    public = (directory / "vault.pub").read_text()
    assert check(directory).exit_code == 0
    assert check(directory.parent / "excerpt.jsonl", public_key=public).exit_code == 0
    assert records(directory, "key")[0]["by"] == "tester (uid 1)"


def test_whoever_trusts_the_key_before_or_after_a_change_trusts_the_vault(
    make_vault: Make, directory: Path, tiny: TinyAgent
) -> None:
    """A key that the log names beyond what the trusted one has signed is another's all the same."""
    entry = make_vault().begin(opening("before"))
    entry.wait()
    entry.finish(closing())
    kept = directory.parent / "receipt.json"
    kept.write_text(json.dumps(entry.receipt()))
    with Archive(directory, by="tester (uid 1)") as archive:
        archive.checkpoint()
        old = (directory / "vault.pub").read_text()
        archive.change_signer(fingerprint_of(PUBLIC))
    ask(make_vault(), "after")
    with Archive(directory, by="tester (uid 1)") as archive, archive.proving():
        pass
    new = (directory / "vault.pub").read_text()
    for key in (old, new):
        report = check(directory, public_key=key)
        assert (report.exit_code, report.public_key) == (0, new.strip()), report.findings
        assert verify_receipts(kept, vault=directory, public_key=key).exit_code == 0
    [changed] = records(directory, "key")
    own = directory / "checkpoints.jsonl"
    lines = own.read_text().splitlines(keepends=True)
    signs_for_new = [line for line in lines if json.loads(line)["seq"] == changed["seq"] and old.strip() in line]
    own.write_text("".join(line for line in lines if line not in signs_for_new))
    assert signs_for_new and check(directory, public_key=new).exit_code == 0
    assert check(directory, public_key=old).exit_code == 2


def test_what_a_key_signed_that_was_pruned_with_its_name_is_no_change(
    make_vault: Make, directory: Path, tiny: TinyAgent
) -> None:
    vault = make_vault(segment_bytes=1)
    ask(vault, "before")
    with Archive(directory, by="tester (uid 1)", segment_bytes=1) as archive:
        with archive.proving():
            pass
        old = (directory / "vault.pub").read_text()
        archive.change_signer(fingerprint_of(PUBLIC))
        ask(vault, "after")
        with archive.proving():
            pass
        assert archive.prune(0).num_records > 0
        assert not records(directory, "key")
    new = (directory / "vault.pub").read_text()
    for key in (None, new):
        report = check(directory, public_key=key)
        assert report.exit_code == 0, report.findings
    assert check(directory, public_key=old).exit_code == 2


def test_without_its_agent_answers_are_recorded_and_nothing_is_signed(
    make_vault: Make, directory: Path, tiny: TinyAgent
) -> None:
    vault = make_vault()
    ask(vault)
    with Archive(directory, by="tester (uid 1)") as archive:
        archive.change_signer(fingerprint_of(PUBLIC))
        tiny.close()
        entry = vault.begin(opening("nobody signs"))
        entry.wait()
        entry.finish(closing())
        assert entry.receipt() is None
        before = records(directory, None)
        acts: list[Callable[[], object]] = [
            archive.checkpoint,
            lambda: archive.redact(entry.id, "asked to"),
            lambda: archive.export_jsonl(Filter()),
            lambda: archive.change_signer("file"),
        ]
        for act in acts:
            with pytest.raises(VaultError, match="ssh-agent"):
                act()
        after = [record for record in records(directory, None) if record["type"] != "read"]
        assert after == before, "nothing is done that cannot be signed"
    assert vault.status().writable
    vault.close()
    assert check(directory).exit_code == 0


def test_a_signer_that_is_not_there_changes_nothing(vault: Vault, directory: Path, tiny: TinyAgent) -> None:
    key = (directory / "vault.key").read_bytes()
    with Archive(directory, by="tester (uid 1)") as archive:
        for wrong in ("SHA256:nothing", "", "ssh-agent"):
            with pytest.raises(BadRequest, match="vault key"):
                archive.change_signer(wrong)
    assert (directory / "vault.key").read_bytes() == key and records(directory, "key") == []


def test_a_public_key_that_was_exchanged_signs_nothing(make_vault: Make, directory: Path, tiny: TinyAgent) -> None:
    ask(make_vault())
    with Archive(directory, by="tester (uid 1)") as archive:
        archive.change_signer(fingerprint_of(PUBLIC))
        (directory / "vault.pub").write_text("ed25519:" + "A" * 43 + "=\n")
        with pytest.raises(VaultError, match=r"vault\.pub is not the key that signs"):
            archive.checkpoint()


@pytest.mark.parametrize(
    "lie",
    [
        string(bytes([5])),
        string(bytes([14])),
        string(bytes([14]) + string(string(b"ssh-ed25519") + string(bytes(64)))),
        string(bytes([14]) + string(string(b"ssh-ed25519") + string(b"short"))),
        string(bytes([14]) + struct.pack(">I", 1 << 30)),
        struct.pack(">I", 1 << 31),
        struct.pack(">I", 0),
        b"\0",
        b"",
    ],
)
def test_an_agent_that_lies_is_refused(lie: bytes, tiny: TinyAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "answer", lambda _request: lie)
    with pytest.raises(VaultError, match="ssh-agent"):
        AgentSigner(PUBLIC)(b"message")


def test_an_agent_that_failed_is_left_alone_for_a_while(tiny: TinyAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    signer = AgentSigner(PUBLIC, clock=lambda: now)
    with monkeypatch.context() as lying:
        lying.setattr(tiny, "answer", lambda _request: string(bytes([5])))
        for _ in range(3):
            with pytest.raises(VaultError):
                signer(b"message")
    assert tiny.num_asked == 1
    now += agent.REST_S
    SECRET.public_key().verify(signer(b"message"), b"message")


@pytest.mark.skipif(not shutil.which("ssh-agent"), reason="ssh-agent is not installed")
def test_a_real_agent_signs(make_vault: Make, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "real"
    started = subprocess.run(["ssh-agent", "-s", "-a", str(path)], capture_output=True, text=True, check=True)
    pid = int(started.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)
        key.unlink()
        listed = subprocess.run(["ssh-add", "-l"], capture_output=True, text=True, check=True).stdout.split()[1]
        ask(make_vault())
        with Archive(directory, by="tester (uid 1)") as archive:
            archive.change_signer(listed)
            ask(make_vault(), "signed by the agent")
            archive.checkpoint()
        report = check(directory)
        assert report.exit_code == 0 and report.num_signatures > 1
    finally:
        os.kill(pid, signal.SIGTERM)
