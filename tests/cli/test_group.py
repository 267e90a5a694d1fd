"""The group itself: lazy, sturdy, and with the help it promises, which docs/cli.md tells too."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import minivault.cli
from minivault.cli import COMMANDS, Entry, exits
from minivault.cli import minivault as group
from minivault.cli.ask import ask
from minivault.cli.options import FileToWrite
from minivault.cli.reference import reference
from minivault.vault import Vault
from minivault.wire.native.generate import GenerateBody
from tests.cli.conftest import Cli, subprocess_environment
from tests.cli.server import ScriptedServer
from tests.vault.samples import ask as recorded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
HEAVY = {
    *(
        "torch",
        "transformers",
        "tokenizers",
        "numpy",
        "numba",
        "flask",
        "gunicorn",
        "pydantic",
        "httpx",
        "rich.console",
    ),
    *("cryptography", "limits", "prometheus_client", "prompt_toolkit", "matplotlib", "pyarrow", "jsonschema"),
}
LOADED = (
    "import json, sys\n"
    "from minivault.cli import main\n"
    "try:\n"
    "    main()\n"
    "finally:\n"
    f"    print(json.dumps(sorted({HEAVY!r} & sys.modules.keys())), file=sys.stderr)\n"
)


def modules_loaded_by(*args: str, **env: str) -> set[str]:
    """Which heavy modules one command imports, in a process of its own."""
    command = [sys.executable, "-c", LOADED, *args]
    environ = subprocess_environment(**env)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "args",
    [
        ("ask", "Hi"),
        ("ask", "Hi", "--json"),
        ("generate", "-p", "Hi"),
        ("stream", "-p", "Hi"),
        ("health",),
        ("benchmark", "-c", "2"),
    ],
)
def test_a_command_that_asks_a_server_loads_no_model_library(args: tuple[str, ...], server: ScriptedServer) -> None:
    loaded = modules_loaded_by(*args, MINIVAULT_URL=server.url)
    assert loaded <= {"httpx", "rich.console"}


@pytest.mark.parametrize("args", ["config", "keys list", "models list", "completion bash", "--help"])
def test_a_command_that_needs_no_library_loads_none(args: str) -> None:
    assert modules_loaded_by(*args.split()) == set()


@pytest.mark.parametrize("args", ["tail", "show last", "search Hello", "stats", "head", "verify", "export"])
def test_a_command_that_reads_the_vault_loads_only_what_signs(args: str, tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "logs", sync="written")
    recorded(vault, "Hello", "Hi there")
    vault.close()
    assert modules_loaded_by("vault", *args.split()) <= ({"cryptography"} if args == "export" else set())


FIRST_WORD = (
    "import json, sys\n"
    "from minivault.cli.show import terminal\n"
    "def first(text, style=''):\n"
    f"    print(json.dumps([text, sorted({HEAVY!r} & sys.modules.keys())]))\n"
    "    sys.exit(0)\n"
    "terminal.note = first\n"
    "from minivault.cli import main\n"
    "main()\n"
)


@pytest.mark.parametrize("args", ["replay last", "replay --tolerant last", "vault audit"])
def test_a_command_that_needs_the_engine_says_so_before_it_loads_one(args: str, tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "logs", sync="written")
    recorded(vault, "Hello", "Hi there")
    vault.close()
    command = [sys.executable, "-c", FIRST_WORD, *args.split()]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[0]) == ["loading the engine.", []]


def test_the_help_of_every_command_loads_no_library() -> None:
    code = (
        f"from minivault.cli.reference import reference; reference()\nimport sys; print({HEAVY!r} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_each_summary_is_the_commands_own_first_sentence() -> None:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert COMMANDS[name].summary == str(command.help).strip().split("\n")[0], name


def test_a_missing_module_takes_only_its_own_command_away(monkeypatch: pytest.MonkeyPatch, offline_cli: Cli) -> None:
    monkeypatch.setitem(minivault.cli.COMMANDS, "absent", Entry("no_such_module", "Never there."))
    shown = offline_cli("--help")
    assert shown.exit_code == 0
    assert "absent" not in shown.stdout
    assert "ask" in shown.stdout
    assert offline_cli("absent").exit_code == exits.USAGE


@pytest.mark.parametrize("args", [("ask", "Hi"), ("chat",), ("health",), ("config",), ("benchmark",), ("serve",)])
def test_a_setting_that_does_not_fit_is_one_line_and_a_usage_error(args: tuple[str, ...], offline_cli: Cli) -> None:
    result = offline_cli(*args, MINIVAULT_THREADS="many")
    assert (result.exit_code, result.stdout) == (exits.USAGE, "")
    assert result.stderr.startswith("Error: MINIVAULT_THREADS='many': ")
    assert result.stderr.count("\n") == 1


def test_help_is_given_even_when_a_setting_does_not_fit(offline_cli: Cli) -> None:
    assert offline_cli("ask", "--help", MINIVAULT_THREADS="many").exit_code == 0


def test_the_help_lists_every_exit_code(offline_cli: Cli) -> None:
    shown = offline_cli("--help").stdout
    for code, meaning in exits.EXIT_CODES.items():
        assert f"{code:<4} {meaning}" in shown


def sections(page: str) -> dict[str, str]:
    """Each heading with its text, white space evened out."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return {title: " ".join(text.split()) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_page_has_every_command_as_its_help_tells_it() -> None:
    written, now = sections(PAGE.read_text("utf-8")), sections(reference())
    stale = sorted(title for title in written.keys() | now.keys() if written.get(title) != now.get(title))
    assert not stale, f"run `make docs`: docs/cli.md is not up to date in {', '.join(stale)}"


def test_every_option_and_argument_is_explained() -> None:
    for title, text in sections(reference()).items():
        options = re.findall(r"(--[a-z-]+)(?: [A-Z]+| \[[^\]]*\])?(?= -|$)", text.split("Examples:")[0])
        assert not options, f"{title}: {options} has no help"


def test_every_command_shows_what_it_looks_like_in_use() -> None:
    titles = {t: text for t, text in sections(reference()).items() if t.startswith("minivault")}
    assert len(titles) > len(COMMANDS)
    for title, text in titles.items():
        assert f"Examples: {title.split()[0]} " in " ".join(text.split()), f"{title} has no example"


def commands(command: click.Command) -> Iterator[click.Command]:
    """A command and all below it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (below := command.get_command(context, name)) is not None:
                yield from commands(below)


def test_where_a_file_cannot_be_written_a_command_says_so_before_its_work(offline_cli: Cli, tmp_path: Path) -> None:
    """What took minutes would be lost at the end."""
    written = {"--out", "--output", "--plot"}
    options = [option for command in commands(group) for option in command.params if written & set(option.opts)]
    assert len(options) >= 7 and all(isinstance(option.type, FileToWrite) for option in options)
    (tmp_path / "there").touch()
    for path, said in ((tmp_path / "no" / "x", "is no directory"), (tmp_path / "there", "nothing is overwritten")):
        result = offline_cli("vault", "report", "-o", str(path), MINIVAULT_LOG_DIR=str(tmp_path / "no vault"))
        assert (result.exit_code, said in result.stderr) == (exits.USAGE, True)


def test_every_example_is_a_command_with_options_that_exist() -> None:
    lines = [line.strip() for line in reference().splitlines() if line.startswith("    minivault ")]
    for line in lines:
        words = shlex.split(line.split("|")[0].split(">")[0].split("<")[0].split("&&")[0])[1:]
        command: click.Command = group
        for word in words:
            if isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                assert found is not None, line
                command = found
            elif word.startswith("-") and word != "-":
                assert word in {name for parameter in command.params for name in parameter.opts}, line
    assert len(lines) > len(COMMANDS)


def test_defaults_and_ranges_in_the_help_are_those_of_the_requests() -> None:
    fields = GenerateBody.model_json_schema()["properties"]
    told = {option.name: option.help or "" for option in ask.params if isinstance(option, click.Option)}
    for name in ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"):
        field = fields[name]
        low, high = field.get("minimum"), field.get("maximum")
        span = f"x>={low:g}" if high is None else f"{low:g}<=x<={high:g}"
        assert told[name].endswith(f"[default: {field['default']:g}; {span}]"), name


def test_a_command_that_does_not_exist_is_answered_with_one_that_does(cli: Cli) -> None:
    result = cli("bencmark")
    assert (result.exit_code, "Did you mean 'benchmark'?" in result.stderr) == (exits.USAGE, True)
    assert "Did you mean 'verify'?" in cli("vault", "verfy").stderr
    assert "Did you mean" not in cli("frobnicate").stderr


def test_the_package_itself_is_the_program() -> None:
    command = [sys.executable, "-m", "minivault", "--version"]
    done = subprocess.run(command, env=subprocess_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("minivault, version ")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["config"], ["config", "--help"], ["models", "list"]])
def test_a_full_disk_behind_stdout_is_one_line(args: list[str]) -> None:
    command = [sys.executable, "-m", "flask", "minivault", *args]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            env=subprocess_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (exits.FAILED, "Error: No space left on device\n")


@pytest.mark.parametrize(
    "args", [[b"\xff"], [b"ask", b"caf\xe9"], [b"config", b"--json", b"\x80"], [b"keys", b"create", b"\xf0"]]
)
def test_an_argument_that_is_not_utf_8_is_one_line(args: list[bytes]) -> None:
    command = [os.fsencode(sys.executable), b"-m", b"flask", b"minivault", *args]
    done = subprocess.run(
        command, env=subprocess_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (exits.USAGE, "")
    assert re.fullmatch(r"Error: argument \d is not UTF-8: .*\n", done.stderr)
