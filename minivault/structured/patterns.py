r"""Patterns whose blanks are those of every dialect of regular expressions: `\s` of ECMAScript, Python and Rust differ
outside ASCII, and an answer must fit whichever its reader has."""

from __future__ import annotations

import re
from collections.abc import Mapping

BLANKS = {r"\s": r" \t\n\v\f\r"}
CLASSES = {**BLANKS, r"\d": "0-9", r"\w": "0-9A-Za-z_"}
PIECES = re.compile(r"\\.|\[\^?|\]|.", re.DOTALL)


def narrowed(pattern: str, classes: Mapping[str, str] = BLANKS) -> str:
    r"""The pattern with ASCII's blanks for `\s`; what says that there is no blank stays as wide as it is. `classes` are
    the characters that stand for each such piece."""
    result, depth, is_negated = "", 0, False
    for piece in PIECES.findall(pattern):
        if piece in classes and not is_negated:
            result += classes[piece] if depth else f"[{classes[piece]}]"
            continue
        if piece[0] == "[":
            depth, is_negated = depth + 1, is_negated or piece == "[^"
        elif piece == "]" and depth:
            depth -= 1
            is_negated = is_negated and depth > 0
        result += piece
    return result
