"""Records for a person: each kind says what happened, in columns that fit the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivault.cli.show.records import print_records, what, where, who
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.verify import CHAINED_KEYS_2
from tests.cli.conftest import PROJECT
from tests.cli.server import ScriptedServer
from tests.cli.tty import terminal
from tests.vault.samples import ask, records

DOCUMENTED = [
    name.strip("` ")
    for line in (PROJECT / "docs" / "vault.md")
    .read_text()
    .split("| type | when | its own fields |")[1]
    .splitlines()[2:]
    if line.startswith("|")
    for name in line.split("|")[1].split(",")
]


def record(type_: str, **fields: object) -> dict[str, object]:
    common = {"type": type_, "seq": 7, "timestamp": "2026-11-26T18:22:29.000000001Z", "id": "01a2-7000-12345678"}
    return {**common, **fields}


@pytest.mark.parametrize("type_", DOCUMENTED)
def test_every_documented_kind_of_record_is_a_sentence_and_not_its_name(type_: str) -> None:
    """From what a record of the kind holds; nothing of a record that holds less is lost but its sentence."""
    whole = {name: [] if name == "segments" else 1 for name in CHAINED_KEYS_2} | {
        "since": "2026-11-26T18:22:29Z",
        "details": {"name": "a"},
    }
    told = what({**whole, **record(type_, status="completed", command="tail", prompt="a", response="b")})
    assert told not in ("", type_)
    assert what(record(type_)) != ""


def test_a_kind_that_is_not_known_is_told_by_its_name() -> None:
    assert what(record("invented_later")) == "invented_later"


def test_who_and_where_of_an_answer_a_reading_and_a_process() -> None:
    names = {"k1": "alice"}
    assert who(record("interaction", key="k1", client="10.0.0.1"), names) == "alice"
    assert who(record("interaction", key="k2"), names) == "k2"
    assert who(record("interaction", key=None, client="10.0.0.1"), names) == "10.0.0.1"
    assert who(record("read", by="root (uid 0)"), names) == "root (uid 0)"
    assert who(record("start", pid=12), names) == "process 12"
    assert where(record("interaction", api="openai.chat")) == "openai.chat"


def test_what_people_wrote_is_one_line_and_escaped() -> None:
    told = what(record("interaction", status="completed", prompt="a\nb\x1b[2J", response="c"))
    assert told == r"a b\x1b[2J -> c"


def test_json_has_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_records([record("stop", pid=1)], as_json=True)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["type"] == "stop"


@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
def test_a_line_is_never_wider_than_the_terminal(columns: str, tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "logs", sync="written")
    ask(vault, "What? " * 40, "東京タワー " * 40)
    vault.close()
    with terminal("vault", "tail", COLUMNS=columns, NO_COLOR="1") as tty:
        shown = tty.expect("closes")
    lines = [line.rstrip("\r") for line in shown.split("\n")]
    assert len(lines) >= 4 and "…" in shown
    assert all(_cells(line) <= int(columns) for line in lines), lines


def test_colours_are_for_terminals_that_want_them(server: ScriptedServer, tmp_path: Path) -> None:
    Vault.open(tmp_path / "logs", sync="written").close()
    with terminal("vault", "verify") as tty:
        assert "\x1b[32mintact" in tty.expect("intact")
    for refused in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with terminal("vault", "verify", **refused) as tty:
            assert "\x1b[32m" not in tty.expect("intact")


def test_hiding_a_kind_reads_back_until_there_are_enough(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path, sync="written")
    ask(vault, "first")
    vault.close()
    with Archive(tmp_path, by="a test") as archive:
        for _ in range(300):
            archive.tail(1)
        assert [r["type"] for r in archive.tail(2, hidden=("read",))] == ["interaction", "stop"]
        assert len(archive.tail(1000, hidden=("read",))) == len(records(tmp_path, None)) - 302


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
