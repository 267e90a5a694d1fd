"""`doctor`: what it finds on this machine, and that each fault comes with what to do."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from minivault.vault import Vault
from tests.cli.conftest import Cli
from tests.cli.server import ScriptedServer
from tests.live import free_port
from tests.vault.samples import START_NS, Clock


def findings(cli: Cli, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the worst finding about each thing."""
    result = cli("doctor", "--json", MINIVAULT_BIND=env.pop("MINIVAULT_BIND", f"127.0.0.1:{free_port()}"), **env)
    worst: dict[str, dict[str, Any]] = {}
    for finding in sorted(
        json.loads(result.stdout)["findings"], key=lambda one: ("ok", "note", "fault").index(one["verdict"])
    ):
        worst[finding["about"]] = finding
    return result.exit_code, worst


def test_a_model_that_is_not_here_is_a_fault_and_names_the_command_to_run(offline_cli: Cli) -> None:
    status, found = findings(offline_cli)
    assert (status, found["model"]["verdict"]) == (1, "fault")
    assert "models pull smollm2-135m" in found["model"]["found"] + found["model"]["advice"]


def test_what_a_server_needs_is_looked_at_and_nothing_is_made(offline_cli: Cli, tmp_path: Path) -> None:
    status, found = findings(offline_cli, MINIVAULT_BACKEND="tests.scripted:load")
    assert status == 0
    assert {"settings", "python", "packages", "model", "cpu", "memory", "vault", "disk", "address", "keys"} <= set(
        found
    )
    assert not (tmp_path / "logs").exists() and not (tmp_path / "home").exists()


def test_a_port_that_another_program_has_is_a_fault(offline_cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        with socket.socket() as held:
            held.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            status, found = findings(offline_cli, MINIVAULT_BIND=address)
    assert (status, found["address"]["verdict"]) == (1, "fault")
    assert "MINIVAULT_BIND" in found["address"]["advice"]


def test_a_running_server_is_recognised(server: ScriptedServer, offline_cli: Cli) -> None:
    _, found = findings(offline_cli, MINIVAULT_BIND=f"127.0.0.1:{server.server_address[1]}")
    assert found["address"]["found"].startswith("a MiniVault answers")


def test_other_machines_without_a_key_are_a_fault(offline_cli: Cli) -> None:
    _, found = findings(offline_cli, MINIVAULT_BIND=f"0.0.0.0:{free_port()}")
    assert (found["keys"]["verdict"], "keys create" in found["keys"]["found"]) == ("fault", True)


def test_a_clock_behind_the_vault_is_noted(offline_cli: Cli, tmp_path: Path) -> None:
    with closing(Vault.open(tmp_path / "logs", sync="written", clock=Clock(START_NS + 10**18))):
        pass
    _, found = findings(offline_cli)
    assert (found["clock"]["verdict"], "behind" in found["clock"]["found"]) == ("note", True)


def test_a_vault_that_was_changed_is_a_fault(offline_cli: Cli, tmp_path: Path) -> None:
    Vault.open(tmp_path / "logs", sync="written").close()
    log = tmp_path / "logs" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"stop"', b'"stap"'))
    status, found = findings(offline_cli)
    assert (status, found["vault"]["verdict"]) == (1, "fault")


def test_a_setting_that_does_not_fit_is_one_fault_and_no_traceback(offline_cli: Cli) -> None:
    result = offline_cli("doctor", MINIVAULT_WORKERS="many")
    assert result.exit_code == 1
    assert "MINIVAULT_WORKERS" in result.stdout
