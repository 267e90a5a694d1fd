"""What the verifier last said of a vault, kept beside it for whoever looks: a hint for people and never evidence."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from minivault.moment import rfc3339
from minivault.vault.evidence import verify
from minivault.vault.verify import as_json

KEPT = "last-verify.json"
_TOLD = ("exit_code", "verdict", "seq", "hash", "first_bad_seq", "num_records")


def verify_and_keep(directory: Path, run_dir: Path, time_ns: int) -> dict[str, Any]:
    """Verify the whole log, remember the verdict in `run_dir` with its time, and give the whole report."""
    report: dict[str, Any] = json.loads(as_json(verify(directory)))
    kept = {name: report[name] for name in _TOLD} | {"at": rfc3339(time_ns), "directory": str(directory)}
    with suppress(OSError):  # no room: the verdict is told all the same
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = run_dir / f"{KEPT}.{os.getpid()}"
        beside.touch(0o600)
        beside.write_text(json.dumps(kept), "ascii")
        beside.replace(run_dir / KEPT)
    return report


def last_verdict(directory: Path, run_dir: Path) -> dict[str, Any] | None:
    """What was remembered of this directory, None where nothing was."""
    try:
        kept = json.loads((run_dir / KEPT).read_text("ascii"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.pop("directory", None) != str(directory):
        return None
    return kept
