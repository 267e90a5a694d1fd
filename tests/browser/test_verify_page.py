"""The page that verifies receipts and excerpts, opened as a file in a Chromium that reaches nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.reader import Filter
from tests.vault.samples import closing, opening

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verify.html"


@pytest.fixture
def evidence(tmp_path: Path) -> dict[str, str]:
    """A receipt, an excerpt and the key, of a vault with one answer."""
    directory = tmp_path / "vault"
    vault = Vault.open(directory, sync="written")
    entry = vault.begin(opening("Grüße 😀"))
    entry.finish(closing("An answer"))
    receipt = entry.receipt()
    vault.close()
    with Archive(directory, by="tester") as archive:
        excerpt = b"".join(archive.export_jsonl(Filter())[0]).decode()
    return {"receipt": json.dumps(receipt), "excerpt": excerpt, "key": (directory / "vault.pub").read_text()}


@pytest.mark.parametrize("what", ["receipt", "excerpt"])
def test_chromium_verifies_it_offline_and_shows_a_change(
    browser: Browser, evidence: dict[str, str], what: str, tmp_path: Path
) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(PAGE.as_uri())
    file = tmp_path / "evidence"
    file.write_text(evidence[what])
    page.set_input_files("#file", str(file))
    page.fill("#key", evidence["key"].strip())
    page.click("#run")
    page.wait_for_selector("#verdict.good")
    assert page.inner_text("#verdict").endswith("intact")
    changed = evidence[what].replace('"seq": 3', '"seq": 4').replace("An answer", "No answer")
    assert changed != evidence[what]
    page.fill("#text", changed)
    page.click("#run")
    page.wait_for_selector("#verdict.bad")
    assert page.inner_text("#findings li >> nth=0")
    context.close()
    assert faults == []
