"""A command line in a clean environment, and servers for it to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from minivault.cli import minivault
from tests.cli.server import ScriptedServer, answer, serving

PROJECT = Path(__file__).resolve().parents[2]


class Cli:
    """Runs commands in this process with `MINIVAULT_URL` naming the scripted server, if there is one."""

    def __init__(self, url: str = "") -> None:
        self.url = url

    def __call__(self, *args: str, stdin: str | bytes | None = None, **env: str) -> Result:
        variables = {"MINIVAULT_URL": self.url, **env} if self.url else env
        return CliRunner(env=variables).invoke(minivault, list(args), input=stdin, prog_name="minivault")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's and no `.env` leaks into a test; nothing is written outside its directory."""
    for name in list(os.environ):
        if name.startswith("MINIVAULT_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MINIVAULT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINIVAULT_LOG_DIR", str(tmp_path / "logs"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serving() as running:
        running.will(answer("Hello", " world"))
        yield running


@pytest.fixture
def cli(server: ScriptedServer) -> Cli:
    return Cli(server.url)


@pytest.fixture
def offline_cli() -> Cli:
    """A command line that finds no server anywhere."""
    return Cli()


def subprocess_environment(**extra: Any) -> dict[str, str]:
    """The environment of a child process: this test's, with `extra` on top."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), **{name: str(value) for name, value in extra.items()}}
