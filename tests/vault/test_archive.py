"""Looking after a vault: finding, searching, redacting, pruning, compressing, following, signing."""

from __future__ import annotations

import gzip
import itertools
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.errors import NotFound, VaultError
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.disk import Disk
from minivault.vault.head import last_record
from minivault.vault.index import Index, find, look_up
from minivault.vault.log import Log
from minivault.vault.reader import Filter, follow, last_records
from minivault.vault.record import content_of
from minivault.vault.rewrite import compress_segments, maintenance
from minivault.vault.segments import first_record, sealed_segments, summarize
from tests.vault.samples import START_NS, ask, check, closing, opening, records

Make = Callable[..., Vault]


def test_every_record_is_found_by_id_and_by_seq(archive: Archive, ids: list[str]) -> None:
    for number, id_ in enumerate(ids):
        record = archive.show(id_)
        assert record["prompt"] == f"prompt {number}"
        assert archive.show(str(record["seq"]))["id"] == id_
    for wrong in ("nothing", "0", "999999"):
        with pytest.raises(NotFound):
            archive.show(wrong)


def test_the_index_is_never_believed_over_the_log(archive: Archive, ids: list[str], directory: Path) -> None:
    archive.reindex()
    with sqlite3.connect(directory / "index.sqlite3") as database:
        database.execute("UPDATE record SET offset = offset + 1")
    database.close()
    assert archive.show(ids[0])["prompt"] == "prompt 0"
    (directory / "index.sqlite3").write_bytes(b"garbage " * 1000)
    assert archive.show(ids[0])["prompt"] == "prompt 0"
    (directory / "index.sqlite3").unlink()
    assert archive.show(ids[0])["prompt"] == "prompt 0"


def test_a_record_is_looked_up_as_soon_as_it_is_written(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=5_000)
    for number in range(40):
        id_, _ = ask(vault, f"prompt {number}")
        assert (look_up(directory, id_) or {})["prompt"] == f"prompt {number}"
    assert len(sealed_segments(directory)) > 1


def test_an_id_that_is_nobody_s_has_nothing_read(
    make_vault: Make, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(make_vault())
    monkeypatch.setattr("minivault.vault.index.in_place", None)
    assert look_up(directory, "nobody") is None


def test_what_the_index_has_of_an_active_segment_is_never_believed_over_it(
    archive: Archive, make_vault: Make, directory: Path
) -> None:
    vault = make_vault()
    (first, _), (second, _) = ask(vault, "one"), ask(vault, "two")
    assert look_up(directory, first) is not None
    archive.redact(first, "asked for")
    assert "redacted" in (look_up(directory, first) or {}), "another file, with other places"
    assert (look_up(directory, second) or {})["prompt"] == "two"
    active = directory / "log.jsonl"
    active.write_bytes(active.read_bytes().replace(b"two", b"six"))
    with pytest.raises(VaultError, match="was changed"):
        look_up(directory, second)


def test_a_salt_spelt_otherwise_is_a_change_too(make_vault: Make, directory: Path) -> None:
    id_, _ = ask(make_vault())
    salt = records(directory)[0]["salt"]
    active = directory / "log.jsonl"
    active.write_bytes(active.read_bytes().replace(salt.encode(), salt.upper().encode()))
    with pytest.raises(VaultError, match="was changed"):
        find(directory, id_)


def test_a_segment_that_goes_is_left_out_of_the_index(ids: list[str], directory: Path) -> None:
    files = sorted(directory.glob("log-*.gz"))
    with Index(directory) as index:
        files[0].rename(directory / "aside")
        index.update()
        assert index.find(ids[0]) is None
        assert find(directory, ids[1]) is None
        (directory / "aside").rename(files[0])
        index.update()
        assert index.find(ids[0]) is not None


def test_a_changed_record_is_not_shown(archive: Archive, ids: list[str], directory: Path) -> None:
    path = sorted(directory.glob("log-*.gz"))[0]
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"answer 0", b"answer X")))
    with pytest.raises(VaultError, match="was changed"):
        archive.show(ids[0])


def test_reading_is_recorded_with_who_and_what(archive: Archive, ids: list[str], directory: Path) -> None:
    archive.show(ids[3])
    archive.search(Filter(text="PROMPT 1", key=("k1",)))
    archive.tail(2)
    archive.stats(Filter())
    list(archive.export_csv(Filter()))
    reads = records(directory, "read")
    assert [read["command"] for read in reads] == ["show", "search", "tail", "stats", "export"]
    assert {read["by"] for read in reads} == {"tester (uid 1)"}
    assert reads[0]["filter"] == {"id": ids[3]}
    assert (reads[1]["filter"], reads[1]["records"]) == ({"text": "PROMPT 1", "key": ["k1"], "type": "interaction"}, 2)
    assert check(directory).exit_code == 0


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(text="prompt 7"), [7]),
        (Filter(text="ANSWER 1"), [1, 10, 11]),
        (Filter(key=("k0",)), [0, 2, 4, 6, 8, 10]),
        (Filter(model="other"), []),
        (Filter(status="failed"), []),
        (Filter(until_ns=START_NS), []),
        (Filter(since_ns=START_NS, status="completed", model="tiny"), list(range(12))),
        (Filter(api="generate", text="no such text"), []),
    ],
)
def test_search_finds_what_matches(wanted: Filter, numbers: list[int], archive: Archive) -> None:
    assert [record["prompt"] for record in archive.search(wanted)] == [f"prompt {number}" for number in numbers]


def test_search_finds_text_that_the_line_escapes(vault: Vault, directory: Path) -> None:
    ask(vault, "Grüße\nan «alle»", 'he said "no"')
    with Archive(directory, by="tester") as archive:
        for text in ("grüße", "«ALLE»", "Grüße\nan", '"no"'):
            assert len(archive.search(Filter(text=text))) == 1, text


def test_search_keeps_the_last_when_limited(archive: Archive) -> None:
    assert [record["prompt"] for record in archive.search(Filter(), 2)] == ["prompt 10", "prompt 11"]


def test_stats_count_by_day_model_and_key(archive: Archive) -> None:
    groups = archive.stats(Filter())
    assert [(group.key, group.requests, group.completion_tokens) for group in groups] == [("k0", 6, 12), ("k1", 6, 12)]
    assert groups[0].median_ms == 1.5
    assert groups[0].statuses == {"completed": 6}


@pytest.mark.parametrize("number", [0, 5, 11])
def test_a_redacted_record_verifies_and_its_content_is_nowhere(
    number: int, archive: Archive, ids: list[str], directory: Path
) -> None:
    before = archive.show(ids[number])
    for name in ("log.jsonl.tmp", "log-000000000001.jsonl.tmp"):
        (directory / name).write_text(f'"prompt {number}"')  # left by a crash
    place = archive.redact(ids[number], "asked to")
    record = archive.show(ids[number])
    assert not content_of(record) and "salt" not in record
    assert record["redacted"]["record"] == place.seq
    assert record["redacted"]["by"] == "tester (uid 1)"
    assert archive.show(str(place.seq))["reason"] == "asked to"
    assert (record["hash"], record["content_sha256"]) == (before["hash"], before["content_sha256"])
    report = check(directory)
    assert (report.exit_code, report.num_redacted) == (0, 1)
    for path in directory.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        assert f'"prompt {number}"'.encode() not in data, path


def test_redacting_several_records_of_one_segment_and_again_is_consistent(
    archive: Archive, ids: list[str], directory: Path
) -> None:
    for id_ in ids[:4]:
        archive.redact(id_, "asked to")
    with pytest.raises(VaultError, match="was redacted by record"):
        archive.redact(ids[0], "again")
    with pytest.raises(VaultError, match="holds no content"):
        archive.redact("1", "a genesis")
    report = check(directory)
    assert (report.exit_code, report.num_redacted) == (0, 4)


def test_a_redaction_does_not_disturb_a_server_that_writes(vault: Vault, directory: Path) -> None:
    id_, _ = ask(vault, "secret")
    entry = vault.begin(opening("meanwhile"))
    with Archive(directory, by="tester") as archive:
        archive.redact(id_, "asked to")
    entry.finish(closing())
    assert [record.get("prompt") for record in records(directory)] == [None, "meanwhile"]
    assert check(directory).exit_code == 0


def test_undoing_a_redaction_shows(archive: Archive, ids: list[str], directory: Path) -> None:
    path = sorted(directory.glob("log-*.gz"))[0]
    original = path.read_bytes()
    archive.redact(ids[0], "asked to")
    assert check(directory).exit_code == 0
    path.write_bytes(original)
    report = check(directory)
    assert (report.exit_code, "was not carried out" in report.findings[0].message) == (1, True)
    assert archive.recover() == ([], 1)
    assert check(directory).exit_code == 0


def test_pruning_removes_old_segments_and_the_rest_still_verifies(
    archive: Archive, ids: list[str], directory: Path
) -> None:
    everything = len(list(directory.glob("log-*")))
    assert archive.prune(keep_days=10_000).seq is None
    pruned = archive.prune(keep_days=0)
    assert len(pruned.segments) == everything
    [record] = records(directory, "prune")
    assert (record["by"], record["segments"][0]["first_seq"]) == ("tester (uid 1)", 1)
    report = check(directory)
    assert (report.exit_code, report.first_seq) == (0, pruned.num_records + 1)
    assert check(directory, checkpoint=directory / "checkpoints.jsonl").exit_code == 0


def test_segments_that_a_crash_left_in_a_prune_are_one_chain_still(archive: Archive, directory: Path) -> None:
    saved = {path: path.read_bytes() for path in sorted(directory.glob("log-*"))}
    archive.prune(keep_days=0)
    for path in list(saved)[1:]:
        path.write_bytes(saved[path])
    assert check(directory).exit_code == 0
    list(saved)[1].unlink()
    assert check(directory).exit_code == 0
    list(saved)[-1].unlink()
    assert check(directory).exit_code == (0 if len(saved) == 3 else 2)


def test_a_compressed_segment_is_plain_gzip_in_members(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=2 << 20)
    for number in range(30):
        ask(vault, f"{number} " * 40_000)
    vault.close()
    raw = {path.name: path.read_bytes() for path in directory.glob("log-*.jsonl")}
    compress_segments(directory)
    for name, data in raw.items():
        compressed = (directory / f"{name}.gz").read_bytes()
        assert gzip.decompress(compressed) == data
        assert compressed.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") > 1
    assert not list(directory.glob("log-*.jsonl"))
    assert check(directory).exit_code == 0


def test_a_segment_that_is_compressed_after_it_was_listed_is_still_read(directory: Path) -> None:
    log = Log(directory, segment_bytes=1)
    for number in range(4):
        log.append([log.draft("read", {"n": number})])
    log.close()
    listed = sealed_segments(directory)
    before = [(summarize(s), last_record(s), first_record(s)) for s in listed]
    compress_segments(directory)
    assert not any(segment.path.exists() for segment in listed)
    assert [(summarize(s), last_record(s), first_record(s)) for s in listed] == before


def test_processes_that_index_the_same_segments_do_not_collide(ids: list[str], directory: Path) -> None:
    errors: list[Exception] = []

    def update() -> None:
        try:
            with Index(directory) as index:
                index.update()
        except sqlite3.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=update) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(find(directory, id_) is not None for id_ in ids)


def test_a_second_compressor_stands_aside(archive: Archive, directory: Path) -> None:
    with maintenance(directory, Disk()) as is_ours:
        assert is_ours
        assert compress_segments(directory) == []


def test_following_sees_each_record_once_across_rotations(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=1)
    _, place = ask(vault, "before")
    steps = itertools.count()

    def wait(_seconds: float) -> None:
        ask(vault, f"prompt {next(steps)}")

    seen = follow(directory, after_seq=place.seq, wait=wait)
    found = [record["prompt"] for record in itertools.islice((r for r in seen if r["type"] == "interaction"), 5)]
    assert found == [f"prompt {number}" for number in range(5)]


def test_the_last_records_are_found_across_segments(ids: list[str], directory: Path) -> None:
    assert [record["type"] for record in last_records(directory, 1)] == ["stop"]
    assert len(last_records(directory, 10)) == 10
    assert last_records(directory, 10_000)[0]["seq"] == 1
