"""Whether a text was said: found however it is spelt, near where most of it agrees, and gone when it should be gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import BadRequest, VaultError, VaultUnavailable
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.disk import Disk
from minivault.vault.rewrite import compress_segments
from minivault.vault.said import MAX_CHARACTERS, Said
from minivault.vault.said.index import FOLDER, update
from minivault.vault.said.kept import PLACE_BITS, kept
from minivault.vault.said.words import MIN_PART, shingles, sought, words
from minivault.vault.segments import ACTIVE, sealed_segments
from tests.vault.samples import Clock, ask, check, closing, opening, records

Make = Callable[..., Vault]
STORY = (
    "The lighthouse keeper counted the ships that passed before dawn, and wrote their names into a book that nobody "
    "would ever read. When the storm came he closed the shutters, lit the lamp and waited for the wind to turn."
)
PART = "Wrote their names into a book that nobody would ever read."


def seqs(found: Said) -> list[int]:
    return [match.seq for match in found.matches]


@pytest.fixture
def story(vault: Vault) -> int:
    """The seq of one among other answers."""
    for number in range(5):
        ask(vault, response=f"Something else, number {number}: the ships that passed were few and far between.")
    return ask(vault, response=STORY, key="k1")[1].seq


@pytest.mark.parametrize(
    "text",
    [
        STORY,
        PART,
        STORY.upper(),
        "  ** ".join(PART.split()),
        "wrote their names into a book\nthat nobody\u00a0would ever\u200b read",
        "\uff57\uff52\uff4f\uff54\uff45 their names into a book, that \u201cnobody\u201d would ever read",
    ],
)
def test_an_answer_or_a_part_of_it_is_found_whatever_its_spelling(archive: Archive, story: int, text: str) -> None:
    found = archive.said(text)
    assert (found.verdict, seqs(found)) == ("found", [story])
    [match] = found.matches
    assert match.is_whole == (len(words(text)) == len(words(STORY)))
    assert match.text in STORY and words(match.text) == words(text)
    assert (match.key, match.field, match.last_word - match.first_word + 1) == ("k1", "response", len(words(text)))


def test_what_nearly_agrees_is_told_with_what_differs(archive: Archive, story: int) -> None:
    found = archive.said(STORY.replace("the ships", "all boats").replace("lit the lamp", "lit the old lamp"))
    assert (found.verdict, seqs(found)) == ("nearly", [story])
    [match] = found.matches
    assert match.differences == (("all boats", "the ships"), ("old", ""))
    assert match.num_agreeing == len(words(STORY)) - 2 < match.num_words
    around = archive.said(f"It was said, and I quote from memory as well as I can: {STORY} That is what I have heard.")
    assert (around.verdict, around.matches[0].share) == ("nearly", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "A text that has nothing at all to do with it, of quite another author",
        " ".join(reversed(STORY.split())),
        "the ships that passed were never seen again by any of those who had been waiting so long on the shore",
        "the lighthouse keeper",
    ],
)
def test_what_was_not_said_is_not_found_and_what_that_means_is_told(archive: Archive, story: int, text: str) -> None:
    found = archive.said(text)
    assert (found.verdict, found.matches) == ("not found", ())
    assert (found.reach.first_seq, found.reach.num_answers, found.reach.num_gone) == (1, 18, 0)
    assert found.reach.last_seq == story
    assert found.is_part_sought == (len(words(text)) >= MIN_PART)


def test_a_short_text_is_found_where_it_is_all_that_was_said(archive: Archive, vault: Vault) -> None:
    _, yes = ask(vault, response="Yes!")
    ask(vault, response="Yes, and no.")
    assert seqs(archive.said("  yes")) == [yes.seq]
    assert archive.said("and no").verdict == "not found"


def test_thoughts_and_arguments_of_calls_are_looked_through(archive: Archive, vault: Vault) -> None:
    letter = 'Dear Sir,\nI write to you about the "old" lamp — and the wind, which has turned since.'
    call = f"<tool_call>{json.dumps({'name': 'send', 'arguments': {'text': letter}})}</tool_call>"
    _, called = ask(vault, response=call)
    entry = vault.begin(opening())
    thought = entry.finish(closing("Yes.", reasoning=PART))
    assert seqs(archive.said(letter)) == [called.seq]
    [match] = archive.said(PART).matches
    assert (match.seq, match.field) == (thought.seq, "reasoning")


def test_an_answer_in_a_script_without_spaces_is_found(archive: Archive, vault: Vault) -> None:
    _, place = ask(vault, response="灯台守は夜明け前に通り過ぎる船を数えて、その名前を本に書き留めた。")
    assert seqs(archive.said("夜明け前に通り過ぎる船を数えて")) == [place.seq]


@pytest.mark.parametrize("text", ["", "  \n", "?!…", "x" * (MAX_CHARACTERS + 1), "binary\0text"])
def test_what_is_no_text_to_look_for_is_refused(archive: Archive, story: int, text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        archive.said(text)
    assert refused.value.field == "text"


def test_the_question_is_recorded_without_its_text(archive: Archive, story: int, directory: Path) -> None:
    archive.said(PART)
    [read] = records(directory, "read")
    assert (read["command"], read["filter"]) == (
        "said",
        {"words": len(words(PART)), "verdict": "found", "found": [story]},
    )
    assert check(directory).exit_code == 0


@given(st.lists(st.sampled_from("abcdefgh"), min_size=MIN_PART, max_size=60), st.data())
@settings(max_examples=200)
def test_every_part_of_enough_words_shares_what_is_indexed(text: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - MIN_PART))
    end = data.draw(st.integers(start + MIN_PART, len(text)))
    assert set(shingles(text)) & sought(text[start:end])


@given(st.text(max_size=200))
def test_words_of_words_are_the_same(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)


@pytest.fixture
def spread(make_vault: Make, directory: Path) -> list[int]:
    """The seqs of answers in several segments, the last of them active."""
    vault = make_vault(segment_bytes=4000)
    found = [ask(vault, response=f"{STORY} So ends chapter {number}.")[1].seq for number in range(9)]
    vault.close()
    compress_segments(directory)
    assert len(sealed_segments(directory)) >= 2
    return found


def test_only_what_is_new_is_read(spread: list[int], archive: Archive, directory: Path, make_vault: Make) -> None:
    assert seqs(archive.said(PART)) == spread
    before = {path.name: path.stat().st_ino for path in (directory / FOLDER).iterdir()}
    vault = make_vault()
    assert [*spread, ask(vault, response=STORY)[1].seq] == seqs(archive.said(PART))
    after = {path.name: path.stat().st_ino for path in (directory / FOLDER).iterdir()}
    assert {name for name in after if before.get(name) != after[name]} == {ACTIVE}


def test_the_index_is_made_again_from_the_log(spread: list[int], archive: Archive, directory: Path) -> None:
    archive.said(PART)
    for number, path in enumerate(sorted((directory / FOLDER).iterdir())):
        path.write_bytes((b"", b"garbage " * 20, path.read_bytes()[:-8])[number % 3])
    assert seqs(archive.said(PART)) == spread
    (directory / "index.sqlite3").write_bytes(b"garbage " * 1000)
    assert seqs(archive.said(PART)) == spread


def kept_hashes(directory: Path) -> set[int]:
    """Every hash that any file beside the log holds."""
    found: set[int] = set()
    for path in (directory / FOLDER).iterdir():
        with kept(path) as here:
            found |= {number >> PLACE_BITS for number in here[1]} if here is not None else set()
    return found


@pytest.mark.parametrize("which", [0, -1], ids=["sealed", "active"])
def test_what_is_redacted_leaves_the_index_before_it_leaves_the_log(
    make_vault: Make, archive: Archive, directory: Path, which: int
) -> None:
    secrets = [
        f"the secret number {number} hundred is, so to say, that of a person" for number in ("one", "two", "six")
    ]
    vault = make_vault(segment_bytes=1500)
    ids = [ask(vault, response=secret)[0] for secret in secrets]
    vault.close()
    assert archive.said(secrets[which]).verdict == "found"
    secret_hashes = set(shingles(words(secrets[which]))) - set(shingles(words(secrets[1])))
    assert secret_hashes < kept_hashes(directory)
    compress_segments(directory)
    archive.redact(ids[which], "asked for")
    assert not secret_hashes & kept_hashes(directory), "before anybody asks again"
    found = archive.said(secrets[which])
    assert seqs(found) != [] and found.verdict == "nearly", "two others are alike"
    assert found.reach.num_gone == 1
    assert secret_hashes and not secret_hashes & kept_hashes(directory)


def test_a_thought_that_is_redacted_goes_alone(archive: Archive, vault: Vault, directory: Path) -> None:
    entry = vault.begin(opening())
    place = entry.finish(closing(STORY, reasoning="I think of a keeper of lamps who writes down what passes him by."))
    assert archive.said("a keeper of lamps who writes down what passes him").verdict == "found"
    archive.redact(entry.id, "asked for", "reasoning")
    assert archive.said("a keeper of lamps who writes down what passes him").verdict == "not found"
    assert seqs(archive.said(PART)) == [place.seq]


def test_what_is_pruned_is_forgotten(make_vault: Make, directory: Path, clock: Clock) -> None:
    vault = make_vault(clock=clock)
    ask(vault, response=STORY)
    clock.step(3 * 86400)
    ask(vault, response="And now something quite different, of which nobody had ever thought before that day.")
    vault.close()
    with Archive(directory, by="tester", clock=clock) as archive:
        assert archive.said(PART).verdict == "found"
        assert archive.prune(1).num_records
        assert [path.name for path in (directory / FOLDER).iterdir()] == []
        found = archive.said(PART)
    assert (found.verdict, found.reach.num_answers) == ("not found", 1)
    assert found.reach.first_seq > 1


def test_an_index_that_cannot_be_removed_keeps_the_redaction_from_being_done_by_halves(
    archive: Archive, story: int, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.said(PART)
    real = Disk.unlink

    def unlink(disk: Disk, path: Path) -> None:
        if path.parent.name == FOLDER:
            raise PermissionError(13, "denied", str(path))
        real(disk, path)

    monkeypatch.setattr(Disk, "unlink", unlink)
    with pytest.raises(VaultUnavailable):
        archive.redact(str(story), "asked for")
    assert check(directory).exit_code == 1, "cut short"
    monkeypatch.undo()
    assert archive.recover()[1] == 1
    assert archive.said(PART).verdict == "not found"
    assert check(directory).exit_code == 0


def test_a_changed_record_is_not_shown(archive: Archive, story: int, directory: Path) -> None:
    archive.said(PART)
    active = directory / ACTIVE
    active.write_bytes(active.read_bytes().replace(b"lighthouse", b"lightboats"))
    with pytest.raises(VaultError, match="was changed"):
        archive.said(PART)


def test_what_is_kept_is_private(archive: Archive, story: int, directory: Path) -> None:
    update(directory)
    assert (directory / FOLDER).stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (directory / FOLDER).iterdir()} == {0o600}
