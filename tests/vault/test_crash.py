"""After every single call to the disk the machine may stop; whatever is found then is recovered to a whole log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.rewrite import compress_segments
from minivault.vault.verify import describe
from tests.vault.crashing import Loss, RecordingDisk, Wreck, wrecks
from tests.vault.samples import ask, check, closing, opening, records

LOSSES: list[tuple[Loss, int]] = [("kept", 0), ("dropped", 0), ("cut", 512), ("cut", 4096), ("cut", 37)]


def work(vault: Vault, disk: RecordingDisk, count: int) -> None:
    """Interactions that overlap by one, each promise noted as it is made."""
    open_entry = None
    for number in range(count):
        entry = vault.begin(opening(f"prompt {number}"))
        entry.wait()
        disk.note("begun", entry.id)
        entry.progress(1, 4)
        if open_entry is not None:
            open_entry.finish(closing())
            disk.note("finished", open_entry.id)
        open_entry = entry


def check_wreck(wreck: Wreck, directory: Path) -> None:
    """Open what is left, recover, go on: nothing promised is missing, nothing is there twice."""
    begun = [note[1] for note in wreck.notes if note[0] == "begun"]
    finished = {note[1] for note in wreck.notes if note[0] == "finished"}
    vault = Vault.open(directory, sync="written")
    try:
        assert vault.status().writable, vault.status().reason
        vault.recover(lambda _opening, tokens, size: ("x" * size, [1] * tokens, ""))
        last, _ = ask(vault, "after the crash")
    finally:
        vault.close()
    found = records(directory)
    counts = Counter(record["id"] for record in found)
    assert set(counts.values()) == {1}
    assert set(begun) | {last} <= set(counts)
    statuses = {record["id"]: record["status"] for record in found}
    assert all(statuses[id_] == "completed" for id_ in finished)
    report = check(directory)
    assert report.exit_code in (0, 1), [finding.message for finding in report.findings]
    assert not list((directory / "journal").glob("*.jsonl"))


def replay(
    calls: list[tuple[Any, ...]], source: Path, tmp_path: Path, step: int, check_one: Callable[..., None]
) -> int:
    """Check the state after every `step`th call under every loss; how many there were."""
    count = 0
    for number, wreck in enumerate(wrecks(calls)):
        if number % step == 0 or number == len(calls):
            for loss, cut in LOSSES:
                target = tmp_path / f"wreck-vault-{count}"
                wreck.write_to(source, target, loss, cut)
                check_one(wreck, target)
                count += 1
    return count


def recorded(directory: Path, count: int, segment_bytes: int) -> list[tuple[Any, ...]]:
    disk = RecordingDisk()
    vault = Vault.open(directory, sync="synced", segment_bytes=segment_bytes, disk=disk)
    work(vault, disk, count)
    vault.close()
    return disk.calls


@pytest.mark.parametrize(("segment_bytes", "count", "step"), [(1 << 20, 3, 2), (1, 3, 4)])
def test_every_crash_leaves_a_log_that_recovers_whole(
    segment_bytes: int, count: int, step: int, directory: Path, tmp_path: Path
) -> None:
    calls = recorded(directory, count, segment_bytes)
    assert replay(calls, directory, tmp_path, step, check_wreck) >= 80


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_crash_of_a_longer_run_with_rotation_and_compression_recovers_whole(
    directory: Path, tmp_path: Path
) -> None:
    calls = recorded(directory, 12, 4000)
    assert replay(calls, directory, tmp_path, 1, check_wreck) >= 500


def test_every_crash_in_a_redaction_leaves_it_undone_or_done_or_to_complete(directory: Path, tmp_path: Path) -> None:
    vault = Vault.open(directory, sync="synced", segment_bytes=2500)
    ids = [ask(vault, f"secret {number}")[0] for number in range(4)]
    vault.close()
    compress_segments(directory)
    disk = RecordingDisk()
    before = existing(directory, disk)
    with Archive(directory, by="tester", disk=disk) as archive:
        archive.redact(ids[0], "asked to")

    def check_redaction(_wreck: Wreck, target: Path) -> None:
        with Archive(target, by="tester") as archive:
            archive.recover()
        assert "carried out" not in describe(check(target))
        assert check(target).exit_code in (0, 1)
        has_content = any("secret 0" in str(record.get("prompt")) for record in records(target))
        assert has_content != bool(records(target, "redaction"))

    assert replay(before + disk.calls, directory, tmp_path, 1, check_redaction_after(len(before), check_redaction)) > 20


def check_redaction_after(num_before: int, check_one: Callable[..., None]) -> Callable[..., None]:
    """Skip the states in which the log itself was not there yet."""
    num_states = 0

    def check_state(wreck: Wreck, target: Path) -> None:
        nonlocal num_states
        num_states += 1
        if num_states > (num_before + 1) * len(LOSSES):
            check_one(wreck, target)

    return check_state


def existing(directory: Path, disk: RecordingDisk) -> list[tuple[Any, ...]]:
    """The calls that would have made the directory as it is."""
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("index"):
            data = path.read_bytes()
            fd = disk.open(path)
            disk.close(fd)
            number = disk.calls[-1][2]
            disk.note("write", number, data)
            disk.note("sync", number)
    disk.fsync_directory(directory)
    calls, disk.calls = disk.calls, []
    return calls
