"""Keeping and removing from the command line: the retention floor, holds, and redaction of all of a person."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from minivault.cli import exits
from minivault.vault import Vault
from tests.cli.conftest import Cli
from tests.vault.samples import ask, check, records


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Four interactions of two users in the vault that the commands are pointed at."""
    with closing(Vault.open(tmp_path / "logs", sync="written")) as vault:
        for number in range(4):
            ask(vault, f"prompt {number}", f"secret {number}", request=json.dumps({"user": f"user-{number % 2}"}))
    return tmp_path / "logs"


def test_below_the_floor_nothing_goes_and_the_setting_is_named(logs: Path, offline_cli: Cli) -> None:
    for command in (("redact", "last", "--reason", "r", "-y"), ("prune", "--keep-days", "6")):
        result = offline_cli("vault", *command, MINIVAULT_VAULT_KEEP_DAYS="700")
        assert result.exit_code == exits.REFUSED
        assert "MINIVAULT_VAULT_KEEP_DAYS=700" in result.stderr
    assert records(logs)[-1]["response"] == "secret 3"


def test_a_hold_is_set_listed_refused_by_and_released(logs: Path, offline_cli: Cli) -> None:
    assert offline_cli("vault", "hold", "list").stderr == "No hold is in force.\n"
    hold = ("vault", "hold", "add", "case-1", "--reason", "litigation")
    assert offline_cli(*hold).exit_code == exits.USAGE
    assert offline_cli(*hold, "--all", "--text", "x").exit_code == exits.USAGE
    held = offline_cli(*hold, "--text", "PROMPT 3", "--since", "2020-01-01")
    assert (held.exit_code, "covers 1 of the records" in held.stderr) == (0, True)
    again = offline_cli(*hold, "--all")
    assert (again.exit_code, "in force" in again.stderr) == (exits.REFUSED, True)
    listed = offline_cli("vault", "hold", "list").stdout
    assert "case-1" in listed and "text PROMPT 3; since 2020-01-01T00:00:00Z" in listed
    [one] = json.loads(offline_cli("vault", "hold", "list", "--json").stdout)["holds"]
    assert one["wanted"]["text"] == "PROMPT 3"
    refused = offline_cli("vault", "redact", "last", "--reason", "r", "-y")
    assert (refused.exit_code, "the hold 'case-1'" in refused.stderr) == (exits.REFUSED, True)
    assert "sets the hold case-1: litigation" in offline_cli("vault", "tail").stdout
    assert offline_cli("vault", "hold", "release", "case-1", "--reason", "closed").exit_code == 0
    assert offline_cli("vault", "hold", "release", "case-1", "--reason", "closed").exit_code == exits.REFUSED
    assert offline_cli("vault", "redact", "last", "--reason", "r", "-y").exit_code == 0
    assert check(logs).exit_code == 0


def test_a_hold_that_covers_nothing_yet_says_so(logs: Path, offline_cli: Cli) -> None:
    hold = ("vault", "hold", "add", "case-1", "--user", "nobody", "--reason", "litigation")
    assert "covers none of the records" in offline_cli(*hold).stderr
    assert json.loads(offline_cli(*hold[:3], "case-2", *hold[4:], "--json").stdout)["records"] == 0


@pytest.mark.parametrize(
    "command",
    [
        ("hold", "add", "case-1", "--reason", "r", "--since", "2026-12-02", "--until", "2026-12-01"),
        ("redact", "-y", "--reason", "r", "--since", "2026-12-02", "--until", "2026-12-02"),
        ("report", "--from", "2026-12-02", "--to", "2026-12-01"),
        ("hold", "add", "case-1", "--all", "--reason", " "),
        ("hold", "release", "case-1", "--reason", ""),
        ("redact", "last", "-y", "--reason", "x" * 1001),
    ],
)
def test_a_span_that_ends_before_it_begins_or_no_reason_changes_nothing(
    command: tuple[str, ...], logs: Path, offline_cli: Cli
) -> None:
    before = len(records(logs, None))
    result = offline_cli("vault", *command)
    assert result.exit_code == exits.USAGE
    assert "must be before" in result.stderr or "'--reason': say why" in result.stderr
    assert len(records(logs, None)) == before


def test_all_of_a_person_is_shown_asked_for_and_gone(logs: Path, offline_cli: Cli) -> None:
    assert offline_cli("vault", "hold", "add", "case-1", "--text", "prompt 3", "--reason", "r").exit_code == 0
    redact = ("vault", "redact", "--user", "user-1", "--reason", "asked to be forgotten")
    refused = offline_cli(*redact, stdin="n\n")
    assert (refused.exit_code, "Nothing was removed" in refused.stderr) == (exits.USAGE, True)
    assert "From 1 record," in refused.stderr and "1 record stays: the hold 'case-1'" in refused.stderr
    assert b"secret 1" in (logs / "log.jsonl").read_bytes()
    assert len(json.loads(offline_cli(*redact, "--yes", "--json").stdout)["redactions"]) == 1
    assert offline_cli(*redact, "--yes").exit_code == exits.REFUSED, "what is left is held"
    data = (logs / "log.jsonl").read_bytes()
    assert [f"secret {number}".encode() in data for number in range(4)] == [True, False, True, True]
    assert check(logs).exit_code == 0


@pytest.mark.parametrize("args", [(), ("last", "--user", "user-1")])
def test_a_redaction_is_of_one_record_or_of_what_matches(args: tuple[str, ...], logs: Path, offline_cli: Cli) -> None:
    assert offline_cli("vault", "redact", *args, "--reason", "r", "-y").exit_code == exits.USAGE


def test_all_that_is_held_of_a_person_is_exported_with_its_proof(logs: Path, offline_cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "subject.jsonl"
    assert offline_cli("vault", "export", "--subject", "user-1", "-o", str(target)).exit_code == 0
    chosen = [line for line in map(json.loads, target.read_text().splitlines()) if line["type"] == "interaction"]
    assert [record["response"] for record in chosen] == ["secret 1", "secret 3"]
    assert offline_cli("vault", "verify", str(target)).exit_code == 0
    assert "No interaction matches" in offline_cli("vault", "export", "--user", "nobody").stderr


def test_who_signs_is_shown_and_a_key_that_is_nowhere_changes_nothing(logs: Path, offline_cli: Cli) -> None:
    shown = json.loads(offline_cli("vault", "signer", "--json", SSH_AUTH_SOCK="").stdout)
    assert (shown["held_by"], shown["fingerprint"][:7], shown["agent"]) == ("file", "SHA256:", [])
    result = offline_cli("vault", "signer", SSH_AUTH_SOCK="")
    assert shown["fingerprint"] in result.stdout and "SSH_AUTH_SOCK names none" in result.stderr
    refused = offline_cli("vault", "signer", "SHA256:x", SSH_AUTH_SOCK=str(logs))
    assert (refused.exit_code, "ssh-agent" in refused.stderr) == (exits.VAULT, True)
    assert offline_cli("vault", "signer", "file", SSH_AUTH_SOCK="").exit_code == 0
    assert check(logs).exit_code == 0 and len(records(logs, "key")) == 1


def test_an_encrypted_copy_needs_a_key_of_age(logs: Path, offline_cli: Cli, tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    archive = ("vault", "archive", str(tmp_path / "copy"))
    assert offline_cli(*archive).exit_code == exits.USAGE
    refused = offline_cli(*archive, "--encrypt-to", "age1nonsense")
    assert (refused.exit_code, "age-keygen" in refused.stderr) == (exits.REFUSED, True)
    key = str(pyrage.x25519.Identity.generate().to_public())
    assert "files written" in offline_cli(*archive, "--encrypt-to", key).stderr
    assert f"vault archive: {tmp_path / 'copy'}" in offline_cli("vault", "tail").stdout
    assert check(logs).exit_code == 0
