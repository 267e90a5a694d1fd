"""The report says what is in the vault and nothing of what was asked, whatever people wrote, and stands alone."""

from __future__ import annotations

import json
import re
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minivault.cli import exits
from minivault.vault import Vault
from tests.cli.conftest import Cli
from tests.vault.samples import ask, records

EVIL = '<script>alert(1)</script>" onload="x'


class Reader(HTMLParser):
    """Tags, their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    with closing(Vault.open(tmp_path / "logs", sync="written")) as vault:
        for number in range(3):
            ask(vault, "the prompt", "the answer", key=f"k{number}{EVIL}")
        vault.append_event("model", {"model": EVIL, "fingerprint": "mv1:abc", "parts": {"weights": EVIL}})
        gap = {"since": "2026-11-01T00:00:00Z", "since_ns": 1, "until_ns": 2, "refused": 7, "reason": EVIL, "late": []}
        vault.append_event("gap", gap)
    return tmp_path / "logs"


def report(cli: Cli, *args: str) -> Reader:
    result = cli("vault", "report", *args)
    assert result.exit_code == 0, result.stderr
    return Reader(result.stdout)


def test_it_counts_names_and_quotes_no_answer(logs: Path, offline_cli: Cli) -> None:
    offline_cli("vault", "hold", "add", "case-1", "--all", "--reason", EVIL)
    shown = report(offline_cli)
    for told in ("intact", "3 interactions", "Gaps in service: 1", "7 requests refused", "case-1", EVIL, "17a-4"):
        assert told in shown.text
    assert "the prompt" not in shown.text and "the answer" not in shown.text
    assert not re.search("complian|compliant", shown.text, re.IGNORECASE)
    assert records(logs, "read")[-1]["command"] == "report"


def test_it_runs_nothing_and_fetches_nothing(logs: Path, offline_cli: Cli) -> None:
    shown = report(offline_cli)
    assert not {"script", "link", "img", "iframe", "object"} & set(shown.tags)
    assert not [name for name, _ in shown.attributes if name in ("src", "href") or name.startswith("on")]
    policy = next(value for name, value in shown.attributes if name == "content" and value and "default-src" in value)
    assert "default-src 'none'" in policy


def test_a_period_without_records_is_said_to_have_none(logs: Path, offline_cli: Cli) -> None:
    shown = report(offline_cli, "--from", "2001-01-01", "--to", "2001-02-01")
    assert "0 interactions" in shown.text and "Gaps in service: 0" in shown.text
    assert offline_cli("vault", "report", "--from", "2001-01-01", "--to", "2001-01-01").exit_code == exits.USAGE


def test_of_a_changed_log_it_says_so_and_how_far_it_counts(logs: Path, offline_cli: Cli) -> None:
    log = logs / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"the answer", b"no answer!")
    log.write_bytes(b"".join(lines))
    shown = report(offline_cli)
    assert "TAMPERED" in shown.text and "only up to seq 3" in shown.text


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": ' * 100_000])
def test_an_audit_that_is_none_is_a_usage_error(text: str, logs: Path, offline_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(text)
    result = offline_cli("vault", "report", "--audit", str(tmp_path / "audit.json"))
    assert (result.exit_code, "--audit" in result.stderr) == (exits.USAGE, True)


def test_an_audit_is_taken_in_as_it_says(logs: Path, offline_cli: Cli, tmp_path: Path) -> None:
    found = {"verdict": EVIL, "counts": {"identical": 199}, "rows": [1, 2, 3], "deep": {"a": {"b": 1}}}
    (tmp_path / "audit.json").write_text(json.dumps(found))
    shown = report(offline_cli, "--audit", str(tmp_path / "audit.json"))
    assert EVIL in shown.text and "identical: 199" in shown.text and "3 entries" in shown.text


def test_nothing_is_overwritten(logs: Path, offline_cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    assert offline_cli("vault", "report", "-o", str(target)).exit_code == 0
    assert offline_cli("vault", "report", "-o", str(target)).exit_code == exits.USAGE
