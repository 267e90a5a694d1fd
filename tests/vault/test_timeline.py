"""The picture of the log over time: right at its edges, and drawn without reading sealed segments twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from minivault.moment import rfc3339
from minivault.vault import Vault
from minivault.vault.segments import sealed_segments
from minivault.vault.sketch import Sketch
from minivault.vault.timeline import timeline
from tests.vault.samples import ask, records

ALL = (0, 1 << 62)


def filled(directory: Path, num_answers: int = 12) -> Path:
    vault = Vault.open(directory, sync="written", segment_bytes=4000)
    for number in range(num_answers):
        ask(vault, f"prompt {number}")
    vault.close()
    return directory


def counted(directory: Path, kept: Path, since_ns: int, until_ns: int, num_spans: int) -> list[dict[str, int]]:
    return timeline(directory, since_ns, until_ns, num_spans, kept_in=kept).counts


def by_hand(directory: Path, since_ns: int, until_ns: int, num_spans: int) -> list[Counter[str]]:
    spans = [Counter[str]() for _ in range(num_spans)]
    for record in records(directory, None):
        at = record["time_ns"] // 1000 * 1000
        if since_ns <= at < until_ns:
            spans[(at - since_ns) * num_spans // (until_ns - since_ns)][record["type"]] += 1
    return spans


def test_every_record_is_counted_in_its_span(tmp_path: Path) -> None:
    directory = filled(tmp_path / "logs")
    assert len(sealed_segments(directory)) > 2
    times = [record["time_ns"] // 1000 * 1000 for record in records(directory, None)]
    for num_spans in (1, 7, 96):
        for since, until in ((times[0], times[-1] + 1), (times[3], times[9]), ALL):
            assert counted(directory, tmp_path, since, until, num_spans) == by_hand(directory, since, until, num_spans)


def test_what_is_written_meanwhile_is_seen_by_the_next_look(tmp_path: Path) -> None:
    directory = filled(tmp_path / "logs", 1)
    for _ in range(2):
        assert counted(directory, tmp_path, *ALL, 1) == by_hand(directory, *ALL, 1)
        filled(directory, 9)


def test_a_sealed_segment_is_read_once_whatever_becomes_of_it(tmp_path: Path) -> None:
    directory = filled(tmp_path / "logs")
    before = counted(directory, tmp_path, *ALL, 1)
    first, last = sealed_segments(directory)[1], sealed_segments(directory)[-1]
    last.path.write_bytes(b"damaged")
    assert counted(directory, tmp_path, *ALL, 1) == before
    first.path.unlink()
    assert sum(counted(directory, tmp_path, *ALL, 1)[0].values()) < sum(before[0].values()), "pruned: gone"


def test_a_clock_that_was_set_back_puts_nothing_in_a_wrong_span() -> None:
    sketch = Sketch()
    for seq, time_ns in enumerate([5000, 9000, 2000, 7000], 1):
        sketch.add(f'{{"type":"read","v":2,"seq":{seq},"timestamp":"{rfc3339(time_ns)}","x":1}}\n'.encode())
    sketch.add(b"no record at all\n")
    assert (list(sketch.times["read"]), list(sketch.seqs["read"])) == ([2000, 5000, 7000, 9000], [3, 1, 4, 2])
    assert list(sketch.count("read", [0, 5000, 9000, 9001])) == [1, 2, 1]
