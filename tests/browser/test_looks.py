"""For everybody: keyboard alone, a phone, a screen reader's rules, both themes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.reader import PHONE, Reader, context_of, reader_in
from tests.live import LiveServer

RICH = """say # Title

- **bold** `code` [link](https://example.org)

```python
x = 'y'  # z
```

| a | b |
|---|---|
| 1 | 2 |
"""


@pytest.fixture
def phone(browser: Browser, server: LiveServer) -> Iterator[Reader]:
    context = context_of(browser, PHONE)
    yield reader_in(context, server)
    context.close()


def test_asking_breaks_no_rule_of_accessibility_in_either_theme(reader: Reader) -> None:
    reader.open()
    reader.ensure_accessible()
    answer = reader.ask(RICH)
    answer.get_by_role("button", name="Verify").click()
    expect(answer.locator(".verdict")).to_contain_text("In its place")
    reader.set("Temperature", "3")
    reader.page.get_by_label("Prompt", exact=True).fill("say x")
    reader.button("Ask").click()
    reader.answer("failed")
    reader.ensure_accessible()
    reader.button("Key").click()
    reader.ensure_accessible()


def test_the_theme_can_be_chosen_and_is_kept(reader: Reader) -> None:
    reader.open().page.emulate_media(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    before = reader.page.evaluate(background)
    reader.button("Theme: auto").click()
    reader.button("Theme: light").click()
    assert reader.page.evaluate(background) != before
    reader.page.reload()
    expect(reader.button("Theme: dark")).to_be_visible()
    assert reader.page.evaluate(background) != before


def test_everything_is_reached_and_done_by_keyboard(reader: Reader) -> None:
    reader.open()
    expect(reader.page.get_by_label("Prompt", exact=True)).to_be_focused()
    reader.page.keyboard.type("say typed")
    reader.page.keyboard.press("Control+Enter")
    answer = reader.answer()
    for _ in range(40):
        if reader.page.evaluate("document.activeElement.textContent") == "Verify":
            break
        reader.page.keyboard.press("Shift+Tab")
    reader.page.keyboard.press("Enter")
    expect(answer.locator(".verdict")).to_contain_text("In its place")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_everything_is_there(phone: Reader) -> None:
    phone.open().ask(f"{RICH}\n{'x' * 300}\n\n```\n{'code ' * 60}\n```")
    phone.ensure_no_sideways_scrolling()
    phone.ensure_accessible()
    phone.button("Settings").click()
    phone.page.get_by_label("Temperature").fill("0")
    phone.ensure_no_sideways_scrolling()
    phone.page.get_by_role("complementary").get_by_role("button", name="Close").click()
    phone.button("Conversations").click()
    phone.button("New conversation").click()
    expect(phone.page.get_by_label("Prompt", exact=True)).to_be_visible()
    expect(phone.ask("say small").locator(".markdown")).to_have_text("small")
