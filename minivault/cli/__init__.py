"""The command line: thin commands that parse, call and print.

The same group is `flask minivault …` and the console script `minivault`. A command's module is imported only when that
command runs, so a light command never pays for a heavy one and a broken module breaks nobody else. No command imports
torch unless it loads a model itself. stdout carries the answer, stderr everything else.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any, NamedTuple

import click

from minivault import __version__
from minivault.cli.exits import EXIT_CODES_HELP, exits_with_code


class Entry(NamedTuple):
    """Where a command lives and its one-line help, known without importing it."""

    module: str
    summary: str


COMMANDS = {
    "ask": Entry("ask", "Ask one question; the answer streams to the terminal."),
    "chat": Entry("chat", "Hold a conversation in the terminal."),
    "generate": Entry("generate", "Print one whole reply."),
    "stream": Entry("generate", "Print one reply as it comes, as NDJSON lines."),
    "health": Entry("health", "Show how the server is, and whether it is ready."),
    "benchmark": Entry("benchmark", "Measure the server under concurrent requests."),
    "conformance": Entry(
        "conformance", "Check whether the server at URL gives the same request the same answer, as a black box."
    ),
    "top": Entry("top", "Watch the server: load, tokens a second, last requests and the vault, until Ctrl-C."),
    "doctor": Entry("doctor", "Look at this machine and say what a server lacks."),
    "models": Entry("models", "List, fetch, show and remove models."),
    "vault": Entry("vault", "Read, check and maintain the log of every answer."),
    "witness": Entry(
        "witness", "Be a witness (c2sp.org/tlog-witness) for somebody else's vaults, on another machine or account."
    ),
    "receipt": Entry("receipt", "Check the receipts that came with answers."),
    "replay": Entry(
        "replay", "Run recorded answers again, with their recorded prompt tokens, parameters and seed, and compare."
    ),
    "detect": Entry("detect", "Look for this server's mark in a text."),
    "calibrate": Entry("calibrate", "Measure what tells honest answers from others, on the model of the settings."),
    "keys": Entry("keys", "Make, list and revoke access keys."),
    "config": Entry("config", "Show every setting, its value and where it came from."),
    "serve": Entry("serve", "Serve the model over HTTP with gunicorn."),
    "completion": Entry("completion", "Print a completion script for SHELL."),
}


EXAMPLES_HELP = """\b
Examples:
  minivault serve
  minivault ask why is the sky blue
  minivault vault tail
  minivault doctor

"""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for name, entry in COMMANDS.items() if importlib.util.find_spec(_module(entry)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None or importlib.util.find_spec(_module(entry)) is None:
            return None
        command: click.Command = getattr(importlib.import_module(_module(entry)), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what was meant."""
        if not args[0].startswith("-") and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the arguments; help is printed here, and may find nobody who reads it."""
        for number, argument in enumerate(args, 1):
            if not _is_text(argument):
                shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                raise click.UsageError(f"argument {number} is not UTF-8: {shown[:60]}")
        with exits_with_code():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with exits_with_code():
            return super().invoke(ctx)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _module(entry: Entry) -> str:
    return f"{__name__}.{entry.module}"


@click.group(
    cls=LazyGroup,
    epilog=EXAMPLES_HELP + EXIT_CODES_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="minivault")
def minivault() -> None:
    """Ask, serve and measure a private language model that keeps a record of every answer."""


def main() -> None:
    """The console script."""
    minivault(prog_name="minivault")
