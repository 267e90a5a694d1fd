"""What a model thought is a part of its record that can be redacted apart from the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import VaultError
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.reader import Filter
from minivault.vault.rewrite import compress_segments
from tests.vault.samples import check, closing, opening, records

Make = Callable[..., Vault]
SECRET = "a-secret-thought"


def think(vault: Vault, reasoning: str = SECRET) -> str:
    entry = vault.begin(opening())
    entry.wait()
    entry.finish(closing("Four", reasoning=reasoning))
    return entry.id


@pytest.fixture
def thought(make_vault: Make, directory: Path) -> str:
    vault = make_vault()
    id_ = think(vault)
    think(vault, "")
    vault.close()
    return id_


def line_of(directory: Path, id_: str) -> dict[str, Any]:
    return next(record for record in records(directory) if record["id"] == id_)


def rewrite(directory: Path, id_: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change one line as somebody with an editor would."""
    lines = []
    for line in (directory / "log.jsonl").read_bytes().splitlines():
        fields = json.loads(line)
        if fields["id"] == id_:
            change(fields)
        lines.append(json.dumps(fields, separators=(",", ":")).encode())
    (directory / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n")


def test_only_a_record_with_a_thought_is_of_the_newer_format(thought: str, directory: Path) -> None:
    with_thought, without = records(directory)
    assert (with_thought["v"], with_thought["reasoning"]) == (3, SECRET)
    assert without["v"] == 2 and not {"reasoning", "reasoning_sha256", "reasoning_salt"} & without.keys()
    assert check(directory).exit_code == 0


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_thought_goes_and_the_answer_stays(is_sealed: bool, make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=1 if is_sealed else 1 << 20)
    id_ = think(vault)
    think(vault, "another")
    if is_sealed:
        compress_segments(directory)
    vault.close()
    with Archive(directory, by="tester") as archive:
        place = archive.redact(id_, "asked to", "reasoning")
        record = archive.show(id_)
        assert record["reasoning_redacted"]["record"] == place.seq
        assert (record["prompt"], record["response"]) == ("Hello", "Four")
        assert not {"reasoning", "completion_tokens", "reasoning_salt"} & record.keys()
        assert SECRET not in json.dumps(records(directory, None))
        with pytest.raises(VaultError, match=r"thoughts .* were redacted by record"):
            archive.redact(id_, "again", "reasoning")
        assert (check(directory).exit_code, check(directory).num_redacted) == (0, 1)
        archive.redact(id_, "now all of it")
        assert "response" not in archive.show(id_)
        with pytest.raises(VaultError, match="was redacted by record"):
            archive.redact(id_, "again", "reasoning")
    assert (check(directory).exit_code, check(directory).num_redacted) == (0, 1)


def test_a_redacted_record_keeps_no_thought(thought: str, directory: Path) -> None:
    with Archive(directory, by="tester") as archive:
        archive.redact(thought, "asked to")
        assert not {"reasoning", "reasoning_salt", "completion_tokens", "response"} & archive.show(thought).keys()
    assert check(directory).exit_code == 0


def test_a_record_without_a_thought_has_no_such_part(thought: str, directory: Path) -> None:
    with Archive(directory, by="tester") as archive:
        other = next(record["id"] for record in records(directory) if record["id"] != thought)
        with pytest.raises(VaultError, match="holds no thoughts"):
            archive.redact(other, "asked to", "reasoning")


def test_an_excerpt_withholds_and_shows_thoughts_like_the_rest(thought: str, directory: Path, tmp_path: Path) -> None:
    with Archive(directory, by="tester") as archive:
        for redacts in (False, True):
            if redacts:
                archive.redact(thought, "asked to", "reasoning")
            for wanted in (Filter(), Filter(type="start")):
                lines, _ = archive.export_jsonl(wanted)
                excerpt = tmp_path / "excerpt.jsonl"
                excerpt.write_bytes(b"".join(lines))
                assert check(excerpt).exit_code == 0
                assert (SECRET in excerpt.read_text()) == (not redacts and wanted.type == "interaction")


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(reasoning="another"),
        lambda fields: fields.update(completion_tokens=[9]),
        lambda fields: fields.pop("reasoning"),
        lambda fields: [fields.pop(key) for key in ("reasoning", "completion_tokens", "reasoning_salt")],
        lambda fields: fields.update(reasoning_salt="0" * 32),
        lambda fields: fields.update(reasoning_sha256="sha256:" + "0" * 64),
        lambda fields: fields.update(v=2),
        lambda fields: fields.update(reasoning_redacted={"at": "x", "by": "y", "record": 9}),
        lambda fields: [
            *(fields.pop(key) for key in ("reasoning", "completion_tokens", "reasoning_salt")),
            fields.update(reasoning_redacted={"at": "x", "by": "y", "record": 9}),
        ],
    ],
)
def test_every_change_to_a_thought_shows(change: Any, thought: str, directory: Path) -> None:
    rewrite(directory, thought, change)
    assert check(directory).exit_code == 2
    with Archive(directory, by="tester") as archive, pytest.raises(VaultError):
        archive.show(thought)


def test_a_mark_on_a_record_without_a_thought_shows(thought: str, directory: Path) -> None:
    other = next(record["id"] for record in records(directory) if record["id"] != thought)
    rewrite(directory, other, lambda fields: fields.update(reasoning_redacted={"at": "x", "by": "y", "record": 9}))
    assert check(directory).exit_code == 2


def test_a_redaction_that_was_undone_shows(thought: str, directory: Path) -> None:
    kept = line_of(directory, thought)
    with Archive(directory, by="tester") as archive:
        archive.redact(thought, "asked to", "reasoning")

    def restore(fields: dict[str, Any]) -> None:
        fields.clear()
        fields.update(kept)

    rewrite(directory, thought, restore)
    report = check(directory)
    assert report.exit_code == 1
    assert "was not carried out" in report.findings[0].message


def test_a_redaction_cut_short_is_completed(thought: str, directory: Path) -> None:
    kept = line_of(directory, thought)
    with Archive(directory, by="tester") as archive:
        archive.redact(thought, "asked to", "reasoning")
        rewrite(directory, thought, lambda fields: (fields.clear(), fields.update(kept)))
        assert archive.recover() == ([], 1)
        assert "reasoning" not in archive.show(thought) and archive.show(thought)["response"] == "Four"
    assert check(directory).exit_code == 0
