"""The reference at `/docs`: every route, exact numbers, readable on a phone and by a screen reader."""

from __future__ import annotations

import httpx
from playwright.sync_api import expect

from tests.browser.reader import PHONE, Reader


def test_every_route_is_there_with_exact_limits_and_code_as_code(reader: Reader) -> None:
    document = httpx.get(f"{reader.server.url}/openapi.json").json()
    reader.page.goto(f"{reader.server.url}/docs")
    reader.page.locator(".operation").first.wait_for()
    shown = reader.page.locator(".reference h3").all_inner_texts()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in shown
    reference = reader.page.locator(".reference")
    expect(reference).to_contain_text("≤ 9223372036854775807")
    expect(reference).not_to_contain_text("`")
    reader.page.get_by_label("Find a route or a model").fill("/v1/emb")
    expect(reader.page.locator(".operation:visible h3")).to_have_text(["POST /v1/embeddings"])


def test_it_is_accessible_and_fits_a_phone(reader: Reader) -> None:
    reader.page.goto(f"{reader.server.url}/docs")
    reader.page.locator(".operation").first.wait_for()
    reader.ensure_accessible()
    reader.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    reader.ensure_no_sideways_scrolling()
