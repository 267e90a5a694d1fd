"""Somebody at the page: what they do with keys and mouse, and what they see."""

from __future__ import annotations

from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.live import LiveServer

GUARD_MS = 60_000
WIDE, PHONE = (1280, 800), (390, 800)
AXE = Axe()

expect.set_options(timeout=GUARD_MS)  # a test that waits in vain, not a slow machine, is to fail


@dataclass
class Reader:
    """One tab. `faults` is what the browser complained of, `urls` what it asked for."""

    page: Page
    server: LiveServer
    faults: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def open(self, view: str = "ask") -> Reader:
        self.page.goto(f"{self.server.url}/#{view}")
        return self

    def ask(self, text: str, *, wait: str = "done") -> Locator:
        """Type a prompt, send it by keyboard, and wait for its last answer to be `wait`."""
        self.page.get_by_label("Prompt", exact=True).fill(text)
        self.page.keyboard.press("Control+Enter")
        return self.answer(wait)

    def answer(self, state: str = "done") -> Locator:
        last = self.page.locator(".turn").last.locator(f".answer[data-state={state}]").last
        last.wait_for()
        return last

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def set(self, label: str, value: str) -> None:
        """Change one of the settings, whose drawer is opened where it is not."""
        opener = self.button("Settings")
        if opener.get_attribute("aria-expanded") == "false":
            opener.click()
        box = self.page.get_by_role("complementary", name="Settings").get_by_label(label, exact=True)
        if box.evaluate("box => box.tagName") == "SELECT":
            box.select_option(value)
        else:
            box.fill(value)

    def ensure_accessible(self) -> None:
        """Hold what is shown against axe's rules, in both themes."""
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            found = AXE.run(self.page)
            assert not found.violations_count, f"{theme}: {found.generate_report()}"

    def ensure_no_sideways_scrolling(self) -> None:
        """Neither of the whole nor of what scrolls up and down in it: only code and tables may be wider."""
        widths = "[...document.querySelectorAll('html, main, .thread')].map(one => one.scrollWidth)"
        assert max(self.page.evaluate(widths)) <= self.page.evaluate("innerWidth")


def reader_in(context: BrowserContext, server: LiveServer) -> Reader:
    """A new tab that notes what goes wrong in it."""
    page = context.new_page()
    page.set_default_timeout(GUARD_MS)
    reader = Reader(page, server)

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "the server responded with a status of" not in message.text:
            reader.faults.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: reader.faults.append(str(error)))
    page.on("request", lambda request: reader.urls.append(request.url))
    return reader


def context_of(browser: Browser, size: tuple[int, int] = WIDE) -> BrowserContext:
    """A browser profile of its own."""
    viewport = {"width": size[0], "height": size[1]}
    return browser.new_context(viewport=viewport, permissions=["clipboard-read", "clipboard-write"])  # type: ignore[arg-type]
