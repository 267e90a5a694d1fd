"""What the vault costs: milliseconds added to a request, records a second, and how fast a log is verified.

    python benchmarks/vault.py [--requests 300] [--records 100000] [--directory DIR] [--json]

The directory should be on the disk that will hold the log: most of what is measured is that disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

from minivault.vault import Closing, Opening, Vault, new_id, verify
from minivault.vault.archive import Archive
from minivault.vault.disk import Disk
from minivault.vault.log import Log
from minivault.vault.proof.tree import TREE, Tree
from minivault.vault.rewrite import compress_segments

PROCESSES = 4
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "says", "what", "it", "thinks"]
Row = dict[str, Any]


def opening(number: int) -> Opening:
    """A typical request: some 250 characters of prompt."""
    prompt = " ".join(WORDS[(number + i) % len(WORDS)] for i in range(50))
    return Opening(
        id=new_id(),
        time_ns=time.time_ns(),
        api="generate",
        stream=True,
        model="smollm2-135m",
        fingerprint="mv1:0123456789abcdef",
        parameters={"max_tokens": 256, "temperature": 0.7, "top_k": 40, "top_p": 0.95, "seed": number},
        prompt=prompt,
        request=json.dumps({"prompt": prompt}),
        rendered_prompt=f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n",
        prompt_tokens=tuple(range(60)),
        client="127.0.0.1",
        user_agent="benchmark/1",
    )


def closing() -> Closing:
    """A typical answer: 100 tokens."""
    usage = {"prompt_tokens": 60, "completion_tokens": 100, "total_tokens": 160}
    timings = {"queued_ns": 1000, "prefill_ns": 20_000_000, "first_token_ns": 25_000_000, "total_ns": 900_000_000}
    return Closing("completed", "stop", " ".join(WORDS * 6), tuple(range(100)), usage, timings)


def added_latency(directory: Path, sync: Any, count: int, pause_s: float = 0.005) -> Row:
    """One request at a time, with 100 progress marks: what the vault adds to each phase, in milliseconds."""
    vault = Vault.open(directory / f"latency-{sync}", sync=sync)
    phases: dict[str, list[float]] = {"begin": [], "wait": [], "marks": [], "finish": [], "total": []}
    for number in range(count):
        times = [time.perf_counter()]

        def lap(act: Callable[[], object], times: list[float] = times) -> None:
            act()
            times.append(time.perf_counter())

        entry = vault.begin(opening(number))
        times.append(time.perf_counter())
        lap(entry.wait)
        lap(lambda entry=entry: [entry.progress(i, i * 5) for i in range(100)])  # type: ignore[misc]
        lap(lambda entry=entry: entry.finish(closing()))  # type: ignore[misc]
        spans = [(after - before) * 1e3 for before, after in itertools.pairwise(times)]
        for name, span in zip(phases, [*spans, sum(spans)], strict=True):
            phases[name].append(span)
        time.sleep(pause_s)
    vault.close()
    shown = {f"{name}_p50_ms": round(median(values), 3) for name, values in phases.items()}
    return {"sync": sync, **shown, "total_p99_ms": round(sorted(phases["total"])[int(count * 0.99)], 3)}


def receipt_cost(directory: Path, count: int = 2000) -> Row:
    """What the receipt adds to a reply, in milliseconds: signing, encoding it for the body and for the header."""
    vault = Vault.open(directory / "receipts", sync="written")
    entry = vault.begin(opening(0))
    entry.finish(closing())
    times, text = [], ""
    for _ in range(count):
        start = time.perf_counter()
        receipt = entry.receipt()
        text = json.dumps({"receipt": receipt}) + json.dumps(receipt, separators=(",", ":"))
        times.append((time.perf_counter() - start) * 1e3)
    vault.close()
    return {
        "p50_ms": round(median(times), 3),
        "p99_ms": round(sorted(times)[int(count * 0.99)], 3),
        "bytes": len(text) // 2,
    }


def tree_cost(directory: Path, size: int = 1_000_000) -> Row:
    """The tree over so many records: microseconds a record to grow it, milliseconds for a root and for proofs."""
    path, disk, leaf = directory / TREE, Disk(), bytes(32)
    Tree.begin(path, 1, disk)
    with Tree.opened(path, disk) as tree:
        assert tree is not None
        start = time.perf_counter()
        tree.grow(itertools.repeat(leaf, size))
        grown, spans = time.perf_counter(), []
        for act in (
            lambda: tree.root(size),
            lambda: tree.inclusion(size // 3, size),
            lambda: tree.consistency(7, size),
        ):
            begun = time.perf_counter()
            act()
            spans.append(round((time.perf_counter() - begun) * 1e3, 3))
    names = ("root_ms", "inclusion_ms", "consistency_ms")
    shown = dict(zip(names, spans, strict=True))
    return {
        "records": size,
        "grow_us": round((grown - start) / size * 1e6, 1),
        **shown,
        "mb": path.stat().st_size >> 20,
    }


def appends_per_second(directory: Path, sync: Any, seconds: float = 3.0, threads: int = 8) -> Row:
    """Whole interactions recorded by four processes on one log, each with several requests at once."""
    barrier, queue = multiprocessing.Barrier(PROCESSES), multiprocessing.Queue()
    place = directory / f"throughput-{sync}"
    workers = [
        multiprocessing.Process(target=_append, args=(place, sync, seconds, threads, barrier, queue))
        for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    counts = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    return {"sync": sync, "processes": PROCESSES, "records_per_s": round(sum(counts) / seconds)}


def _append(directory: Path, sync: Any, seconds: float, num_threads: int, barrier: Barrier, queue: Any) -> None:
    vault = Vault.open(directory, sync=sync)
    counts = [0] * num_threads
    barrier.wait()
    end = time.perf_counter() + seconds

    def run(index: int) -> None:
        while time.perf_counter() < end:
            vault.append_event("interaction", EVENT)
            counts[index] += 1

    threads = [threading.Thread(target=run, args=(index,)) for index in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(sum(counts))
    vault.close()


EVENT = {
    "prompt": " ".join(WORDS * 3),
    "response": " ".join(WORDS * 6),
    "status": "completed",
    "parameters": {"seed": 1, "temperature": 0.7, "max_tokens": 256},
    "usage": {"prompt_tokens": 60, "completion_tokens": 100},
    "prompt_tokens": list(range(60)),
    "completion_tokens": list(range(100)),
}


def make_log(directory: Path, count: int, fields: dict[str, Any], segment_bytes: int = 64 << 20) -> Path:
    """A log of `count` records, written a thousand at a time, its sealed segments compressed."""
    log = Log(directory, segment_bytes=segment_bytes)
    for start in range(0, count, 1000):
        log.append([log.draft("interaction", fields) for _ in range(min(1000, count - start))])
    log.close()
    compress_segments(directory)
    return directory


def verification(directory: Path, count: int, fields: dict[str, Any], name: str) -> Row:
    """Verify a log in a process of its own: records and megabytes a second, and its peak memory."""
    log = make_log(directory / f"verify-{name}", count, fields, segment_bytes=1 << 40)
    size = (log / "log.jsonl").stat().st_size
    start = time.perf_counter()
    command = [sys.executable, "-c", MEASURED, verify.__file__, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - start
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        "line": name,
        "records": count,
        "bytes_per_record": round(size / count),
        "records_per_s": round(count / elapsed),
        "mb_per_s": round(size / elapsed / 1e6, 1),
        "peak_memory_mb": round(int(done.stdout.splitlines()[-1]) / 1024, 1),
    }


MEASURED = """
import re, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    # not ru_maxrss: that begins with what the parent held when it forked
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
    raise
"""


def lookup(directory: Path) -> Row:
    """Find a record by its id in a log of sealed, compressed segments."""
    with Archive(directory, by="benchmark") as archive:
        archive.reindex()
        ids = [record["id"] for record in archive.tail(5)]
        ids += [archive.show(str(seq))["id"] for seq in (10, 1000)]
        times = []
        for id_ in ids:
            start = time.perf_counter()
            archive.show(id_)
            times.append((time.perf_counter() - start) * 1e3)
    return {"records": archive.head().seq, "p50_ms": round(median(times), 1), "max_ms": round(max(times), 1)}


def table(title: str, rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows]
    return f"\n{title}\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        results = measure(Path(name), given.requests, given.records)
    if given.json:
        print(json.dumps(results))
    else:
        print("\n".join(table(title, rows) for title, rows in results.items()))


def measure(directory: Path, num_requests: int, num_records: int) -> dict[str, list[Row]]:
    """Everything, in order."""
    modes = ("synced", "written", "async")
    looked_up = make_log(directory / "lookup", num_records, EVENT, segment_bytes=16 << 20)
    return {
        "Added to one request": [added_latency(directory, mode, num_requests) for mode in modes],
        "A receipt": [receipt_cost(directory)],
        "The tree": [tree_cost(directory)],
        "Appended by four processes": [appends_per_second(directory, mode) for mode in ("written", "synced")],
        "Verified on one core": [
            verification(directory, num_records, EVENT, "typical"),
            verification(directory, num_records, {"n": 1}, "short"),
        ],
        "Found by id": [lookup(looked_up)],
    }


if __name__ == "__main__":
    main()
