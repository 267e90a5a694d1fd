"""What operators see: it may not cost an answer, holds for all workers, and Prometheus takes it."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from minivault.metrics import Load, Metrics, VaultState
from minivault.types import Timings, Usage


def test_an_interaction_is_counted_where_no_file_can_be_opened() -> None:
    metrics = Metrics()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        metrics.observe("generate", "completed", "stop", Usage(3, 2, 0), Timings(0, 1, 2, 10**9))
        metrics.measure(Load())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert metrics.totals() == (1, 1000.0, 2)


def test_memory_is_measured_with_every_state() -> None:
    metrics = Metrics()
    metrics.measure(Load())
    assert (metrics.own.get_sample_value("minivault_resident_bytes") or 0) > 1e6


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.own.get_sample_value(f"minivault_{name}", labels) or 0.0


def test_every_duration_of_an_answer_is_a_histogram() -> None:
    metrics = Metrics()
    metrics.observe("generate", "completed", "stop", Usage(30, 2, 0), Timings(10**9, 2 * 10**9, 3 * 10**9, 10**10))
    sums = {name: value(metrics, f"{name}_sum") for name in ("queue_seconds", "prefill_seconds", "first_token_seconds")}
    assert sums == {"queue_seconds": 1.0, "prefill_seconds": 2.0, "first_token_seconds": 3.0}
    assert (value(metrics, "prompt_tokens_sum"), value(metrics, "answer_tokens_sum")) == (30, 2)


def test_what_a_worker_counts_since_its_start_is_added_once() -> None:
    metrics = Metrics()
    counts = {"steps": 4, "completion_tokens": 12, "preemptions": 1}
    for _ in range(2):
        metrics.measure(Load(1, 2, {"tokens": 100}, counts))
    assert (value(metrics, "engine_steps_total"), value(metrics, "engine_tokens_total", kind="completion")) == (4, 12)
    assert (value(metrics, "running"), value(metrics, "waiting"), value(metrics, "preemptions_total")) == (1, 2, 1)
    assert value(metrics, "cache_tokens", kind="all") == 100
    metrics.measure(Load(counts={"steps": 1}))
    assert value(metrics, "engine_steps_total") == 5, "a model that was loaded again counts from nothing"


def test_the_vaults_state_is_shown_and_no_vault_is_not_writable() -> None:
    metrics = Metrics()
    metrics.measure(Load(), VaultState(7, 1000, True, 10.0, 9.0, 2, 1, [0.001, 0.1]))
    shown = {name: value(metrics, f"vault_{name}") for name in ("records", "free_bytes", "writable", "open_entries")}
    assert shown == {"records": 7, "free_bytes": 1000, "writable": 1, "open_entries": 2}
    assert (value(metrics, "vault_sync_seconds_count"), value(metrics, "vault_gaps_total")) == (2, 1)
    metrics.measure(Load())
    assert value(metrics, "vault_writable") == 0


WORKER = """
import json, os, sys
from minivault.metrics import Load, Metrics
from minivault.types import Timings, Usage
metrics = Metrics()
metrics.measure(Load(2, 3))
metrics.observe("generate", "completed", "stop", Usage(3, 2, 0), Timings(1, 1, 1, 1))
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_each_worker_counts_and_a_dead_ones_answers_stay_while_its_load_goes(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    pids = [int((worker.stdout or pytest.fail()).readline()) for worker in workers]
    assert seen_in(environ) == {"running": 4.0, "waiting": 6.0, "interactions": 2.0}
    for worker in workers:
        worker.communicate(timeout=60)
    assert seen_in(environ, dead=pids[0]) == {"running": 2.0, "waiting": 3.0, "interactions": 2.0}


def seen_in(environ: dict[str, str], dead: int = 0) -> dict[str, float]:
    """What a third process reports, once it knows that one has died."""
    code = (
        "import json, sys; from minivault.metrics import Metrics; from prometheus_client import multiprocess\n"
        f"multiprocess.mark_process_dead({dead}) if {dead} else None\n"
        "print(Metrics().render().decode())"
    )
    text = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    wanted = {
        "minivault_running": "running",
        "minivault_waiting": "waiting",
        "minivault_interactions_total": "interactions",
    }
    return {wanted[sample.name]: sample.value for sample in samples if sample.name in wanted}


def filled() -> Metrics:
    """Metrics in which every instrument has a value."""
    metrics = Metrics()
    metrics.observe("generate", "completed", "stop", Usage(3, 2, 0), Timings(1, 1, 1, 1))
    metrics.measure(Load(1, 1, {"tokens": 1}, {"steps": 1}), VaultState(1, 1, True, 1.0, 1.0, 0, 0, [0.1]))
    metrics.http_requests.labels("native", "/generate", "POST", "200").inc()
    metrics.refused.labels("overloaded").inc()
    metrics.inter_token.observe(0.1)
    return metrics


@pytest.mark.services
def test_prometheus_own_checker_finds_nothing_wrong() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: make faults")
    done = subprocess.run(["promtool", "check", "metrics"], input=filled().render(), capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


MONITORING = Path(__file__).resolve().parent.parent / "docs" / "monitoring"


def instruments() -> set[str]:
    """Every name that a query may use."""
    return {sample.name for family in filled().own.collect() for sample in family.samples}


def queries() -> dict[str, str]:
    """Every query of the dashboard and of the alerts, by what it is for."""
    board: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    found = {f"{panel['title']} {t['refId']}": t["expr"] for panel in board["panels"] for t in panel.get("targets", ())}
    alerts = re.findall(r"alert: (\w+)\n\s+expr: (.+)", (MONITORING / "alerts.yml").read_text())
    return {**found, **dict(alerts)}


@pytest.mark.parametrize(("purpose", "query"), queries().items(), ids=queries())
def test_every_query_of_dashboard_and_alerts_asks_for_what_there_is(purpose: str, query: str) -> None:
    asked = set(re.findall(r"minivault_\w+", query))
    assert asked and asked <= instruments(), purpose


@pytest.mark.services
def test_prometheus_takes_the_alert_rules() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: make faults")
    for args in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *args], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
