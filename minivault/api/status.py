"""Is it up, is it ready, how busy is it: `GET /health`, `GET /ready`, `GET /metrics`, `GET /status`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, g
from prometheus_client import CONTENT_TYPE_LATEST

from minivault import __version__
from minivault.api.streaming import json_reply, recorder
from minivault.errors import MiniVaultError, Unavailable, VaultUnavailable
from minivault.history import History
from minivault.interaction import Recorder
from minivault.models.catalog import name_of
from minivault.models.named import names_in
from minivault.service import Model, mark_of

bp = Blueprint("status", __name__)
STEP_S = 20
_started = time.monotonic()


@bp.get("/health")
def health() -> Response:
    """Facts about this server; answers whatever state the model and the vault are in."""
    here = recorder()
    status = here.roster.status()
    requests, average_ms, tokens = here.metrics.totals()
    vault = _vault()
    info = here.roster.default.info if status.state == "ready" else None
    return json_reply(
        {
            "status": _state(status.state, vault),
            "reason": status.reason,
            "uptime_s": round(time.monotonic() - _started, 3),
            "requests": requests,
            "average_response_ms": round(average_ms, 3),
            "tokens": tokens,
            "running": status.running,
            "waiting": status.waiting,
            "context": info.context if info else None,
            "cache": {**status.cache, "preemptions": status.stats.get("preemptions", 0)} if status.cache else None,
            "vault": vault,
            "model": _model_name(here),
            "fingerprint_parts": dict(info.fingerprint_parts) if info else {},
            "models": [_model(model) for model in here.roster],
            "watermark": mark.told if (mark := mark_of(here.settings)) else None,
            "version": __version__,
        }
    )


@bp.get("/ready")
def ready() -> Response:
    """200 when a request would be served: the default model is loaded, or was and comes back when it is asked for, and
    the vault can be written."""
    roster = recorder().roster
    roster.ensure_ready()
    info = roster.default.info
    vault = recorder().vault_status()
    if not vault.writable:
        raise VaultUnavailable(f"the vault cannot be written: {vault.reason}", retry_after_s=5)
    return json_reply({"status": "ready", "model": info.name, "fingerprint": info.fingerprint})


@bp.get("/status")
def status() -> Response:
    """The last hour of the whole server, a point for each `STEP_S`, and where the caller stands in its limits."""
    here = recorder()
    return json_reply(
        {
            "step_s": STEP_S,
            "points": History(here.settings.run_dir, clock=time.time).points(STEP_S),
            "max_running": here.settings.max_running,
            "workers": here.settings.workers,
            "limits": [asdict(window) for window in g.caller.meter.windows(g.caller)],
        }
    )


@bp.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format."""
    here = recorder()
    here.measure()
    return Response(here.metrics.render(), content_type=CONTENT_TYPE_LATEST)


def _model(model: Model) -> dict[str, Any]:
    """One model; what nobody knows yet is null."""
    status, info = model.status(), None
    with suppress(Unavailable):
        info = model.info
    return {
        "name": info.name if info else None,
        "state": status.state,
        "running": status.running,
        "waiting": status.waiting,
        "fingerprint": info.fingerprint if info and info.fingerprint else None,
    }


def _model_name(here: Recorder) -> str:
    """The model's name, also while it is not loaded."""
    try:
        return here.roster.default.info.name
    except Unavailable:
        return name_of(names_in(here.settings.model)[0]) if here.settings.backend != "upstream" else ""


def _state(service: str, vault: dict[str, Any]) -> str:
    """`ok` where a request would be served; else what stands in its way."""
    if service != "ready":
        return service
    return "vault_unavailable" if "error" in vault else "ok"


def _vault() -> dict[str, Any]:
    try:
        status = recorder().vault_status()
    except MiniVaultError as error:
        return {"seq": None, "head": None, "bytes_free": None, "error": error.message}
    facts = {"seq": status.seq, "head": status.head, "bytes_free": status.bytes_free}
    return facts if status.writable else {**facts, "error": status.reason}
