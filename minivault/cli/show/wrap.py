"""Breaks lines between words, for text that comes piece by piece and a terminal that would break within them."""

from __future__ import annotations

import re

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")


class WordWrap:
    """Text in, text with line breaks out. The last word is held until it is known to be whole; `end` gives it back.

    What is longer than a line, and what stands between code fences, is left as it is.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._blank = ""
        self._word = ""
        self._is_code = False

    def feed(self, text: str) -> str:
        """What can be shown of the text so far."""
        return "".join(self._take(part) for part in _PARTS.findall(text))

    def end(self) -> str:
        """What was held back."""
        return self._place_word() + self._drop_blank()

    def _take(self, part: str) -> str:
        if not part.isspace():
            self._word += part
            return ""
        shown = self._place_word()
        if part == "\n":
            self._column, blank, self._blank = 0, self._blank, ""
            return f"{shown}{blank}\n"
        self._blank += part
        return shown

    def _place_word(self) -> str:
        from rich.cells import cell_len

        word, self._word = self._word, ""
        if not word:
            return ""
        if word.startswith("```") and not self._column:
            self._is_code = not self._is_code
        blank, self._blank = self._blank, ""
        size, gap = cell_len(word), cell_len(blank)
        if self._column and not self._is_code and self._column + gap + size > self._width:
            self._column = size
            return f"\n{word}"
        self._column += gap + size
        return blank + word

    def _drop_blank(self) -> str:
        blank, self._blank = self._blank, ""
        return blank
