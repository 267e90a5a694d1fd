"""A real Chromium in front of a real server; nothing that is asked for may leave that server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.live import LiveServer, live_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.reader import Reader

collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]
"""Without the extra `browser` there is nothing to collect, and `make page`, which installs it, would fail by that."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "no Chromium: `make page` installs Debian's as root, or says how"
    as_root = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=as_root)
        yield started
        started.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Without keys; what is asked is what is answered."""
    with live_server(tmp_path_factory.mktemp("page"), rate_limit="", context=4096, vault_sync="written") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def reader(browser: Browser, server: LiveServer) -> Iterator[Reader]:
    """A tab in a profile of its own; fails a test in which the browser complained or asked anyone else."""
    from tests.browser.reader import context_of, reader_in

    context = context_of(browser)
    reader = reader_in(context, server)
    yield reader
    context.close()
    assert reader.faults == []
    assert {url for url in reader.urls if not url.startswith((f"{server.url}/", "blob:"))} == set()
