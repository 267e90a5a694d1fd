"""`keys`: a secret is printed once, and a class gets its keys in one go, all or none."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from minivault.access.keyring import Keyring
from minivault.cli import exits
from tests.cli.conftest import Cli


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "home" / "keys.json")


def test_a_new_key_alone_is_on_stdout_and_works(offline_cli: Cli, keyring: Keyring) -> None:
    result = offline_cli("keys", "create", "alice")
    assert result.exit_code == exits.OK
    key = keyring.find(result.stdout.strip())
    assert key is not None
    assert (key.name, key.role, key.expires_at) == ("alice", "use", None)
    assert "not shown again" in result.stderr


def test_role_expiry_rate_and_tokens_are_kept(offline_cli: Cli, keyring: Keyring) -> None:
    arguments = ["--role", "audit", "--expires", "30d", "--rate", "5/minute", "--tokens-per-day", "1000", "--json"]
    offline_cli("keys", "create", "before")
    [made] = json.loads(offline_cli("keys", "create", "auditor", *arguments).stdout)["keys"]
    offline_cli("keys", "create", "after")
    key = keyring.find(made["key"])
    assert key is not None
    assert (key.role, key.rate, key.tokens_per_day) == ("audit", "5/minute", 1000)
    created = {
        row["name"]: row["created_at"] for row in json.loads(offline_cli("keys", "list", "--json").stdout)["keys"]
    }
    assert key.expires_at is not None
    assert created["before"] <= key.expires_at - 30 * 86400 <= created["after"]


def test_an_expiry_date_includes_its_day(offline_cli: Cli, keyring: Keyring) -> None:
    token = offline_cli("keys", "create", "alice", "--expires", "2030-01-31").stdout.strip()
    key = keyring.find(token)
    assert key is not None
    assert key.expires_at == 1896134400  # 2030-02-01T00:00:00Z


@pytest.mark.parametrize(
    "options",
    [
        ["--expires", "soon"],
        ["--expires", "2030-02-31"],
        ["--rate", "fast"],
        ["--rate", "0/minute"],
        ["--tokens-per-day", "0"],
        ["--role", "root"],
    ],
)
def test_a_wrong_option_makes_no_key(offline_cli: Cli, keyring: Keyring, options: list[str]) -> None:
    assert offline_cli("keys", "create", "alice", *options).exit_code == exits.USAGE
    assert not keyring.is_locked


def test_listing_shows_states_and_no_secret(offline_cli: Cli, keyring: Keyring) -> None:
    tokens = {name: offline_cli("keys", "create", name).stdout.strip() for name in ("alice", "bob")}
    offline_cli("keys", "revoke", "bob")
    result = offline_cli("keys", "list")
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "valid" in lines["alice"] and "revoked" in lines["bob"]
    as_json = offline_cli("keys", "list", "--json").stdout
    assert {key["name"]: key["state"] for key in json.loads(as_json)["keys"]} == {"alice": "valid", "bob": "revoked"}
    for token in tokens.values():
        assert token.split("_", 2)[2] not in result.stdout + as_json
    assert "sha256" not in as_json


def test_an_empty_list_says_what_that_means(offline_cli: Cli) -> None:
    result = offline_cli("keys", "list")
    assert (result.exit_code, result.stdout) == (exits.OK, "")
    assert "only callers on this machine" in result.stderr


def test_rotating_changes_the_secret_and_revoking_ends_it(offline_cli: Cli, keyring: Keyring) -> None:
    old = offline_cli("keys", "create", "alice").stdout.strip()
    new = offline_cli("keys", "rotate", "alice").stdout.strip()
    assert keyring.find(old) is None
    assert keyring.find(new) is not None
    assert offline_cli("keys", "revoke", "alice").exit_code == exits.OK
    assert keyring.find(new) is None
    assert offline_cli("keys", "rotate", "alice").exit_code == exits.REFUSED


def test_a_class_gets_its_keys_from_a_csv_file(offline_cli: Cli, keyring: Keyring, tmp_path: Path) -> None:
    file = tmp_path / "class.csv"
    file.write_text('\ufeffname,role,tokens_per_day\nAda,,\n"Babbage, C.",audit,500\n=HYPERLINK(1),,\n', "utf-8")
    result = offline_cli("keys", "create", "--from", str(file), "--rate", "9/minute", "--tokens-per-day", "100")
    assert result.exit_code == exits.OK
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["name"] for row in rows] == ["Ada", "Babbage, C.", "'=HYPERLINK(1)"]
    kept = [keyring.find(row["key"]) for row in rows]
    assert [(key.role, key.rate, key.tokens_per_day) for key in kept if key] == [
        ("use", "9/minute", 100),
        ("audit", "9/minute", 500),
        ("use", "9/minute", 100),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name\n",
        "student\nAda\n",
        "name,colour\nAda,red\n",
        "name,role\nAda,root\n",
        "name,expires\nAda,soon\n",
        "name,tokens_per_day\nAda,-5\n",
        "name\nAda,use,and,more\n",
        "name\nAda\nAda\n",
        "name,role\n,use\n",
        'name\n"Ada\n',
    ],
)
def test_a_file_with_one_wrong_line_makes_no_key_at_all(
    offline_cli: Cli, keyring: Keyring, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "class.csv"
    file.write_text(text)
    assert offline_cli("keys", "create", "--from", str(file)).exit_code == exits.USAGE
    assert not keyring.is_locked


def test_a_name_or_a_file_not_both(offline_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "class.csv").write_text("name\nAda\n")
    assert offline_cli("keys", "create").exit_code == exits.USAGE
    assert offline_cli("keys", "create", "Ada", "--from", str(tmp_path / "class.csv")).exit_code == exits.USAGE
