"""Installed like any tool: wheel and source archive are built, and serve from a clean environment and any folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live import GUARD_S, free_port

PROJECT = Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"

pytestmark = [pytest.mark.slow, pytest.mark.server]


def built(kind: str, source: Path, folder: Path) -> Path:
    """A wheel or a source archive, built as pip builds it: `build_wheel` or `build_sdist`."""
    command = [sys.executable, "-c", BUILD, kind, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, by way of the source archive: what that lacks, the wheel would lack."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if (PROJECT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, copy / name)
    archive = built("build_sdist", copy, folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    return built("build_wheel", folder / "unpacked" / archive.name.removesuffix(".tar.gz"), folder)


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`minivault` in an environment of its own that has the wheel and, by path, the libraries of this one."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "minivault"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user with an empty home, no settings and no project in sight."""
    shutil.copy(PROJECT / "tests" / "scripted.py", tmp_path / "scripted_model.py")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MINIVAULT_", "PYTHON", "XDG_"))}
    return {**kept, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def served(program: Path, environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A server that `minivault serve` has started in an empty folder."""
    (tmp_path / "anywhere").mkdir()
    bind = f"127.0.0.1:{free_port()}"
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [program, "serve"],
            env={**environ, "MINIVAULT_BIND": bind, "MINIVAULT_BACKEND": "scripted_model:backend"},
            cwd=tmp_path / "anywhere",
            stdout=out,
            stderr=out,
        )
    try:
        # a new home has no compiled kernels yet: that takes a busy machine minutes
        wait = [program, "health", "--url", bind, "--wait", "900"]
        done = subprocess.run(wait, env=environ, capture_output=True, check=False)
        assert done.returncode == 0, (tmp_path / "out").read_text()
        yield f"http://{bind}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(GUARD_S) == 0, (tmp_path / "out").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(GUARD_S)


def test_a_server_from_any_folder_keeps_its_vault_in_the_users_directories(
    served: str, program: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    reply = httpx.post(f"{served}/generate", json={"prompt": "say Hello"}).json()
    assert reply["response"] == "Hello"
    assert httpx.get(served).status_code == 200, "the page's files are in the package"
    [log] = (tmp_path / "home").rglob("log.jsonl")
    assert reply["id"] in log.read_text()
    assert list((tmp_path / "anywhere").iterdir()) == []
    shown = subprocess.run([program, "vault", "verify"], env=environ, capture_output=True, text=True, check=False)
    assert shown.stdout.splitlines()[-1] == "intact"


def test_the_package_itself_runs_and_says_its_version(program: Path, environ: dict[str, str], tmp_path: Path) -> None:
    python = program.with_name("python")
    where = "import minivault; print(minivault.__file__)"
    version, found = (
        subprocess.run([python, *args], env=environ, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for args in (["-m", "minivault", "--version"], ["-c", where])
    )
    assert version.startswith("minivault, version ")
    assert str(program.parent.parent) in found, "what was tried is what was installed"


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    folders = {name.split("/")[0] for name in names}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == {"minivault"}
    assert {
        "minivault/vault/verify.py",
        "minivault/vault/evidence.py",
        "minivault/py.typed",
        "minivault/worker/configuration.py",
    } <= set(names)
