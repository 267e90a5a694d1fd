"""Small real models, made once, and a store to put them in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from minivault.models import ModelStore
from tests.models import gpt2, tiny_gguf

NOW_NS = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def no_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in these tests may reach a network: package index, hub and proxies are all off."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")


@pytest.fixture(scope="session")
def distilgpt2_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; take `distilgpt2` for a copy that may be changed."""
    return gpt2.write_checkpoint(tmp_path_factory.mktemp("models") / "distilgpt2")


@pytest.fixture
def distilgpt2(distilgpt2_files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(distilgpt2_files, tmp_path / "distilgpt2"))


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    gpt2.write_vocabulary(folder)
    tokens, merges = tiny_gguf.vocabulary(folder / "merges.txt")
    return tiny_gguf.write(folder / "tiny.gguf", tokens, merges)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store", clock=lambda: NOW_NS)
