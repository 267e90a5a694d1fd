"""A reader shows what was written, in its place, or nothing; and reads no file that the verifier does not."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import VaultError
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.index import find, look_up
from minivault.vault.place import at_seq
from minivault.vault.reader import Filter, last_records, search
from minivault.vault.record import NO_HASH, chain_hash
from minivault.vault.rewrite import compress_segments
from tests.vault.samples import ask, check, records

Make = Callable[..., Vault]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault with everything in it: segments in both forms, redactions, reads, checkpoints, an index."""
    directory = tmp_path_factory.mktemp("whole") / "vault"
    vault = Vault.open(directory, sync="written", segment_bytes=3500)
    ids = [ask(vault, f"prompt {number}", f"answer {number}")[0] for number in range(14)]
    vault.close()
    compress_segments(directory)
    with Archive(directory, by="me") as archive:
        archive.reindex()
        archive.redact(ids[1], "asked")
        archive.search(Filter(text="prompt"))
        archive.checkpoint()
    middle = sorted(directory.glob("log-*.gz"))[2]
    middle.with_suffix("").write_bytes(gzip.decompress(middle.read_bytes()))
    middle.unlink()
    assert check(directory).exit_code == 0
    return directory


def segments_of(directory: Path) -> list[Path]:
    return [*sorted(directory.glob("log-*.jsonl*")), directory / "log.jsonl"]


def load(path: Path) -> bytes:
    return gzip.decompress(raw(path)) if path.suffix == ".gz" else raw(path)


def raw(path: Path) -> bytes:
    ensure_no_pipe(path)
    return path.read_bytes()


def store(path: Path, data: bytes) -> None:
    ensure_no_pipe(path)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def ensure_no_pipe(path: Path) -> None:
    """An earlier change may have put one there; it would be waited for without end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")


def change_lines(directory: Path, chance: random.Random) -> None:
    path = chance.choice(segments_of(directory))
    lines = load(path).splitlines(keepends=True)
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.choice(["delete", "swap", "double", "edit", "cut", "blank", "unknown"])
    if kind == "delete":
        del lines[at]
    elif kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "double":
        lines.insert(at, lines[other])
    elif kind == "cut":
        lines = lines[:at]
    elif kind == "blank":
        lines.insert(at, b"\n")
    else:
        lines[at] = edited(lines[at], chance, kind)
    store(path, b"".join(lines))


def edited(line: bytes, chance: random.Random, kind: str) -> bytes:
    """One field changed, the hash made to fit half the time."""
    fields = json.loads(line)
    name = chance.choice(sorted(fields)) if kind == "edit" else chance.choice(["redacted", "withheld", "extra", "salt"])
    fields[name] = chance.choice([None, True, 1, "x", [], {}, fields.get("seq", 0) + 1])
    if chance.random() < 0.5:
        fields["hash"] = chain_hash(fields)
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def flip_a_byte(directory: Path, chance: random.Random) -> None:
    path = chance.choice(segments_of(directory))
    data = bytearray(raw(path))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def move_files(directory: Path, chance: random.Random) -> None:
    one, two = chance.sample(segments_of(directory), 2)
    kind = chance.choice(["remove", "exchange", "rename", "twin", "stray", "link", "pipe"])
    if kind == "remove":
        one.unlink()
    elif kind == "exchange":
        first, second = load(one), load(two)
        store(one, second)
        store(two, first)
    elif kind == "rename":
        one.rename(directory / f"log-{chance.randrange(99):012d}.jsonl")
    elif kind == "twin":
        doctored = load(one).replace(b"answer", b"ANSWER")
        twin = directory / (one.name.removesuffix(".gz") if one.suffix == ".gz" else one.name + ".gz")
        store(twin, doctored)
    elif kind == "stray":
        store(directory / f"log-{chance.randrange(99):0{chance.choice([5, 12, 13])}d}.jsonl", load(one))
    elif kind == "link":
        one.rename(directory / "elsewhere")
        one.symlink_to(directory / "elsewhere")
    else:
        one.unlink()
        os.mkfifo(one)


def change_checkpoints(directory: Path, chance: random.Random) -> None:
    path = directory / "checkpoints.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    at = chance.randrange(len(lines))
    fields = json.loads(lines[at])
    fields[chance.choice(sorted(fields))] = chance.choice(["x", 1, None, NO_HASH, {}])
    lines[at] = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join(lines))


def change_index(directory: Path, chance: random.Random) -> None:
    evil = directory.parent / "evil.jsonl"
    evil.write_bytes(b"".join(load(path) for path in segments_of(directory)).replace(b"answer", b"ANSWER"))
    with sqlite3.connect(directory / "index.sqlite3") as database:
        database.execute(
            chance.choice(
                [
                    "UPDATE record SET segment = '../evil.jsonl', member = 0",
                    "UPDATE record SET seq = seq + 1",
                    "UPDATE record SET offset = offset + 1",
                    "UPDATE record SET offset = -1",
                    "UPDATE record SET member = 'x', offset = 1e300",
                    "UPDATE record SET id = (SELECT min(id) FROM record)",
                    "UPDATE record SET (member, offset) = (SELECT member, offset FROM record LIMIT 1)",
                    "DELETE FROM record",
                    "DROP TABLE record",
                ]
            )
        )
    database.close()


CHANGES = [change_lines, flip_a_byte, move_files, change_checkpoints, change_index]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=2))
def test_what_is_read_from_a_changed_vault_is_what_was_written_or_the_verifier_objects(
    seed: int, changes: list[Callable[[Path, random.Random], None]], whole: Path, tmp_path_factory: Any
) -> None:
    directory = tmp_path_factory.mktemp("changed") / "vault"
    shutil.copytree(whole, directory)
    written = records(whole, None)
    chance = random.Random(seed)
    for change in changes:
        try:
            change(directory, chance)
        except (OSError, ValueError, AttributeError, TypeError, EOFError, zlib.error, sqlite3.Error):
            break  # the first change left nothing for the second
    is_intact = check(directory, expect_head=written[-1]["hash"]).exit_code in (0, 1)
    last = max((seq_of(line) for path in segments_of(directory) for line in lines_of(path)), default=0)
    for record in chance.sample(written, 6):
        by_id = (lambda r: find(directory, r["id"]), lambda r: look_up(directory, r["id"]))
        for read in (*by_id, lambda r: at_seq(directory, r["seq"])):
            shown = shown_or_none(read, record)
            assert shown == record or not is_intact
            assert shown in (record, None) or shown["seq"] == last, "only what nothing follows may be made up"
    for read_all in (lambda d: last_records(d, 30), lambda d: list(search(d, Filter(type=None)))):
        for shown in shown_or_none(read_all, directory) or ():
            assert shown in written or shown["seq"] == last or not is_intact
            assert shown in written or shown["seq"] >= min(last, written[-1]["seq"]), "nor what others follow"


def shown_or_none(read: Callable[[Any], Any], record: dict[str, Any]) -> Any:
    try:
        return read(record)
    except (VaultError, OSError):
        return None


def lines_of(path: Path) -> list[bytes]:
    try:
        return load(path).splitlines() if path.is_file() else []
    except (OSError, EOFError, zlib.error):
        return []


def seq_of(line: bytes) -> int:
    found = re.search(rb'"seq":([0-9]+)', line)
    return int(found[1]) if found else 0


def test_a_row_of_the_index_never_makes_another_record_go(archive: Archive, ids: list[str], directory: Path) -> None:
    archive.reindex()
    with sqlite3.connect(directory / "index.sqlite3") as database:
        database.execute(
            "UPDATE record SET (seq, segment, member, offset) = "
            "(SELECT seq, segment, member, offset FROM record WHERE id = ?) WHERE id = ?",
            (ids[1], ids[0]),
        )
    database.close()
    archive.redact(ids[0], "asked")
    assert [record["id"] for record in records(directory) if "redacted" in record] == [ids[0]]
    assert check(directory).exit_code == 0


def test_a_doctored_form_beside_the_honest_one_is_neither_read_nor_passed_over(
    archive: Archive, ids: list[str], directory: Path
) -> None:
    path = sorted(directory.glob("log-*.gz"))[0]
    archive.reindex()
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"answer 0", b"answer X")))
    assert archive.show(ids[0])["response"] == "answer 0"
    assert archive.search(Filter(text="answer X")) == []
    assert check(directory).exit_code == 2


@pytest.mark.parametrize("name", ["show", "search", "tail", "export", "stats"])
def test_no_reader_shows_a_record_that_was_rewritten_with_a_hash_that_fits(
    name: str, archive: Archive, ids: list[str], directory: Path
) -> None:
    path = sorted(directory.glob("log-*.gz"))[-1]
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    fields = json.loads(lines[1])
    fields["status"] = "failed"
    fields["hash"] = chain_hash(fields)
    lines[1] = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(gzip.compress(b"".join(lines)))
    read: dict[str, Callable[[], object]] = {
        "show": lambda: archive.show(fields["id"]),
        "search": lambda: archive.search(Filter()),
        "tail": lambda: archive.tail(10),
        "export": lambda: b"".join(archive.export_jsonl(Filter())[0]),
        "stats": lambda: archive.stats(Filter()),
    }
    with pytest.raises(VaultError, match="not in its place"):
        read[name]()
