"""Every byte of an excerpt is covered by its seal, and what no signature covers is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.reader import Filter
from minivault.vault.record import content_of
from tests.vault.samples import ask, check, records

Make = Callable[..., Vault]

FORMAT_1 = Path(__file__).parent.with_name("format1")


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An excerpt with a record that is whole, one that is redacted and, of others, its redaction alone."""
    directory = tmp_path_factory.mktemp("excerpt") / "vault"
    vault = Vault.open(directory, sync="written")
    ids = [ask(vault, f"prompt {number}", key="k1" if number in (2, 4) else None)[0] for number in range(8)]
    vault.close()
    with Archive(directory, by="me") as archive:
        archive.redact(ids[4], "asked")
        lines, num_chosen = archive.export_jsonl(Filter(key=("k1",)))
        data = b"".join(lines)
    assert num_chosen == 2
    assert data.count(b'"withheld":true') == 1 and b'"redacted"' in data and b"prompt 3" not in data
    return data


def excerpt_report(data: bytes, tmp_path: Path, **options: Any) -> Any:
    path = tmp_path / "excerpt.jsonl"
    path.write_bytes(data)
    return check(path, **options)


def in_line(data: bytes, at: int, **changes: Any) -> bytes:
    lines = data.splitlines(keepends=True)
    fields = {k: v for k, v in {**json.loads(lines[at]), **changes}.items() if v is not ...}
    lines[at] = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    return b"".join(lines)


kinds = st.sampled_from(["flip", "cut", "insert", "drop", "again"])


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), kind=kinds)
def test_every_byte_of_an_excerpt_is_covered(
    at: int, bit: int, kind: str, excerpt: bytes, tmp_path_factory: Any
) -> None:
    tmp_path, at = tmp_path_factory.getbasetemp(), at % len(excerpt)
    lines = excerpt.splitlines(keepends=True)
    number = at % len(lines)
    changed = {
        "flip": excerpt[:at] + bytes([excerpt[at] ^ 1 << bit]) + excerpt[at + 1 :],
        "cut": excerpt[:at],
        "insert": excerpt[:at] + bytes([at % 256]) + excerpt[at:],
        "drop": b"".join(lines[:number] + lines[number + 1 :]),
        "again": b"".join(lines[: number + 1] + lines[number:]),
    }[kind]
    assert excerpt_report(changed, tmp_path).exit_code in (2, 3)


def test_an_excerpt_in_which_something_else_was_chosen_is_found(excerpt: bytes, tmp_path: Path) -> None:
    gone = dict.fromkeys((*content_of(json.loads(excerpt.splitlines()[1])), "salt"), ...)
    stub = {"at": "2026", "by": "me", "record": 999}
    for changed in (
        in_line(excerpt, 1, **gone, withheld=True),
        in_line(excerpt, 1, **gone, redacted=stub),
        in_line(excerpt, 5, withheld="something was said"),
        in_line(excerpt, 0, filter={"text": "another"}),
        in_line(excerpt, 0, records=5),
        in_line(excerpt, 0, timestamp="2020-01-01T00:00:00Z"),
        in_line(excerpt, 0, v=1),
        b"".join(in_line(excerpt, 0, v=1).splitlines(keepends=True)[:-1]),
    ):
        assert excerpt_report(changed, tmp_path).exit_code == 2


def test_an_excerpt_is_believed_by_the_key_that_was_kept_alone(
    excerpt: bytes, ids: list[str], directory: Path, tmp_path: Path
) -> None:
    own = json.loads(excerpt.splitlines()[0])["public_key"]
    assert excerpt_report(excerpt, tmp_path, public_key=own).exit_code == 0
    assert excerpt_report(excerpt, tmp_path, public_key=(directory / "vault.pub").read_text()).exit_code == 2
    assert excerpt_report(excerpt, tmp_path, checkpoint=directory / "checkpoints.jsonl").exit_code == 2


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "format1"
    shutil.copytree(FORMAT_1, directory)
    for name in ("redacted", "pruned"):
        (directory / name).chmod(0o700)
        (directory / name / "log.lock").touch()
    yield directory


def test_vaults_and_excerpts_of_format_1_still_verify_and_go_on(old: Path, make_vault: Make) -> None:
    for name in ("redacted", "pruned"):
        assert check(old / name).exit_code == 0
        vault = make_vault(at=old / name)
        ask(vault, "from now on in format 2")
        vault.close()
        assert {record["v"] for record in records(old / name, None)} == {1, 2}
        assert check(old / name).exit_code == 0


def test_an_old_record_is_redacted_and_exported_in_its_own_format(old: Path) -> None:
    with Archive(old / "redacted", by="me") as archive:
        [record] = archive.search(Filter(text="prompt 5"))
        archive.redact(record["id"], "asked")
        assert archive.recover() == ([], 0)
        data = b"".join(archive.export_jsonl(Filter(text="prompt 2"))[0])
    assert check(old / "redacted").exit_code == 0
    assert excerpt_report(data, old).exit_code == 0


def test_an_excerpt_of_format_2_still_verifies(tmp_path: Path) -> None:
    path = Path(__file__).parent.with_name("format2") / "excerpt.jsonl"
    report = check(path)
    assert (report.exit_code, report.num_records, report.num_withheld, report.num_redacted) == (0, 5, 1, 1)
    data = path.read_bytes()
    assert excerpt_report(data.replace(b"answer 3", b"answer X"), tmp_path).exit_code == 2
    assert excerpt_report(in_line(data, 0, v=3), tmp_path).exit_code == 2


def test_an_excerpt_of_format_1_names_what_it_does_not_prove(old: Path) -> None:
    report = check(old / "excerpt.jsonl")
    assert report.exit_code == 0
    assert {"filter", "withheld", "redacted"} <= set(" ".join(report.unproven).split())
    data = (old / "excerpt.jsonl").read_bytes()
    changed = in_line(data, 1, withheld="text", prompt=..., salt=...)
    assert excerpt_report(changed, old).exit_code == 2
