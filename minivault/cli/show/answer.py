"""Printing an answer as it comes, and judging whether it is whole."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Generator
from contextlib import closing
from typing import Any

from minivault.cli.show.terminal import note, write
from minivault.cli.show.wrap import WordWrap
from minivault.errors import GenerationFailed

WHOLE = ("stop", "length")
_CUT = {
    "deadline": "the answer was cut: it took longer than the server allows",
    "shutdown": "the answer was cut: the server stopped",
    "cancelled": "the answer was cut: the generation was cancelled",
}


def print_streamed(lines: Generator[dict[str, Any], None, None], pieces: list[str] | None = None) -> dict[str, Any]:
    """Write each token to stdout as it comes, on a terminal broken between words, and a line break at the end; return
    the last line.

    Tokens are also appended to `pieces`, so that a caller has what came before an error. Closes `lines` however it
    ends, which stops the generation. Raises what the stream raises.
    """
    shown = [] if pieces is None else pieces
    last: dict[str, Any] = {}
    wrap = WordWrap(shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
    with closing(lines):
        try:
            for last in lines:
                token = str(last.get("token", ""))
                shown.append(token)
                write(wrap.feed(token) if wrap else token)
        finally:
            write(wrap.end() if wrap else "")
            _end_line("".join(shown[-2:]), is_whole=last.get("done") is True)
    return last


def ensure_whole(reply: dict[str, Any]) -> None:
    """Raise GenerationFailed when the reply's finish reason says that it was cut."""
    reason = str(reply.get("finish_reason"))
    if reason not in WHOLE:
        raise GenerationFailed(_CUT.get(reason, f"the answer was cut: {reason}"))


def note_length(reply: dict[str, Any], sampling: dict[str, Any]) -> None:
    """Say on stderr that the answer ends because of its token limit, when a person is looking."""
    if reply.get("finish_reason") == "length" and sys.stderr.isatty():
        tokens = reply.get("usage", {}).get("completion_tokens", sampling.get("max_tokens"))
        note(f"[stopped at {tokens} tokens; --max-tokens N allows more]")


def describe(reply: dict[str, Any]) -> str:
    """One line about an answer: tokens, speed, seed and record id."""
    usage, timings = reply.get("usage", {}), reply.get("timings", {})
    num_tokens, seconds = usage.get("completion_tokens", 0), timings.get("total_ns", 0) / 1e9
    speed = f", {num_tokens / seconds:.1f} tokens/s" if seconds > 0 else ""
    first = f", first after {timings['first_token_ns'] / 1e6:.0f} ms" if timings.get("first_token_ns") else ""
    prompt = f"{usage.get('prompt_tokens', 0)} prompt + {num_tokens} answer tokens"
    return f"[{prompt}{speed}{first}; seed {reply.get('seed')}; {reply.get('finish_reason')}; id {reply.get('id')}]"


def _end_line(text: str, *, is_whole: bool) -> None:
    if text and not text.endswith("\n") and (is_whole or sys.stdout.isatty()):
        write("\n")
