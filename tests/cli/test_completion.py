"""`completion`: each shell that is here takes the script, and completes with it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from minivault.cli import exits
from tests.cli.conftest import Cli, subprocess_environment

SHELLS = ("bash", "zsh", "fish")
CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_its_script(shell: str, offline_cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    result = offline_cli("completion", shell)
    assert (result.exit_code, "_MINIVAULT_COMPLETE" in result.stdout) == (exits.OK, True)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path_factory.mktemp("shell") / "script"
    script.write_text(result.stdout)
    subprocess.run([*CHECKS[shell], str(script)], check=True, timeout=60)


def test_a_command_is_completed_with_what_it_means() -> None:
    import sys

    environ = subprocess_environment(_MINIVAULT_COMPLETE="zsh_complete", COMP_WORDS="minivault va", COMP_CWORD="1")
    code = "from minivault.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert "vault\nRead, check and maintain" in done.stdout


def test_a_shell_that_is_not_known_is_a_usage_error(offline_cli: Cli) -> None:
    assert offline_cli("completion", "tcsh").exit_code == exits.USAGE
