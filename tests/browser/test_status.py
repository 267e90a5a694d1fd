"""How busy the server is, in the page: one picture of several workers, which a reload does not lose."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.reader import PHONE, context_of, reader_in
from tests.live import LiveServer, live_server


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two workers that have answered."""
    directory = tmp_path_factory.mktemp("busy")
    with live_server(directory, workers=2, rate_limit="600/minute", vault_sync="written") as running:
        running.wait_ready()
        for _ in range(4):
            httpx.post(f"{running.url}/generate", json={"prompt": "say something"}, timeout=60).raise_for_status()
        yield running


def points(server: LiveServer) -> list[dict[str, float]]:
    return httpx.get(f"{server.url}/status", timeout=60).json()["points"]


def test_the_last_hour_is_drawn_and_survives_a_reload(browser: Browser, busy: LiveServer) -> None:
    busy.wait_for(lambda: any(point["tokens_per_s"] for point in points(busy)))
    busy.wait_for(lambda: any(point["workers"] == 2 for point in points(busy)))
    step = httpx.get(f"{busy.url}/status", timeout=60).json()["step_s"]
    assert round(sum(point["requests_per_s"] for point in points(busy)) * step) == 4
    context = context_of(browser)
    reader = reader_in(context, busy).open("status")
    chart = reader.page.get_by_role("img", name="Tokens per second")
    chart.wait_for()
    reader.page.reload()
    expect(reader.page.get_by_role("img", name="Whole answer: ")).to_be_visible()
    assert reader.page.locator("path.line").first.get_attribute("d")
    expect(reader.page.get_by_label("Your limits")).to_contain_text("of 600 left")
    expect(reader.page.get_by_label("Server", exact=True)).to_contain_text("answers4")
    reader.ensure_accessible()
    reader.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    reader.ensure_no_sideways_scrolling()
    assert reader.faults == []
    context.close()


def test_looking_counts_against_no_limit(busy: LiveServer) -> None:
    before = httpx.get(f"{busy.url}/status", timeout=60).json()["limits"][0]["remaining"]
    assert httpx.get(f"{busy.url}/status", timeout=60).json()["limits"][0]["remaining"] == before
