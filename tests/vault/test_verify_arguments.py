"""A wrong argument is a usage error and never a verdict; a right one is understood however it was written down."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import TooLarge
from minivault.vault import Vault, verify
from minivault.vault.archive import Archive
from tests.vault.samples import ask, check, opening

Make = Callable[..., Vault]


@pytest.fixture
def kept(make_vault: Make, directory: Path, tmp_path: Path) -> Path:
    """What the owner of a vault kept of it: two checkpoints."""
    for _ in range(2):
        vault = make_vault()
        ask(vault)
        vault.close()
    path = tmp_path / "kept.jsonl"
    path.write_bytes((directory / "checkpoints.jsonl").read_bytes())
    return path


WRONG_CHECKPOINTS = {
    "empty": lambda _: b"",
    "blank": lambda _: b"\n \n# nothing yet\n",
    "notes": lambda _: b"call Mary\n",
    "half a line": lambda data: data[:100],
    "changed": lambda data: data.replace(b'"time_ns":1', b'"time_ns":2'),
    "a public key": lambda _: b"ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    "binary": lambda _: bytes(range(256)),
    "json": lambda _: b'{"seq":1}\n',
    "not a number": lambda _: b'{"seq":1,"hash":NaN}\n',
}


@pytest.mark.parametrize("name", WRONG_CHECKPOINTS)
def test_a_file_that_holds_no_kept_checkpoint_is_a_usage_error(name: str, kept: Path, directory: Path) -> None:
    kept.write_bytes(WRONG_CHECKPOINTS[name](kept.read_bytes()))
    with pytest.raises(verify.Misused, match="--checkpoint"):
        check(directory, checkpoint=kept)


@pytest.mark.parametrize("text", ["", "\n", "# key", "ed25519:", "ed25519:AAAA", "ssh-ed25519 AAAA", "x" * 44])
def test_a_text_that_is_no_key_is_a_usage_error(text: str, kept: Path, directory: Path) -> None:
    with pytest.raises(verify.Misused, match="--pubkey"):
        check(directory, public_key=text)


@pytest.mark.parametrize("text", ["", " ", "sha256:", "sha256:12", "z" * 64, "a" * 63, "a" * 65, "md5:" + "a" * 64])
def test_a_text_that_is_no_head_is_a_usage_error(text: str, kept: Path, directory: Path) -> None:
    with pytest.raises(verify.Misused, match="--expect-head"):
        check(directory, expect_head=text)


def test_what_was_kept_may_be_written_down_in_any_way(kept: Path, directory: Path) -> None:
    head, key = check(directory).hash, (directory / "vault.pub").read_text()
    for spelled in (head, head.upper(), head[7:], f" {head}\n", f"8 {head}"):
        assert check(directory, expect_head=spelled).exit_code == 0
    one, two = kept.read_bytes().splitlines()
    for data in (two + b"\n" + one, b"# of March\r\n\r\n" + one + b"\r\n" + two, b"\xef\xbb\xbf" + two, one + b"\n\n"):
        kept.write_bytes(data)
        report = check(directory, checkpoint=kept, public_key=f"# ours\n\n{key}\n")
        assert (report.exit_code, report.num_compared) == (0, report.num_kept)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        [],
        ["vault", "--unknown"],
        ["vault", "--expect-head", ""],
        ["vault", "--expect-head", "sha256:12"],
        ["vault", "--pubkey", "nowhere"],
        ["vault", "--pubkey", "kept.jsonl"],
        ["vault", "--pubkey", "vault"],
        ["vault", "--checkpoint", "nowhere"],
        ["vault", "--checkpoint", "vault/vault.pub"],
        ["vault", "--max-line-mb", "0"],
        ["vault", "--max-line-mb", "x"],
    ],
)
def test_the_file_alone_ends_with_a_status_that_is_no_verdict(arguments: list[str], kept: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", verify.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (64, "")
    assert "error: " in done.stderr and "Traceback" not in done.stderr


def test_an_excerpts_wrong_arguments_are_usage_errors_too(kept: Path, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("hello\n")
    with pytest.raises(verify.Misused):
        check(tmp_path / "notes", expect_head="x")
    assert check(tmp_path / "notes").exit_code == 3


PLACES = (
    "log.jsonl",
    "checkpoints.jsonl",
    "log.lock",
    "maintenance.lock",
    "log-000000000005.jsonl.gz",
    "journal/x.jsonl",
)


@pytest.mark.parametrize("name", PLACES)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(name: str, kept: Path, directory: Path) -> None:
    path = directory / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    assert check(directory).exit_code in (0, 2, 3)
    (directory / "excerpt").unlink(missing_ok=True)
    os.mkfifo(directory / "excerpt")
    assert check(directory / "excerpt").exit_code == 3
    with pytest.raises(verify.Misused, match="no regular file"):
        check(directory, checkpoint=directory / "excerpt")


LONG = {
    "junk": (b"a", b"a"),
    "blank": (b"\n", b" "),
    "a record": (b'{"type":"interaction","v":2,"seq":1,"prompt":"', b"a"),
    "nested": (b'{"type":', b"["),
    "objects": (b'{"type":"x","a":[{}', b",{}"),
    "strings": (b'{"type":"x","a":[""', b',"q"'),
    "quotes": (b'{"type":"x","a":"', b'\\"'),
}


@pytest.mark.parametrize("size", [60, 300])
@pytest.mark.parametrize("name", LONG)
def test_one_long_line_takes_little_memory(name: str, size: int, tmp_path: Path) -> None:
    """So many MiB in a small `.gz`, verified under a limit that twice the longest line would not fit in many times."""
    begins, goes_on = LONG[name]
    (tmp_path / "vault").mkdir()
    block = goes_on * ((1 << 20) // len(goes_on))
    with gzip.open(tmp_path / "vault" / "log-000000000001.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(begins)
        for _ in range(size):
            file.write(block)
    limit = 600 << 20
    done = subprocess.run(
        ["/bin/sh", "-c", f'ulimit -v {limit >> 10}; exec "$0" -I -S "$1" vault', sys.executable, verify.__file__],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode in (2, 3), done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_too_long_to_be_held_is_said_to_be_unread_and_can_be_read(make_vault: Make, directory: Path) -> None:
    vault = make_vault()
    ask(vault, "x" * (3 << 20))
    ask(vault)
    vault.close()
    assert check(directory).exit_code == 0
    report = check(directory, max_line_mb=2)
    assert (report.exit_code, "--max-line-mb" in report.findings[0].message) == (3, True)


def test_what_could_not_be_read_again_is_refused_beforehand(make_vault: Make, directory: Path) -> None:
    vault = make_vault()
    with pytest.raises(TooLarge):
        vault.begin(opening("x" * (49 << 20)))
    ask(vault)
    vault.close()
    assert check(directory).exit_code == 0


def test_verifying_beside_redactions_and_prunes_finds_no_tampering(make_vault: Make, directory: Path) -> None:
    vault = make_vault(segment_bytes=2500)
    ids = [ask(vault, f"prompt {number}")[0] for number in range(30)]
    vault.close()
    done = threading.Event()

    def redact_all() -> None:
        with Archive(directory, by="tester") as archive:
            for id_ in ids:
                archive.redact(id_, "asked to")
            archive.prune(0)
        done.set()

    thread = threading.Thread(target=redact_all)
    thread.start()
    reports: list[Any] = []
    while not done.is_set():
        reports.append(check(directory))
    thread.join()
    assert [finding.message for report in reports for finding in report.findings] == []
    assert len(reports) > 3


def test_a_redaction_in_the_middle_of_a_verification_is_no_tampering(
    archive: Archive, ids: list[str], directory: Path
) -> None:
    """The first segment is rewritten after the log's end was noted and before the segment is read."""
    thread = threading.Thread(target=lambda: archive.redact(ids[0], "asked to"))

    class Meddling(type(directory)):  # type: ignore[misc]
        def iterdir(self) -> Any:
            yield from super().iterdir()
            if thread.ident is None:
                thread.start()

        def __fspath__(self) -> str:
            if self.suffix == ".gz" and thread.ident is not None:
                thread.join()
            return super().__fspath__()

    first = Meddling(directory)
    assert check(first).exit_code == 0
    assert thread.ident is not None
    assert check(directory).num_redacted == 1
