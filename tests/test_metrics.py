"""Counting an answer: it may not cost the answer."""

from __future__ import annotations

import resource

from minivault.metrics import Metrics
from minivault.types import Timings, Usage


def test_an_interaction_is_counted_where_no_file_can_be_opened() -> None:
    metrics = Metrics()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        metrics.observe("generate", "completed", "stop", Usage(3, 2, 0), Timings(0, 1, 2, 10**9))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert metrics.totals() == (1, 1000.0, 2)


def test_memory_is_measured_with_each_interaction() -> None:
    metrics = Metrics()
    metrics.observe("generate", "completed", "stop", Usage(3, 2, 0), Timings(0, 1, 2, 3))
    assert (metrics.own.get_sample_value("minivault_resident_bytes") or 0) > 1e6
