"""`generate` and `stream`: one reply for scripts, whole or as it comes."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import closing
from typing import Any

import click

from minivault.cli.client.answerer import Target, open_answerer
from minivault.cli.options import (
    current_settings,
    examples,
    json_option,
    prompt_option,
    read_prompt,
    sampling_options,
    target_options,
)
from minivault.cli.show.answer import ensure_whole, print_streamed
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import write


@click.command(epilog=examples('generate -p "Name a colour." --json'))
@prompt_option
@sampling_options
@target_options
@json_option
def generate(prompt: str | None, sampling: dict[str, Any], target: Target, as_json: bool) -> None:
    """Print one whole reply.

    Nothing is printed until the answer is whole. With --json the reply holds the text as `response`, and its usage,
    seed, fingerprint and timings.
    """
    settings = current_settings()
    with open_answerer(settings, target, "cli.generate") as answerer:
        reply = answerer.generate({"prompt": read_prompt(prompt), **sampling})
    if as_json:
        print_json(reply)
    else:
        write(f"{reply.get('response', '')}\n")
    ensure_whole(reply)


@click.command(epilog=examples('stream -p "Tell a story." | jq -rj .token'))
@prompt_option
@sampling_options
@target_options
@click.option("--text", "as_text", is_flag=True, help="Print the text alone, without JSON.")
def stream(prompt: str | None, sampling: dict[str, Any], target: Target, as_text: bool) -> None:
    """Print one reply as it comes, as NDJSON lines.

    Each line is {"token": TEXT, "index": N}; the last has "done": true and the usage. Without that line the answer was
    cut and the exit code is not 0.
    """
    settings = current_settings()
    with open_answerer(settings, target, "cli.stream") as answerer:
        lines = answerer.stream({"prompt": read_prompt(prompt), **sampling})
        ensure_whole(print_streamed(lines) if as_text else _print_lines(lines))


def _print_lines(lines: Generator[dict[str, Any], None, None]) -> dict[str, Any]:
    last: dict[str, Any] = {}
    with closing(lines):
        for last in lines:
            sys.stdout.write(json.dumps(last) + "\n")
            sys.stdout.flush()
    return last
