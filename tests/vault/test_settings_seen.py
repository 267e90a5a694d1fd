"""Settings that differ from the last start are recorded, and a hint that is gone or damaged does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivault.config import load_settings
from minivault.vault.settings_seen import SEEN, Changes, note_settings, shown_settings

PRESETS = {"A": "1", "B": "2"}


def changes(directory: Path, now: dict[str, str]) -> list[Changes]:
    found: list[Changes] = []
    note_settings(directory, now, PRESETS, found.append)
    return found


def test_each_difference_is_told_once(tmp_path: Path) -> None:
    assert changes(tmp_path, PRESETS) == []
    assert changes(tmp_path, {"A": "1", "B": "3"}) == [{"B": {"from": "2", "to": "3"}}]
    assert changes(tmp_path, {"A": "1", "B": "3"}) == []
    assert changes(tmp_path, {"A": "1", "C": "4"}) == [{"B": {"from": "3", "to": None}, "C": {"from": None, "to": "4"}}]


@pytest.mark.parametrize("damage", [b"", b"\xff", b"[1]", b'{"A": '])
def test_what_cannot_be_read_counts_as_never_written(tmp_path: Path, damage: bytes) -> None:
    changes(tmp_path, {"A": "9", "B": "2"})
    (tmp_path / SEEN).write_bytes(damage)
    assert changes(tmp_path, {"A": "9", "B": "2"}) == [{"A": {"from": "1", "to": "9"}}]


def test_what_could_not_be_recorded_is_told_again(tmp_path: Path) -> None:
    def fail(_: Changes) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        note_settings(tmp_path, {"A": "7", "B": "2"}, PRESETS, fail)
    assert changes(tmp_path, {"A": "7", "B": "2"}) == [{"A": {"from": "1", "to": "7"}}]


def test_no_secret_is_among_the_settings_that_are_told() -> None:
    told = shown_settings(
        load_settings({"MINIVAULT_API_KEY": "mv_secret", "MINIVAULT_RATE_STORAGE": "redis://user:secret@host/0"})
    )
    assert "secret" not in str(told) and told["MINIVAULT_RATE_STORAGE"].endswith("@host/0")
