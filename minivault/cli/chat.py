"""`chat`: a conversation in the terminal.

The conversation lives in this process and is sent with each turn, without the oldest turns once they no longer fit the
model's context.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from minivault.cli.client.answerer import Answerer, Target, open_answerer
from minivault.cli.conversation import Conversation
from minivault.cli.options import current_settings, examples, sampling_options, target_options
from minivault.cli.show.answer import ensure_whole, note_length, print_streamed
from minivault.cli.show.terminal import fail, note, one_line, write
from minivault.errors import MiniVaultError

PROMPT = "> "
COMMANDS = {
    "/system": ("TEXT", "set the instructions (without TEXT: remove them)"),
    "/retry": ("", "ask the last question again"),
    "/seed": ("N", "the same seed gives the same answer (without N: drawn each time)"),
    "/show": ("", "the conversation and how it is asked"),
    "/clear": ("", "forget the conversation"),
    "/save": ("FILE", "write the conversation to FILE as JSON"),
    "/help": ("", "this list"),
    "/exit": ("", "leave (also Ctrl-D)"),
}
COMMANDS_HELP = "\n".join(
    [
        *(f"{f'{name} {argument}':<13} {meaning}" for name, (argument, meaning) in COMMANDS.items()),
        f"{'//TEXT':<13} a message that begins with a slash",
        "Alt-Enter goes on in another line, Tab completes commands, a paste is one message. Ctrl-C stops an answer.",
    ]
)
HISTORY = "chat_history"


@click.command(
    epilog=examples("chat", "chat --system 'Answer in one sentence.' --temperature 0", "chat < questions.txt")
)
@click.option("--no-history", is_flag=True, help="Keep nothing of what is typed in MINIVAULT_HOME/chat_history.")
@sampling_options
@target_options
def chat(no_history: bool, sampling: dict[str, Any], target: Target) -> None:
    """Hold a conversation in the terminal.

    Ctrl-C stops an answer, not the program; /help lists the commands, Alt-Enter goes on in another line, and a paste is
    one message. When stdin is not a terminal each line is one turn, and the first failed turn ends the program. When
    the conversation no longer fits the model's context, its oldest turns are left out, never the instructions, and a
    line says so.
    """
    if sampling.pop("raw", False):
        raise click.UsageError("--raw has no conversation: use `ask --raw`.")
    conversation = Conversation(system=sampling.pop("system", None))
    settings = current_settings()
    with open_answerer(settings, target, "cli.chat") as answerer:
        if sys.stdin.isatty():
            note("Ctrl-C stops an answer, /help lists commands, Ctrl-D leaves.")
        Session(answerer, conversation, sampling, None if no_history else settings.home / HISTORY).run()


class Session:
    """Reads messages until the end and answers each."""

    def __init__(
        self, answerer: Answerer, conversation: Conversation, sampling: dict[str, Any], history: Path | None
    ) -> None:
        self._answerer = answerer
        self._conversation = conversation
        self._sampling = sampling
        self._is_interactive = sys.stdin.isatty()
        self._read = _read_line
        if self._is_interactive and sys.stdout.isatty():
            from minivault.cli.show.prompt import line_reader

            self._read = line_reader(PROMPT, [*COMMANDS], history)

    def run(self) -> None:
        """Returns at /exit or the end of input."""
        while True:
            try:
                text = self._read().strip()
            except EOFError:
                break
            except KeyboardInterrupt:
                if not self._is_interactive:
                    raise
                continue
            if text in ("/exit", "/quit"):
                break
            self._handle(text)

    def _handle(self, text: str) -> None:
        if not text:
            return
        try:
            if text.startswith("/") and not text.startswith("//"):
                self._command(*text.split(maxsplit=1))
            else:
                self._turn(text[1:] if text.startswith("//") else text)
        except MiniVaultError as error:
            if not self._is_interactive:
                raise
            fail(error.message)

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

    def _command(self, name: str, argument: str = "") -> None:
        if name == "/clear":
            self._conversation.clear()
            note("[conversation cleared]")
        elif name == "/system":
            self._conversation.system = argument or None
            note("[instructions set]" if argument else "[instructions removed]")
        elif name == "/retry" and (question := self._conversation.take_back()):
            self._turn(question)
        elif name == "/seed" and (not argument or argument.isdecimal()):
            self._seed(argument)
        elif name == "/show":
            self._show()
        elif name == "/save" and argument:
            self._save(Path(argument).expanduser())
        else:
            if name not in COMMANDS:
                note(f"There is no {name}; // begins a message with a slash.")
            elif name == "/retry":
                note("[nothing has been asked yet]")
            print(COMMANDS_HELP, file=sys.stderr)

    def _seed(self, argument: str) -> None:
        self._sampling.pop("seed", None)
        if argument:
            self._sampling["seed"] = int(argument)
        note(f"[seed {argument}]" if argument else "[a seed is drawn for each answer]")

    def _show(self) -> None:
        """The turns, those that the model no longer sees named as such, and what is sent with them."""
        given = ", ".join(f"{name} {value}" for name, value in self._sampling.items())
        note(f"[{given or 'the defaults of the server'}]")
        for message in self._conversation.messages():
            write(f"{message['role']}: {message['content']}\n")
        if self._conversation.num_forgotten:
            note(f"[the model no longer sees the first {self._conversation.num_forgotten} messages]")

    def _save(self, path: Path) -> None:
        try:
            self._conversation.save(path)
        except OSError as error:
            fail(f"cannot save to {path}: {error.strerror}")
        else:
            note(f"[saved to {one_line(str(path))}]")


def _read_line() -> str:
    if sys.stdin.isatty():
        print(PROMPT, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
