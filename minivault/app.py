"""The application factory: settings, extensions, blueprints, commands, error handlers, in that order."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response, g, request

from minivault import tracing
from minivault.access import guard
from minivault.api import (
    anthropic,
    errors,
    holds,
    integrity,
    native,
    ollama,
    openai,
    receipts,
    said,
    status,
    vault,
    watermark,
)
from minivault.api.disconnect import DisconnectWatcher
from minivault.cli import minivault as commands
from minivault.config import Settings, load_settings
from minivault.interaction import Recorder, next_id
from minivault.metrics import Metrics
from minivault.web import pages
from minivault.wire.fields import HEADER, header_of
from minivault.worker.hooks import worker_roster

DIALECTS = (native.bp, ollama.bp, openai.bp, anthropic.bp)
"""The blueprint of every dialect that is served."""
REQUEST_ID_HEADERS = ("X-Request-Id", "Request-Id")
"""As everyone calls it, and as Anthropic's clients do."""


def create_app(settings: Settings | None = None, recorder: Recorder | None = None) -> Flask:
    """Build the WSGI application. Loads no model and opens no file: the worker's service does that when it starts."""
    settings = settings or load_settings()
    app = Flask("minivault", static_folder=None)
    app.config["MINIVAULT"] = settings
    app.json.ensure_ascii = True  # type: ignore[attr-defined]
    recorder = recorder or Recorder(settings, worker_roster(settings))
    app.extensions["minivault"] = recorder
    app.extensions["minivault.disconnect"] = DisconnectWatcher()
    app.extensions["minivault.dialects"] = tuple(bp.dialect for bp in DIALECTS)
    app.before_request(_identify)
    app.after_request(_add_headers)
    app.after_request(partial(_count, recorder.metrics))
    guard.init_app(
        app,
        settings,
        key_headers={bp.name: bp.dialect.key_headers for bp in DIALECTS},
        on_auth_failure=recorder.record_auth_failure,
        on_storage_failure=recorder.metrics.rate_storage_failures.inc,
    )
    for bp in (*DIALECTS, status.bp, receipts.bp, vault.bp, integrity.bp, holds.bp, said.bp, watermark.bp, pages.bp):
        app.register_blueprint(bp)
    app.cli.add_command(commands)
    errors.init_app(app)
    return app


def _identify() -> None:
    g.request_id = next_id()
    g.noted = ()
    header = request.headers.get(tracing.HEADER, "")
    tracing.current.set(header and tracing.trace_id_of(header))


def _count(metrics: Metrics, response: Response) -> Response:
    """By route, not by path, so that nobody can make up names; a stream counts with the status that it began with."""
    route = request.url_rule.rule if request.url_rule else "none"
    known = request.method if request.url_rule else "-"
    metrics.http_requests.labels(request.blueprint or "-", route, known, str(response.status_code)).inc()
    return response


def _add_headers(response: Response) -> Response:
    for name in REQUEST_ID_HEADERS:
        response.headers[name] = g.get("request_id", "")
    if trace_id := tracing.current.get():
        response.headers[tracing.REPLY_HEADER] = trace_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    if g.get("noted"):
        response.headers[HEADER] = header_of(g.noted)
    return response
