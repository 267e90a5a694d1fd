"""`chat`: a conversation in the terminal.

The conversation lives in this process and is sent with each turn, without the oldest turns once they no longer fit the
model's context. What was typed is kept in memory only: the vault is the one place where prompts are written.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from minivault.cli.client.answerer import Answerer, Target, open_answerer
from minivault.cli.options import current_settings, examples, sampling_options, target_options
from minivault.cli.show.answer import ensure_whole, note_length, print_streamed
from minivault.cli.show.terminal import note, one_line
from minivault.errors import MiniVaultError

PROMPT = "> "
COMMANDS_HELP = """\
/system TEXT  set the instructions (without TEXT: remove them)
/clear        forget the conversation
/save FILE    write the conversation to FILE as JSON
/help         this list
/exit         leave (also Ctrl-D)
Ctrl-C stops an answer."""


@dataclass(slots=True)
class Conversation:
    """The turns so far, oldest first, and the instructions before them."""

    system: str | None = None
    turns: list[dict[str, str]] = field(default_factory=list)
    num_forgotten: int = 0
    """How many of the oldest are no longer sent."""

    def messages(self) -> list[dict[str, str]]:
        """All of it."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.turns]

    def question(self, text: str) -> list[dict[str, str]]:
        """What is sent to ask `text`."""
        messages = self.messages()
        start = len(messages) - len(self.turns)
        sent = messages[:start] + messages[start + self.num_forgotten :]
        return [*sent, {"role": "user", "content": text}]

    def clear(self) -> None:
        self.turns.clear()
        self.num_forgotten = 0

    def add(self, question: str, answer: str) -> None:
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@click.command(epilog=examples("chat", "chat --system 'Answer in one sentence.' --temperature 0"))
@sampling_options
@target_options
def chat(sampling: dict[str, Any], target: Target) -> None:
    """Hold a conversation in the terminal.

    Ctrl-C stops an answer, not the program; /help lists the commands. When stdin is not a terminal each line is one
    turn, and the first failed turn ends the program. When the conversation no longer fits the model's context, its
    oldest turns are left out, never the instructions, and a line says so.
    """
    if sampling.pop("raw", False):
        raise click.UsageError("--raw has no conversation: use `ask --raw`.")
    conversation = Conversation(system=sampling.pop("system", None))
    settings = current_settings()
    with open_answerer(settings, target, "cli.chat") as answerer:
        _enable_line_editing()
        _say_hello()
        Session(answerer, conversation, sampling).run()


class Session:
    """Reads lines until the end and answers each."""

    def __init__(self, answerer: Answerer, conversation: Conversation, sampling: dict[str, Any]) -> None:
        self._answerer = answerer
        self._conversation = conversation
        self._sampling = sampling
        self._is_interactive = sys.stdin.isatty()

    def run(self) -> None:
        """Returns at /exit or the end of input."""
        while True:
            try:
                line = self._read()
            except EOFError:
                break
            except KeyboardInterrupt:
                if not self._is_interactive:
                    raise
                print(file=sys.stderr)
                continue
            if line.strip() in ("/exit", "/quit"):
                break
            self._handle(line.strip())

    def _read(self) -> str:
        if self._is_interactive and sys.stdout.isatty():
            return input(PROMPT)
        if self._is_interactive:
            print(PROMPT, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    def _handle(self, line: str) -> None:
        if not line:
            return
        if line.startswith("/"):
            self._command(*line[1:].split(maxsplit=1))
            return
        try:
            self._turn(line)
        except MiniVaultError as error:
            if not self._is_interactive:
                raise
            note(f"Error: {error.message}")

    def _turn(self, question: str) -> None:
        """Ask and print; an answer stopped by Ctrl-C stays in the conversation as far as it came."""
        body = {"messages": self._conversation.question(question), "truncate": True, **self._sampling}
        pieces: list[str] = []
        reply: dict[str, Any] | None = None
        try:
            reply = print_streamed(self._answerer.stream(body), pieces)
        except KeyboardInterrupt:
            if not self._is_interactive:
                raise
            note("[stopped]")
        if pieces:
            self._conversation.add(question, "".join(pieces))
        if reply is not None:
            self._forget(reply.get("dropped_messages", 0))
            ensure_whole(reply)
            note_length(reply, self._sampling)

    def _forget(self, num_messages: int) -> None:
        if num_messages:
            self._conversation.num_forgotten += num_messages
            total = self._conversation.num_forgotten
            note(f"[the context is full: the model no longer sees the first {total} messages]")

    def _command(self, name: str = "", argument: str = "") -> None:
        if name == "clear":
            self._conversation.clear()
            note("[conversation cleared]")
        elif name == "system":
            self._conversation.system = argument or None
            note("[instructions set]" if argument else "[instructions removed]")
        elif name == "save" and argument:
            self._save(Path(argument).expanduser())
        else:
            print(COMMANDS_HELP, file=sys.stderr)

    def _save(self, path: Path) -> None:
        try:
            with open(path, "x", encoding="utf-8", opener=_private) as file:
                json.dump({"messages": self._conversation.messages()}, file, ensure_ascii=False, indent=2)
                file.write("\n")
        except OSError as error:
            note(f"Error: cannot save to {path}: {error.strerror}")
        else:
            note(f"[saved to {one_line(str(path))}]")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _enable_line_editing() -> None:
    if sys.stdin.isatty() and sys.stdout.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  (importing it gives input() its line editing and history)


def _say_hello() -> None:
    if sys.stdin.isatty():
        note("Ctrl-C stops an answer, /help lists commands, Ctrl-D leaves.")
