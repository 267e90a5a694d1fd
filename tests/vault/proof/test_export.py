"""An excerpt proves itself without the vault, and a table of records runs nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.proof.export import safe_cell
from minivault.vault.reader import Filter
from tests.vault.samples import ask, check

Make = Callable[..., Vault]


def test_an_export_verifies_alone_and_no_longer_when_changed(make_vault: Make, directory: Path, tmp_path: Path) -> None:
    vault = make_vault()
    for number in range(6):
        ask(vault, f"prompt {number}", f"answer {number}")
    vault.close()
    with Archive(directory, by="tester") as archive:
        lines, num_chosen = archive.export_jsonl(Filter(text="prompt 2"))
        data = b"".join(lines)
    assert num_chosen == 1
    path = tmp_path / "excerpt.jsonl"
    path.write_bytes(data)
    report = check(path)
    assert (report.exit_code, report.num_records, report.num_withheld) == (0, 1, 0)
    assert data.count(b'"prompt":"prompt 2"') == 1 and b"prompt 3" not in data
    lines = data.splitlines(keepends=True)
    for changed in (
        data.replace(b"answer 2", b"answer X"),
        b"".join([lines[0], *lines[2:]]),
        b"".join([*lines[:3], *lines[4:]]),
        b"".join(lines[:-1]),
        b"".join(lines[:-2] + lines[-1:]),
    ):
        path.write_bytes(changed)
        assert check(path).exit_code == 2


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@cmd", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
