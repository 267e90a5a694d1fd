"""The hooks that gunicorn calls; what they do to a real server is tested in tests/service and tests/faults."""

from __future__ import annotations

import subprocess
import sys


def test_prometheus_client_is_not_imported_before_the_workers_have_their_directory() -> None:
    modules = "minivault.worker.hooks, minivault.worker.patient_threads"
    code = f"import sys, {modules}; print([m for m in ('prometheus_client', 'torch') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
