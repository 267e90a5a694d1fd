"""`conformance`: does any server of OpenAI's API give the same request the same answer? A scorecard."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.benchmark import Chart
from minivault.cli.options import FileToWrite, examples, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note
from minivault.errors import ServerError

if TYPE_CHECKING:
    from minivault.cli.client.conforming import Result
    from minivault.cli.client.openai_chat import Chat

DIFFERS = 1
NOTHING_CHECKED = 3
LOOK_S = 0.5


@click.command(
    epilog=examples(
        "conformance http://127.0.0.1:8000",
        "conformance http://127.0.0.1:8080 --restart-command 'systemctl restart llama' --plot llama.svg",
    )
)
@click.argument("url")
@click.option("--model", help="The model to ask.  [default: the first that the server lists]")
@click.option("--key", default="", help="The server's key; it never gets MINIVAULT_API_KEY.")
@click.option("--max-tokens", type=click.IntRange(1, 1024), default=32, show_default=True, help="Of each answer.")
@click.option(
    "-c", "--concurrency", type=click.IntRange(2, 256), default=16, show_default=True, help="Requests at once."
)
@click.option(
    "--restart-command",
    metavar="CMD",
    help="Starts the server again and returns; without it, what a restart changes is not checked.",
)
@click.option(
    "--restart-wait", type=click.IntRange(1), default=300, show_default=True, help="Seconds until it has to answer."
)
@click.option("--out", type=FileToWrite(), help="Write the scorecard as JSON.")
@click.option("--plot", type=Chart(".svg", ".png"), help="Draw it: FILE.svg or .png (extra `plots`).")
@json_option
@click.pass_context
def conformance(
    ctx: click.Context,
    url: str,
    *,
    model: str | None,
    key: str,
    max_tokens: int,
    concurrency: int,
    restart_command: str | None,
    restart_wait: int,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Check whether the server at URL gives the same request the same answer, as a black box.

    Any server will do that has /v1/chat/completions. Three questions, with a seed and at temperature 0, are asked alone
    and on a cold cache; then again, after a cached prefix, streamed, among others at once, several at a time, and after
    a restart. Every answer has to be the first one, letter by letter. With another seed it has to be another.

    Exit codes of this command: 0 every check that was made held; 1 some did not; 3 none was made.
    """
    from minivault.cli.client.conforming import Suite
    from minivault.cli.show.scorecard import draw, print_card

    if plot is not None:
        from minivault.cli.show.plot import ensure_can_plot

        ensure_can_plot()
    words = _words(restart_command)
    chat = _chat(url, model, key)
    try:
        restart = (lambda: _restart(chat, words, restart_wait)) if words else None
        suite = Suite(chat, max_tokens=max_tokens, concurrency=concurrency, restart=restart)
        results = list(suite.run(_teller()))
    finally:
        chat.close()
    card = _card(url, chat.model, max_tokens, concurrency, results)
    print_json(card) if as_json else print_card(card)
    if out is not None:
        out.write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    if plot is not None:
        draw(card, plot)
    ctx.exit({"same": 0, "differs": DIFFERS}.get(card["verdict"], NOTHING_CHECKED))


def _chat(url: str, model: str | None, key: str) -> Chat:
    from minivault.cli.client.address import Address, parse_address
    from minivault.cli.client.client import request_headers
    from minivault.cli.client.foreign import DIALECTS, first_model
    from minivault.cli.client.openai_chat import Chat

    found = parse_address(url)
    address = Address(found.base_url.removesuffix("/v1"), found.socket)
    return Chat(address, model or first_model(DIALECTS["openai"], address, request_headers(key)), key)


def _words(command: str | None) -> list[str]:
    try:
        return shlex.split(command or "")
    except ValueError as error:
        raise click.UsageError(f"--restart-command {command!r} is no command: {error}") from None


def _restart(chat: Chat, command: Sequence[str], wait_s: int) -> None:
    """Run the command and wait until the server answers. Raises ServerError."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise ServerError(f"--restart-command cannot be run: {error}") from None
    if done.returncode:
        raise ServerError(f"--restart-command ended with status {done.returncode}")
    until = time.monotonic() + wait_s
    while not chat.is_up():
        if time.monotonic() > until:
            raise ServerError(f"the server did not answer within {wait_s} s of its restart (--restart-wait)")
        time.sleep(LOOK_S)


def _card(url: str, model: str, max_tokens: int, concurrency: int, results: Sequence[Result]) -> dict[str, Any]:
    """The scorecard as JSON."""
    outcomes = {result.outcome for result in results}
    verdict = "differs" if "differs" in outcomes else "same" if "same" in outcomes else "nothing checked"
    return {
        "url": url,
        "model": model,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "max_tokens": max_tokens,
        "concurrency": concurrency,
        "verdict": verdict,
        "checks": [asdict(result) for result in results],
    }


def _teller() -> Any:
    """Says on a terminal what is being done; nothing where nobody looks."""
    return note if sys.stderr.isatty() else lambda _what: None
