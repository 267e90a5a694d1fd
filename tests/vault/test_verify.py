"""The verifier against everybody who would like it to say `intact`: each change is found, and its first seq named."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.vault import Vault, verify
from minivault.vault.record import NO_HASH, chain_hash
from minivault.vault.rewrite import compress_segments
from tests.vault.samples import ask, check, rewrite_line

VERIFIER = Path(verify.__file__)
Lines = list[bytes]
Make = Callable[..., Vault]


@pytest.fixture
def log(make_vault: Make, directory: Path) -> Path:
    """A closed, signed log of one segment: genesis 1, start 2, interactions 3 to 8, stop 9."""
    vault = make_vault()
    for number in range(6):
        ask(vault, f"prompt {number}", f"answer {number}")
    vault.close()
    assert check(directory).exit_code == 0
    return directory / "log.jsonl"


@pytest.fixture
def segmented(make_vault: Make, directory: Path) -> list[Path]:
    """A closed log in several sealed segments, not compressed, the active one last."""
    vault = make_vault(segment_bytes=2500)
    for number in range(12):
        ask(vault, f"prompt {number}", f"answer {number}")
    vault.close()
    for path in directory.glob("*.jsonl.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    files = [*sorted(directory.glob("log-*.jsonl")), directory / "log.jsonl"]
    assert len(files) >= 4
    assert check(directory).exit_code == 0
    return files


def seq_of(line: bytes) -> int:
    return int(json.loads(line)["seq"])


def edit(path: Path, change: Callable[[Lines], Lines]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def swap(lines: Lines, at: int) -> Lines:
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def reordered(line: bytes) -> bytes:
    return json.dumps(dict(sorted(json.loads(line).items())), separators=(",", ":")).encode() + b"\n"


CHANGES: dict[str, tuple[Callable[[Lines], Lines], int]] = {
    "delete a line": (lambda ls: ls[:4] + ls[5:], 5),
    "delete the first line": (lambda ls: ls[1:], 1),
    "swap two lines": (lambda ls: swap(ls, 4), 5),
    "duplicate a line": (lambda ls: ls[:5] + ls[4:], 6),
    "insert a line of another place": (lambda ls: [*ls[:4], ls[6], *ls[4:]], 5),
    "insert junk": (lambda ls: [*ls[:4], b"junk\n", *ls[4:]], 5),
    "insert an empty line": (lambda ls: [*ls[:4], b"\n", *ls[4:]], 5),
    "end a line with CRLF": (lambda ls: [*ls[:4], ls[4][:-1] + b"\r\n", *ls[5:]], 5),
    "add a space": (lambda ls: [*ls[:4], ls[4].replace(b":", b": ", 1), *ls[5:]], 5),
    "double a key": (lambda ls: [*ls[:4], ls[4].replace(b'{"type"', b'{"prompt":"x","type"'), *ls[5:]], 5),
    "replace by an object": (lambda ls: [*ls[:4], b"{}\n", *ls[5:]], 5),
    "replace by an array": (lambda ls: [*ls[:4], b"[]\n", *ls[5:]], 5),
    "append junk to the end": (lambda ls: [*ls, b'{"type":"interaction"}\n'], 10),
    "cut the tail": (lambda ls: ls[:-2], 8),
    "cut everything": (lambda ls: [], 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_to_the_lines_is_found_at_its_first_seq(name: str, log: Path, directory: Path) -> None:
    change, first_bad = CHANGES[name]
    edit(log, change)
    report = check(directory)
    assert (report.exit_code, report.first_bad_seq) == (2, first_bad)


FIELDS: dict[str, Any] = {
    "prompt": "another prompt",
    "response": "another answer",
    "salt": "00" * 16,
    "completion_tokens": [9],
    "client": "10.0.0.9",
    "timestamp": "2020-01-01T00:00:00.000000000Z",
    "status": "failed",
    "parameters": {"seed": 8},
    "model": "other",
    "seq": 50,
    "prev": NO_HASH,
    "hash": NO_HASH,
    "content_sha256": NO_HASH,
    "type": "read",
    "v": 1,
    "extra": 1,
    "redacted": {"at": "", "by": "", "reason": "", "record": 9},
    "withheld": True,
    "time_ns": "now",
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_change_to_any_field_is_found(name: str, log: Path, directory: Path) -> None:
    rewrite_line(log, 4, **{name: FIELDS[name]})
    report = check(directory)
    assert (report.exit_code, report.first_bad_seq) == (2, 5)


@pytest.mark.parametrize("name", ["prompt", "response", "client", "salt"])
def test_content_that_is_taken_out_without_a_redaction_is_found(name: str, log: Path, directory: Path) -> None:
    edit(log, lambda ls: [*ls[:4], without(ls[4], name), *ls[5:]])
    assert check(directory).first_bad_seq == 5


def without(line: bytes, *names: str) -> bytes:
    fields = {key: value for key, value in json.loads(line).items() if key not in names}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def test_a_forged_redaction_is_found(log: Path, directory: Path) -> None:
    stub = {"at": "2026", "by": "me", "reason": "none", "record": 9}
    content = ("prompt", "response", "request", "rendered_prompt", "prompt_tokens", "completion_tokens")
    edit(log, lambda ls: [*ls[:4], without(ls[4], *content, "client", "user_agent", "salt"), *ls[5:]])
    rewrite_line(log, 4, redacted=stub)
    report = check(directory)
    assert (report.exit_code, report.first_bad_seq) == (2, 5)


def rechain(lines: Lines, start: int, **changes: Any) -> Lines:
    """Change a record and make every hash after it fit: what somebody does who knows the format."""
    out, prev = list(lines[:start]), json.loads(lines[start - 1])["hash"]
    for number, line in enumerate(lines[start:]):
        fields = json.loads(line) | (changes if number == 0 else {}) | {"prev": prev}
        prev = fields["hash"] = chain_hash(fields)
        out.append(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
    return out


def test_a_rebuilt_chain_is_found_by_the_vaults_own_checkpoint(log: Path, directory: Path) -> None:
    edit(log, lambda ls: rechain(ls, 4, status="failed"))
    report = check(directory)
    assert (report.exit_code, report.first_bad_seq) == (2, 9)


def test_a_rebuilt_chain_without_checkpoints_is_found_by_what_was_kept_elsewhere(
    log: Path, directory: Path, tmp_path: Path
) -> None:
    kept, head = tmp_path / "kept.jsonl", check(directory).hash
    kept.write_bytes((directory / "checkpoints.jsonl").read_bytes())
    (directory / "checkpoints.jsonl").unlink()
    (directory / "heads.jsonl").unlink()
    assert check(directory, checkpoint=kept, expect_head=head).exit_code == 0
    edit(log, lambda ls: rechain(ls, 4, status="failed"))
    assert check(directory).exit_code == 0  # the honest limit: nothing that left the machine is asked
    assert check(directory, checkpoint=kept).exit_code == 2
    assert check(directory, expect_head=head).exit_code == 2


def test_a_cut_tail_without_checkpoints_is_found_by_what_was_kept_elsewhere(
    log: Path, directory: Path, tmp_path: Path
) -> None:
    kept, head = tmp_path / "kept.jsonl", check(directory).hash
    (directory / "checkpoints.jsonl").rename(kept)
    (directory / "heads.jsonl").unlink()
    edit(log, lambda ls: ls[:-3])
    assert check(directory).exit_code == 0
    report = check(directory, checkpoint=kept)
    assert (report.exit_code, report.first_bad_seq) == (2, 7)
    report = check(directory, expect_head=head.removeprefix("sha256:"))
    assert (report.exit_code, report.first_bad_seq) == (2, 7)


def test_a_head_noted_earlier_is_found_in_a_log_that_grew(log: Path, directory: Path, make_vault: Make) -> None:
    head = check(directory).hash
    vault = make_vault()
    ask(vault)
    vault.close()
    report = check(directory, expect_head=head)
    assert (report.exit_code, report.expected_head_seq) == (0, 9)


def test_a_vault_made_anew_with_another_key_is_found_by_the_pinned_key(
    log: Path, directory: Path, tmp_path: Path, make_vault: Make
) -> None:
    key = (directory / "vault.pub").read_text().strip()
    assert check(directory, public_key=key).exit_code == 0
    other = make_vault(at=tmp_path / "other-vault")
    ask(other)
    other.close()
    assert check(tmp_path / "other-vault").exit_code == 0
    assert check(tmp_path / "other-vault", public_key=key).exit_code == 2
    assert check(tmp_path / "other-vault", checkpoint=directory / "checkpoints.jsonl").exit_code == 2


@pytest.mark.parametrize("name", ["seq", "hash", "vault", "time_ns", "signature", "key"])
def test_a_changed_checkpoint_is_found(name: str, log: Path, directory: Path) -> None:
    path = directory / "checkpoints.jsonl"
    changed = {"seq": 8, "hash": NO_HASH, "vault": "x", "time_ns": 1, "signature": "ed25519:AAAA", "key": "ed25519:AA"}
    rewrite_line(path, -1, **{name: changed[name]})
    assert check(directory).exit_code == 2


def test_swapped_removed_and_changed_segments_are_found(segmented: list[Path], directory: Path) -> None:
    originals = {path: path.read_bytes() for path in segmented}
    first, second, third = segmented[:3]

    def report_after(contents: dict[Path, bytes]) -> verify.Report:
        for path, data in (originals | contents).items():
            path.write_bytes(data)
        return check(directory)

    swapped = report_after({second: originals[third], third: originals[second]})
    assert (swapped.exit_code, swapped.first_bad_seq) == (2, seq_of(originals[second].splitlines()[0]))
    lines = originals[second].splitlines(keepends=True)
    cut = report_after({second: b"".join(lines[:-1])})
    assert (cut.exit_code, cut.first_bad_seq) == (2, seq_of(lines[-1]))
    assert report_after({second: b"".join(map(reordered, lines))}).exit_code == 2
    report_after({})
    second.unlink()
    assert check(directory).first_bad_seq == seq_of(lines[0])
    report_after({})
    first.unlink()
    assert (check(directory).exit_code, check(directory).first_bad_seq) == (2, 1)
    assert report_after({}).exit_code == 0


def test_every_byte_of_a_compressed_segment_counts(segmented: list[Path], directory: Path) -> None:
    compress_segments(directory)
    path = directory / f"{segmented[1].name}.gz"
    data = path.read_bytes()
    assert check(directory).exit_code == 0
    chance = random.Random(7)
    for at in chance.sample(range(10, len(data) - 8), 40):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        report = check(directory)
        assert report.exit_code == 2, at
    for at in (0, 1, 20, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:at])
        assert check(directory).exit_code == 2, at


def test_every_flipped_bit_of_a_log_is_found(log: Path, directory: Path) -> None:
    data, chance = log.read_bytes(), random.Random(8)
    for at in chance.sample(range(len(data)), 200):
        log.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        assert check(directory).exit_code == 2, (at, data[at - 20 : at + 20])


def test_a_torn_last_line_is_a_trace_of_a_crash(log: Path, directory: Path) -> None:
    (directory / "checkpoints.jsonl").unlink()
    (directory / "heads.jsonl").unlink()
    data = log.read_bytes()
    last = len(data.splitlines(keepends=True)[-1])
    for cut in range(1, last):
        log.write_bytes(data[:-cut])
        assert check(directory).exit_code == 1, cut
    log.write_bytes(data[:-last])
    assert check(directory).exit_code == 0


def test_both_forms_of_a_segment_after_a_crash_count_once(segmented: list[Path], directory: Path) -> None:
    path = segmented[1]
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.with_name(path.name + ".tmp.gz").write_bytes(b"half")
    assert check(directory).exit_code == 0


def test_a_log_is_verified_while_it_is_written_rotated_and_compressed(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=2500)
    thread = threading.Thread(target=lambda: [ask(vault, f"prompt {number}") for number in range(100)])
    thread.start()
    found = []
    while thread.is_alive():
        found += check(directory).findings
    thread.join()
    assert found == []


def test_what_cannot_be_read_is_no_tampering(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert check(tmp_path / "empty").exit_code == 3
    (tmp_path / "file").write_text("hello\n")
    assert check(tmp_path / "file").exit_code == 3


def test_it_runs_as_one_file_without_the_package(log: Path, directory: Path, tmp_path: Path) -> None:
    alone = tmp_path / "verify.py"
    alone.write_bytes(VERIFIER.read_bytes())
    command = [sys.executable, "-I", "-S", str(alone), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "intact")
    edit(log, lambda ls: ls[:4] + ls[5:])
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["first_bad_seq"], report["verdict"]) == (2, 5, "TAMPERED")


def test_it_shows_no_control_characters_of_what_it_reads(log: Path, directory: Path) -> None:
    rewrite_line(log, 4, type="\x1b[2J", v="\x1b]0;x\x07")
    report = check(directory)
    assert report.exit_code == 2
    assert all(ord(character) >= 32 or character == "\n" for character in verify.describe(report))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
lists = st.lists(scalars, max_size=3)
json_values = scalars | lists | st.dictionaries(st.text(max_size=5), scalars | lists, max_size=3)
names = st.sampled_from(
    ["type", "v", "seq", "prev", "hash", "salt", "redacted", "segments", "target_seq", "torn_bytes", "time_ns"]
)
types = st.sampled_from(["genesis", "segment", "recovered", "redaction", "prune", "key", "interaction", "export"])
records = st.dictionaries(names, json_values, max_size=8).flatmap(
    lambda fields: st.tuples(st.just(fields), types).map(lambda pair: {**pair[0], "type": pair[1]})
)
junk_lines = st.one_of(
    st.binary(max_size=80),
    json_values.map(lambda value: json.dumps(value).encode()),
    records.map(lambda value: json.dumps(value).encode()),
)


def hashed(fields: dict[str, Any]) -> bytes:
    """A record that passes the first checks, so that the later ones meet its odd values."""
    try:
        whole = {"type": "read", "v": 1, "seq": 1, "time_ns": 1, "prev": NO_HASH, **fields}
        whole["hash"] = chain_hash(whole)
        return json.dumps(whole, separators=(",", ":")).encode()
    except ValueError:
        return b"{}"


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(junk_lines | records.map(hashed), max_size=6), as_checkpoints=st.booleans())
def test_no_garbage_makes_it_fall_over(
    lines: list[bytes], as_checkpoints: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp() / "fuzz"
    directory.mkdir(exist_ok=True)
    data = b"\n".join(lines)
    (directory / "log.jsonl").write_bytes(data)
    (directory / "checkpoints.jsonl").write_bytes(data if as_checkpoints else b"")
    (directory / "excerpt").write_bytes(b'{"type":"export","v":1}\n' + data)
    (directory / "excerpt2").write_bytes(b'{"type":"export","v":2}\n' + data)
    assert check(directory).exit_code in (0, 1, 2, 3)
    assert check(directory / "excerpt").exit_code in (2, 3)
    assert check(directory / "excerpt2").exit_code in (2, 3)
    with pytest.raises(verify.Misused):
        check(directory, checkpoint=directory / "checkpoints.jsonl")


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b'{"seq":' + b"9" * 5000 + b"}", b'{"v":1e999}', b"\xff\xfe{}"],
)
def test_hostile_json_is_only_bad_data(line: bytes, log: Path, directory: Path) -> None:
    edit(log, lambda ls: [*ls[:4], line + b"\n", *ls[5:]])
    assert (check(directory).exit_code, check(directory).first_bad_seq) == (2, 5)


def key_pair(seed: bytes) -> tuple[Ed25519PrivateKey, bytes]:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200), at=st.integers(0, 511))
def test_signatures_agree_with_the_library(seed: bytes, message: bytes, at: int) -> None:
    private, public = key_pair(seed)
    signature = private.sign(message)
    assert verify.is_signed(public, message, signature)
    assert not verify.is_signed(public, message + b"x", signature)
    flipped = bytearray(signature)
    flipped[at // 8] ^= 1 << at % 8
    assert not verify.is_signed(public, message, bytes(flipped))


def test_a_published_signature_vector_is_accepted() -> None:
    """RFC 8032 §7.1, test 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify.is_signed(public, b"\x72", signature)


@settings(max_examples=100, deadline=None)
@given(public=st.binary(max_size=40), signature=st.binary(max_size=70))
def test_bytes_that_are_no_key_and_no_signature_are_refused(public: bytes, signature: bytes) -> None:
    assert not verify.is_signed(public, b"", signature)
    assert verify.unwrap("ed25519:" + base64.b64encode(public).decode()) == public
    assert verify.unwrap(os.fsdecode(public)) == b""
