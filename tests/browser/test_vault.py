"""The vault in the page: who may look, what they find, and a light that tells when something was changed."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from minivault.access.keys import KeyFile, NewKey
from minivault.config import load_settings
from tests.browser.reader import PHONE, Reader, context_of, reader_in
from tests.live import LiveServer, live_server

ATTACK = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"


def asked(server: LiveServer, prompt: str) -> str:
    """The id of the record of an answer."""
    reply = httpx.post(f"{server.url}/generate", json={"prompt": prompt}, timeout=60)
    return reply.raise_for_status().json()["id"]


def opened(reader: Reader, seq: str = "") -> Reader:
    reader.open(f"vault/{seq}" if seq else "vault")
    reader.page.locator(".records tbody tr").first.wait_for()
    return reader


def test_the_user_who_runs_the_server_searches_and_reads_it_without_a_key(reader: Reader) -> None:
    asked(reader.server, "say needle in the hay")
    opened(reader).page.get_by_label("Text", exact=True).fill("NEEDLE")
    reader.button("Search").click()
    row = reader.page.locator(".records tbody tr")
    expect(row).to_have_count(1)
    row.get_by_role("button").click()
    record = reader.page.locator(".record")
    expect(record.get_by_label("Answer")).to_contain_text("needle in the hay")
    record.get_by_role("button", name="Replay").click()
    expect(record.locator(".verdict")).to_contain_text("Identical")
    reader.page.get_by_label("Since").fill("soon")
    reader.button("Search").click()
    expect(reader.page.get_by_label("Since")).to_have_attribute("aria-invalid", "true")


def test_what_a_record_holds_stays_text(reader: Reader) -> None:
    tool = {"type": "function", "function": {"name": ATTACK, "arguments": {}}}
    messages = [
        {"role": "user", "content": f"say {ATTACK}"},
        {"role": "assistant", "content": "", "tool_calls": [tool]},
    ]
    body = {"model": "scripted", "stream": False, "messages": [*messages, {"role": "user", "content": f"say {ATTACK}"}]}
    reply = httpx.post(f"{reader.server.url}/api/chat", json=body, headers={"User-Agent": ATTACK}, timeout=60)
    opened(reader, reply.raise_for_status().headers["X-Request-Id"])
    record = reader.page.locator(".record")
    expect(record.get_by_label("Answer")).to_contain_text(ATTACK)
    record.get_by_text("Everything, as it stands").click()
    assert reader.page.locator("main img, main script").count() == 0
    assert reader.page.evaluate("window.hit") is None


def test_a_redaction_says_what_goes_and_what_stays_before_it_is_done(reader: Reader) -> None:
    opened(reader, asked(reader.server, "say forget me"))
    record = reader.page.locator(".record")
    record.get_by_role("button", name="Redact…").click()
    expect(record.locator(".danger-zone")).to_contain_text("prompt_tokens")
    record.get_by_label("Reason").fill("they asked to be forgotten")
    record.get_by_role("button", name="Erase for good").click()
    expect(reader.page.locator(".record")).to_contain_text("Redacted by")
    expect(reader.page.locator(".record")).not_to_contain_text("forget me")
    expect(reader.page.locator(".legend")).to_contain_text("1 redaction")


def test_what_is_asked_elsewhere_comes_by_itself_while_it_is_followed(reader: Reader) -> None:
    opened(reader).button("Follow live").click()
    expect(reader.button("Following; stop")).to_be_visible()
    asked(reader.server, "say just now")
    expect(reader.page.locator(".records tbody")).to_contain_text("just now")
    reader.button("Following; stop").click()
    expect(reader.button("Follow live")).to_be_visible()


def test_records_are_exported_with_the_proof_that_they_are(reader: Reader) -> None:
    with reader.page.expect_download() as downloading:
        opened(reader).button("Export with proof").click()
    lines = Path(downloading.value.path()).read_text().splitlines()
    assert any(json.loads(line)["type"] == "interaction" for line in lines)


def test_it_is_accessible_and_fits_a_phone(reader: Reader) -> None:
    id_ = asked(reader.server, "say readable")
    opened(reader, id_).button("Verify now").click()
    expect(reader.page.locator(".words")).to_contain_text("Intact")
    reader.button("Redact…").click()
    reader.page.locator(".danger-zone").wait_for()
    reader.ensure_accessible()
    reader.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    reader.ensure_no_sideways_scrolling()
    reader.ensure_accessible()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


def test_the_light_turns_red_when_a_record_was_changed_and_roles_are_kept(browser: Browser, own: Path) -> None:
    settings = load_settings({"MINIVAULT_HOME": str(own / "home")}, own / ".env")
    backend = "tests.scripted:transcript_backend"
    with live_server(own, rate_limit="", context=4096, vault_sync="written", backend=backend) as server:
        server.wait_ready()
        for prompt in ("say first", "say second"):
            asked(server, prompt)
        context = context_of(browser)
        reader = reader_in(context, server).open()
        reader.ask("say turn one")
        reader.ask("say turn two")
        opened(reader).page.locator(".records .id").first.click()
        expect(reader.page.locator(".threads li")).to_have_count(2)
        reader.button("Verify now").click()
        expect(reader.page.locator(".words")).to_contain_text("Intact")
        log = server.vault / "log.jsonl"
        log.write_bytes(log.read_bytes().replace(b'"say first"', b'"say worst"'))
        reader.button("Verify now").click()
        expect(reader.page.locator(".lamp")).to_have_class("lamp bad")
        expect(reader.page.locator(".words")).to_contain_text("Tampered, first at record")
        reader.page.reload()
        expect(reader.page.locator(".words")).to_contain_text("Tampered")
        context.close()
        [(_, use), (_, audit)] = KeyFile(settings.keys_file).create(NewKey("a", "use"), NewKey("b", "audit"))
        context = context_of(browser)
        reader = reader_in(context, server)
        reader.open("vault").page.get_by_label("Access key").fill(use)
        reader.button("Use this key").click()
        expect(reader.page.get_by_role("alert").first).to_contain_text("may not do this")
        reader.button("Key").click()
        reader.page.get_by_label("Access key").fill(audit)
        reader.button("Use this key").click()
        reader.page.reload()
        expect(reader.page.locator(".words")).to_contain_text("Tampered")
        assert reader.faults == []
        context.close()
