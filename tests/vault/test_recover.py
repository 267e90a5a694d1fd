"""What a dead process left open becomes one record each, with exactly what had been sent where that can be told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.disk import Disk
from minivault.vault.entry import by_name, encode_opening
from minivault.vault.journal import Journal, read_open
from tests.vault.samples import ask, check, closing, opening, records

odd = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
json_values = st.dictionaries(
    st.sampled_from(["open", "sent", "done", "tokens", "bytes"]),
    odd | st.dictionaries(st.sampled_from(["id", "prompt"]), odd, max_size=2),
    max_size=4,
)
PROJECT = Path(__file__).resolve().parents[2]
DYING = """
import os, sys
from pathlib import Path
from minivault.vault import Vault
from tests.vault.samples import ask, closing, opening

vault = Vault.open(Path(sys.argv[1]), sync="written")
ask(vault, "finished")
for number in range(3):
    entry = vault.begin(opening(f"open {number}"))
    entry.wait()
    for tokens in range(number * 2):
        entry.progress(tokens + 1, (tokens + 1) * 3)
os._exit(9)
"""
Make = Callable[..., Vault]


@pytest.fixture
def deserted(directory: Path) -> Path:
    """A vault whose process died: one interaction finished, three open with 0, 2 and 4 tokens sent."""
    done = subprocess.run([sys.executable, "-c", DYING, str(directory)], cwd=PROJECT, check=False)
    assert done.returncode == 9
    return directory


def opened(id_: str) -> bytes:
    return encode_opening({**by_name(opening(id=id_)), "boot": "boot-1"})


def derive(opening: Any, num_tokens: int, num_bytes: int) -> tuple[str, list[int], str]:
    return "abc" * num_tokens, list(range(num_tokens)), ""


def test_open_entries_become_interrupted_records(deserted: Path, make_vault: Make) -> None:
    recovered = make_vault().recover()
    assert [(one.num_tokens, one.num_bytes, one.reconstructed) for one in recovered] == [
        (0, 0, True),
        (2, 6, False),
        (4, 12, False),
    ]
    found = [record for record in records(deserted) if record["status"] == "interrupted"]
    assert [record["prompt"] for record in found] == ["open 0", "open 1", "open 2"]
    assert found[2]["sent"] == {"tokens": 4, "bytes": 12}
    assert found[2]["usage"]["completion_tokens"] == 4
    assert found[2]["parameters"] == {"seed": 7, "temperature": 0.7}
    assert found[2]["boot"] != records(deserted, "start")[-1]["boot"]
    assert check(deserted).exit_code == 0


def test_what_had_been_sent_is_derived_again(deserted: Path, make_vault: Make) -> None:
    make_vault().recover(derive)
    found = [record for record in records(deserted) if record["status"] == "interrupted"]
    assert [(record["response"], record["reconstructed"]) for record in found] == [
        ("", True),
        ("abcabc", True),
        ("abcabcabcabc", True),
    ]
    assert found[1]["completion_tokens"] == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [lambda *_: None, lambda _o, tokens, _b: ("abc", [1] * tokens, ""), lambda _o, tokens, size: ("x" * size, [1], "")],
)
def test_a_derivation_that_disagrees_with_what_was_sent_is_not_believed(
    wrong: Any, deserted: Path, make_vault: Make
) -> None:
    make_vault().recover(wrong)
    found = [record for record in records(deserted) if record["status"] == "interrupted"]
    assert [(record["response"], record["reconstructed"]) for record in found[1:]] == [("", False)] * 2


def test_recovering_twice_records_once(deserted: Path, make_vault: Make) -> None:
    vault = make_vault()
    assert len(vault.recover()) == 3
    assert vault.recover() == []
    assert len(records(deserted)) == 4


def test_a_record_whose_mark_was_lost_is_not_recorded_again(deserted: Path, make_vault: Make) -> None:
    [journal] = (deserted / "journal").iterdir()
    saved = journal.read_bytes()
    vault = make_vault()
    vault.recover()
    journal.write_bytes(saved)
    assert vault.recover() == []
    assert len(records(deserted)) == 4


def test_the_journal_of_a_living_process_is_left_alone(vault: Vault, make_vault: Make, directory: Path) -> None:
    entry = vault.begin(opening("alive"))
    entry.wait()
    with Archive(directory, by="tester") as archive:
        assert archive.recover() == ([], 0)
    entry.finish(closing())
    assert len(records(directory)) == 1


def test_verify_says_that_something_waits_to_be_recovered(deserted: Path, make_vault: Make) -> None:
    assert check(deserted).exit_code == 1
    vault = make_vault()
    vault.recover()
    vault.close()
    assert check(deserted).exit_code == 0


def test_a_torn_entry_was_never_acknowledged_and_is_passed_over(deserted: Path, make_vault: Make) -> None:
    [journal] = (deserted / "journal").iterdir()
    with journal.open("ab") as file:
        file.write(b'{"open":{"id":"half')
    assert len(make_vault().recover()) == 3


def test_a_full_journal_file_is_retired_and_removed_when_empty(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    journal = Journal(directory, "boot-1", Disk(), full_bytes=300)
    for number in range(6):
        journal.write([(f"id-{number}", opened(f"id-{number}"))], after=0)
    files = sorted(path.name for path in (directory / "journal").iterdir())
    assert len(files) > 2
    assert sum(len(read_open(path)) for path in (directory / "journal").iterdir()) == 6
    journal.done([f"id-{number}" for number in range(5)])
    assert sum(len(read_open(path)) for path in (directory / "journal").iterdir()) == 1
    journal.done(["id-5"])
    journal.close()
    assert list((directory / "journal").iterdir()) == []


def test_a_journal_of_the_same_name_in_another_container_is_respected(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    one, other = (Journal(directory, "boot-1", Disk()) for _ in range(2))
    one.write([("a", opened("a"))], after=0)
    other.write([("b", opened("b"))], after=0)
    names = {path.name: json.loads(path.read_bytes())["open"]["id"] for path in (directory / "journal").iterdir()}
    assert names == {"boot-1.jsonl": "a", "boot-1.2.jsonl": "b"}
    one.close()
    other.close()


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()), max_size=6))
def test_a_journal_of_garbage_is_passed_over(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert read_open(path) == []


def test_marks_say_the_last_totals(vault: Vault, directory: Path) -> None:
    entry = vault.begin(opening())
    entry.wait()
    for number in range(1, 50):
        entry.progress(number, number * 4)
    [journal] = (directory / "journal").iterdir()
    [found] = read_open(journal)
    assert (found.num_tokens, found.num_bytes) == (49, 196)
    ask(vault, "another, so that the first is not the last")
    assert [one.opening["id"] for one in read_open(journal)] == [entry.id]
    entry.finish(closing())
