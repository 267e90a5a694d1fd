"""Options that several commands share, each defined once.

Only what the user gave is sent: the server's defaults stay the server's, and its validation is the only one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from minivault.cli.source import Target

Command = Callable[..., None]

_SAMPLING = {
    "max_tokens": click.option("--max-tokens", type=int, help="Most tokens to generate."),
    "temperature": click.option("--temperature", type=float, help="0 = always the likeliest token, 2 = wild."),
    "top_k": click.option("--top-k", type=int, help="Sample from the K likeliest tokens; 0 = off."),
    "top_p": click.option("--top-p", type=float, help="Sample from the likeliest tokens that sum to P."),
    "min_p": click.option("--min-p", type=float, help="Drop tokens less likely than P times the likeliest."),
    "repetition_penalty": click.option(
        "--repetition-penalty", type=float, help="Above 1: tokens already seen are less likely."
    ),
    "presence_penalty": click.option("--presence-penalty", type=float, help="Lower what was generated before."),
    "frequency_penalty": click.option("--frequency-penalty", type=float, help="The same, more with each repetition."),
    "seed": click.option("--seed", type=int, help="The same seed gives the same answer; drawn when absent."),
    "stop": click.option("--stop", multiple=True, help="End the answer before this text; up to 8 times."),
    "system": click.option("--system", help="Instructions before the conversation."),
    "raw": click.option("--raw", is_flag=True, default=None, help="Continue the prompt as it is: no chat template."),
    "model": click.option("--model", help="Refuse to answer unless this model is served."),
}
_url = click.option("--url", help="The server: http://HOST:PORT, HOST:PORT or unix:PATH.")
_local = click.option("--local", is_flag=True, help="Load the model here, even when a server runs.")
_wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Keep trying for so long while the server is starting, loading or overloaded.",
)


def sampling_options(command: Command) -> Command:
    """Add the sampling options; the command gets those that were given as `sampling`, by their wire names."""

    @wraps(command)
    def collecting(**options: Any) -> None:
        values = {name: options.pop(name) for name in _SAMPLING}
        given = {name: _plain(value) for name, value in values.items() if value is not None and value != ()}
        command(sampling=given, **options)

    return _with_options(collecting, *_SAMPLING.values())


def target_options(command: Command) -> Command:
    """Add --url, --local and --wait; the command gets a `target`."""

    @wraps(command)
    def collecting(url: str | None, local: bool, wait: float, **options: Any) -> None:
        command(target=Target(url, local, wait), **options)

    return _with_options(collecting, _url, _local, _wait)


def server_options(command: Command) -> Command:
    """Add --url and --wait for commands that only talk to a server; the command gets a `target`."""

    @wraps(command)
    def collecting(url: str | None, wait: float, **options: Any) -> None:
        command(target=Target(url, wait_s=wait), **options)

    return _with_options(collecting, _url, _wait)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
prompt_option = click.option("-p", "--prompt", required=True, help="The prompt; `-` reads it from stdin.")


def read_prompt(text: str) -> str:
    """The prompt itself: what was given, or all of stdin for `-`."""
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
