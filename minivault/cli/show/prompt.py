"""The line that a person types in a conversation: several lines where wanted, paste as one message, history, Tab.

What is typed is kept between conversations in one file for its owner alone, unless that is switched off.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent


def line_reader(prompt: str, commands: Sequence[str], history: Path | None) -> Callable[[], str]:
    """A function that asks for a message; raises EOFError at Ctrl-D and KeyboardInterrupt at Ctrl-C.

    `commands` are completed at the beginning of a line; `history` is the file that lines are kept in, None for none.
    """
    session = PromptSession[str](
        prompt,
        history=_history(history),
        completer=_Commands(commands),
        complete_while_typing=False,
        key_bindings=_keys(),
        enable_history_search=True,
        prompt_continuation=lambda width, *_: "." * (width - 1) + " ",
    )
    return session.prompt


def _history(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600))
    return FileHistory(str(path))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        """Alt-Enter goes on in another line."""
        event.current_buffer.insert_text("\n")

    return keys


class _Commands(Completer):
    """Names of commands, and the file behind `/save`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return self._completions(document, complete_event)

    def _completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if text.startswith("/save "):
            path = text.removeprefix("/save ")
            yield from self._paths.get_completions(Document(path, len(path)), event)
        elif text.startswith("/") and " " not in text:
            yield from (Completion(name, start_position=-len(text)) for name in self._names if name.startswith(text))
