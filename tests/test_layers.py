"""The layer rule of docs/architecture.md, checked from the source."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from minivault.config import Settings
from minivault.service.backends import pull_model
from tests.models import gpt2, tiny_gguf

PACKAGE = Path(__file__).resolve().parent.parent / "minivault"

LAYERS: list[set[str]] = [
    {"__main__"},
    {"app", "worker", "cli", "api", "web"},
    {"interaction", "replay", "batches"},
    {"service"},
    {"engine", "structured", "models", "vault", "wire", "access", "metrics", "history", "observe"},
    {"families", "talk", "watermark"},
    {"types"},
    {"config", "errors", "faults", "lazy", "moment", "setting", "spelling", "tracing"},
    {"__init__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
SAME_LAYER_ALLOWED = {
    ("app", "api"),
    ("app", "cli"),
    ("app", "web"),
    ("app", "worker"),
    ("config", "errors"),
    ("config", "setting"),
}
"""`app` is the table of contents of its layer; settings raise errors, and each is read by its rule."""


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the package and the part it belongs to; the package's own `__init__` is below them all."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path


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


def modules() -> dict[str, Path]:
    """Module name → file."""
    found = {}
    for _, path in sources():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below `node` except what is for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from at_run_time(child)


def needed(name: str, known: dict[str, Path]) -> set[str]:
    """The modules that `name` imports, also inside its functions, and their packages but for its own."""
    found = set()
    for node in at_run_time(ast.parse(known[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= named if named <= known.keys() else named | {node.module}
    packages = {package for module in found for package in packages_of(module)}
    return (found | packages - {name, *packages_of(name)}) & known.keys()


def packages_of(name: str) -> list[str]:
    return [name[: place.start()] for place in re.finditer(r"\.", name)]


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules of which each needs the next, the first again at the end; empty when there is no cycle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    cycle = cycle_in({name: needed(name, known) for name in known})
    assert not cycle, " imports ".join(cycle)


def test_a_circle_is_found() -> None:
    cycle = cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert cycle[0] == cycle[-1] and "".join(cycle) in "abcabc"
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}}) == []


def homes_of(module: str) -> set[str]:
    """Which top-level parts of the package import a module."""
    found = set()
    for _, path in sources():
        if any(name.split(".")[0] == module for name, _ in imported(path)):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found.add("/".join(parts[:2]) if parts[0] == "access" else parts[0])
    return found


MODEL_READERS = {"models/loader", "models/gguf/general"}


def importers_of(module: str) -> set[str]:
    """Which files of the package import a library, as paths without `.py`."""
    return {
        path.relative_to(PACKAGE).with_suffix("").as_posix()
        for _, path in sources()
        if any(name.split(".")[0] == module for name, _ in imported(path))
    }


@pytest.mark.parametrize(
    ("module", "homes"),
    [
        (
            "torch",
            {
                "engine/transformers",
                "engine/company",
                "engine/editions",
                "engine/host",
                "models/loader",
                "models/gguf/general",
                "service/runners",
            },
        ),
        (
            "transformers",
            {
                "engine/transformers",
                "engine/company",
                "models/loader",
                "models/gguf/general",
                "models/layout",
                "models/progress",
            },
        ),
        ("flask", {"app", "api", "web", "cli", "access/guard"}),
        ("numba", {"engine/exact", "engine/sampler"}),
        ("llvmlite", {"engine/exact", "engine/sampler"}),
    ],
)
def test_heavy_libraries_stay_in_their_files_and_folders(module: str, homes: set[str]) -> None:
    strangers = {path for path in importers_of(module) if not any(f"{path}/".startswith(f"{home}/") for home in homes)}
    assert not strangers


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


def test_prometheus_client_is_not_imported_before_the_workers_have_their_directory() -> None:
    modules = "minivault.worker.hooks, minivault.worker.patient_threads"
    code = f"import sys, {modules}; print([m for m in ('prometheus_client', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_engine_and_the_families_do_without_torch() -> None:
    code = "import sys, minivault.engine, minivault.engine.exact, minivault.families; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


SERVE = """
import sys
import wsgi, minivault.worker.hooks, minivault.worker.patient_threads
from minivault.config import load_settings
from minivault.service import LocalModel
from minivault.types import GenerationRequest, SamplingParams

model = LocalModel(load_settings())
runner = model.wait_loaded().runner
task = model.prepare(GenerationRequest(prompt="Hello", params=SamplingParams(max_tokens=3, seed=1)))
list(model.generate(task, "1").events())
model.close()
print(runner, [name for name in ("torch", "transformers", "safetensors", "gguf", "scipy") if name in sys.modules])
"""


@pytest.mark.timeout(600)
def test_a_worker_that_serves_the_exact_engine_does_without_torch_and_transformers(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The compiled kernels are those of the engine's own tests."""
    gpt2.write_vocabulary(tmp_path)
    file = tiny_gguf.write(tmp_path / "tiny.gguf", *tiny_gguf.vocabulary(tmp_path / "merges.txt"))
    settings = Settings(home=tmp_path / "home", model=str(file), runner="transformers")
    pull_model(settings, settings.model)
    assert pytestconfig.cache is not None
    settings.kernels_dir.symlink_to(pytestconfig.cache.mkdir("exact"))
    environment = {
        "PATH": os.environ["PATH"],
        "MINIVAULT_HOME": str(settings.home),
        "MINIVAULT_MODEL": str(file),
        "MINIVAULT_LOG_DIR": str(tmp_path / "logs"),
    }
    result = subprocess.run(
        [sys.executable, "-c", SERVE], cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "exact []", result.stderr


def test_the_verifier_needs_only_the_standard_library_and_its_second_file_the_first() -> None:
    verifier, evidence = (dict(imported(PACKAGE / "vault" / f"{name}.py")) for name in ("verify", "evidence"))
    assert {name.split(".")[0] for name in verifier} <= sys.stdlib_module_names
    beside = {"minivault.vault", "minivault.vault.verify", "verify"}
    assert {name.split(".")[0] for name in evidence.keys() - beside} <= sys.stdlib_module_names
