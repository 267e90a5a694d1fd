from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from minivault.config import Settings, load_settings
from tests.api.serving import serving
from tests.scripted import backend


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    env = {"HOME": "home", "LOG_DIR": "vault"}
    given = {f"MINIVAULT_{name}": str(tmp_path / folder) for name, folder in env.items()}
    return load_settings({**given, "MINIVAULT_BACKEND": "tests.scripted:backend"}, tmp_path / ".env")


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    with serving(settings, backend) as app:
        yield app
