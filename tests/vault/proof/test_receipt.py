"""Receipts: what a client keeps proves what the vault held, against the vault itself and with the verifier alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from minivault.vault import Vault, verify
from minivault.vault.archive import Archive
from minivault.vault.proof.heads import signed_heads
from minivault.vault.proof.key import SigningKey
from minivault.vault.record import canonical
from minivault.vault.verify import Misused, Report, verify_receipts
from tests.vault.samples import check, closing, opening, records

Make = Callable[..., Vault]
Kept = list[dict[str, Any]]
SPOILED = ("v", "seq", "vault", "id", "hash", "prev", "key", "signature", "twice", "cut", "cut over lines")


@pytest.fixture
def kept(make_vault: Make, directory: Path) -> Kept:
    """The receipts of four answers in a closed vault."""
    vault = make_vault()
    found = [receipt_of(vault, f"prompt {number}") for number in range(4)]
    vault.close()
    assert check(directory).exit_code == 0
    return found


def receipt_of(vault: Vault, prompt: str = "Hello") -> dict[str, Any]:
    entry = vault.begin(opening(prompt))
    entry.finish(closing())
    receipt = entry.receipt()
    assert receipt is not None
    return receipt


def saved(directory: Path, *values: dict[str, Any]) -> Path:
    path = directory.parent / "kept.jsonl"
    path.write_text("\n".join(json.dumps(value) for value in values))
    return path


def signed(secret: bytes, receipt: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The receipt with changes, as the holder of a key would sign it."""
    key = SigningKey.of(secret)
    fields = {**receipt, **changes, "key": key.public}
    message = {name: value for name, value in fields.items() if name not in ("signature", *verify.SALTS)}
    return {**fields, "signature": key.sign(canonical(message))}


def told(report: Report) -> str:
    return " ".join(finding.message for finding in report.findings)


def test_a_receipt_is_of_its_record_and_opens_its_commitment(kept: Kept, directory: Path) -> None:
    record = records(directory)[1]
    names = ("seq", "id", "timestamp", "hash", "prev", "content_sha256", "salt")
    assert {name: kept[1][name] for name in names} == {name: record[name] for name in names}


def test_receipts_are_proven_by_themselves_and_against_the_vault(kept: Kept, directory: Path) -> None:
    file = saved(directory, *kept)
    alone = verify_receipts(file)
    assert (alone.exit_code, alone.num_receipts) == (0, 4)
    assert "--vault" in " ".join(alone.unproven)
    report = verify_receipts(file, vault=directory, public_key=(directory / "vault.pub").read_text())
    assert (report.exit_code, report.num_compared, report.num_kept) == (0, 4, 4)


def test_a_receipt_without_its_salt_proves_the_same(kept: Kept, directory: Path) -> None:
    bare = {name: value for name, value in kept[0].items() if name != "salt"}
    assert verify_receipts(saved(directory, bare), vault=directory).exit_code == 0


@pytest.mark.parametrize("name", ["seq", "timestamp", "hash", "prev", "content_sha256", "id", "vault"])
def test_no_signed_member_can_be_changed(name: str, kept: Kept, directory: Path) -> None:
    value = kept[0][name]
    changed = {**kept[0], name: value + 1 if isinstance(value, int) else value[:-1] + "10"[value[-1] == "1"]}
    report = verify_receipts(saved(directory, changed))
    assert report.exit_code == 2
    assert "not valid" in told(report)


def test_a_vault_cut_below_a_receipt_is_found(kept: Kept, directory: Path) -> None:
    log = directory / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[: kept[-1]["seq"] - 1]))
    (directory / "checkpoints.jsonl").unlink()
    (directory / "heads.jsonl").unlink(missing_ok=True)
    assert check(directory).exit_code == 0, "the vault alone looks whole"
    report = verify_receipts(saved(directory, *kept), vault=directory)
    assert report.exit_code == 2
    assert f"a receipt signed {kept[-1]['seq']}" in told(report)


def test_a_place_without_any_log_is_accused_of_nothing(kept: Kept, directory: Path, tmp_path: Path) -> None:
    elsewhere, file = tmp_path / "elsewhere", saved(directory, *kept)
    elsewhere.mkdir()
    report = verify_receipts(file, vault=elsewhere)
    assert (report.exit_code, "holds no log" in told(report)) == (3, True)
    heads = tmp_path / "heads"
    heads.write_text(signed_heads(directory)[-1].note)
    for checkpoint in (directory / "checkpoints.jsonl", heads):
        assert check(elsewhere, checkpoint=checkpoint).exit_code == 3
    (elsewhere / "log.jsonl").touch()
    assert verify_receipts(file, vault=elsewhere).exit_code == 2, "a log was there"
    with pytest.raises(Misused, match="`receipt verify`"):
        check(file)


def test_a_receipt_of_another_vault_is_named_as_one(
    kept: Kept, make_vault: Make, directory: Path, tmp_path: Path
) -> None:
    make_vault(at=tmp_path / "other").close()
    report = verify_receipts(saved(directory, *kept), vault=tmp_path / "other")
    assert (report.exit_code, told(report).count(f"another vault, {kept[0]['vault']}")) == (2, len(kept))
    assert "the log ends" not in told(report)


def test_two_stories_of_one_place_are_found_without_any_vault(kept: Kept, directory: Path) -> None:
    secret = (directory / "vault.key").read_text().strip()
    key = verify.unwrap(secret)
    other = signed(key, kept[1], hash="sha256:" + "5" * 64)
    report = verify_receipts(saved(directory, kept[1], other))
    assert (report.exit_code, report.first_bad_seq) == (2, kept[1]["seq"])
    assert "different records" in told(report)


def test_a_story_that_does_not_follow_from_the_one_before_is_found(kept: Kept, directory: Path) -> None:
    key = verify.unwrap((directory / "vault.key").read_text().strip())
    other = signed(key, kept[1], prev="sha256:" + "5" * 64)
    assert "follows another" in told(verify_receipts(saved(directory, kept[0], other)))


def test_a_receipt_whose_signer_lied_of_the_record_is_found(kept: Kept, directory: Path) -> None:
    key = verify.unwrap((directory / "vault.key").read_text().strip())
    lie = signed(key, kept[1], timestamp="2026-01-01T00:00:00.000000000Z")
    assert verify_receipts(saved(directory, lie)).exit_code == 0
    report = verify_receipts(saved(directory, lie), vault=directory)
    assert (report.exit_code, report.first_bad_seq) == (2, kept[1]["seq"])


def test_a_forger_s_key_is_not_the_vault_s(kept: Kept, directory: Path) -> None:
    forged = signed(Ed25519PrivateKey.generate().private_bytes_raw(), kept[1])
    assert verify_receipts(saved(directory, forged), vault=directory).exit_code == 2
    pinned = (directory / "vault.pub").read_text()
    assert verify_receipts(saved(directory, forged), public_key=pinned).exit_code == 2


def test_a_redacted_record_still_has_its_receipt(kept: Kept, directory: Path) -> None:
    with Archive(directory, by="tester") as archive:
        archive.redact(kept[0]["id"], "asked for")
    report = verify_receipts(saved(directory, *kept), vault=directory)
    assert report.exit_code == 0
    assert any("redacted since" in note.message for note in report.notes)


def test_receipts_are_found_in_replies_as_they_came(kept: Kept, directory: Path) -> None:
    path = directory.parent / "replies"
    whole, stream = json.dumps({"id": "x", "receipts": kept[:2]}, indent=1), json.dumps({"receipt": kept[2]})
    for text, count in ((whole, 2), (f'data: {{"a": 1}}\n\ndata: {stream}\n\ndata: [DONE]\n', 1)):
        path.write_text(text)
        assert verify_receipts(path, vault=directory).num_receipts == count
    path.write_text(f"HTTP/1.1 200 OK\r\nMiniVault-Receipt: {json.dumps(kept[3])}\r\n\r\nhello")
    assert verify_receipts(path, vault=directory).num_compared == 1


def laid_out(reply: dict[str, Any]) -> list[str]:
    """A file of two replies as tools leave it; the first also rounds numbers, as JavaScript does."""
    rounded = json.loads(json.dumps(reply), parse_int=lambda digits: int(float(digits)))
    plain, pretty = (json.dumps(rounded, ensure_ascii=False, indent=indent) for indent in (None, 2))
    lists = [json.dumps([reply, reply], indent=indent) for indent in (None, 2)]
    return [f"{plain}\n{plain}\n", f"{pretty}\n{pretty}\n", f"{pretty}\r\n".replace("\n", "\r\n") * 2, *lists]


def test_receipts_outlive_what_tools_do_to_json(kept: Kept, directory: Path) -> None:
    reply = {"response": "é\u2028\x85😀 {", "receipts": kept[:2]}
    for text in laid_out(reply):
        path = directory.parent / "kept"
        path.write_text(text, "utf-8")
        report = verify_receipts(path, vault=directory)
        assert (report.exit_code, report.num_receipts, report.num_compared) == (0, 2, 2), text


def test_a_receipt_of_format_1_proves_the_same(kept: Kept, directory: Path) -> None:
    key = verify.unwrap((directory / "vault.key").read_text().strip())
    record = records(directory)[1]
    bare = {name: value for name, value in kept[1].items() if name != "timestamp"}
    old = signed(key, bare, v=1, time_ns=record["time_ns"])
    report = verify_receipts(saved(directory, old, kept[1]), vault=directory)
    assert (report.exit_code, report.num_compared) == (0, 2)
    lie = signed(key, bare, v=1, time_ns=record["time_ns"] - 1)
    assert verify_receipts(saved(directory, lie), vault=directory).exit_code == 2


@pytest.mark.parametrize("text", ["", "{}", "hello", '{"receipt": {"type": "receipt", "seq": "1"}}', '{"receipt": 7}'])
def test_a_file_without_receipts_is_no_verdict(text: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    path.write_text(text)
    with pytest.raises(Misused, match="receipt"):
        verify_receipts(path)


def spoiled(receipt: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Files in which one receipt is sound and another is not; and what is to be named."""
    sound, twice = json.dumps(receipt), json.dumps(receipt).replace('"seq"', '"seq": 1, "seq"')
    members = {name: f"`{name}`" for name in ("v", "seq", "vault", "id", "hash", "prev", "key", "signature")}
    return {
        **{name: (f"{sound}\n{json.dumps({**receipt, name: None})}", told) for name, told in members.items()},
        "twice": (f"{sound}\n{twice}", "line 2"),
        "cut": (f"{sound}\n{sound[:-9]}", "line 2"),
        "cut over lines": (f"{json.dumps({'receipt': receipt}, indent=1)[:-9]}\n{sound}", "line 1"),
    }


@pytest.mark.parametrize("what", SPOILED)
def test_no_spoiled_receipt_is_passed_over(what: str, kept: Kept, directory: Path) -> None:
    text, told_of = spoiled(kept[0])[what]
    path = directory.parent / "kept"
    path.write_text(text)
    with pytest.raises(Misused, match=told_of):
        verify_receipts(path, vault=directory)


def test_the_one_file_verifier_reads_receipts(kept: Kept, directory: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(verify.__file__), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    file = saved(directory, *kept)
    assert run(file, "--vault", directory).returncode == 0
    assert "4 receipts" in run(file).stdout
    assert run(file, "--vault", directory / "none").returncode == 64


def test_a_receipt_waits_for_a_place_and_for_a_key(make_vault: Make, directory: Path) -> None:
    unplaced = make_vault(sync="async", at=directory / "async")
    entry = unplaced.begin(opening())
    assert entry.receipt() is None
    entry.finish(closing())
    assert entry.receipt() is None, "under async nobody knows the place when the answer leaves"
    vault = make_vault()
    before = receipt_of(vault)
    (directory / "vault.key").unlink()
    assert receipt_of(vault)["key"] == before["key"], "the key is the vault's until there is another"
