"""The chained log under rotation, torn tails and other writers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import VaultError
from minivault.vault.directory import network_name
from minivault.vault.log import SEGMENT_AGE_NS, Log
from tests.vault.samples import Clock, check, records, rewrite_line


@pytest.fixture
def log(directory: Path, clock: Clock) -> Iterator[Log]:
    log = Log(directory, clock=clock)
    yield log
    log.close()


def add(log: Log, *numbers: int) -> list[int]:
    return [place.seq for place in log.append([log.draft("read", {"n": number}) for number in numbers])]


def test_a_new_log_starts_with_its_genesis(log: Log, directory: Path) -> None:
    assert add(log, 0) == [2]
    [genesis] = records(directory, "genesis")
    assert (genesis["seq"], genesis["prev"]) == (1, "sha256:" + "0" * 64)
    assert genesis["public_key"] == (directory / "vault.pub").read_text().strip()


def test_a_segment_is_sealed_when_it_is_large(directory: Path, clock: Clock) -> None:
    log = Log(directory, clock=clock, segment_bytes=1)
    for number in range(5):
        add(log, number)
    log.close()
    names = sorted(path.name for path in directory.glob("log-*"))
    assert names[:2] == ["log-000000000001.jsonl", "log-000000000003.jsonl"]
    assert [record["n"] for record in records(directory, "read")] == list(range(5))
    assert check(directory).exit_code == 0


def test_a_segment_is_sealed_when_it_is_old(log: Log, directory: Path, clock: Clock) -> None:
    add(log, 0)
    clock.step(SEGMENT_AGE_NS / 1e9 + 1)
    add(log, 1)
    assert log.num_rotations == 1
    assert [record["previous"] for record in records(directory, "segment")] == ["log-000000000001.jsonl"]


def test_a_rotation_by_another_process_is_noticed(log: Log, directory: Path, clock: Clock) -> None:
    other = Log(directory, clock=clock, segment_bytes=1)
    for number in range(4):
        add((log, other)[number % 2], number)
    other.close()
    assert [record["n"] for record in records(directory, "read")] == list(range(4))
    assert check(directory).exit_code == 0


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 2000), extra=st.sampled_from([b"", b"\0" * 20, b'{"type":"re', b"\xff\n", b"\n"]))
def test_whatever_a_crash_leaves_at_the_end_is_isolated_and_told(
    cut: int, extra: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("torn") / "vault"
    log = Log(directory)
    add(log, 1, 2, 3)
    path = directory / "log.jsonl"
    data = path.read_bytes()
    kept = data[: max(data.index(b"\n") + 1, len(data) - cut)] + extra
    log.close()
    path.write_bytes(kept)
    log = Log(directory)
    add(log, 4)
    log.close()
    report = check(directory)
    assert report.exit_code in (0, 1), [finding.message for finding in report.findings]
    assert path.read_bytes().startswith(kept)
    assert records(directory, "read")[-1]["n"] == 4


def test_a_whole_record_without_its_newline_is_kept(log: Log, directory: Path, clock: Clock) -> None:
    add(log, 1)
    path = directory / "log.jsonl"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    add(log, 2)
    assert [record["n"] for record in records(directory, "read")] == [1, 2]
    assert not records(directory, "recovered")
    assert check(directory).exit_code == 0


@pytest.mark.parametrize("changes", [{"n": 9}, {"seq": 7}, {"hash": "sha256:00"}])
def test_nothing_is_appended_to_a_log_whose_last_record_was_changed(
    changes: dict[str, Any], log: Log, directory: Path
) -> None:
    add(log, 1)
    rewrite_line(directory / "log.jsonl", -1, **changes)
    before = (directory / "log.jsonl").read_bytes()
    fresh = Log(directory)
    with pytest.raises(VaultError, match="has been changed"):
        add(fresh, 2)
    fresh.close()
    assert (directory / "log.jsonl").read_bytes() == before


def test_a_file_that_is_no_log_is_left_alone(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "log.jsonl").write_text("somebody's notes\n")
    log = Log(directory)
    with pytest.raises(VaultError, match="move it away"):
        add(log, 1)
    log.close()
    assert (directory / "log.jsonl").read_text() == "somebody's notes\n"


def test_a_sealed_segment_is_never_replaced(directory: Path) -> None:
    log = Log(directory, segment_bytes=1)
    add(log, 1)
    (directory / "log-000000000001.jsonl.gz").write_bytes(b"somebody's")
    with pytest.raises(VaultError, match="never replaced"):
        add(log, 2)
    log.close()


@pytest.mark.parametrize(
    ("type_", "name"), [(0x6969, "NFS"), (-0x00ACB2BE, "CIFS"), (0xEF53, None), (0x01021994, None)]
)
def test_network_file_systems_are_known_by_their_type(type_: int, name: str | None) -> None:
    assert network_name(type_) == name
