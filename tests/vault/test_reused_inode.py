"""What is kept beside the log of a file that grows is not believed of another that was given its inode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from minivault.vault import Vault
from minivault.vault.index import look_up
from minivault.vault.said.index import update
from minivault.vault.segments import ACTIVE
from minivault.vault.timeline import timeline
from tests.vault.samples import ask, records


def filled(directory: Path, num_answers: int) -> Path:
    vault = Vault.open(directory, sync="written")
    for number in range(num_answers):
        ask(vault, f"what is prompt {number} of the {num_answers} that there are in this log?")
    vault.close()
    return directory


def views(directory: Path, ids: list[str]) -> list[Any]:
    """What the index, the picture over time and the search for what was said make of a log."""
    found = [look_up(directory, id_) for id_ in ids]
    kept = [replace(header, end=0) for header in update(directory)]  # which file it is apart
    return [found, timeline(directory, 0, 1 << 62, 1, kept_in=directory.parent).counts, kept]


def test_another_file_with_the_inode_of_the_active_one_is_read_anew(tmp_path: Path) -> None:
    few, many = filled(tmp_path / "few", 2), filled(tmp_path / "many", 9)
    ids = [record["id"] for record in records(many, None) if record["type"] == "interaction"]
    views(few, ids)
    with (few / ACTIVE).open("r+b") as file:  # the same inode, and longer than what was read of it
        file.write((many / ACTIVE).read_bytes())
    assert views(few, ids) == views(many, ids)
    assert None not in views(few, ids)[0]
