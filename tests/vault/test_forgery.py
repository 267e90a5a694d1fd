"""Somebody who has no key and would like a verdict of `intact`, or a reader who reads what no verdict was about."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import VaultError
from minivault.vault import Vault
from minivault.vault.archive import Archive
from minivault.vault.index import find
from minivault.vault.place import at_seq
from minivault.vault.reader import Filter
from minivault.vault.record import NO_HASH, chain_hash, content_of, draft, seal
from minivault.vault.rewrite import compress_segments
from tests.vault.samples import ask, check, records

Make = Callable[..., Vault]
FORMAT_1 = Path(__file__).with_name("format1")


class Forger:
    """Writes a chain that no key has signed, from any seq and hash on."""

    def __init__(self, seq: int, prev: str) -> None:
        self.seq, self.prev = seq, prev
        self.lines: list[bytes] = []

    def add(self, type_: str, **fields: Any) -> Forger:
        sealed = seal(draft(type_, 1, "boot-1", fields), self.seq, self.prev)
        self.lines.append(sealed.line)
        self.seq, self.prev = sealed.place.seq + 1, sealed.place.hash
        return self

    def write(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "log.jsonl").write_bytes(b"".join(self.lines))


@pytest.fixture
def vault(make_vault: Make, directory: Path) -> dict[str, Any]:
    """A closed vault, and what its owner kept elsewhere: id, public key and last checkpoint."""
    vault = make_vault()
    for number in range(4):
        ask(vault, f"prompt {number}", f"answer {number}")
    vault.close()
    kept = json.loads((directory / "checkpoints.jsonl").read_bytes().splitlines()[-1])
    return {"vault": kept["vault"], "public_key": kept["key"], "seq": kept["seq"], "hash": kept["hash"]}


@pytest.fixture
def kept(vault: dict[str, Any], directory: Path, tmp_path: Path) -> Path:
    path = tmp_path / "kept.jsonl"
    path.write_bytes((directory / "checkpoints.jsonl").read_bytes())
    return path


@pytest.mark.parametrize("distance", [-1, 0, 1, 70])
def test_an_invented_log_that_says_it_was_pruned_is_not_believed(
    distance: int, vault: dict[str, Any], kept: Path, tmp_path: Path
) -> None:
    """Its beginning is told by a record that anybody can write; the kept checkpoint is before, at or after it."""
    last = vault["seq"] + distance
    prev = vault["hash"] if distance == 0 else NO_HASH
    pruned = {"segments": [{"first_seq": 1, "last_seq": last, "last_hash": prev}], "by": "me", "keep_days": 1}
    names = {"vault": vault["vault"], "public_key": vault["public_key"]}
    forger = Forger(last + 1, prev).add("prune", **pruned, **names).add("interaction", prompt="x", response="y")
    forger.write(tmp_path / "forged-vault")
    for options in ({}, {"checkpoint": kept}, {"public_key": vault["public_key"]}):
        assert check(tmp_path / "forged-vault", **options).exit_code == 2, options


def test_an_invented_log_signed_by_an_invented_key_is_not_believed_against_what_was_kept(
    vault: dict[str, Any], kept: Path, make_vault: Make, tmp_path: Path
) -> None:
    other = make_vault(at=tmp_path / "other-vault", segment_bytes=1)
    for _ in range(4):
        ask(other)
    other.close()
    with Archive(tmp_path / "other-vault", by="me") as archive:
        archive.prune(0)
    assert check(tmp_path / "other-vault").exit_code == 0  # the honest limit: a vault of its own
    assert check(tmp_path / "other-vault", checkpoint=kept).exit_code == 2
    assert check(tmp_path / "other-vault", public_key=vault["public_key"]).exit_code == 2


def test_a_prune_counts_once_it_is_signed_and_is_signed_before_anything_goes(archive: Archive, directory: Path) -> None:
    archive.prune(0)
    report = check(directory)
    assert (report.exit_code, report.num_prunes, report.notes[0].kind) == (0, 1, "prune")
    lines = (directory / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "checkpoints.jsonl").write_bytes(b"".join(lines[:-1]))
    assert check(directory).exit_code == 2


def test_a_checkpoint_at_the_seq_before_a_pruned_log_is_compared(
    make_vault: Make, directory: Path, tmp_path: Path
) -> None:
    vault = make_vault(segment_bytes=1 << 20)
    ask(vault)
    vault.close()  # signs the last record of the segment that will go
    kept = tmp_path / "kept.jsonl"
    shutil.copy(directory / "checkpoints.jsonl", kept)
    vault = make_vault(segment_bytes=1)
    ask(vault)
    vault.close()
    first = sorted(directory.glob("log-*"))[0]
    signed = json.loads(kept.read_bytes())
    assert json.loads(gzip.decompress(first.read_bytes()).splitlines()[-1])["seq"] == signed["seq"]
    with Archive(directory, by="me") as archive:
        archive.prune(0)
    start = check(directory).first_seq
    report = check(directory, checkpoint=kept)
    expected = 0 if signed["seq"] >= start - 1 else 3
    assert (report.exit_code, report.num_kept) == (expected, 1)


def test_kept_checkpoints_that_cannot_be_compared_are_never_silently_intact(
    archive: Archive, directory: Path, tmp_path: Path
) -> None:
    early = tmp_path / "early.jsonl"
    early.write_bytes((directory / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)[0])
    archive.prune(0)
    report = check(directory, checkpoint=early)
    assert (report.exit_code, report.num_compared) == (3, 0)
    both = tmp_path / "both.jsonl"
    both.write_bytes((directory / "checkpoints.jsonl").read_bytes())
    report = check(directory, checkpoint=both)
    assert report.exit_code == 0
    assert 0 < report.num_compared < report.num_kept
    assert any("outside" in claim for claim in report.unproven)


# --- a vault as files that anybody may have changed ------------------------------------------------------------------


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
    if not path.is_file():
        raise OSError(f"{path} is no file")
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def store(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


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
    data = bytearray(path.read_bytes())
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
        (directory / f"log-{chance.randrange(99):0{chance.choice([5, 12, 13])}d}.jsonl").write_bytes(load(one))
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
        for read in (lambda r: find(directory, r["id"]), lambda r: at_seq(directory, r["seq"])):
            shown = shown_or_none(read, record)
            assert shown == record or not is_intact
            assert shown in (record, None) or shown["seq"] == last, "only what nothing follows may be made up"


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


# --- excerpts --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An excerpt with chosen, withheld and redacted records."""
    directory = tmp_path_factory.mktemp("excerpt") / "vault"
    vault = Vault.open(directory, sync="written")
    ids = [ask(vault, f"prompt {number}")[0] for number in range(8)]
    vault.close()
    with Archive(directory, by="me") as archive:
        archive.redact(ids[4], "asked")
        lines, num_chosen = archive.export_jsonl(Filter(text="prompt 2"))
        data = b"".join(lines)
    assert num_chosen == 1
    assert data.count(b'"withheld":true') > 3 and b'"redacted"' in data
    return data


def excerpt_report(data: bytes, tmp_path: Path, **options: Any) -> Any:
    path = tmp_path / "excerpt.jsonl"
    path.write_bytes(data)
    return check(path, **options)


def in_line(data: bytes, at: int, **changes: Any) -> bytes:
    lines = data.splitlines(keepends=True)
    fields = {k: v for k, v in {**json.loads(lines[at]), **changes}.items() if v is not ...}
    lines[at] = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    return b"".join(lines)


kinds = st.sampled_from(["flip", "cut", "insert", "drop", "again"])


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7), kind=kinds)
def test_every_byte_of_an_excerpt_is_covered(
    at: int, bit: int, kind: str, excerpt: bytes, tmp_path_factory: Any
) -> None:
    tmp_path, at = tmp_path_factory.getbasetemp(), at % len(excerpt)
    lines = excerpt.splitlines(keepends=True)
    number = at % len(lines)
    changed = {
        "flip": excerpt[:at] + bytes([excerpt[at] ^ 1 << bit]) + excerpt[at + 1 :],
        "cut": excerpt[:at],
        "insert": excerpt[:at] + bytes([at % 256]) + excerpt[at:],
        "drop": b"".join(lines[:number] + lines[number + 1 :]),
        "again": b"".join(lines[: number + 1] + lines[number:]),
    }[kind]
    assert excerpt_report(changed, tmp_path).exit_code in (2, 3)


def test_an_excerpt_in_which_something_else_was_chosen_is_found(excerpt: bytes, tmp_path: Path) -> None:
    gone = dict.fromkeys((*content_of(json.loads(excerpt.splitlines()[1])), "salt"), ...)
    stub = {"at": "2026", "by": "me", "record": 999}
    for changed in (
        in_line(excerpt, 1, **gone, withheld=True),
        in_line(excerpt, 1, **gone, redacted=stub),
        in_line(excerpt, 3, withheld="something was said"),
        in_line(excerpt, 0, filter={"text": "another"}),
        in_line(excerpt, 0, records=5),
        in_line(excerpt, 0, timestamp="2020-01-01T00:00:00Z"),
        in_line(excerpt, 0, v=1),
        b"".join(in_line(excerpt, 0, v=1).splitlines(keepends=True)[:-1]),
    ):
        assert excerpt_report(changed, tmp_path).exit_code == 2


def test_an_excerpt_is_believed_by_the_key_that_was_kept_alone(
    excerpt: bytes, vault: dict[str, Any], kept: Path, tmp_path: Path
) -> None:
    own = json.loads(excerpt.splitlines()[0])["public_key"]
    assert excerpt_report(excerpt, tmp_path, public_key=own).exit_code == 0
    assert excerpt_report(excerpt, tmp_path, public_key=vault["public_key"]).exit_code == 2
    assert excerpt_report(excerpt, tmp_path, checkpoint=kept).exit_code == 2


# --- vaults of format 1 ----------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "format1"
    shutil.copytree(FORMAT_1, directory)
    for name in ("redacted", "pruned"):
        (directory / name).chmod(0o700)
        (directory / name / "log.lock").touch()
    yield directory


def test_vaults_and_excerpts_of_format_1_still_verify_and_go_on(old: Path, make_vault: Make) -> None:
    for name in ("redacted", "pruned"):
        assert check(old / name).exit_code == 0
        vault = make_vault(at=old / name)
        ask(vault, "from now on in format 2")
        vault.close()
        assert {record["v"] for record in records(old / name, None)} == {1, 2}
        assert check(old / name).exit_code == 0


def test_an_old_record_is_redacted_and_exported_in_its_own_format(old: Path) -> None:
    with Archive(old / "redacted", by="me") as archive:
        [record] = archive.search(Filter(text="prompt 5"))
        archive.redact(record["id"], "asked")
        assert archive.recover() == ([], 0)
        data = b"".join(archive.export_jsonl(Filter(text="prompt 2"))[0])
    assert check(old / "redacted").exit_code == 0
    assert excerpt_report(data, old).exit_code == 0


def test_an_excerpt_of_format_1_names_what_it_does_not_prove(old: Path) -> None:
    report = check(old / "excerpt.jsonl")
    assert report.exit_code == 0
    assert {"filter", "withheld", "redacted"} <= set(" ".join(report.unproven).split())
    data = (old / "excerpt.jsonl").read_bytes()
    changed = in_line(data, 1, withheld="text", prompt=..., salt=...)
    assert excerpt_report(changed, old).exit_code == 2
