"""Every command and every program of the tutorial and the how-tos runs, in their order, against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import GUARD_S, PROJECT, LiveServer, live_server

pytestmark = pytest.mark.server

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(document: Path) -> Iterator[str]:
    """The commands of a document for one shell; a program is handed to Python."""
    for language, text in BLOCK.findall(document.read_text()):
        if language == "python":
            yield f"python - <<'PROGRAM'\n{text}PROGRAM"
        else:
            lines = text.splitlines()
            assert all(line.startswith("$ ") for line in lines), "what is shown beside commands is not run"
            yield from (line.removeprefix("$ ") for line in lines)


@contextmanager
def serving(folder: Path, backend: str = "tests.scripted:backend") -> Iterator[LiveServer]:
    with live_server(folder, backend=backend, log_dir=folder / "logs") as server:
        server.wait_ready()
        yield server


def run(document: Path, server: LiveServer) -> str:
    """What all steps print. Fails at the first that ends badly, with its text."""
    folder = server.vault.parent
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        "MINIVAULT_BACKEND": "tests.scripted:backend",
        "MINIVAULT_HOME": str(folder / "home"),
        "MINIVAULT_LOG_DIR": str(server.vault),
        "MINIVAULT_BIND": server.url.removeprefix("http://"),
    }
    script = "\n".join(["set -eo pipefail", "trap 'echo \"FAILED: $BASH_COMMAND\"' ERR", *steps(document)])
    script = script.replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=4 * GUARD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        told = run(PROJECT / "docs" / "tutorial.md", server)
    for words in ('"done": true', '"unauthorized"', "alice", "intact", "exit status 2", "identical"):
        assert words in told, told


def test_the_agent_of_the_how_tos_calls_its_tool_and_answers(tmp_path: Path) -> None:
    with serving(tmp_path, "tests.clients.tools_backend:backend") as server:
        told = run(PROJECT / "docs" / "howto.md", server)
    assert re.search(r"^add \{.*\} -> -?\d+\n", told, re.MULTILINE), told
    assert "got " in told
