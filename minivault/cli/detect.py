"""`detect`: does a text carry this server's mark? From its tokens and the key alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minivault.cli.options import current_settings, examples, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import write
from minivault.cli.verdict import NothingChecked, VerdictCommand
from minivault.config import Settings

if TYPE_CHECKING:
    from minivault.engine.detection import Detection
    from minivault.watermark import Mark

MAX_BYTES = 16 << 20
_FIELD = "--key"


@click.command(
    cls=VerdictCommand,
    epilog=examples(
        "detect essay.txt", "detect --key old.key --json - < essay.txt", "detect --model qwen3-0.6b essay.txt"
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The key's file instead of MINIVAULT_WATERMARK_KEY_FILE.")
@click.option("-m", "--model", help="Whose tokenizer reads it; the first of MINIVAULT_MODEL where it is absent.")
@click.option(
    "--at",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Call it marked from this p-value down: as large a part of all other texts is called so, too.",
)
@json_option
@click.pass_context
def detect(ctx: click.Context, *, file: Path, key: Path | None, model: str | None, at: float, as_json: bool) -> None:
    """Look for this server's mark in a text.

    FILE is a text file; `-` reads it from stdin. The p-value says how probable a text would be to look as marked as
    this one, or more, had it nothing to do with the key. No model is loaded, only its tokenizer. That no mark is found
    proves nothing: a text may be too short, too plain or reworded.

    \b
    Exit codes of this command:
      0    marked
      1    no mark is found
      64   there is nothing to look for, or no key; nothing was looked at
    """
    from minivault.engine.detection import detect as run

    text, settings = _text(file), current_settings()
    mark = _mark(settings, key)
    tokens = _tokens(settings, model, text)
    found = run(mark, tokens)
    is_marked = found.p_value <= at and found.num_counted > 0
    if as_json:
        print_json({"verdict": "marked" if is_marked else "not found", **mark.told, **found.told})
    else:
        _print(found, mark, is_marked=is_marked)
    ctx.exit(0 if is_marked else 1)


def _text(file: Path) -> str:
    if str(file) == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise NothingChecked(f"{file} is longer than {MAX_BYTES >> 20} MiB; look at a part of it")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError as error:
        raise NothingChecked(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    if not text:
        raise NothingChecked(f"{file} is empty")
    return text


def _mark(settings: Settings, key: Path | None) -> Mark:
    from minivault.service import mark_of
    from minivault.watermark import read_mark

    mark = mark_of(settings) if key is None else read_mark(key, _FIELD)
    if mark is None:
        raise NothingChecked("there is no key: set MINIVAULT_WATERMARK_KEY_FILE, or give --key FILE")
    return mark


def _tokens(settings: Settings, model: str | None, text: str) -> list[int]:
    from minivault.service.backends import tokenizer_of

    return tokenizer_of(settings, model).encode(text, add_special=False)


def _print(found: Detection, mark: Mark, *, is_marked: bool) -> None:
    counted = f"{found.num_counted} of {found.num_tokens} tokens counted, score {found.score:.1f}"
    if not found.num_counted:
        write(f"too short: nothing can be told of {found.num_tokens} tokens\n", style="yellow")
        return
    write("marked\n" if is_marked else "no mark is found\n", style="green" if is_marked else "yellow")
    write(f"p = {_number(found)} by key {mark.key_id}: {counted}\n")


def _number(found: Detection) -> str:
    return f"{found.p_value:.2g}" if found.p_value > 1e-300 else f"1e{found.log10_p:.0f}"
