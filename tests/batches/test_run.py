"""A run of a batch: every request is done once in its output, whatever happens on the way."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from minivault.batches import Batches, Files, Folder, Kept, Line, Reply, Run
from minivault.batches.run import Surroundings
from minivault.errors import BadRequest, NotFound
from minivault.vault.disk import Disk
from minivault.wire.openai.batches import Batch
from tests.vault.faulty import FaultyDisk

URL = "/v1/completions"
HOUR_S = 3600


class Killed(BaseException):
    """The process ends here."""


class Bench:
    """A folder with one batch of `num` requests, and a worker that answers them. Time passes when the worker waits."""

    def __init__(self, directory: Path, num: int = 3, disk: Disk | None = None) -> None:
        self.now_ns = 10**18
        self.disk = disk or Disk()
        self.folder = Folder(directory, disk=self.disk, clock=lambda: self.now_ns)
        self.files, self.batches = Files(self.folder), Batches(self.folder)
        self.asked: list[str] = []
        self.is_stopping = False
        self.on_ask: Callable[[str], Reply | None] = lambda _: None
        self.on_pause: Callable[[], None] = lambda: None
        self.is_calm = True
        content = b"".join(
            json.dumps({"custom_id": f"r{n}", "method": "POST", "url": URL, "body": {"model": "m"}}).encode() + b"\n"
            for n in range(num)
        )
        self.file_id = self.upload(content)
        self.id = self.create()

    def upload(self, content: bytes) -> str:
        upload = self.files.begin(1 << 20)
        upload.write(content)
        file = self.files.keep(upload, "alice", "in.jsonl")
        upload.discard()
        return file.id

    def create(self) -> str:
        now = self.folder.now_s
        batch = Batch(self.folder.new_id("batch_"), URL, self.file_id, "1h", now, now + HOUR_S)
        return self.batches.create(Kept(batch, "alice")).id

    def answer(self, kept: Kept, line: Line) -> Reply:
        self.asked.append(line.custom_id)
        usage = {"prompt_tokens": 2, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}
        return self.on_ask(line.custom_id) or Reply(200, "id", {"usage": usage})

    def pause(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
        self.on_pause()

    def run(self, num_at_once: int = 1) -> None:
        around = Surroundings(
            answer=self.answer,
            is_calm=lambda: self.is_calm,
            is_stopping=lambda: self.is_stopping,
            pause=self.pause,
            num_at_once=num_at_once,
            max_body_bytes=1 << 16,
        )
        with ThreadPoolExecutor(num_at_once) as pool:
            for batch_id in self.batches.unfinished():
                with self.batches.claimed(batch_id) as kept:
                    if kept is not None:
                        Run(self.batches, self.files, around, pool, kept).to_end()

    @property
    def batch(self) -> Batch:
        return self.batches.get(self.id, "alice")

    def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        with self.files.open(file_id, "alice") as file:
            return [json.loads(line) for line in file]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "batches")
    yield bench
    assert bench.batches.unfinished() == []
    names = {path.name.split(".")[0] for path in bench.folder.path.iterdir()}
    known = {bench.id, bench.file_id, bench.batch.output_file_id, bench.batch.error_file_id}
    assert names <= known, "something was left behind"


def test_a_batch_ends_with_its_output(bench: Bench) -> None:
    assert bench.batch.status == "validating"
    bench.run(num_at_once=2)
    batch = bench.batch
    assert (batch.status, batch.model, batch.error_file_id) == ("completed", "m", None)
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (3, 3, 0)
    assert (batch.counts.input_tokens, batch.counts.cached_tokens, batch.counts.output_tokens) == (6, 3, 9)
    assert {line["custom_id"] for line in bench.lines(batch.output_file_id)} == {"r0", "r1", "r2"}
    assert set(batch.times) == {"in_progress", "finalizing", "completed"}
    [output] = bench.files.of_owner("alice", "batch_output")
    assert (output.id, output.filename) == (batch.output_file_id, f"{bench.id}_output.jsonl")


def test_what_a_request_is_refused_with_is_in_the_error_file(bench: Bench) -> None:
    bench.on_ask = lambda custom_id: Reply(400, "id", {"error": {"code": "x"}}) if custom_id == "r1" else None
    bench.run()
    assert (bench.batch.counts.completed, bench.batch.counts.failed) == (2, 1)
    [error] = bench.lines(bench.batch.error_file_id)
    assert error["custom_id"] == "r1"
    assert error["response"] == {"status_code": 400, "request_id": "id", "body": {"error": {"code": "x"}}}


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_that_is_to_come_later_does(bench: Bench, status: int) -> None:
    began_s = bench.folder.now_s
    bench.on_ask = lambda _: Reply(status, "", {}, 30) if len(bench.asked) < 3 else None
    bench.run()
    assert bench.asked == ["r0", "r0", "r0", "r1", "r2"]
    assert bench.folder.now_s - began_s >= 60
    assert bench.batch.status == "completed"


def test_while_others_want_the_server_no_request_is_made(bench: Bench) -> None:
    bench.is_calm = False

    def look() -> None:
        assert bench.asked == []
        bench.is_calm = bench.folder.now_s > 10**9 + 100

    bench.on_pause = look
    bench.run()
    assert bench.asked == ["r0", "r1", "r2"]


def test_a_batch_goes_on_where_a_worker_stopped(bench: Bench) -> None:
    def stop(custom_id: str) -> None:
        bench.is_stopping = custom_id == "r1"

    bench.on_ask = stop
    bench.run()
    assert bench.batch.status == "in_progress"
    bench.is_stopping = False
    bench.on_ask = lambda _: None
    bench.run()
    assert bench.asked == ["r0", "r1", "r2"]
    assert bench.batch.status == "completed"


def test_a_request_that_the_worker_s_end_cut_is_made_again(bench: Bench) -> None:
    def draining(_: str) -> Reply:
        bench.is_stopping = True
        return Reply(503, "", {})

    bench.on_ask = draining
    bench.run()
    bench.is_stopping, bench.on_ask = False, lambda _: None
    bench.run()
    assert bench.asked == ["r0", "r0", "r1", "r2"]


def test_what_a_crash_left_of_a_line_is_cut_off(bench: Bench) -> None:
    def stop(custom_id: str) -> None:
        bench.is_stopping = custom_id == "r1"

    bench.on_ask = stop
    bench.run()
    assert bench.batch.output_file_id is not None
    output = bench.folder.place(bench.batch.output_file_id)
    whole = output.read_bytes()
    for torn in (whole[:-1], whole + b'{"id": "batch_req', whole + b"\0\0\0\n", whole[: whole.index(b"\n") + 5]):
        output.write_bytes(torn)
        bench.is_stopping = True
        bench.run()
    bench.is_stopping, bench.on_ask = False, lambda _: None
    bench.run()
    assert [line["custom_id"] for line in bench.lines(bench.batch.output_file_id)] == ["r0", "r1", "r2"]


class DyingDisk(Disk):
    """Ends the process at one of its calls: before it is made, or after."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.dies_at = -1
        for name in ("write", "fdatasync", "ftruncate", "open", "rename", "fsync_directory"):
            setattr(self, name, self._counted(getattr(self, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.num_calls += 1
            if self.num_calls == self.dies_at:
                raise Killed
            return call(*args, **kwargs)

        return counted


def test_wherever_a_worker_dies_every_request_is_in_the_output_once(tmp_path: Path) -> None:
    for dies_at in range(1, 200):
        disk = DyingDisk()
        bench = Bench(tmp_path / str(dies_at), 3, disk)
        before = disk.num_calls
        disk.dies_at = before + dies_at
        with suppress(Killed):
            bench.run()
        is_through = disk.num_calls < disk.dies_at
        disk.dies_at = -1
        bench.run()
        batch = bench.batch
        assert (batch.status, batch.counts.completed, batch.counts.total) == ("completed", 3, 3), dies_at
        done = Counter(line["custom_id"] for line in bench.lines(batch.output_file_id))
        assert done == {"r0": 1, "r1": 1, "r2": 1}, dies_at
        assert len(bench.asked) <= 4, dies_at
        if is_through:
            return
    raise AssertionError("it never came through")


def test_a_full_disk_makes_a_result_wait_and_asks_nobody_twice(tmp_path: Path) -> None:
    disk = FaultyDisk()
    bench = Bench(tmp_path, disk=disk)

    def fill(custom_id: str) -> None:
        if custom_id == "r1":
            disk.break_("write", errno.ENOSPC)

    bench.on_ask, bench.on_pause = fill, disk.heal
    bench.run()
    assert bench.asked == ["r0", "r1", "r2"]
    assert [line["custom_id"] for line in bench.lines(bench.batch.output_file_id)] == ["r0", "r1", "r2"]


def test_on_a_full_disk_there_is_no_new_file_and_no_new_batch(tmp_path: Path) -> None:
    disk = FaultyDisk()
    bench = Bench(tmp_path, disk=disk)
    before = sorted(tmp_path.iterdir())
    for call in ("write", "fdatasync", "rename"):
        disk.break_(call, errno.ENOSPC)
        with pytest.raises(OSError, match="No space left"):
            bench.create()
        upload = bench.files.begin(1 << 20)
        with pytest.raises(OSError, match="No space left"):
            upload.write(b"x")
            bench.files.keep(upload, "alice", "in.jsonl")
        upload.discard()
        disk.heal()
        assert sorted(tmp_path.iterdir()) == before, call


def test_a_batch_that_is_cancelled_keeps_what_was_answered(bench: Bench) -> None:
    def cancel(custom_id: str) -> None:
        if custom_id == "r1":
            bench.batches.cancel(bench.id, "alice")
            assert bench.batch.status == "cancelling"

    bench.on_ask = cancel
    bench.run()
    batch = bench.batch
    assert (batch.status, batch.counts.completed) == ("cancelled", 2)
    assert {"cancelling", "cancelled"} <= set(batch.times)
    assert len(bench.lines(batch.output_file_id)) == 2
    with pytest.raises(BadRequest, match="cancelled"):
        bench.batches.cancel(bench.id, "alice")


def test_what_is_not_done_in_its_time_expires(bench: Bench) -> None:
    def late(custom_id: str) -> None:
        if custom_id == "r1":
            bench.now_ns += HOUR_S * 10**9

    bench.on_ask = late
    bench.run()
    batch = bench.batch
    assert (batch.status, batch.counts.completed, batch.counts.failed) == ("expired", 2, 1)
    [line] = bench.lines(batch.error_file_id)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("r2", None, "batch_expired")


def test_a_file_that_is_no_batch_fails(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.run()
    bench.file_id = bench.upload(b"not json\n")
    bench.id = bench.create()
    bench.run()
    assert (bench.batch.status, bench.batch.faults[0].line) == ("failed", 1)
    assert "failed" in bench.batch.times


def test_a_batch_goes_on_though_its_file_is_deleted(bench: Bench) -> None:
    bench.files.delete(bench.file_id, "alice")
    bench.run()
    assert bench.batch.counts.completed == 3
    with pytest.raises(NotFound):
        bench.create()


def test_a_batch_that_another_worker_runs_is_left_alone(bench: Bench) -> None:
    with bench.batches.claimed(bench.id) as kept:
        assert kept is not None
        with Batches(bench.folder).claimed(bench.id) as other:
            assert other is None
    bench.run()


def test_nobody_sees_what_is_another_s(bench: Bench) -> None:
    for owner in ("bob", None):
        with pytest.raises(NotFound):
            bench.batches.get(bench.id, owner)
        with pytest.raises(NotFound):
            bench.batches.cancel(bench.id, owner)
        with pytest.raises(NotFound):
            bench.files.delete(bench.file_id, owner)
        assert bench.files.of_owner(owner) == []
        assert bench.batches.of_owner(owner) == []
    for strange in ("../../etc/passwd", "batch_../x", "file-", "batch_" + "g" * 32, "\0"):
        with pytest.raises(NotFound):
            bench.batches.get(strange, "alice")
        with pytest.raises(NotFound):
            bench.files.get(strange, "alice")
    bench.run()


def test_everything_is_for_the_server_s_account_alone(bench: Bench) -> None:
    bench.run()
    assert bench.folder.path.stat().st_mode & 0o777 == 0o700
    for path in bench.folder.path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path.name


def test_what_a_dead_upload_left_is_swept_away(bench: Bench) -> None:
    upload = bench.files.begin(10)
    bench.files.sweep()
    assert upload.path.exists()
    bench.files.sweep(clock=lambda: upload.path.stat().st_mtime + HOUR_S + 1)
    assert not upload.path.exists()
    upload.close()
    bench.run()
