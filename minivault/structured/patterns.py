r"""Patterns whose blanks are those of every dialect of regular expressions: `\s` of ECMAScript, Python and Rust differ
outside ASCII, and an answer must fit whichever its reader has."""

from __future__ import annotations

import re

BLANKS = r" \t\n\v\f\r"
PIECES = re.compile(r"\\.|\[\^?|\]|.", re.DOTALL)


def narrowed(pattern: str) -> str:
    r"""The pattern with ASCII's blanks for `\s`; what says that there is no blank stays as wide as it is."""
    result, depth, is_negated = "", 0, False
    for piece in PIECES.findall(pattern):
        if piece == r"\s" and not is_negated:
            result += BLANKS if depth else f"[{BLANKS}]"
            continue
        if piece[0] == "[":
            depth, is_negated = depth + 1, is_negated or piece == "[^"
        elif piece == "]" and depth:
            depth -= 1
            is_negated = is_negated and depth > 0
        result += piece
    return result
