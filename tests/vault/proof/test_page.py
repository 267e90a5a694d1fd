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
from minivault.vault.proof.key import SigningKey
from minivault.vault.reader import Filter
from minivault.vault.record import canonical, compact
from minivault.vault.verify import Misused, digest, unwrap, verify_receipts
from tests.vault.samples import ask, check, closing, opening

PAGE = Path(__file__).resolve().parents[3] / "docs" / "verify.html"
CALL = """
const {readFileSync} = require("node:fs");
const [input, key] = JSON.parse(readFileSync(0, "utf8"));
verifyText(input, key).catch(error => ({isGood: false, findings: [{isGood: false, message: error.message}]}))
  .then(result => console.log(JSON.stringify(result)));
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


def test_a_browser_says_of_receipts_what_the_verifier_says(
    page: Verify, receipts: list[dict[str, Any]], directory: Path, tmp_path: Path
) -> None:
    sound, key = receipts[0], SigningKey.of(unwrap((directory / "vault.key").read_text().strip()))
    other = {**sound, "seq": sound["seq"] + 1, "prev": "sha256:" + "5" * 64}
    other["signature"] = key.sign(canonical({name: other[name] for name in other if name not in ("signature", "salt")}))
    checkpoint = json.loads((directory / "checkpoints.jsonl").read_text().splitlines()[0])
    texts = [
        *(json.dumps({**sound, name: value}) for name in sound for value in (None, "x", 1, 2**60, [])),
        *(json.dumps({name: sound[name] for name in sound if name != gone}) for gone in sound),
        *("\n".join(map(json.dumps, pair)) for pair in ([sound, other], [other, sound], [sound, sound], receipts)),
        *(json.dumps([sound, {"receipt": sound}], indent=indent) for indent in (None, 2)),
        json.dumps({"response": "é\u2028", "receipt": sound}, ensure_ascii=False, indent=1) * 2,
        json.dumps({"receipt": checkpoint}),
        json.dumps(sound).replace("receipt", "\\u0072eceipt"),
        json.dumps(sound).replace('=="', '"'),
        json.dumps(sound).replace('"seq"', '"seq": 1, "seq"'),
        json.dumps(sound) + json.dumps(sound),
    ]
    public = (directory / "vault.pub").read_text()
    for text in texts:
        (tmp_path / "kept").write_text(text)
        try:
            expected = verify_receipts(tmp_path / "kept", public_key=public).exit_code == 0
        except Misused:
            expected = False
        assert page(text, public)["isGood"] == expected, text


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


def resealed(excerpt: str, drop: Callable[[dict[str, Any]], bool], key: SigningKey) -> str:
    """The excerpt without some records, as the holder of the key would make it."""
    header, *lines, last = map(json.loads, excerpt.splitlines())
    pairs = [pair for pair in zip(lines[::2], lines[1::2], strict=True) if not drop(pair[0])]
    header["records"] = sum("withheld" not in record for record, _ in pairs)
    body = b"".join(compact(one) + b"\n" for one in (header, *(one for pair in pairs for one in pair)))
    seal = {**last, "lines": body.count(b"\n"), "sha256": digest(body)}
    del seal["signature"]
    return (body + compact({**seal, "signature": key.sign(canonical(seal))})).decode() + "\n"


def test_a_browser_asks_for_the_record_of_a_redaction_as_the_verifier_does(
    page: Verify,
    receipts: list[dict[str, Any]],
    make_vault: Callable[..., Vault],
    directory: Path,
    tmp_path: Path,
) -> None:
    with Archive(directory, by="tester") as archive:
        archive.redact(receipts[0]["id"], "asked for")
        vault = make_vault()
        ask(vault, "what came later")
        vault.close()
        excerpt = b"".join(archive.export_jsonl(Filter())[0]).decode()
    key = SigningKey.of(unwrap((directory / "vault.key").read_text().strip()))
    for name, is_sound in (("none", True), ("redaction", False), ("interaction", True)):
        text = resealed(excerpt, lambda record, name=name: record["type"] == name, key)
        (tmp_path / "excerpt").write_text(text)
        assert page(text)["isGood"] == is_sound == (check(tmp_path / "excerpt").exit_code == 0), (name, page(text))
