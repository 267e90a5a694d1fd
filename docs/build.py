"""Regenerates the parts of the documentation that the source already knows: `make docs`.

Between `<!-- NAME -->` and `<!-- /NAME -->` in a document stands what the function NAME returns. With `--check` nothing
is written and the exit status says whether anything would change.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

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
    from minivault.config import RULES, Settings, variable

    rows = ["| variable | default | meaning |", "|---|---|---|"]
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    for name, rule in RULES.items():
        default = {
            "home": "the user's data directory",
            "log_dir": "`logs` beside `wsgi.py`, or in MINIVAULT_HOME where there is no checkout",
        }.get(name)
        shown = default or (f"`{defaults[name]}`" if defaults[name] != "" else "")
        rows.append(f"| `{variable(name)}` | {shown} | {rule.meaning} |")
    return "\n".join(rows)


def metrics() -> str:
    """The instruments of `GET /metrics`."""
    sys.path.insert(0, str(PROJECT))
    from minivault.metrics import Metrics

    rows = ["| metric | type | meaning |", "|---|---|---|"]
    for family in Metrics().own.collect():
        rows.append(f"| `{family.name}` | {family.type} | {family.documentation} |")
    return "\n".join(rows)


def fields() -> str:
    """What becomes of every field of every request that a model answers or embeds."""
    sys.path.insert(0, str(PROJECT))
    from minivault.wire.anthropic import DIALECT as ANTHROPIC
    from minivault.wire.fields import Refused
    from minivault.wire.native import DIALECT as NATIVE
    from minivault.wire.ollama import DIALECT as OLLAMA
    from minivault.wire.openai import DIALECT as OPENAI

    parts, told = [], set()
    for operation in (*NATIVE.operations, *OLLAMA.operations, *OPENAI.operations, *ANTHROPIC.operations):
        model = operation.request
        if model is None or model in told:
            continue
        told.add(model)
        rows: dict[tuple[str, str], list[str]] = {("honoured", ""): list(_honoured(model, model.foreign))}
        for name, verdict in model.foreign.items():
            is_refused = isinstance(verdict, Refused)
            row = ("refused", verdict.instead) if is_refused else ("noted", verdict.why)
            allowed = [json.dumps(value) for value in verdict.harmless] if is_refused else []
            rows.setdefault(row, []).append(f"`{name}`" + (f" (but for {', '.join(allowed)})" if allowed else ""))
        head = [f"**`{operation.path}`**", "", "| | fields | why, or what to do |", "|---|---|---|"]
        table = [f"| **{kind}** | {', '.join(names)} | {why} |" for (kind, why), names in sorted(rows.items())]
        parts.append("\n".join(head + table))
    return "\n\n".join(parts)


def _honoured(model: Any, foreign: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The fields that a model declares, and those of objects in it."""
    for name, field in model.model_fields.items():
        path = place + (field.alias or name)
        if path not in foreign:
            yield f"`{path}`"
            for inner in _models_in(field.annotation):
                yield from _honoured(inner, foreign, f"{path}.")


def _models_in(annotation: Any) -> list[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


DOCUMENTS: dict[str, list[Callable[[], str]]] = {
    "docs/architecture.md": [files],
    "docs/settings.md": [settings],
    "docs/operations.md": [metrics],
    "docs/wire.md": [fields],
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
