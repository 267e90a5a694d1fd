"""Lines are broken between words, whatever pieces the text comes in."""

from __future__ import annotations

from minivault.cli.show.wrap import WordWrap


def wrapped(*pieces: str, width: int = 10) -> str:
    wrap = WordWrap(width)
    return "".join(wrap.feed(piece) for piece in pieces) + wrap.end()


def test_a_word_that_does_not_fit_begins_the_next_line() -> None:
    assert wrapped("one two three four") == "one two\nthree four"
    assert wrapped("one two th", "ree four") == "one two\nthree four"


def test_breaks_of_the_text_itself_stay() -> None:
    assert wrapped("one\n\n  two three") == "one\n\n  two\nthree"


def test_a_word_longer_than_a_line_is_left_whole() -> None:
    assert wrapped("a " + "b" * 20 + " c") == "a\n" + "b" * 20 + "\nc"


def test_wide_characters_take_two_columns() -> None:
    assert wrapped("東京 東京 東京") == "東京 東京\n東京"


def test_code_is_not_touched() -> None:
    code = "```python\nx = 'a line that is longer than that'\n```\n"
    assert wrapped(code) == code


def test_pieces_do_not_matter_and_only_blanks_become_breaks() -> None:
    text = "one two  three\nfour five-and-a-half\n\n six "
    for cut in range(len(text)):
        assert wrapped(text[:cut], text[cut:]) == wrapped(text)
    assert wrapped(*text) == wrapped(text)
    assert wrapped(text).split() == text.split()
