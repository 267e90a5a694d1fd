"""The vaults of several machines: each checked, all in one order, every reading recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from minivault.cli import minivault
from minivault.vault.entry import Closing, Opening
from minivault.vault.merged import check_all, merged, node_of
from minivault.vault.reader import Filter, read_records
from minivault.vault.record import new_id
from minivault.vault.vault import Vault
from minivault.vault.verify import TAMPERED, verify

START_NS = 1_800_000_000 * 10**9


@pytest.fixture
def fronts(tmp_path: Path) -> list[Path]:
    """Two machines that have answered in turn."""
    directories = [tmp_path / "front1", tmp_path / "front2"]
    for number, directory in enumerate(directories):
        vault = Vault.open(directory, sync="written", node=directory.name)
        for turn in range(3):
            at = START_NS + (2 * turn + number) * 10**9
            text = f"question {2 * turn + number}"
            opening = Opening(new_id(at), at, "generate", False, "m", "mv2:x", {"seed": 1}, text, answerer="model")
            vault.begin(opening).finish(Closing("completed", "stop", "yes"))
        vault.close()
    return directories


def test_every_record_says_which_machine_wrote_it_and_verifies(fronts: list[Path]) -> None:
    for directory in fronts:
        assert {node_of(record) for record in read_records(directory)} == {directory.name}
        assert verify(directory).exit_code == 0


def test_a_machine_without_a_name_has_none_in_its_records(tmp_path: Path) -> None:
    Vault.open(tmp_path / "vault").close()
    assert {node_of(record) for record in read_records(tmp_path / "vault")} == {""}


def test_records_of_several_vaults_come_in_one_order_and_the_reading_is_recorded(fronts: list[Path]) -> None:
    found = list(merged(fronts, Filter(), by="auditor"))
    assert [one.record["prompt"] for one in found] == [f"question {number}" for number in range(6)]
    assert [one.node for one in found] == ["front1", "front2"] * 3
    assert len({one.vault for one in found}) == 2
    for directory in fronts:
        assert [record["by"] for record in read_records(directory) if record["type"] == "read"] == ["auditor"]


def test_the_order_of_a_log_stays_where_its_clock_stepped_back(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "one", sync="written")
    for at in (START_NS + 9, START_NS + 1):
        opening = Opening(new_id(at), at, "generate", False, "m", "mv2:x", {"seed": 1}, str(at - START_NS))
        vault.begin(opening).finish(Closing("completed", "stop", "yes"))
    vault.close()
    assert [one.record["prompt"] for one in merged([tmp_path / "one"], Filter(), by="me")] == ["9", "1"]


def test_the_same_vault_twice_is_no_second_vault(fronts: list[Path]) -> None:
    one, again = check_all([fronts[0], fronts[0]])
    assert (one.exit_code, again.exit_code, again.twin) == (0, TAMPERED, fronts[0])


def test_the_command_ends_with_the_worst_verdict_and_reads_nothing_then(fronts: list[Path]) -> None:
    names = list(map(str, fronts))
    intact = CliRunner().invoke(minivault, ["vault", "merge-verify", *names])
    assert (intact.exit_code, intact.output.splitlines()[-1].split(":")[-1]) == (0, " intact")
    shown = CliRunner().invoke(minivault, ["vault", "merge-verify", "--records", *names])
    lines = [json.loads(line) for line in shown.output.splitlines()]
    assert [line["record"]["prompt"] for line in lines] == [f"question {number}" for number in range(6)]
    counted = CliRunner().invoke(minivault, ["vault", "merge-verify", "--stats", "--json", *names])
    assert [group["requests"] for group in json.loads(counted.output)["groups"]] == [6]
    log = fronts[1] / "log.jsonl"
    log.write_text(log.read_text().replace("question 3", "question 8"))
    changed = CliRunner().invoke(minivault, ["vault", "merge-verify", "--records", *names])
    assert changed.exit_code == TAMPERED
    assert '"record"' not in changed.output
