"""When the disk fails: nothing unrecorded is given, nothing recorded is lost, and the gap is told."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import VaultUnavailable
from minivault.vault import Vault
from tests.live import until
from tests.vault.faulty import FaultyDisk
from tests.vault.samples import ask, check, closing, opening, records

Make = Callable[..., Vault]


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def faulty(make_vault: Make, disk: FaultyDisk) -> Iterator[Vault]:
    yield make_vault(sync="synced", disk=disk)
    disk.heal()


def until_writable(vault: Vault) -> None:
    """Wait for the vault's own probe to succeed."""
    until(lambda: vault.status().writable)


def check_recovered(vault: Vault, directory: Path, num_refused: int) -> None:
    """The vault takes answers again, says what it refused, and its log is intact."""
    until_writable(vault)
    _, place = ask(vault, "after")
    gaps = records(directory, "gap")
    assert sum(gap["refused"] for gap in gaps) == num_refused
    assert gaps[-1]["seq"] < place.seq
    assert check(directory).exit_code == 0


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT, errno.EFBIG])
def test_a_request_is_refused_while_its_journal_entry_cannot_be_written(
    error: int, faulty: Vault, disk: FaultyDisk, directory: Path
) -> None:
    disk.break_("write", error, file="journal/")
    with pytest.raises(VaultUnavailable, match=os.strerror(error)):
        faulty.begin(opening()).wait()
    status = faulty.status()
    assert (status.writable, os.strerror(error) in status.reason) == (False, True)
    with pytest.raises(VaultUnavailable):
        faulty.begin(opening()).wait()
    disk.heal()
    check_recovered(faulty, directory, num_refused=2)
    assert len(records(directory)) == 1


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_record_that_could_not_be_written_is_refused_then_and_written_later_once(
    call: str, faulty: Vault, disk: FaultyDisk, directory: Path
) -> None:
    entry = faulty.begin(opening("kept"))
    entry.wait()
    disk.break_(call, errno.EIO)
    with pytest.raises(VaultUnavailable):
        entry.finish(closing())
    disk.heal()
    check_recovered(faulty, directory, num_refused=0)
    assert [record["prompt"] for record in records(directory)] == ["kept", "after"]
    assert records(directory, "gap")[0]["late"] == [entry.id]


def test_several_owed_records_are_all_written_when_the_disk_is_back(
    faulty: Vault, disk: FaultyDisk, directory: Path
) -> None:
    entries = [faulty.begin(opening(f"prompt {number}")) for number in range(8)]
    for entry in entries:
        entry.wait()
    disk.break_("write", errno.ENOSPC, file="log.jsonl")
    for entry in entries:
        with pytest.raises(VaultUnavailable):
            entry.finish(closing())
    disk.heal()
    check_recovered(faulty, directory, num_refused=0)
    assert sorted(r["prompt"] for r in records(directory))[1:] == [f"prompt {number}" for number in range(8)]


def test_a_failed_sync_is_not_believed_but_the_segment_copied(faulty: Vault, disk: FaultyDisk, directory: Path) -> None:
    ask(faulty, "first")
    inode = (directory / "log.jsonl").stat().st_ino
    fault = disk.break_("fdatasync", errno.EIO, file="log.jsonl", times=1)
    _, place = ask(faulty, "second")
    assert fault.num_hits == 1
    assert (directory / "log.jsonl").stat().st_ino != inode
    assert place.seq == records(directory)[-1]["seq"]
    assert check(directory).exit_code == 0


def test_nothing_is_acknowledged_while_no_sync_succeeds(faulty: Vault, disk: FaultyDisk, directory: Path) -> None:
    entry = faulty.begin(opening("unsure"))
    entry.wait()
    fault = disk.break_("fdatasync", errno.EIO)
    with pytest.raises(VaultUnavailable):
        entry.finish(closing())
    num_hits = fault.num_hits
    until(lambda: fault.num_hits >= num_hits + 2)  # probes that fail
    assert not faulty.status().writable
    disk.heal()
    check_recovered(faulty, directory, num_refused=0)
    assert [record["prompt"] for record in records(directory)] == ["unsure", "after"]


@pytest.mark.parametrize("num_bytes", [1, 7, 500])
def test_a_short_write_is_completed(num_bytes: int, faulty: Vault, disk: FaultyDisk, directory: Path) -> None:
    disk.break_("write", 0, short=num_bytes, times=20)
    ask(faulty, "long " * 100)
    disk.heal()
    assert records(directory)[0]["prompt"] == "long " * 100
    assert check(directory).exit_code == 0


def test_a_short_write_before_a_full_disk_leaves_no_fragment(faulty: Vault, disk: FaultyDisk, directory: Path) -> None:
    entry = faulty.begin(opening("kept"))
    entry.wait()
    disk.break_("write", errno.ENOSPC, file="log.jsonl", short=100)
    size = (directory / "log.jsonl").stat().st_size
    with pytest.raises(VaultUnavailable):
        entry.finish(closing())
    assert (directory / "log.jsonl").stat().st_size == size
    disk.heal()
    check_recovered(faulty, directory, num_refused=0)


def test_a_fragment_that_cannot_be_taken_back_is_isolated_and_recorded(
    faulty: Vault, disk: FaultyDisk, directory: Path
) -> None:
    entry = faulty.begin(opening("kept"))
    entry.wait()
    disk.break_("write", errno.EIO, file="log.jsonl", short=100)
    disk.break_("ftruncate", errno.EIO)
    with pytest.raises(VaultUnavailable):
        entry.finish(closing())
    disk.heal()
    until_writable(faulty)
    ask(faulty, "after")
    assert [record["prompt"] for record in records(directory)] == ["kept", "after"]
    [recovered] = records(directory, "recovered")
    assert recovered["torn_bytes"] == 100
    assert check(directory).exit_code == 1


def test_a_torn_mark_does_not_swallow_the_next_entry(faulty: Vault, disk: FaultyDisk, directory: Path) -> None:
    first = faulty.begin(opening("one"))
    first.wait()
    disk.break_("write", errno.ENOSPC, file="journal/", short=5, times=2)
    first.progress(1, 5)
    disk.heal()
    faulty.begin(opening("two")).wait()
    [journal] = (directory / "journal").iterdir()
    assert journal.read_bytes().count(b'\n{"open":{') + journal.read_bytes().startswith(b'{"open"') == 2
    first.finish(closing())


def test_a_directory_that_goes_and_comes_back(faulty: Vault, directory: Path) -> None:
    ask(faulty)
    away = directory.with_name("away-vault")
    directory.rename(away)
    with pytest.raises(VaultUnavailable, match=r"removed|No such file"):
        faulty.begin(opening()).wait()
    assert not directory.exists()
    away.rename(directory)
    check_recovered(faulty, directory, num_refused=1)


def test_a_directory_that_was_deleted_is_not_quietly_made_anew(faulty: Vault, directory: Path) -> None:
    ask(faulty)
    shutil.rmtree(directory)
    with pytest.raises(VaultUnavailable):
        faulty.begin(opening()).wait()
    threading.Event().wait(0.6)
    assert not faulty.status().writable
    assert not directory.exists()


def test_a_log_that_was_deleted_is_not_gone_on_with(faulty: Vault, directory: Path) -> None:
    ask(faulty)
    log = directory / "log.jsonl"
    kept = log.read_bytes()
    log.unlink()
    entry = faulty.begin(opening("late"))
    with pytest.raises(VaultUnavailable):
        entry.finish(closing())
    log.write_bytes(kept)
    until_writable(faulty)
    assert [record["prompt"] for record in records(directory)] == ["Hello", "late"]
    assert check(directory).exit_code == 0


def test_a_log_that_was_cut_while_we_ran_is_refused(faulty: Vault, directory: Path) -> None:
    ask(faulty)
    path = directory / "log.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    entry = faulty.begin(opening())
    with pytest.raises(VaultUnavailable, match="it was cut"):
        entry.finish(closing())


def test_a_vault_that_cannot_be_written_at_first_starts_by_itself_later(
    make_vault: Make, disk: FaultyDisk, directory: Path
) -> None:
    disk.break_("open", errno.EACCES)
    vault = make_vault(sync="synced", disk=disk)
    assert not vault.status().writable
    with pytest.raises(VaultUnavailable):
        vault.begin(opening()).wait()
    disk.heal()
    until_writable(vault)
    ask(vault, "after")
    assert len(records(directory, "gap")) == 1
    assert check(directory).exit_code == 0


def test_events_are_refused_and_counted_like_requests(faulty: Vault, disk: FaultyDisk, directory: Path) -> None:
    disk.break_("write", errno.ENOSPC)
    for _ in range(3):
        with pytest.raises(VaultUnavailable):
            faulty.append_event("auth_failed", {"client": "10.0.0.1"})
    disk.heal()
    check_recovered(faulty, directory, num_refused=3)


def test_asking_whether_it_is_writable_counts_as_a_refusal_while_it_is_not(
    faulty: Vault, disk: FaultyDisk, directory: Path
) -> None:
    faulty.check_writable()
    disk.break_("write", errno.ENOSPC)
    with pytest.raises(VaultUnavailable):
        faulty.begin(opening()).wait()
    with pytest.raises(VaultUnavailable, match="No space"):
        faulty.check_writable()
    disk.heal()
    check_recovered(faulty, directory, num_refused=2)


def test_a_closed_vault_refuses_at_once(vault: Vault) -> None:
    entry = vault.begin(opening())
    entry.wait()
    vault.close()
    with pytest.raises(VaultUnavailable, match="closed"):
        vault.begin(opening()).wait()
    with pytest.raises(VaultUnavailable, match="closed"):
        entry.finish(closing())


def test_requests_of_many_threads_are_each_recorded_once(make_vault: Make, directory: Path) -> None:
    vault = make_vault(sync="synced", segment_bytes=20_000)
    threads = [
        threading.Thread(target=lambda n=n: [ask(vault, f"{n}/{i}") for i in range(20)])  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    vault.close()
    assert sorted(r["prompt"] for r in records(directory)) == sorted(f"{n}/{i}" for n in range(8) for i in range(20))
    assert check(directory).exit_code == 0


SMALL = """
import resource, signal, sys
from pathlib import Path
from minivault.errors import VaultUnavailable
from minivault.vault import Vault
from tests.vault.samples import ask
from tests.vault.test_writer import until_writable

directory, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
vault = Vault.open(directory, sync="synced")
num_done = num_refused = 0
while num_refused < 3 and num_done < 10_000:
    try:
        ask(vault, "x" * 500)
        num_done += 1
    except VaultUnavailable:
        num_refused += 1
assert not vault.status().writable
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
else:
    (directory / "ballast").unlink()
until_writable(vault)
ask(vault, "after")
vault.close()
print(num_done)
"""


def fill(directory: Path, limit: int) -> int:
    """Record until there is no room, refuse, get room, go on: in a process of its own. How many were recorded first."""
    command = [sys.executable, "-c", SMALL, str(directory), str(limit)]
    project = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=project, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def check_filled(directory: Path, num_done: int) -> None:
    report: Any = check(directory)
    assert report.exit_code in (0, 1)
    assert num_done >= 10
    prompts = [record["prompt"] for record in records(directory)]
    assert len(prompts) >= num_done + 1
    assert prompts[-1] == "after"
    assert records(directory, "gap")


def test_a_file_size_limit_refuses_and_recovers(directory: Path) -> None:
    check_filled(directory, fill(directory, 64 << 10))


def test_a_full_64_kb_file_system_refuses_and_recovers(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here; the file size limit above tests the same paths")
    try:
        (mount / "ballast").write_bytes(bytes(64 << 10))
        check_filled(mount, fill(mount, 0))
    finally:
        subprocess.run(["umount", str(mount)], check=True)
