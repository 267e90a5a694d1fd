"""`ask`: one question, one answer, streamed."""

from __future__ import annotations

from typing import Any

import click

from minivault.cli.client.answerer import Target, open_answerer
from minivault.cli.options import current_settings, examples, json_option, read_prompt, sampling_options, target_options
from minivault.cli.show.answer import describe, ensure_whole, note_length, print_streamed
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note


@click.command(
    epilog=examples(
        "ask why is the sky blue",
        'ask "what is wrong here?" < server.log',
        "ask --temperature 0 --seed 1 name three colours",
    )
)
@click.argument("words", nargs=-1, metavar="[PROMPT]...")
@sampling_options
@target_options
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Tell tokens, speed, seed and record id on stderr.")
def ask(words: tuple[str, ...], sampling: dict[str, Any], target: Target, as_json: bool, verbose: bool) -> None:
    """Ask one question; the answer streams to the terminal.

    PROMPT is the question, as one text or as words; `-` reads it from stdin. Text piped in beside it is put before it.
    The answer goes to stdout, everything else to stderr. A running server answers if there
    is one; otherwise the model is loaded here.
    """
    settings = current_settings()
    body = {"prompt": read_prompt(" ".join(words) if words else None), **sampling}
    with open_answerer(settings, target, "cli.ask") as answerer:
        if as_json:
            reply = answerer.generate(body)
            print_json(reply)
        else:
            reply = print_streamed(answerer.stream(body))
    if verbose:
        note(describe(reply))
    ensure_whole(reply)
    note_length(reply, sampling)
