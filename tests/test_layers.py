"""The layer rule of docs/architecture.md, checked from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "minivault"

LAYERS: list[set[str]] = [
    {"app", "worker", "cli", "api", "web"},
    {"interaction", "replay"},
    {"service"},
    {"engine", "models", "vault", "wire", "access", "metrics"},
    {"types"},
    {"config", "errors"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
SAME_LAYER_ALLOWED = {
    ("app", "api"),
    ("app", "web"),
    ("app", "cli"),
    ("app", "worker"),
    ("api", "app"),
    ("config", "errors"),
}
"""`app` is the table of contents of its layer; settings raise errors."""


def sources() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if top != "__init__":
            yield top, path


def imported(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "minivault":
                yield from ((f"minivault.{alias.name}", node) for alias in node.names)
            yield node.module, node


@pytest.mark.parametrize(("layer", "path"), [pytest.param(*s, id=str(s[1].relative_to(PACKAGE))) for s in sources()])
def test_imports_go_downwards_only(layer: str, path: Path) -> None:
    assert layer in RANK, f"{layer} has no place in the layers"
    for name, node in imported(path):
        parts = name.split(".")
        if parts[0] != "minivault" or len(parts) == 1 or parts[1].startswith("__"):
            continue
        target = parts[1]
        if target == layer or target not in RANK:
            continue
        downwards = RANK[target] > RANK[layer] or (layer, target) in SAME_LAYER_ALLOWED
        assert downwards, f"{path.name}:{node.lineno} imports {name}, which is not below {layer}"


def homes_of(module: str) -> set[str]:
    """Which top-level parts of the package import a module."""
    found = set()
    for _, path in sources():
        if any(name.split(".")[0] == module for name, _ in imported(path)):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found.add("/".join(parts[:2]) if parts[0] == "access" else parts[0])
    return found


@pytest.mark.parametrize(
    ("module", "homes"),
    [
        ("torch", {"engine", "models", "service"}),
        ("transformers", {"engine", "models"}),
        ("flask", {"app", "worker", "api", "web", "cli", "access/guard"}),
    ],
)
def test_heavy_libraries_stay_in_their_folders(module: str, homes: set[str]) -> None:
    assert homes_of(module) <= homes


def test_only_config_reads_the_environment() -> None:
    readers = {
        path.name
        for _, path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    }
    assert readers <= {"config.py"}


def test_the_application_starts_without_torch() -> None:
    code = "import sys, minivault.app; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_verifier_needs_only_the_standard_library() -> None:
    names = {name.split(".")[0] for name, _ in imported(PACKAGE / "vault" / "verify.py")}
    assert names <= sys.stdlib_module_names
