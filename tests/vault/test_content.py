"""What a person or a model wrote is content, in every record: committed to by salt, and gone when it is redacted."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.log import Log
from minivault.vault.proof.export import export_jsonl
from minivault.vault.reader import Filter
from minivault.vault.record import CHAINED_KEYS, MARKS, content_of, draft, parse, seal
from minivault.vault.rewrite import compress_segments
from tests.vault.faulty import FaultyDisk
from tests.vault.samples import check, closing, opening, records
from tests.vault.test_writer import until_writable

Make = Callable[..., Vault]
MARK = "written-by-a-person"
ALL_TYPES = {
    *("genesis", "start", "stop", "interaction", "segment", "recovered", "gap"),
    *("read", "redaction", "prune", "key", "auth_failed"),
}

NAME = r"[a-z0-9_.+-]{1,40}"
DIGEST = r"sha256:[0-9a-f]{64}"
FORMS: dict[str, str] = {
    "type": NAME,
    "id": r"[0-9a-f-]{36}",
    "target_id": r"[0-9a-f-]{36}",
    "late": r"[0-9a-f-]{36}",
    "vault": r"[0-9a-f-]{36}",
    "timestamp": r"\d{4}-\d\d-\d\dT[0-9:.]{18}Z",
    "since": r"\d{4}-\d\d-\d\dT[0-9:.]{18}Z",
    "boot": r"[0-9a-f]{8}-\d+",
    "prev": DIGEST,
    "content_sha256": DIGEST,
    "sha256": DIGEST,
    "sha256_before": DIGEST,
    "sha256_after": DIGEST,
    "last_hash": DIGEST,
    "settings_digest": r"[0-9a-f:sh]*",
    "public_key": r"ed25519:[A-Za-z0-9+/]{43}=",
    "name": r"log-\d{12}\.jsonl",
    "previous": r"log-\d{12}\.jsonl",
    "segment": r"log(-\d{12})?\.jsonl",
    "status": "completed|cancelled|failed|interrupted",
    "finish_reason": "stop|length|error|cancelled",
    "source": "model|builtin|embedding",
    "command": "show|tail|search|stats|export",
    "sync": "synced|written|async",
    "by": r"tester \(uid 1\)",
    "api": NAME,
    "model": NAME,
    "fingerprint": r"mv\d:[0-9a-f]*",
    "key": r"k\d+",
    "version": NAME,
}
"""What a chained text may look like: nothing that a person could put a sentence into."""


def everything(directory: Path, make_vault: Make) -> None:
    """A vault with a record of every type, in each of which a person, a model or a failure says all it can."""
    disk = FaultyDisk()
    vault = make_vault(segment_bytes=6000, disk=disk, start={"version": "1.0", "settings_digest": "sha256:0"})
    spoken: dict[str, Any] = {
        "request": f'{{"prompt":"{MARK}"}}',
        "rendered_prompt": f"<s>{MARK}",
        "client": MARK,
        "user_agent": MARK,
        "parameters": {"seed": 7, "stop": [MARK], "grammar": MARK, "logit_bias": [[7, 1.0]]},
        "key": "k1",
    }
    for number in range(6):
        vault.begin(opening(f"{MARK} {number}", **spoken)).finish(
            closing(MARK, error={"code": "internal_error", "message": MARK}, status="failed", finish_reason="error")
        )
    vault.append_event("auth_failed", {"client": MARK, "reason": MARK})
    vault.begin(opening(MARK, **spoken)).wait()  # left open
    disk.break_("write", file="log.jsonl", times=1)
    with pytest.raises(Exception, match="recorded"):
        vault.append_event("auth_failed", {"client": MARK, "reason": MARK})
    until_writable(vault)
    vault.close()
    with (directory / "log.jsonl").open("ab") as file:
        file.write(f'{{"type":"interaction","v":2,"prompt":"{MARK}'.encode())
    (directory / "vault.key").unlink()
    make_vault().close()
    with Archive(directory, by="tester (uid 1)") as archive:
        archive.search(Filter(text=MARK, model=MARK, key=(MARK,)))
        archive.redact(str(records(directory)[0]["seq"]), MARK)
        archive.recover()


def test_redacting_everything_leaves_nothing_that_anybody_wrote(make_vault: Make, directory: Path) -> None:
    everything(directory, make_vault)
    compress_segments(directory)
    with Archive(directory, by="tester (uid 1)") as archive:
        for record in records(directory, None):
            if "content_sha256" in record and "redacted" not in record:
                archive.redact(str(record["seq"]), "asked to")
        report = check(directory)
        assert report.exit_code == 1, report.findings  # torn bytes there were
        archive.prune(0)
    for path in (path for path in directory.rglob("*") if path.is_file()):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert MARK.encode() not in data, path


def test_every_chained_field_of_every_record_type_is_the_programs_own(make_vault: Make, directory: Path) -> None:
    everything(directory, make_vault)
    found = records(directory, None)
    with Archive(directory, by="tester (uid 1)") as archive:
        archive.prune(0)
    found += records(directory, "prune")
    assert {record["type"] for record in found} == ALL_TYPES
    for record in found:
        for name, value in record.items():
            if name not in MARKS and name not in content_of(record):
                assert_own(name, value)


def assert_own(name: str, value: object) -> None:
    """Numbers, and texts of a form that leaves no room for a sentence; at every depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            assert re.fullmatch(NAME, key)
            assert_own(key, inner)
    elif isinstance(value, list):
        for inner in value:
            assert_own(name, inner)
    elif isinstance(value, str):
        assert re.fullmatch(FORMS[name], value), (name, value)


@given(name=st.text(max_size=12), value=st.text(min_size=8, max_size=20))
def test_a_field_that_nobody_has_thought_of_is_content(name: str, value: str) -> None:
    if name in CHAINED_KEYS | MARKS:
        return
    record = parse(seal(draft("unheard_of", 1, "boot-1", {name: value}), 1, "sha256:" + "0" * 64).line)
    assert record is not None
    assert content_of(record) == {name: value}
    assert {"salt", "content_sha256"} <= record.keys()


def test_withheld_lines_say_nothing_that_anybody_wrote(make_vault: Make, directory: Path) -> None:
    everything(directory, make_vault)
    log = Log(directory)
    lines, num_chosen = export_jsonl(log, Filter(type="start"))
    data = b"".join(lines)
    log.close()
    assert num_chosen >= 2
    assert MARK.encode() not in data.split(b"\n", 1)[1]


def test_torn_bytes_go_with_the_record_that_describes_them(make_vault: Make, directory: Path) -> None:
    make_vault().close()
    torn = b'{"type":"interaction","prompt":"secret"}x\n\0\0{"prompt":"secret'
    with (directory / "log.jsonl").open("ab") as file:
        file.write(torn)
    make_vault().close()
    [recovered] = records(directory, "recovered")
    assert "sha256" not in recovered and recovered["torn_bytes"] == len(torn)
    lines = (directory / "log.jsonl").read_bytes().splitlines(keepends=True)
    for changed in (b"", b"\n", b"\n\n\n", torn.replace(b"secret", b"SECRET") + b"\n"):
        data = (directory / "log.jsonl").read_bytes()
        (directory / "log.jsonl").write_bytes(data.replace(torn + b"\n", changed))
        assert check(directory).exit_code == 2, changed
        (directory / "log.jsonl").write_bytes(data)
    with Archive(directory, by="tester") as archive:
        archive.redact(recovered["id"], "asked to")
    assert check(directory).exit_code == 1
    data = (directory / "log.jsonl").read_bytes()
    assert b"secret" not in data and data.count(b"\n") == len(lines) + 1


def test_a_reason_goes_with_its_own_record_and_not_with_the_one_it_redacted(make_vault: Make, directory: Path) -> None:
    vault = make_vault()
    entry = vault.begin(opening("secret"))
    entry.finish(closing())
    vault.close()
    with Archive(directory, by="tester") as archive:
        place = archive.redact(entry.id, "it names Mary")
        archive.redact(str(place.seq), "so does the reason")
    assert b"Mary" not in (directory / "log.jsonl").read_bytes()
    assert check(directory).exit_code == 0
    stubs = [record["redacted"] for record in records(directory, None) if "redacted" in record]
    assert [sorted(stub) for stub in stubs] == [["at", "by", "record"]] * 2
    assert json.dumps(stubs).count("tester") == 2
