"""Options that several commands share, each defined once.

Only what the user gave is sent: the server's defaults stay the server's, and its validation is the only one.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from minivault.cli.client.answerer import Target
from minivault.config import Settings, load_settings
from minivault.moment import read_moment

Command = Callable[..., None]

_AGO = re.compile(r"(\d{1,6})([mhdw])")
MAX_REASON = 1000
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SAMPLING = {
    "max_tokens": click.option(
        "--max-tokens",
        type=int,
        help="Most tokens to generate; -1 = what there is room for.  [default: 256; -1<=x<=131072]",
    ),
    "temperature": click.option(
        "--temperature", type=float, help="0 = always the likeliest token, 2 = wild.  [default: 0.7; 0<=x<=2]"
    ),
    "top_k": click.option(
        "--top-k", type=int, help="Sample from the K likeliest tokens; 0 = all.  [default: 40; x>=0]"
    ),
    "top_p": click.option(
        "--top-p", type=float, help="Sample from the likeliest that sum to P.  [default: 0.95; 0<=x<=1]"
    ),
    "min_p": click.option(
        "--min-p", type=float, help="Drop what is less likely than P times the top.  [default: 0; 0<=x<=1]"
    ),
    "repetition_penalty": click.option(
        "--repetition-penalty", type=float, help="Above 1: tokens already seen are less likely.  [default: 1; 1<=x<=2]"
    ),
    "presence_penalty": click.option(
        "--presence-penalty", type=float, help="Lower what was generated before.  [default: 0; -2<=x<=2]"
    ),
    "frequency_penalty": click.option(
        "--frequency-penalty", type=float, help="The same, more with each repetition.  [default: 0; -2<=x<=2]"
    ),
    "seed": click.option("--seed", type=int, help="The same seed gives the same answer.  [default: drawn; x>=0]"),
    "stop": click.option("--stop", multiple=True, help="End the answer before this text; up to 16 times."),
    "system": click.option("--system", help="Instructions before the conversation."),
    "raw": click.option("--raw", is_flag=True, default=None, help="Continue the prompt as it is: no chat template."),
    "model": click.option("-m", "--model", help="Who answers, where there are several; the first where it is absent."),
}
_url = click.option("--url", help="The server: http://HOST:PORT, HOST:PORT or unix:PATH.")
_local = click.option("--local", is_flag=True, help="Load the model here, even when a server runs.")
_wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    show_default=True,
    help="Keep trying for so long while the server is starting, loading or overloaded.",
)


class When(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A moment: `2026-11-21`, `2026-11-21T20:15:03Z`, or how long ago: `30m`, `12h`, `7d`, `4w`. UTC."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment in nanoseconds since 1970."""
        ago = _AGO.fullmatch(value)
        if ago:
            return time.time_ns() - int(ago[1]) * _UNIT_SECONDS[ago[2]] * 10**9
        try:
            return read_moment(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-11-21, 2026-11-21T20:15:03Z, 12h or 7d", param, ctx)


class FileToWrite(click.Path):
    """A file that is written at a command's end, minutes away maybe: that it cannot be is told before."""

    def __init__(self, *, is_new: bool = False) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self._is_new = is_new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        path = Path(value)
        if self._is_new and path.exists():
            self.fail(f"{value} is there already; nothing is overwritten", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"{path.parent} is no directory", param, ctx)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            self.fail(f"{value} cannot be written", param, ctx)
        return super().convert(value, param, ctx)


class _Reason(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Why something is done, as the vault keeps it: some words, at most 1000 characters, as over HTTP."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        told = str(value).strip()
        if not told or len(told) > MAX_REASON:
            self.fail(f"say why, in at most {MAX_REASON} characters", param, ctx)
        return told


reason_option = click.option("--reason", type=_Reason(), required=True, help="Why; it is recorded.")

_FILTERS = (
    click.option("--since", type=When(), help="Not before: 2026-11-21, 2026-11-21T20:15:03Z, or 12h, 7d ago."),
    click.option("--until", type=When(), help="Before this moment."),
    click.option("--model", help="Answers of this model."),
    click.option("--key", metavar="KEY", help="Asked with the key of this name or id."),
    click.option(
        "--status",
        type=click.Choice(["completed", "cancelled", "failed", "interrupted"]),
        help="How the interaction ended.",
    ),
    click.option(
        "--user", "--subject", "user", help="The request's `user`, `safety_identifier` or `metadata.user_id`."
    ),
)


def current_settings() -> Settings:
    """The settings that the group was called with (tests), else those of the environment."""
    return click.get_current_context().find_object(Settings) or load_settings()


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


def filter_options(command: Command) -> Command:
    """Add the options that choose records; the command gets them as `wanted`."""

    @wraps(command)
    def collecting(
        since: int | None, until: int | None, model: str | None, key: str | None, status: str | None, **options: Any
    ) -> None:
        from minivault.vault.reader import Filter

        ensure_in_order("--since", since, "--until", until)
        wanted = Filter(options.pop("text", None) or "", since, until, model, _key_ids(key), status)
        command(wanted=replace(wanted, user=options.pop("user")), **options)

    return _with_options(collecting, *_FILTERS)


def ensure_in_order(first_name: str, first: int | None, second_name: str, second: int | None) -> None:
    """Raise UsageError for a span of time that ends before it begins."""
    if first is not None and second is not None and first >= second:
        raise click.UsageError(f"{first_name} must be before {second_name}.")


def examples(*lines: str) -> str:
    """The end of a command's help: what it looks like in use, each line without the program's name."""
    return "\b\nExamples:\n" + "\n".join(f"  minivault {line}" for line in lines)


json_lines_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
prompt_option = click.option(
    "-p", "--prompt", help="The prompt; `-` reads it from stdin. Text piped in beside it is put before it."
)


def text_of(path: Path, option: str) -> str:
    """The text of a small file that an option names. Raises UsageError."""
    from minivault.vault.verify import Misused, read_argument

    try:
        return read_argument(path, option)
    except Misused as error:
        raise click.UsageError(str(error)) from None


def read_prompt(text: str | None) -> str:
    """The prompt: what was given, and before it what is piped in. Raises UsageError when there is neither."""
    if text == "-":
        return read_dash(text)
    piped = "" if sys.stdin is None or sys.stdin.isatty() else _read_stdin()
    if not piped.strip():
        if text is None:
            raise click.UsageError("There is no prompt: give one, or pipe it in.")
        return text
    return f"{piped.rstrip()}\n\n{text}" if text else piped


def read_dash(text: str) -> str:
    """What was given, or all of stdin for `-`."""
    return _read_stdin() if text == "-" else text


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _key_ids(name_or_id: str | None) -> tuple[str, ...]:
    if name_or_id is None:
        return ()
    from minivault.access.keys import KeyFile

    return KeyFile(current_settings().keys_file).ids_of(name_or_id)


def _with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
