"""Processes killed at any moment, on one vault, while it rotates and is compressed: nothing acknowledged is missing."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minivault.vault import Vault
from tests.live import GUARD_S
from tests.vault.samples import check, records

PROJECT = Path(__file__).resolve().parents[2]
WRITER = """
import itertools, os, sys, threading
from pathlib import Path
from minivault.vault import Vault
from tests.vault.samples import closing, opening

def tell(kind, id_):
    os.write(1, f"{kind} {id_}\\n".encode())

vault = Vault.open(Path(sys.argv[1]), sync="written", segment_bytes=int(sys.argv[2]))

def serve():
    for number in itertools.count():
        entry = vault.begin(opening("x" * (number % 7 * 1000)))
        entry.wait()
        tell("begun", entry.id)
        for tokens in range(1, 4):
            entry.progress(tokens, tokens * 2)
        entry.finish(closing("y" * (number % 5 * 500)))
        tell("finished", entry.id)

threads = [threading.Thread(target=serve) for _ in range(3)]
for thread in threads:
    thread.start()
"""


@dataclass
class Told:
    """What the writers said through their pipes before they died."""

    begun: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    num_kills: int = 0

    def read(self, data: bytes) -> None:
        for line in data.decode().splitlines():
            kind, _, id_ = line.partition(" ")
            if len(id_) == 36:
                (self.begun if kind == "begun" else self.finished).add(id_)


def start(directory: Path, segment_bytes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(directory), str(segment_bytes)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)


def drain(process: subprocess.Popen[bytes], told: Told, data: dict[int, bytes], timeout_s: float) -> None:
    assert process.stdout is not None
    if select.select([process.stdout], [], [], timeout_s)[0]:
        data[process.pid] = data.get(process.pid, b"") + os.read(process.stdout.fileno(), 1 << 20)


def kill(process: subprocess.Popen[bytes], told: Told, data: dict[int, bytes]) -> None:
    """End one writer in the middle of whatever it does, and hear what it still said."""
    assert process.stdout is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    told.read(data.pop(process.pid, b"") + process.stdout.read())
    process.stdout.close()
    told.num_kills += 1


def kill_loop(directory: Path, num_kills: int, segment_bytes: int, num_writers: int = 3) -> Told:
    chance, told, data = random.Random(11), Told(), dict[int, bytes]()
    writers = [start(directory, segment_bytes) for _ in range(num_writers)]
    try:
        while told.num_kills < num_kills:
            at = chance.randrange(len(writers))
            drain(writers[at], told, data, timeout_s=GUARD_S)
            end = time.monotonic() + chance.random() * 0.2
            while time.monotonic() < end:
                for writer in writers:
                    drain(writer, told, data, timeout_s=0.01)
            kill(writers[at], told, data)
            writers[at] = start(directory, segment_bytes)
    finally:
        for writer in writers:
            kill(writer, told, data)
    return told


def check_told(directory: Path, told: Told) -> None:
    """Every promise the writers passed on is kept, once, and the log is whole."""
    vault = Vault.open(directory, sync="written")
    try:
        assert vault.status().writable, vault.status().reason
        vault.recover()
    finally:
        vault.close()
    found = records(directory)
    counts = Counter(record["id"] for record in found)
    assert set(counts.values()) == {1}
    statuses = {record["id"]: record["status"] for record in found}
    assert told.begun <= set(statuses)
    assert all(statuses[id_] == "completed" for id_ in told.finished)
    report = check(directory)
    assert report.exit_code in (0, 1), [finding.message for finding in report.findings]
    assert not list((directory / "journal").glob("*.jsonl"))


@pytest.mark.parametrize("segment_bytes", [1 << 26, 1])
def test_what_was_acknowledged_before_a_kill_is_there_once(segment_bytes: int, directory: Path) -> None:
    told = kill_loop(directory, 3, segment_bytes)
    assert told.finished
    check_told(directory, told)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("segment_bytes", [1 << 26, 20_000, 1])
def test_what_was_acknowledged_before_many_kills_is_there_once(segment_bytes: int, directory: Path) -> None:
    told = kill_loop(directory, 60, segment_bytes)
    check_told(directory, told)
    print(f"{told.num_kills} kills, {len(told.finished)} acknowledged, {len(told.begun)} begun")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_records_are_verified_in_little_memory(tmp_path: Path) -> None:
    """A gigabyte would take about a minute; memory does not grow with the log."""
    from benchmarks.vault import verification

    row = verification(tmp_path, 1_000_000, {"n": 1}, "short")
    print(row)
    assert row["peak_memory_mb"] < 100
