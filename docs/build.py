"""Regenerates the parts of the documentation that the source already knows: `make docs`.

Between `<!-- NAME -->` and `<!-- /NAME -->` in a document stands what the function NAME returns. With `--check` nothing
is written and the exit status says whether anything would change.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "minivault"


def files() -> str:
    """One line a file: the first sentence of its docstring, by folder."""
    sections = []
    for folder in [PACKAGE, *sorted(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        lines = [f"- `{path.name}` {_sentence(path)}" for path in sorted(folder.glob("*.py")) if _sentence(path)]
        if lines:
            sections.append(f"**{folder.relative_to(PROJECT)}/**\n\n" + "\n".join(lines))
    return "\n\n".join(sections)


def settings() -> str:
    """The table of settings."""
    sys.path.insert(0, str(PROJECT))
    from minivault.config import Settings, variable

    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = {"home": "the user's data directory", "log_dir": "`logs` beside `wsgi.py`"}.get(name)
        shown = default or (f"`{field.default}`" if field.default != "" else "")
        rows.append(f"| `{variable(name)}` | {shown} | {field.description} |")
    return "\n".join(rows)


def metrics() -> str:
    """The instruments of `GET /metrics`."""
    sys.path.insert(0, str(PROJECT))
    from minivault.metrics import Metrics

    rows = ["| metric | type | meaning |", "|---|---|---|"]
    for family in Metrics().own.collect():
        rows.append(f"| `{family.name}` | {family.type} | {family.documentation} |")
    return "\n".join(rows)


DOCUMENTS: dict[str, list[Callable[[], str]]] = {
    "docs/architecture.md": [files],
    "README.md": [settings],
    "docs/operations.md": [metrics],
}


def _sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.:;])\s", paragraph)[0].rstrip(":;")


def render(document: Path, parts: list[Callable[[], str]]) -> str:
    """The document with its generated parts made anew. Raises ValueError when a part has no place in it."""
    text = document.read_text()
    for part in parts:
        name = part.__name__
        place = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"{document.name} has no place for {name}")
        content = part()
        text = place.sub(lambda match, content=content: match[1] + content + match[2], text)
    return text


def main(*, check: bool) -> int:
    stale = []
    for name, parts in DOCUMENTS.items():
        document = PROJECT / name
        text = render(document, parts)
        if text != document.read_text():
            stale.append(name)
            if not check:
                document.write_text(text)
    if check and stale:
        print(f"out of date, run `make docs`: {', '.join(stale)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
