"""Writing untrusted text to a terminal.

A model can emit any character, and a terminal obeys some of them: escape sequences retitle windows, move the cursor and
rewrite what was shown. On a terminal such characters are shown as escapes; into a pipe or file the text goes unchanged.
"""

from __future__ import annotations

import re
import sys
from typing import TextIO

_STYLES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}

# C0 without tab and newline, DEL, C1, line separators, bidirectional controls, and surrogates (no characters at all).
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    r"""The text with every character that a terminal would obey written as `\x1b` or `\u202e`."""
    return _UNSAFE.sub(lambda match: _escape_one(match[0]), text)


def one_line(text: str) -> str:
    """The text for a single line of stderr: escaped, line breaks as spaces."""
    return escape(" ".join(text.split("\n")).strip())


def write(text: str, stream: TextIO | None = None, style: str = "") -> None:
    """Write model output to `stream` (default stdout) at once: escaped on a terminal, unchanged elsewhere."""
    out = sys.stdout if stream is None else stream
    safe = styled(escape(text), style, out) if out.isatty() else text
    encoding = out.encoding or "utf-8"
    out.write(safe.encode(encoding, "replace").decode(encoding))
    out.flush()


def note(text: str, style: str = "") -> None:
    """Say something beside the answer: one line on stderr, in a colour where there are any."""
    print(styled(one_line(text), style, sys.stderr), file=sys.stderr, flush=True)


def fail(text: str) -> None:
    """Say on stderr what went wrong."""
    print(f"{styled('Error:', 'red', sys.stderr)} {one_line(text)}", file=sys.stderr, flush=True)


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Text in a colour for `stream` (default stdout), plain where there is no terminal or NO_COLOR is set."""
    out = sys.stdout if stream is None else stream
    if not style or not out.isatty():
        return text
    from minivault.config import is_color_refused

    return text if is_color_refused() else f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _escape_one(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
