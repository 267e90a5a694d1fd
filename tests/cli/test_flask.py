"""`flask minivault …` is the same group, found by Flask through the package's entry point."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest

from minivault.cli import exits
from tests.cli.conftest import PROJECT, subprocess_environment
from tests.cli.server import ScriptedServer


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory that makes the package look installed, with the entry points of setup.cfg."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(PROJECT / "setup.cfg")
    points = parser["options.entry_points"]
    info = tmp_path / "site" / "minivault_here-0.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: minivault-here\nVersion: 0.0.0\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]{lines}\n" for group, lines in points.items()))
    return info.parent


def flask(site: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    environ = subprocess_environment(PYTHONPATH=f"{site}:{PROJECT}", **env)
    command = [sys.executable, "-m", "flask", "minivault", *args]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_it_asks_a_server_from_any_directory_without_loading_the_application(
    installed: Path, server: ScriptedServer
) -> None:
    done = flask(installed, "ask", "Hi", MINIVAULT_URL=server.url)
    assert (done.returncode, done.stdout, done.stderr) == (exits.OK, "Hello world\n", "")


def test_a_setting_that_does_not_fit_is_one_line(installed: Path) -> None:
    done = flask(installed, "config", MINIVAULT_THREADS="many")
    assert done.returncode == exits.USAGE
    assert done.stderr.startswith("Error: MINIVAULT_THREADS='many'")
    assert done.stderr.count("\n") == 1


def test_exit_codes_are_the_same(installed: Path) -> None:
    assert flask(installed, "ask", "Hi", "--url", "127.0.0.1:1").returncode == exits.UNAVAILABLE


def test_settings_from_a_file_are_told_as_such_although_flask_copies_them(installed: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MINIVAULT_THREADS=8\n")
    found = json.loads(flask(installed, "config", "--json").stdout)
    assert (found["MINIVAULT_THREADS"]["value"], found["MINIVAULT_THREADS"]["source"]) == (8, ".env")
