"""No character of a model's may command the reader's terminal."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.cli.show.terminal import escape, one_line, write


class Terminal(io.StringIO):
    """Text output that calls itself a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Latin1(io.StringIO):
    encoding = "latin-1"  # type: ignore[assignment]


@given(st.text())
def test_what_a_terminal_gets_has_no_control_character_but_tab_and_newline(text: str) -> None:
    bad = [c for c in escape(text) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\t\n"]
    assert bad == []


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"])))
def test_plain_text_is_left_alone(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08\x7f", "a\\x0db\\x08\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028", "\\u2028"),
        ("tab\tnew\nline é 漢 🦊", "tab\tnew\nline é 漢 🦊"),
    ],
)
def test_each_kind_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_terminal_gets_escapes_and_a_file_the_text_itself() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        write("\x1b]0;title\x07", stream)
    assert terminal.getvalue() == "\\x1b]0;title\\x07"
    assert file.getvalue() == "\x1b]0;title\x07"


def test_text_that_the_encoding_lacks_is_replaced_and_never_an_error() -> None:
    for text in ("漢 é", "\ud800 lone"):
        stream = Latin1()
        write(text, stream)
        assert stream.getvalue() == text.encode("latin-1", "replace").decode("latin-1")


@given(st.text())
def test_an_error_is_one_line(text: str) -> None:
    assert "\n" not in one_line(text)
