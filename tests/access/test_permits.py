"""Generations at once: never more than allowed, and none lost when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from minivault.access.permits import Permits
from tests.live import GUARD_S


def test_no_holder_gets_more_places_than_the_limit(tmp_path: Path) -> None:
    permits = Permits(tmp_path, 2)
    held = [permits.acquire("alice"), permits.acquire("alice")]
    assert None not in held
    assert permits.acquire("alice") is None
    for permit in held:
        assert permit is not None
        permit.release()


def test_holders_do_not_take_each_others_places(tmp_path: Path) -> None:
    permits = Permits(tmp_path, 1)
    with permits.acquire("alice"), permits.acquire("bob"):  # type: ignore[union-attr]
        assert permits.acquire("alice") is None


def test_a_released_place_is_free_again_and_releasing_twice_is_harmless(tmp_path: Path) -> None:
    permits = Permits(tmp_path, 1)
    permit = permits.acquire("alice")
    assert permit is not None
    permit.release()
    with permits.acquire("alice"):  # type: ignore[union-attr]
        permit.release()
        assert permits.acquire("alice") is None


def test_a_killed_process_gives_its_places_back(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from minivault.access.permits import Permits\n"
        "permit = Permits(Path(sys.argv[1]), 1).acquire('alice'); print(permit is not None, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        permits = Permits(tmp_path, 1)
        assert permits.acquire("alice") is None
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(GUARD_S)
        with permits.acquire("alice"):  # type: ignore[union-attr]
            pass


def test_a_name_never_becomes_a_path(tmp_path: Path) -> None:
    permits = Permits(tmp_path / "permits", 1)
    with permits.acquire("../../etc"):  # type: ignore[union-attr]
        assert [entry.name for entry in tmp_path.iterdir()] == ["permits"]
