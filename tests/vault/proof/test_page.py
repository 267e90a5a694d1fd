"""The page that verifies in a browser: its script, run by node, whose WebCrypto is that of browsers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.reader import Filter
from tests.vault.samples import closing, opening

PAGE = Path(__file__).resolve().parents[3] / "docs" / "verify.html"
CALL = """
const {readFileSync} = require("node:fs");
const [input, key] = JSON.parse(readFileSync(0, "utf8"));
verifyText(input, key).then(result => console.log(JSON.stringify(result)));
"""
Verify = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Verify:
    """Calls the page's one function."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    [script] = re.findall(r"<script>\n(.*?)</script>", PAGE.read_text(), re.DOTALL)
    path = tmp_path_factory.mktemp("page") / "verify.js"
    path.write_text(script + CALL)

    def verify(text: str, key: str = "") -> dict[str, Any]:
        done = subprocess.run(
            [node, path], input=json.dumps([text, key]), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return verify


@pytest.fixture
def receipts(make_vault: Callable[..., Vault], directory: Path) -> list[dict[str, Any]]:
    """Of two answers, the second with thoughts; floats and letters beyond ASCII are in their content."""
    vault = make_vault()
    found = []
    for prompt, reasoning in (("Grüße 😀\u2028", ""), ("two", "a thought")):
        parameters = {"seed": 2**62 + 1, "temperature": 1e-05, "top_p": 1.0, "stop": ["ä"]}
        entry = vault.begin(opening(prompt, key="k1", parameters=parameters))
        entry.finish(closing("An answer: ∑ \x1b", reasoning=reasoning))
        receipt = entry.receipt()
        assert receipt is not None
        found.append(receipt)
    vault.close()
    return found


def test_the_page_fetches_nothing() -> None:
    assert not re.search(r"""(src|href)\s*=|fetch\(|XMLHttpRequest|import\(|@import|url\(""", PAGE.read_text())


def test_a_browser_verifies_receipts(page: Verify, receipts: list[dict[str, Any]], directory: Path) -> None:
    key = (directory / "vault.pub").read_text()
    reply = json.dumps({"id": "x", "receipts": receipts}, indent=1)
    stream = "".join(f"data: {json.dumps({'receipt': one})}\n\n" for one in receipts)
    for text in (reply, stream, json.dumps(receipts[0])):
        assert page(text, key)["isGood"], page(text, key)
    assert not page(reply, "ed25519:" + "A" * 43 + "=")["isGood"]
    assert not page(reply.replace('"seq": 3', '"seq": 4'), key)["isGood"]
    assert not page("hello", key)["isGood"]


def test_a_browser_verifies_an_excerpt_and_finds_every_change(
    page: Verify, receipts: list[dict[str, Any]], directory: Path
) -> None:
    key = (directory / "vault.pub").read_text()
    with Archive(directory, by="tester") as archive:
        whole = b"".join(archive.export_jsonl(Filter(key=("k1",)))[0]).decode()
        archive.redact(receipts[0]["id"], "asked for")
        archive.redact(receipts[1]["id"], "asked for", "reasoning")
        redacted = b"".join(archive.export_jsonl(Filter(key=("k1",)))[0]).decode()
    for text in (whole, redacted):
        result = page(text, key)
        assert result["isGood"], result["findings"]
    assert any("Grüße" in finding["message"] for finding in page(whole)["findings"])
    lines = whole.splitlines(keepends=True)
    for changed in (
        whole.replace("An answer", "No answer", 1),
        whole.replace("1e-05", "0.00001"),
        "".join(lines[:-1]),
        "".join([*lines[:1], *lines[3:]]),
        whole.replace('"path":["', '"path":["AAAA'),
        whole.replace('"records":2', '"records":1'),
        whole[:-40] + whole[-39:],
    ):
        assert changed != whole
        assert not page(changed, key)["isGood"]
