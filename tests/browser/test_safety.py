"""What a prompt, an answer or a setting holds never becomes part of the page, and nothing is fetched for it."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.reader import Reader

ATTACKS = [
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "[click](javascript:window.hit=1)",
    "[click](data:text/html,<script>window.hit=1</script>)",
    "![x](http://example.org/leak.png)",
    "![x](/vault/records)",
    "<style>*{display:none}</style>",
    "<form action=//example.org><input name=q></form>",
    '```"><img src=x onerror=window.hit=1>\ncode\n```',
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>",
    '[a](https://example.org "onmouseover=window.hit=1")',
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_in_prompt_answer_and_title_stays_text(reader: Reader, attack: str) -> None:
    reader.open().ask(f"say {attack}")
    expect(reader.page.locator(".prompt p")).to_have_text(f"say {attack}")
    reader.page.reload()
    answer = reader.answer()
    for link in answer.locator("a").all():
        assert link.get_attribute("href") in (None, "https://example.org")
        assert set(link.evaluate("link => link.getAttributeNames()")) <= {"href", "rel", "target"}
    assert answer.locator("img, svg, iframe, script, style, form, input, math").count() == 0
    assert reader.page.evaluate("window.hit") is None
    assert not [url for url in reader.urls if "example.org" in url]


def test_no_string_can_be_made_html_by_any_script_of_the_page(reader: Reader) -> None:
    reader.open()
    made = "document.createElement('div').innerHTML = '<b>x</b>'"
    refused = reader.page.evaluate(f"() => {{ try {{ {made}; }} catch (error) {{ return error.name }} }}")
    assert refused == "TypeError"
    reader.faults.clear()  # the browser's own report of it


def test_the_policy_allows_nothing_inline_and_nobody_else(reader: Reader) -> None:
    for path in ("/", "/docs"):
        policy = httpx.get(reader.server.url + path, headers={"Accept": "text/html"}).headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "default-src 'none'" in policy
