"""Every command that a message or a page tells people to run exists, with the options it is shown with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from minivault.cli import minivault as group

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", PROJECT / "SECURITY.md", *sorted((PROJECT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?:flask|bin/)?\s?\bminivault((?: +[a-z-][a-z0-9-]*)+)")
IN_TICKS = re.compile(r"`([^`]*)`")
MAKE = re.compile(r"^make ([a-z][\w.-]*)")
IN_PAGE = re.compile(r"flask minivault((?: +[a-z-][a-z0-9-]*)+)")


def literals() -> Iterator[tuple[str, str]]:
    """Every string of the package, f-strings with their gaps as `X`, and where it stands."""
    for path in sorted((PROJECT / "minivault").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
                yield where, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield where, node.value


def named() -> list[tuple[str, str]]:
    """The words behind `minivault` wherever a message names a command in backticks, or a page anywhere."""
    found = []
    for where, text in literals():
        for quoted in IN_TICKS.findall(text):
            found += [(where, words.strip()) for words in COMMAND.findall(quoted)]
    for page in PAGES:
        if page.name not in ("cli.md", "architecture.md"):
            found += [(page.name, words.strip()) for words in IN_PAGE.findall(page.read_text())]
    return sorted(set(found))


@pytest.mark.parametrize(("where", "words"), named())
def test_a_command_that_is_named_exists(where: str, words: str) -> None:
    command: click.Command = group
    for number, word in enumerate(words.split()):
        if word.startswith("--"):
            options = {name for parameter in command.params for name in parameter.opts}
            assert word in options, f"{where}: {command.name} has no {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None or (number == 0 and words == ""), f"{where}: there is no `minivault {words}`"
            command = found


def test_the_walk_finds_the_messages_that_there_are() -> None:
    words = {words for _, words in named()}
    assert {"models pull", "keys create", "vault verify", "config", "keys list"} <= words


def test_a_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w./-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    texts = [quoted for _, text in literals() for quoted in IN_TICKS.findall(text)]
    texts += [quoted for page in PAGES for quoted in IN_TICKS.findall(page.read_text())]
    asked = {target for text in texts for target in MAKE.findall(text)}
    assert asked and asked <= targets
