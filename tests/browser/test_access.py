"""Keys in the page: asked for when one is needed, kept in this tab, and in no address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from minivault.access.keys import KeyFile, NewKey
from minivault.config import load_settings
from tests.browser.reader import Reader, context_of, reader_in
from tests.live import LiveServer, live_server


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, dict[str, str]]]:
    """A server with a key of each role, and their tokens."""
    directory = tmp_path_factory.mktemp("locked")
    settings = load_settings({"MINIVAULT_HOME": str(directory / "home")}, directory / ".env")
    made = KeyFile(settings.keys_file).create(NewKey("a", "use"), NewKey("b", "audit"), NewKey("c", "admin"))
    with live_server(directory, rate_limit="", context=4096, auth_failure_limit="") as running:
        running.wait_ready()
        yield running, {key.role: token for key, token in made}


@pytest.fixture
def visitor(browser: Browser, locked: tuple[LiveServer, dict[str, str]]) -> Iterator[Reader]:
    context = context_of(browser)
    reader = reader_in(context, locked[0])
    yield reader
    context.close()
    assert reader.faults == []


def give(reader: Reader, token: str) -> None:
    reader.page.get_by_label("Access key").fill(token)
    reader.button("Use this key").click()


def test_the_page_asks_for_a_key_and_then_answers(visitor: Reader, locked: tuple[LiveServer, dict[str, str]]) -> None:
    visitor.open()
    expect(visitor.page.get_by_role("dialog")).to_contain_text("a valid key is needed")
    give(visitor, locked[1]["use"])
    expect(visitor.page.locator("#state")).to_contain_text("ready")
    expect(visitor.ask("say open").locator(".markdown")).to_have_text("open")
    visitor.page.reload()
    expect(visitor.page.locator("#state")).to_contain_text("ready")
    assert not [url for url in visitor.urls if "mv_" in url]
    assert locked[1]["use"] not in str(visitor.page.evaluate("JSON.stringify(localStorage)"))


def test_a_wrong_key_is_refused_and_asked_for_again(visitor: Reader, locked: tuple[LiveServer, dict[str, str]]) -> None:
    visitor.open()
    give(visitor, "mv_wrong")
    expect(visitor.page.locator("#state")).to_contain_text("A key is needed")
    visitor.page.get_by_label("Prompt", exact=True).fill("say open")
    visitor.page.keyboard.press("Control+Enter")
    give(visitor, locked[1]["use"])
    expect(visitor.answer().locator(".markdown")).to_have_text("open")


def test_an_own_answer_is_verified_and_replayed_without_the_role_audit(
    visitor: Reader, locked: tuple[LiveServer, dict[str, str]]
) -> None:
    visitor.open()
    give(visitor, locked[1]["use"])
    answer = visitor.ask("say mine")
    answer.get_by_role("button", name="Verify").click()
    expect(answer.locator(".verdict")).to_contain_text("In its place")
    answer.get_by_role("button", name="Replay").click()
    expect(answer.locator(".verdict")).to_contain_text("Identical")


def test_a_model_that_does_not_load_is_said_in_the_line_at_the_top(browser: Browser, tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.scripted:broken_backend") as server:
        server.wait_up()
        context = context_of(browser)
        reader = reader_in(context, server).open()
        expect(reader.page.locator("#state")).to_contain_text("no room for the weights")
        failed = reader.ask("say x", wait="failed")
        expect(failed.get_by_role("alert")).to_contain_text("no room for the weights")
        context.close()
