"""`serve` becomes gunicorn with the project's own configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minivault.cli import exits
from tests.cli.conftest import Cli, subprocess_environment
from tests.live import GUARD_S, free_port

pytestmark = pytest.mark.server
MAIN = [sys.executable, "-c", "from minivault.cli import main; main()"]


def test_it_serves_from_any_directory_until_it_is_stopped(tmp_path: Path) -> None:
    bind = f"127.0.0.1:{free_port()}"
    environ = subprocess_environment(MINIVAULT_BIND=bind, MINIVAULT_BACKEND="tests.scripted:backend")
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([*MAIN, "serve"], env=environ, cwd=tmp_path, stdout=out, stderr=out)
    try:
        result = Cli(f"http://{bind}")("health", "--wait", "60")
        assert result.exit_code == exits.OK, (tmp_path / "out").read_text()
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"gunicorn" in command, "the same process: a supervisor's signals reach gunicorn"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(GUARD_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(GUARD_S)


def test_check_starts_nothing_and_works_from_any_directory(tmp_path: Path) -> None:
    environ = subprocess_environment()
    main = [
        *MAIN[:-1],
        f"import sys; sys.path.insert(0, {environ.pop('PYTHONPATH')!r}); {MAIN[-1]}",
        "serve",
        "--check",
    ]
    done = subprocess.run(main, env=environ, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert not (tmp_path / "logs").exists()
