"""`ask`: one question, one answer, streamed."""

from __future__ import annotations

from typing import Any

import click

from minivault.cli.answer import describe, ensure_whole, note_length, print_streamed
from minivault.cli.options import json_option, read_prompt, sampling_options, target_options
from minivault.cli.output import print_json
from minivault.cli.source import Target, current_settings, open_source
from minivault.cli.terminal import note


@click.command()
@click.argument("prompt")
@sampling_options
@target_options
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Tell tokens, speed, seed and record id on stderr.")
def ask(prompt: str, sampling: dict[str, Any], target: Target, as_json: bool, verbose: bool) -> None:
    """Ask one question; the answer streams to the terminal.

    PROMPT is the question; `-` reads it from stdin. The answer goes to stdout, everything else to stderr. A running
    server answers if there is one; otherwise the model is loaded here.
    """
    settings = current_settings()
    body = {"prompt": read_prompt(prompt), **sampling}
    with open_source(settings, target, "cli.ask") as source:
        if as_json:
            reply = source.generate(body)
            print_json(reply)
        else:
            reply = print_streamed(source.stream(body))
    if verbose:
        note(describe(reply))
    ensure_whole(reply)
    note_length(reply, sampling)
