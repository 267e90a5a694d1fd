"""`top`: what it makes of a server's reports, on a screen and in a pipe."""

from __future__ import annotations

import json

from minivault.cli import exits
from minivault.cli.show.dashboard import Dashboard
from tests.cli.conftest import Cli
from tests.cli.server import HEALTH, ScriptedServer
from tests.cli.tty import terminal
from tests.live import GUARD_S


def test_speed_is_what_was_generated_since_the_last_look() -> None:
    dashboard = Dashboard("here", HEALTH)
    start = dashboard.numbers()
    assert start["tokens_per_s"] == 0
    dashboard.add({**HEALTH, "tokens": 17}, 1e9)
    dashboard.add({**HEALTH, "tokens": 217, "requests": 7}, 1e9 + 2)
    assert (dashboard.numbers()["tokens_per_s"], dashboard.numbers()["requests_per_minute"]) == (100.0, 120.0)
    dashboard.add({**HEALTH, "tokens": 0, "requests": 0}, 1e9 + 3)
    assert dashboard.numbers()["tokens_per_s"] == 0, "a server that began anew has not taken tokens back"


def test_piped_it_is_a_few_plain_lines_or_one_object(cli: Cli) -> None:
    result = cli("top", "--interval", "0.2")
    assert result.exit_code == exits.OK
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        *("model", "load", "speed", "requests", "cache", "vault", "up")
    ]
    assert "\x1b" not in result.stdout
    assert json.loads(cli("top", "--interval", "0.2", "--json").stdout)["tokens_per_s"] == 0


def test_a_vault_that_cannot_be_written_is_shown() -> None:
    dashboard = Dashboard("here", {**HEALTH, "vault": {"seq": None, "head": None, "error": "the disk is full"}})
    assert "the disk is full" in dashboard.plain()


def test_in_a_terminal_ctrl_c_ends_it_cleanly(server: ScriptedServer) -> None:
    with terminal("top", "--interval", "0.2", MINIVAULT_URL=server.url) as tty:
        tty.expect("tokens/s")
        tty.type("\x03")
        assert tty.process.wait(GUARD_S) == exits.OK


def test_without_a_server_it_says_so(offline_cli: Cli) -> None:
    assert offline_cli("top", MINIVAULT_BIND="127.0.0.1:1").exit_code == exits.UNAVAILABLE
