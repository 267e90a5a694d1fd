"""A witness cosigns what extends what it has seen and nothing else, and a policy asks for enough of them."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from minivault.errors import ConfigError, VaultError
from minivault.vault.archive import Archive
from minivault.vault.evidence import cosigned_at, parse_vkey
from minivault.vault.proof.key import SigningKey
from minivault.vault.proof.note import TreeHead
from minivault.vault.proof.witness import MAX_BODY, Witness
from minivault.vault.verify import Misused, parse_note
from tests.vault.proof.witnessing import NOW, cosign, request, size_of, witness_of
from tests.vault.samples import check


def test_what_extends_is_cosigned_and_what_was_seen_is_remembered(archive: Archive, witness: Witness) -> None:
    first, body = size_of(archive), request(archive, 0)
    reply = witness.add_checkpoint(body)
    assert reply.status == HTTPStatus.OK
    key = parse_vkey(witness.verifier_key)
    assert key is not None
    note = parse_note(body.decode().partition("\n\n")[2] + reply.body)
    assert note is not None
    assert cosigned_at(note, key[0], key[2]) == NOW
    archive.show("3")
    for old in (0, first - 1, first + 1):
        refused = witness.add_checkpoint(request(archive, old))
        assert (refused.status, refused.body, refused.content_type) == (409, f"{first}\n", "text/x.tlog.size")
    assert witness.add_checkpoint(request(archive, first)).status == HTTPStatus.OK
    assert witness.add_checkpoint(body).status == HTTPStatus.CONFLICT, "never back"
    kept = witness.checkpoint(hashlib.sha256(note.origin.encode()).hexdigest())
    last = parse_note(kept.body)
    assert last is not None
    assert last.size == size_of(archive)


def test_what_does_not_extend_is_refused_whatever_is_wrong(archive: Archive, witness: Witness, tmp_path: Path) -> None:
    first = size_of(archive)
    assert witness.add_checkpoint(request(archive, 0)).status == HTTPStatus.OK
    archive.show("3")
    text = request(archive, first).decode()
    lines = text.split("\n")
    cases = {
        text.replace(lines[1], lines[2] if lines[2] else "A" * 43 + "="): 422,
        text.replace(f"old {first}\n", f"old {first}\n" + "A" * 43 + "=\n"): 422,
        text.replace(f"\n{first + 1}\n", f"\n{first + 2}\n"): 403,
        text.replace("minivault/", "another/"): 404,
        text.replace(f"old {first}", f"old {first + 9}"): 400,
        text.replace("old ", "new "): 400,
        text.replace(f"old {first}", f"old 0{first}"): 400,
        text.replace(f"old {first}\n", f"old {first}\n" + "\n".join(["A" * 43 + "="] * 64) + "\n"): 400,
        "": 400,
    }
    for body, status in cases.items():
        assert body != text
        assert witness.add_checkpoint(body.encode()).status == status, body
    assert witness.add_checkpoint(b"\xff").status == 400
    assert witness.add_checkpoint(text.encode()).status == HTTPStatus.OK, "nothing of it was remembered"


def test_a_vault_that_was_rewritten_gets_no_cosignature(archive: Archive, witness: Witness, directory: Path) -> None:
    witness.add_checkpoint(request(archive, 0))
    size = size_of(archive)
    lines = (directory / "log.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "log.jsonl").write_bytes(b"".join(lines[:-2]))
    for name in ("heads.jsonl", "checkpoints.jsonl", "tree.hashes"):
        (directory / name).unlink()
    with Archive(directory, by="forger") as forged:
        for seq in ("2", "3", "4"):
            forged.show(seq)
        assert check(directory).exit_code == 0, "by itself it looks whole"
        assert size_of(forged) > size
        assert witness.add_checkpoint(request(forged, size)).status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_another_tree_of_the_same_size_is_a_conflict(archive: Archive, witness: Witness, directory: Path) -> None:
    witness.add_checkpoint(request(archive, 0))
    with archive.proving() as prover:
        head, key = prover.signed.head, SigningKey.load(directory)
    assert key is not None
    other = TreeHead(head.origin, head.size, bytes(32)).signed(key)
    refused = witness.add_checkpoint(f"old {head.size}\n\n{other}".encode())
    assert (refused.status, refused.body, refused.content_type) == (409, f"{head.size}\n", "text/x.tlog.size")


def test_cosignatures_land_in_the_checkpoint_and_a_policy_asks_for_them(
    archive: Archive, witness: Witness, url: str, directory: Path, tmp_path: Path
) -> None:
    other = witness_of(archive, tmp_path / "w2", "example.org/w2")
    with archive.proving() as prover:
        log = f"log {prover.verifier_key}\n"
    known = f"# whom we believe\n{log}witness one {witness.verifier_key}\nwitness two {other.verifier_key} http://x\n"
    policy = tmp_path / "policy"

    def verdict(quorum: str) -> int:
        policy.write_text(f"{known}group any-one any one two\n{quorum}\n")
        return check(directory, policy=policy).exit_code

    assert (verdict("quorum none"), verdict("quorum any-one")) == (0, 3)
    for _ in range(2):
        cosign(archive, url, witness.verifier_key)
        archive.show("3")
    assert [verdict(f"quorum {name}") for name in ("one", "any-one", "two")] == [0, 0, 3]
    report = check(directory, policy=policy)
    assert report.exit_code == 3
    policy.write_text(known + "group both 2 one two\nquorum both\n")
    assert check(directory, policy=policy).exit_code == 3
    policy.write_text(known + "quorum one\n")
    report = check(directory, policy=policy)
    assert "after seq" in " ".join(report.unproven), "what came since is not witnessed"
    for _ in range(2):
        cosign(archive, url, witness.verifier_key)
    with archive.proving() as prover:
        assert prover.signed.cosigned.count("example.org/w1") == 1, "of each witness its last"
    proof = tmp_path / "one.tlog-proof"
    proof.write_text(archive.prove("3"))
    key = (directory / "vault.pub").read_text()
    assert check(proof, public_key=key, policy=policy).exit_code == 0
    policy.write_text(known + "quorum two\n")
    assert check(proof, public_key=key, policy=policy).exit_code == 3


def test_the_wire_refuses_what_is_no_request(url: str) -> None:
    assert httpx.post(f"{url}/add-checkpoint", content=b"junk").status_code == 400
    assert httpx.post(f"{url}/add-checkpoint", content=b"x" * (MAX_BODY + 1)).status_code == 413
    assert httpx.post(f"{url}/other", content=b"").status_code == 404
    assert httpx.get(f"{url}/{'0' * 64}/checkpoint").status_code == 404


def test_another_s_signature_is_not_taken_for_the_witness_s(
    archive: Archive, witness: Witness, url: str, tmp_path: Path
) -> None:
    other = witness_of(archive, tmp_path / "w2", "example.org/w1")
    with pytest.raises(VaultError, match="not signed by its key"):
        cosign(archive, url, other.verifier_key)
    with archive.proving() as prover, pytest.raises(ConfigError, match="no key of a witness"):
        cosign(archive, url, prover.verifier_key)


@pytest.mark.parametrize(
    "line",
    [
        "witness one",
        "quorum nobody",
        "log x",
        "group g 2 one",
        "group g any",
        "group one any one",
        "rule x",
        "quorum none x",
    ],
)
def test_a_policy_that_is_none_is_no_verdict(
    archive: Archive, witness: Witness, directory: Path, tmp_path: Path, line: str
) -> None:
    policy = tmp_path / "policy"
    policy.write_text(f"witness one {witness.verifier_key}\n{line}\nquorum one\n")
    with pytest.raises(Misused, match="line 2"):
        check(directory, policy=policy)
    policy.write_text(f"witness one {witness.verifier_key}\n")
    with pytest.raises(Misused, match="quorum"):
        check(directory, policy=policy)
