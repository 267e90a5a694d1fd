"""Asking in the page: what a person sees of an answer while it comes, at its end, and after a reload."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from minivault.vault.verify import verify_receipts
from tests.browser.reader import Reader, context_of, reader_in
from tests.live import live_server

ENDLESS = "delay=0.01 until=/nonexistent say On and on"
CALL = (
    'say <tool_call>\n{"name": "<b>weather</b>", "arguments": {"city": "<img src=x onerror=alert(1)>"}}\n</tool_call>'
)


def test_an_answer_comes_with_its_figures_and_its_record(reader: Reader) -> None:
    answer = reader.open().ask("say Hello **world**")
    expect(answer.locator(".markdown")).to_have_text("Hello world")
    expect(answer.locator("strong")).to_have_text("world")
    expect(answer.locator(".figures")).to_contain_text("tokens/s")
    expect(answer.locator(".figures")).to_contain_text("of 4,096")
    answer.get_by_role("button", name="Copy the record").click()
    id_ = reader.page.evaluate("navigator.clipboard.readText()")
    records = [json.loads(line) for line in (reader.server.vault / "log.jsonl").read_text().splitlines()]
    assert next(record for record in records if record["id"] == id_)["response"] == "Hello **world**"


def test_verify_and_replay_say_their_verdict(reader: Reader) -> None:
    answer = reader.open().ask("say the same again")
    answer.get_by_role("button", name="Verify").click()
    expect(answer.locator(".verdict")).to_contain_text("In its place")
    answer.get_by_role("button", name="Replay").click()
    expect(answer.locator(".verdict")).to_contain_text("Identical: all 15 tokens came again")


def test_a_receipt_is_handed_out(reader: Reader) -> None:
    answer = reader.open().ask("say this is on record")
    with reader.page.expect_download() as downloading:
        answer.get_by_role("button", name="Receipt").click()
    report = verify_receipts(Path(downloading.value.path()), vault=reader.server.vault)
    assert (report.exit_code, report.num_compared) == (0, 1), report.findings
    expect(answer.locator(".verdict")).to_contain_text("saved")


def test_stop_keeps_what_came_and_says_so(reader: Reader) -> None:
    reader.open().ask(ENDLESS, wait="running").locator(".markdown", has_text="On and on").wait_for()
    reader.page.keyboard.press("Escape")
    stopped = reader.answer("stopped")
    expect(stopped.locator(".end")).to_contain_text("Stopped")
    expect(stopped.locator(".markdown")).to_contain_text("On and on")
    assert reader.ask("say and now this").locator(".markdown").inner_text() == "and now this"


def test_a_reload_in_the_middle_keeps_the_conversation_and_shows_the_answer_as_cut(reader: Reader) -> None:
    reader.open().ask("say first")
    reader.ask(ENDLESS, wait="running").locator(".markdown", has_text="On and on").wait_for()
    reader.page.reload()
    cut = reader.answer("cut")
    expect(cut.locator(".markdown")).to_contain_text("On and on")
    expect(cut.locator(".end")).to_contain_text("Cut")
    expect(reader.page.locator(".answer")).to_have_count(2)


def test_an_answer_that_reaches_its_limit_looks_cut(reader: Reader) -> None:
    reader.open().set("Most tokens", "3")
    cut = reader.ask("say abcdef", wait="cut")
    expect(cut.locator(".markdown")).to_have_text("abc")
    expect(cut.locator(".end")).to_contain_text("the most tokens were reached")


def test_an_error_in_the_middle_is_said_where_the_answer_broke(reader: Reader) -> None:
    failed = reader.open().ask("raise=3 say abcdef", wait="failed")
    expect(failed.locator(".markdown")).to_have_text("abc")
    expect(failed.get_by_role("alert")).not_to_be_empty()
    expect(failed).not_to_contain_text("secret")


@pytest.mark.parametrize(
    ("label", "value"), [("Temperature", "3"), ("Most tokens", "many"), ("Structured output", "{")]
)
def test_an_error_is_said_at_the_field_that_mends_it(reader: Reader, label: str, value: str) -> None:
    reader.open().set(label, value)
    reader.page.get_by_label("Prompt", exact=True).fill("say x")
    reader.page.keyboard.press("Control+Enter")
    box = reader.page.get_by_label(label, exact=True)
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(box).to_be_focused()
    box.fill("")
    expect(box).not_to_have_attribute("aria-invalid", "true")


def test_a_seed_of_63_bits_goes_and_comes_back_digit_by_digit(reader: Reader) -> None:
    reader.open().set("Seed", "9223372036854775807")
    answer = reader.ask("say x")
    expect(answer.get_by_role("button", name="Copy the seed 9223372036854775807")).to_be_visible()


def test_edit_and_regenerate(reader: Reader) -> None:
    reader.open().ask("say one")
    reader.ask("say two")
    reader.page.locator(".prompt").first.get_by_role("button", name="Edit").click()
    reader.page.get_by_label("Edit the prompt").fill("say three")
    reader.button("Send again").click()
    expect(reader.page.locator(".markdown")).to_have_text(["three"])
    reader.answer().get_by_role("button", name="Regenerate").click()
    expect(reader.page.locator(".answer[data-state=done] .markdown")).to_have_text(["three", "three"])


def test_answers_side_by_side_and_the_one_to_go_on_with(reader: Reader) -> None:
    reader.open().set("Answers side by side", "3")
    reader.ask("say which")
    expect(reader.page.locator(".answer[data-state=done]")).to_have_count(3)
    reader.page.locator(".answer").nth(2).get_by_role("button", name="Go on with this one").click()
    expect(reader.page.locator(".answer").nth(2)).to_have_class("answer chosen")


def test_conversations_are_found_renamed_exported_and_deleted(reader: Reader) -> None:
    reader.open().ask("say apples")
    reader.button("New conversation").click()
    reader.ask("say pears")
    reader.page.get_by_label("Title").fill("Fruit")
    reader.page.keyboard.press("Tab")
    reader.page.get_by_label("Search conversations").fill("APPLES")
    titles = reader.page.locator(".conversations .title")
    expect(titles).to_have_text(["say apples"])
    reader.page.get_by_label("Search conversations").fill("")
    expect(titles).to_have_text(["Fruit", "say apples"])
    with reader.page.expect_download() as downloading:
        reader.button("Export as Markdown").click()
    text = Path(downloading.value.path()).read_text()
    assert text.startswith("# Fruit\n")
    assert "pears" in text
    reader.button("Delete “Fruit”").click()
    reader.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(titles).to_have_text(["say apples"])
    reader.page.reload()
    expect(titles).to_have_text(["say apples"])


def test_an_export_can_be_imported_again_and_nothing_else(reader: Reader, tmp_path: Path) -> None:
    reader.open().ask("say apples")
    with reader.page.expect_download() as downloading:
        reader.button("Export all").click()
    exported = Path(downloading.value.path()).read_text()
    reader.button("Delete “say apples”").click()
    reader.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    hostile = json.loads(exported)
    hostile[0]["turns"][0]["text"] = "<img src=x onerror=alert(1)>"
    hostile[0]["turns"][0]["answers"] = [{"text": "<script>alert(1)</script>", "id": "../x", "calls": 3, "end": 7}]
    titles, told = reader.page.locator(".conversations .title"), reader.page.locator(".conversations .hint")
    for text, number in ((exported, 1), ("no JSON", 1), ("[7]", 1), (json.dumps(hostile), 2)):
        (tmp_path / "file.json").write_text(text)
        reader.page.get_by_label("File to import").set_input_files(tmp_path / "file.json")
        expect(told).to_have_text(re.compile("1 imported|was not imported: it"))
        expect(titles).to_have_count(number)
    expect(titles.last).to_have_text("say apples")
    expect(reader.page.locator(".answer").last).to_be_visible()
    reader.page.reload()
    expect(titles).to_have_count(2)


def test_copied_as_curl_and_python_it_asks_for_the_same_answer(reader: Reader) -> None:
    answer = reader.open().ask('say it\'s "quoted"')
    answer.get_by_role("button", name="curl").click()
    shell = reader.page.evaluate("navigator.clipboard.readText()")
    answer.get_by_role("button", name="Python").click()
    python = reader.page.evaluate("navigator.clipboard.readText()")
    body = json.loads(eval(python.split("body = ", 1)[1].split("\n", 1)[0]))
    reply = httpx.post(f"{reader.server.url}/stream-generate", json=body)
    assert "".join(json.loads(line).get("token", "") for line in reply.text.splitlines()) == 'it\'s "quoted"'
    assert f"{reader.server.url}/stream-generate" in shell
    assert "it'\\''s" in shell


def test_a_schema_holds_the_answer_to_it(reader: Reader) -> None:
    reader.open().set(
        "Structured output", '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    )
    text = reader.ask('say {"a": 7}').locator(".markdown").inner_text()
    assert isinstance(json.loads(text)["a"], int)


def test_tool_calls_are_shown_and_answered(browser: Browser, tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.clients.tools_backend:backend", context=4096) as server:
        server.wait_ready()
        context = context_of(browser)
        reader = reader_in(context, server).open()
        reader.set("Tools", '[{"name": "<b>weather</b>", "parameters": {"type": "object"}}]')
        answer = reader.ask(CALL)
        expect(answer.locator(".call summary")).to_have_text("Calls <b>weather</b>")
        expect(answer.locator(".call pre")).to_contain_text("<img src=x onerror=alert(1)>")
        reader.page.get_by_label("Result of <b>weather</b>").fill("rain")
        reader.button("Give the results").click()
        expect(reader.page.locator(".turn").last.locator(".answer[data-state=done] .markdown")).to_have_text("got rain")
        assert reader.faults == []
        context.close()


def test_thoughts_are_folded_away(browser: Browser, tmp_path: Path) -> None:
    with live_server(tmp_path, backend="tests.talk.backend:backend", context=4096) as server:
        server.wait_ready()
        context = context_of(browser)
        reader = reader_in(context, server).open()
        reader.set("Think first", "yes")
        answer = reader.ask("say secretly</think>The answer")
        expect(answer.locator(".markdown")).to_have_text("The answer")
        expect(answer.locator(".thoughts")).not_to_be_visible()
        answer.get_by_text("Thoughts").click()
        expect(answer.locator(".thoughts")).to_have_text("secretly")
        context.close()
