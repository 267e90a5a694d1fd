"""`config`: the truth about every setting, without its secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivault.cli.config import Row, layout
from minivault.config import RULES, variable
from tests.cli.conftest import Cli


def test_every_setting_is_shown_with_its_meaning(offline_cli: Cli) -> None:
    shown = offline_cli("config").stdout.splitlines()
    assert [line.split()[0] for line in shown] == [variable(name) for name in RULES]
    assert all(len(line.split()) > 3 for line in shown)


def test_each_place_a_value_can_come_from_is_told(offline_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINIVAULT_THREADS=8\nMINIVAULT_WORKERS=2\n")
    found = json.loads(offline_cli("config", "--json", MINIVAULT_WORKERS="3").stdout)
    assert (found["MINIVAULT_WORKERS"]["value"], found["MINIVAULT_WORKERS"]["source"]) == (3, "environment")
    assert (found["MINIVAULT_THREADS"]["value"], found["MINIVAULT_THREADS"]["source"]) == (8, ".env")
    assert (found["MINIVAULT_CONTEXT"]["value"], found["MINIVAULT_CONTEXT"]["source"]) == (0, "default")


@pytest.mark.parametrize("args", [("config",), ("config", "--json")])
def test_no_secret_is_shown(args: tuple[str, ...], offline_cli: Cli) -> None:
    secrets = {"MINIVAULT_API_KEY": "s3cret", "MINIVAULT_RATE_STORAGE": "redis://user:s3cret@host:6379/0"}
    result = offline_cli(*args, **secrets)
    assert result.exit_code == 0
    assert "s3cret" not in result.output
    assert "redis://(hidden)@host:6379/0" in result.output


def test_an_unknown_setting_is_named_with_the_one_that_was_meant(offline_cli: Cli) -> None:
    result = offline_cli("config", MINIVAULT_THREAD="8")
    assert result.exit_code == 2
    assert result.stderr == "Error: MINIVAULT_THREAD is not a setting; did you mean MINIVAULT_THREADS?\n"


def test_a_terminal_gets_no_line_longer_than_it_is_wide() -> None:
    rows = [Row("MINIVAULT_A", "value", "default", "word " * 30), Row("MINIVAULT_LONGER", "v", "environment", "short")]
    wide = list(layout(rows, 90))
    assert max(map(len, wide)) <= 90
    assert wide[1].startswith(" " * 38 + "word")
    narrow = list(layout(rows, 50))
    assert max(map(len, narrow)) <= 50
    assert narrow[0].split() == ["MINIVAULT_A", "value", "default"]
    assert narrow[-1] == "    short"
    assert len(list(layout(rows, None))) == 2
