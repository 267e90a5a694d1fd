"""Witnesses in trouble, and hostile ones: nothing is signed that should not be, nobody is blamed, all is said."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from minivault.errors import ConfigError, VaultError
from minivault.vault.archive import Archive
from minivault.vault.proof.asking import cosignature
from minivault.vault.proof.key import SigningKey
from minivault.vault.proof.note import verifier_key
from minivault.vault.proof.prove import Prover
from minivault.vault.proof.witness import Reply, Witness
from minivault.vault.verify import parse_notes
from tests.vault.proof.witnessing import NOW, cosign, listening, request, size_of
from tests.vault.samples import check

DAMAGES: dict[str, Callable[[str], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda text: text[:100].encode(),
    "another size": lambda text: text.replace("\n", "\n1", 1).encode(),
    "another root": lambda text: "\n".join([*text.split("\n")[:2], "A" * 43 + "=", *text.split("\n")[3:]]).encode(),
    "no text": lambda _: b"\xff\xfe",
    "another's": lambda text: "".join(text.splitlines(keepends=True)[:-1]).encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_witness_that_cannot_trust_its_memory_signs_nothing_and_accuses_nobody(
    archive: Archive, witness: Witness, url: str, tmp_path: Path, damage: str
) -> None:
    cosign(archive, url, witness.verifier_key)
    [memory] = (tmp_path / "w1").glob("*.checkpoint")
    sound = memory.read_text()
    memory.write_bytes(DAMAGES[damage](sound))
    archive.show("3")
    with pytest.raises(VaultError, match=r"refuses \(500\): this witness cannot use its memory"):
        cosign(archive, url, witness.verifier_key)
    with pytest.raises(VaultError, match="is not what this witness has signed"):
        witness.add_checkpoint(request(archive, 0))
    memory.write_text(sound)
    cosign(archive, url, witness.verifier_key)


def test_a_memory_that_cannot_be_kept_is_told(archive: Archive, witness: Witness, url: str, tmp_path: Path) -> None:
    cosign(archive, url, witness.verifier_key)
    [memory] = (tmp_path / "w1").glob("*.checkpoint")
    sound = memory.read_text()
    memory.unlink()
    memory.mkdir()
    with pytest.raises(VaultError, match=r"refuses \(500\)"):
        cosign(archive, url, witness.verifier_key)
    assert httpx.get(f"{url}/{memory.stem}/checkpoint").status_code == 500
    memory.rmdir()
    memory.write_text(sound)
    cosign(archive, url, witness.verifier_key)


def test_a_log_may_have_several_keys(archive: Archive, tmp_path: Path) -> None:
    with archive.proving() as prover:
        ours, origin = prover.verifier_key, prover.signed.head.origin
    other = verifier_key(origin, SigningKey.of_new().public)
    for number, logs in enumerate(([ours, other], [other, ours])):
        witness = Witness(tmp_path / f"w{number}", "example.org/w", logs, lambda: NOW)
        assert witness.add_checkpoint(request(archive, 0)).status == HTTPStatus.OK
    with pytest.raises(ConfigError, match="no key of a log is given"):
        Witness(tmp_path / "none", "example.org/w", [], lambda: NOW)


def test_who_is_overtaken_tries_again_and_blames_nobody(archive: Archive, witness: Witness, url: str) -> None:
    overtaken = [True, True]

    @contextmanager
    def proving() -> Iterator[Prover]:
        with archive.proving() as prover:
            if overtaken:
                archive.show("3")
                cosign(archive, url, witness.verifier_key)
                overtaken.pop()
            yield prover

    head, lines = cosignature(proving, url, witness.verifier_key)
    assert (head.size, len(lines), overtaken) == (size_of(archive), 1, [])


class Lying(Witness):
    """Answers what it was told to."""

    reply = Reply(HTTPStatus.OK)

    def add_checkpoint(self, body: bytes) -> Reply:
        return self.reply


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (409, "", "says no size"),
        (409, "\u00b2\n", "says no size"),
        (409, "9" * 50, "says no size"),
        (409, "0\n", "another tree of 0 records"),
        (409, "999\n", "999 records and this log has .*cut"),
        (200, "", "not signed by its key"),
        (200, "\N{EM DASH} example.org/w1 AAAA\n", "not signed by its key"),
        (200, "x" * 1_000_000, "not signed by its key"),
        (403, "no", r"refuses \(403\): no"),
    ],
)
def test_whatever_a_witness_answers_is_told_in_one_sentence(
    archive: Archive, tmp_path: Path, status: int, body: str, told: str
) -> None:
    with archive.proving() as prover:
        lying = Lying(tmp_path / "w", "example.org/w1", [prover.verifier_key], lambda: NOW)
    lying.reply = Reply(HTTPStatus(status), body)
    with listening(lying) as url, pytest.raises(VaultError, match=told):
        cosign(archive, url, lying.verifier_key)
    assert check(archive.directory).exit_code == 0


@pytest.mark.parametrize(
    "head",
    [
        b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: \xb2\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n",
        b"POST /other HTTP/1.1\r\nContent-Length: 99\r\n",
        b"GET /other HTTP/1.1\r\nContent-Length: 99\r\n",
    ],
)
def test_what_is_left_unread_is_not_taken_for_another_request(url: str, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(head + b"Host: x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a\n1\n" + "A" * 43 + "=\n" + "b\n" * 500_000])
def test_a_long_text_that_is_no_checkpoint_is_refused_at_once(witness: Witness, tmp_path: Path, text: str) -> None:
    assert witness.add_checkpoint(f"old 0\n\n{text}".encode()).status == HTTPStatus.BAD_REQUEST
    assert parse_notes(text) == []
    proof = tmp_path / "long.tlog-proof"
    proof.write_text(f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}")
    assert check(proof, public_key=SigningKey.of_new().public).exit_code == 3
