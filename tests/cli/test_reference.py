"""docs/cli.md tells what the commands' own help tells."""

from __future__ import annotations

import re
from pathlib import Path

from minivault.cli.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def sections(page: str) -> dict[str, str]:
    """Each heading with its text, white space evened out."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return {title: " ".join(text.split()) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_the_page_has_every_command_as_its_help_tells_it() -> None:
    written, now = sections(PAGE.read_text("utf-8")), sections(reference())
    stale = sorted(title for title in written.keys() | now.keys() if written.get(title) != now.get(title))
    assert not stale, f"run `make docs`: docs/cli.md is not up to date in {', '.join(stale)}"


def test_every_option_and_argument_is_explained() -> None:
    for title, text in sections(reference()).items():
        options = re.findall(r"(--[a-z-]+)(?: [A-Z]+| \[[^\]]*\])?(?= -|$)", text)
        assert not options, f"{title}: {options} has no help"
