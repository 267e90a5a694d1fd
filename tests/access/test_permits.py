"""Generations at once: never more than allowed, and none lost when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from minivault.access.slots import Slots


def test_no_holder_gets_more_places_than_the_limit(tmp_path: Path) -> None:
    slots = Slots(tmp_path, 2)
    held = [slots.acquire("alice"), slots.acquire("alice")]
    assert None not in held
    assert slots.acquire("alice") is None
    for slot in held:
        assert slot is not None
        slot.release()


def test_holders_do_not_take_each_others_places(tmp_path: Path) -> None:
    slots = Slots(tmp_path, 1)
    with slots.acquire("alice"), slots.acquire("bob"):  # type: ignore[union-attr]
        assert slots.acquire("alice") is None


def test_a_released_place_is_free_again_and_releasing_twice_is_harmless(tmp_path: Path) -> None:
    slots = Slots(tmp_path, 1)
    slot = slots.acquire("alice")
    assert slot is not None
    slot.release()
    with slots.acquire("alice"):  # type: ignore[union-attr]
        slot.release()
        assert slots.acquire("alice") is None


def test_a_killed_process_gives_its_places_back(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from minivault.access.slots import Slots\n"
        "slot = Slots(Path(sys.argv[1]), 1).acquire('alice'); print(slot is not None, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        slots = Slots(tmp_path, 1)
        assert slots.acquire("alice") is None
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(timeout=10)
        with slots.acquire("alice"):  # type: ignore[union-attr]
            pass


def test_a_name_never_becomes_a_path(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots", 1)
    with slots.acquire("../../etc"):  # type: ignore[union-attr]
        assert [entry.name for entry in tmp_path.iterdir()] == ["slots"]
