"""What administrators do is recorded where there is a vault, and said to be unrecorded where there is none."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from minivault.vault import Vault
from tests.cli.conftest import Cli
from tests.vault.samples import check, records


def test_what_is_done_to_keys_is_recorded_without_any_secret(offline_cli: Cli, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    Vault.open(logs, sync="written").close()
    made = json.loads(offline_cli("keys", "create", "alice", "--role", "audit", "--json").stdout)["keys"][0]
    rotated = offline_cli("keys", "rotate", "alice").stdout.strip()
    offline_cli("keys", "revoke", "alice")
    acts = records(logs, "admin")
    assert [act["command"] for act in acts] == ["keys create", "keys rotate", "keys revoke"]
    assert acts[0]["details"]["keys"][0]["role"] == "audit" and acts[0]["by"]
    told = json.dumps(acts)
    for secret in (made["key"], rotated):
        assert secret.split("_", 2)[2] not in told
    assert "sha256" not in json.dumps([act["details"] for act in acts])
    assert f"keys revoke: alice ({made['id']}, audit)" in offline_cli("vault", "tail").stdout
    assert check(logs).exit_code == 0


def test_without_a_vault_it_is_done_and_said_not_to_be_recorded(offline_cli: Cli, tmp_path: Path) -> None:
    result = offline_cli("keys", "create", "alice")
    assert (result.exit_code, result.stdout.startswith("mv_")) == (0, True)
    assert "no record was made of it" in result.stderr
    assert not (tmp_path / "logs").exists()


def test_a_record_of_an_act_that_is_not_known_here_is_shown_all_the_same(offline_cli: Cli, tmp_path: Path) -> None:
    with closing(Vault.open(tmp_path / "logs", sync="written")) as vault:
        vault.append_event("admin", {"by": "x", "command": "moon landing", "details": {"keys": "none"}})
    assert "admin" in offline_cli("vault", "tail").stdout
